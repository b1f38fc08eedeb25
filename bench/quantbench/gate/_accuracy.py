"""The judge of scores: drift against the baseline, and the floor against the float control of this same run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import (
    Paired,
    bootstrap_drop_sd,
    normal_p,
    normal_quantile,
    p_above,
    pair,
    pooled_sd,
    t_quantile,
)
from quantbench.gate._common import Subject, beyond, edited, missing
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Kind, Measurement, Verdict
from quantbench.reference.metrics import Metric
from quantbench.reference.model import Floor


@dataclass(frozen=True)
class Answers:
    """A score with the predictions that it was made from.

    Attributes:
        score: value, and one value a seed where the cell trains.
        predictions: of the first seed, shape (n,).
        nonfinite: examples whose output was NaN or infinite.
    """

    score: Measurement | None
    predictions: Array
    nonfinite: int


@dataclass(frozen=True)
class Repeats:
    """What trainings with other seeds say of how far one more may land.

    Attributes:
        sd: of the score of one training, in the metric's unit.
        degrees: degrees of freedom of ``sd``.
        old, new: how many trainings the accepted score and the new one are the mean of.
        of: what was repeated, for the message.
    """

    sd: float
    degrees: int
    old: int
    new: int
    of: str

    @property
    def error(self) -> float:
        """Standard error of the difference between the two means."""
        return self.sd * math.sqrt(1 / self.old + 1 / self.new)

    def tolerance(self, allowed: float) -> float:
        """The largest drop that chance explains: half a prediction interval (Student's t)."""
        return t_quantile(allowed, self.degrees) * self.error


def repeats(metric: Metric, samples: Sequence[Sequence[float]], old: int, new: int, of: str) -> Repeats | None:
    """The spread of one training, pooled over ``samples``, each the scores of one cell over its seeds.

    None where no sample has two seeds: then nothing is known of chance.
    """
    sd, degrees = pooled_sd([list(values) for values in samples if len(values) > 1])
    if degrees == 0:
        return None
    return Repeats(metric.scale * sd, degrees, old, new, of)


def accuracy(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    labels: Array,
    baseline: BaselineCell | None,
    stored: Array | None,
    allowed: float,
    trained: bool,
    repeats: Repeats | None = None,
) -> Judgement:
    """Drift of the score against the baseline. Where chance can move it, the judgement holds a p-value.

    Args:
        labels: of the test split, shape (n,).
        stored: the baseline's predictions, shape (n,).
        allowed: this judgement's share of the false-alarm budget.
        trained: training made this cell, so its score is a mean over seeds.
        repeats: how far one more training may land, where the cell, or the float model itself, was trained.
    """
    if answers.nonfinite or answers.score is None:
        n = len(answers.predictions)
        message = f"{answers.nonfinite} of {n} examples have a NaN or infinite output"
        return _score_judgement(Verdict.REGRESSED, message, subject.choices())
    accepted = baseline.measurements.get("score") if baseline else None
    if accepted is None:
        return missing(subject, Kind.ACCURACY, "score", baseline)
    consistent = stored is not None and is_score_of(accepted, metric, stored, labels, trained)
    judged = _drift(
        subject, metric, answers, labels, accepted, stored if consistent else None, allowed, trained, repeats
    )
    return judged if consistent else edited(judged, "the baseline's value is not that of its stored predictions")


def _drift(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    labels: Array,
    accepted: BaselineValue,
    stored: Array | None,
    allowed: float,
    trained: bool,
    repeats: Repeats | None,
) -> Judgement:
    """The judgement by whatever this cell can be judged by; without ``stored`` predictions that is a tolerance."""
    assert answers.score is not None
    if stored is not None and np.array_equal(answers.predictions, stored) and _same_seeds(answers.score, accepted):
        return _identical(metric, answers.score, accepted, len(labels), allowed, repeats)
    if repeats is not None:
        return _by_repeats(subject, metric, answers.score, accepted, repeats, allowed)
    if trained:
        return _too_few_repeats(subject, metric, answers.score, accepted)
    if stored is not None and metric.correct is not None:
        pairs = pair(metric.correct(answers.predictions, labels), metric.correct(stored, labels))
        return _by_pairs(subject, metric, answers.score, accepted, pairs, allowed)
    if stored is not None:
        return _by_bootstrap(subject, metric, answers, accepted, stored, labels, allowed)
    return _by_tolerance(subject, metric, answers.score, accepted)


def _same_seeds(score: Measurement, accepted: BaselineValue) -> bool:
    """Predictions are stored of the first seed alone; the other seeds of this run must repeat their scores too."""
    if not score.values or not accepted.values:
        return True
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(score.values, accepted.values, strict=False))


def is_score_of(
    accepted: BaselineValue | Measurement, metric: Metric, stored: Array, labels: Array, trained: bool
) -> bool:
    """Whether a recorded value is the score of the stored predictions; not so where it was edited by hand."""
    value = accepted.value
    if trained and accepted.values:
        if not _equal(value, float(np.mean(accepted.values))):
            return False
        value = accepted.values[0]
    return _equal(value, metric.value(stored, labels))


def _equal(recorded: float, computed: float) -> bool:
    return math.isclose(recorded, computed, rel_tol=1e-6, abs_tol=1e-6)  # files keep nine digits


def _score_judgement(
    verdict: Verdict,
    message: str,
    actions: Sequence[Action] = (),
    metric: Metric | None = None,
    score: Measurement | None = None,
    accepted: BaselineValue | None = None,
    p_value: float | None = None,
    detectable: float | None = None,
) -> Judgement:
    change = None
    if metric and score and accepted:
        change = metric.drop(score.value, accepted.value)
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="baseline",
        verdict=verdict,
        value=score.value if score else None,
        reference=accepted.value if accepted else None,
        unit=metric.unit if metric else "",
        change=change,
        tolerance=accepted.tolerance if accepted else None,
        p_value=p_value,
        detectable=detectable,
        message=message,
        actions=list(actions),
    )


def _versus(metric: Metric, score: Measurement, accepted: BaselineValue) -> str:
    drop = metric.drop(score.value, accepted.value)
    now, before = show_score(metric, score.value), show_score(metric, accepted.value)
    return f"{metric.name} {now}, baseline {before} (drop {drop:+.2f} {metric.unit})"


def show_score(metric: Metric, value: float) -> str:
    """A score as the reports print it."""
    return f"{100 * value:.2f} %" if metric.scale == 100 else f"{value:.5g}"


def _identical(
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    n: int,
    allowed: float,
    repeats: Repeats | None,
) -> Judgement:
    """Nothing moved, so chance had no say: no p-value, and no share of the false-alarm budget."""
    message = f"all {n} predictions are those of the baseline"
    detectable: float | None = None
    if repeats is not None:
        detectable = max(accepted.tolerance, repeats.tolerance(allowed))
    elif metric.correct is not None:
        detectable = max(accepted.tolerance, Paired(n, 0, 0).smallest_detectable(allowed) * metric.scale)
    return _score_judgement(Verdict.PASS, message, metric=metric, score=score, accepted=accepted, detectable=detectable)


def _by_pairs(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, pairs: Paired, allowed: float
) -> Judgement:
    drop = metric.drop(score.value, accepted.value)
    worse, better = pairs.p_worse(), pairs.p_better()
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= allowed, better <= allowed)
    message = (
        f"{_versus(metric, score, accepted)}; {pairs.lost} examples lost, {pairs.gained} gained, "
        f"exact McNemar p = {min(worse, better):.2g} (red at {allowed:.2g})"
    )
    return _score_judgement(
        verdict,
        message,
        [] if verdict is Verdict.PASS else subject.choices(),
        metric,
        score,
        accepted,
        p_value=worse,
        detectable=max(accepted.tolerance, pairs.smallest_detectable(allowed) * metric.scale),
    )


def _by_bootstrap(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    accepted: BaselineValue,
    stored: Array,
    labels: Array,
    allowed: float,
) -> Judgement:
    """For metrics that no count of right and wrong makes: the drop against its paired bootstrap spread."""
    assert answers.score is not None

    def drop_of(new: Array, old: Array, of: Array) -> float:
        return metric.drop(metric.value(new, of), metric.value(old, of))

    # From the predictions: the file keeps nine digits of the score, and a rounding has no spread that explains it.
    drop = drop_of(answers.predictions, stored, labels)
    sd = bootstrap_drop_sd(answers.predictions, stored, labels, drop_of)
    worse, better = normal_p(drop, sd), normal_p(-drop, sd)
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= allowed, better <= allowed)
    message = (
        f"{_versus(metric, answers.score, accepted)}; paired bootstrap sd {sd:.3g} {metric.unit}, "
        f"p = {min(worse, better):.2g} (red at {allowed:.2g})"
    )
    detectable = max(accepted.tolerance, normal_quantile(allowed) * sd)
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return _score_judgement(verdict, message, actions, metric, answers.score, accepted, worse, detectable)


def _by_two_rules(beyond: bool, unlikely: bool, better: bool) -> Verdict:
    """Red takes both a drop beyond its tolerance and one that chance does not explain; a warning takes one of them."""
    if beyond and unlikely:
        return Verdict.REGRESSED
    if better:
        return Verdict.IMPROVED
    return Verdict.WARN if beyond or unlikely else Verdict.PASS


def _by_repeats(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, repeats: Repeats, allowed: float
) -> Judgement:
    """What trained is judged by a prediction interval; a tolerance that a maintainer loosened may only widen it."""
    drop = metric.drop(score.value, accepted.value)
    tolerance = max(accepted.tolerance, repeats.tolerance(allowed))
    verdict = beyond(drop, tolerance)
    p_value = p_above(drop, repeats.error, repeats.degrees)
    message = (
        f"{_versus(metric, score, accepted)}; {repeats.of}, so judged by the spread of trainings: tolerance "
        f"{tolerance:.2f} {metric.unit}, p = {p_value:.2g} (red at {allowed:.2g}; sd {repeats.sd:.2f} {metric.unit} "
        f"with {repeats.degrees} degrees of freedom, mean of {repeats.new} against mean of {repeats.old})"
    )
    actions = [] if verdict is Verdict.PASS else subject.choices("accept (from a run with --seeds 5)")
    found = _score_judgement(verdict, message, actions, metric, score, accepted, p_value, tolerance)
    return found.model_copy(update={"tolerance": tolerance})


def _too_few_repeats(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    message = (
        f"{_versus(metric, score, accepted)}; it trained, and the baseline has too few repeats to tell chance "
        "from change"
    )
    actions = subject.choices("record it anew (from a run with --seeds 5)")
    return _score_judgement(Verdict.ERROR, message, actions, metric, score, accepted)


def _by_tolerance(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    """Where no paired test applies: the tolerance alone decides."""
    verdict = beyond(metric.drop(score.value, accepted.value), accepted.tolerance)
    message = f"{_versus(metric, score, accepted)}; tolerance {accepted.tolerance:.2f} {metric.unit}"
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return _score_judgement(verdict, message, actions, metric, score, accepted, detectable=accepted.tolerance)


FLOOR_IS_POLICY = Action(what="the floor is policy in the model's file; no baseline update moves it")


def floor(
    metric: Metric, score: Measurement | None, control: Measurement | None, limit: Floor | None
) -> Judgement | None:
    """The release floor: the drop from the float control of this same run. None where no floor is declared."""
    if limit is None or score is None:
        return None
    if control is None:
        message = f"the floor of {limit.max_drop} {metric.unit} cannot be judged: its control has no score"
        return Judgement(
            kind=Kind.ACCURACY, measurement="score", against="floor", verdict=Verdict.ERROR, message=message
        )
    drop = metric.drop(score.value, control.value)
    red = drop > limit.max_drop + 1e-9
    message = (
        f"{metric.name} {show_score(metric, score.value)} is {drop:+.2f} {metric.unit} below its control "
        f"({show_score(metric, control.value)}); the floor allows {limit.max_drop:g} {metric.unit}: {limit.reason}"
    )
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="floor",
        verdict=Verdict.REGRESSED if red else Verdict.PASS,
        value=score.value,
        reference=control.value,
        unit=metric.unit,
        change=drop,
        tolerance=limit.max_drop,
        message=message,
        actions=[FLOOR_IS_POLICY] if red else [],
    )


def origin(baseline: BaselineCell | None, artifact_sha256: str | None, reference_sha256: str | None) -> str:
    """What a changed score goes back to: the artifact, or the runtime that runs it; empty where that is not known."""
    if baseline is None or baseline.artifact_sha256 is None:
        return ""
    if baseline.artifact_sha256 == artifact_sha256:
        return "the artifact is that of the baseline, byte for byte: the runtime changed, or the processor"
    if baseline.reference_sha256 is None or reference_sha256 is None:
        return "the artifact changed"
    if baseline.reference_sha256 == reference_sha256:
        return (
            "the artifact changed, and answers as before on the reference kernels: look at the runtime's kernels first"
        )
    return "the artifact changed, and so did its answers on the reference kernels: the model itself is another"
