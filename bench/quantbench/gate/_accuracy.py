"""Judge a score: its drift from the baseline, and its drop from the float control of the same run."""

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


@dataclass(frozen=True)
class Answers:
    """Hold a score with the predictions that it was computed from.

    Attributes:
        score: the mean, and one value per seed where the cell trains.
        predictions: of the first seed, shape (n,).
        nonfinite: examples whose output was NaN or infinite.
    """

    score: Measurement | None
    predictions: Array
    nonfinite: int


@dataclass(frozen=True)
class Repeats:
    """Describe how far the scores of trainings with different seeds lie apart.

    Attributes:
        sd: standard deviation of the score of one training, in the metric's unit.
        degrees: degrees of freedom of ``sd``.
        old, new: number of trainings that the accepted and the new score are means of.
        of: what was repeated, for the message.
    """

    sd: float
    degrees: int
    old: int
    new: int
    of: str

    @property
    def error(self) -> float:
        """Return the standard error of the difference between the two means."""
        return self.sd * math.sqrt(1 / self.old + 1 / self.new)

    def tolerance(self, alpha: float) -> float:
        """Return the largest drop that chance explains: half a prediction interval (Student's t)."""
        return t_quantile(alpha, self.degrees) * self.error


def repeats(metric: Metric, samples: Sequence[Sequence[float]], old: int, new: int, of: str) -> Repeats | None:
    """Pool the spread of one training over ``samples``, each the scores of one cell over its seeds.

    Return None where no sample has two seeds, as the spread is unknown then.
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
    alpha: float,
    trained: bool,
    repeats: Repeats | None = None,
) -> Judgement:
    """Judge the drift of the score against the baseline, with a p-value where chance can move it.

    Args:
        labels: of the test split, shape (n,).
        stored: the baseline's predictions, shape (n,).
        alpha: significance level of this judgement, its share of the false-alarm budget.
        trained: whether the cell is trained, so that its score is a mean over seeds.
        repeats: spread between trainings, where the cell or the float model itself was trained.
    """
    if answers.nonfinite or answers.score is None:
        n = len(answers.predictions)
        message = f"{answers.nonfinite} of {n} examples have a NaN or infinite output"
        return _score_judgement(Verdict.REGRESSED, message, subject.choices())
    accepted = baseline.measurements.get("score") if baseline else None
    if accepted is None:
        return missing(subject, Kind.ACCURACY, "score", baseline)
    consistent = stored is not None and is_score_of(accepted, metric, stored, labels, trained)
    judged = _drift(subject, metric, answers, labels, accepted, stored if consistent else None, alpha, trained, repeats)
    return judged if consistent else edited(judged, "the baseline's value is not that of its stored predictions")


def _drift(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    labels: Array,
    accepted: BaselineValue,
    stored: Array | None,
    alpha: float,
    trained: bool,
    repeats: Repeats | None,
) -> Judgement:
    """Choose the most sensitive test that the data allow; without ``stored`` predictions, only the tolerance."""
    assert answers.score is not None
    if stored is not None and np.array_equal(answers.predictions, stored) and _same_seeds(answers.score, accepted):
        return _identical(metric, answers.score, accepted, len(labels), alpha, repeats)
    if repeats is not None:
        return _by_repeats(subject, metric, answers.score, accepted, repeats, alpha)
    if trained:
        return _too_few_repeats(subject, metric, answers.score, accepted)
    if stored is not None and metric.correct is not None:
        pairs = pair(metric.correct(answers.predictions, labels), metric.correct(stored, labels))
        return _by_pairs(subject, metric, answers.score, accepted, pairs, alpha)
    if stored is not None:
        return _by_bootstrap(subject, metric, answers, accepted, stored, labels, alpha)
    return _by_tolerance(subject, metric, answers.score, accepted)


def _same_seeds(score: Measurement, accepted: BaselineValue) -> bool:
    """Check that the other seeds repeat their scores too, as predictions are stored for the first seed only."""
    if not score.values or not accepted.values:
        return True
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(score.values, accepted.values, strict=False))


def is_score_of(
    accepted: BaselineValue | Measurement, metric: Metric, stored: Array, labels: Array, trained: bool
) -> bool:
    """Check that a recorded value is the score of the stored predictions, and was not edited by hand."""
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
    """Format a score for the reports."""
    return f"{100 * value:.2f} %" if metric.scale == 100 else f"{value:.5g}"


def _identical(
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    n: int,
    alpha: float,
    repeats: Repeats | None,
) -> Judgement:
    """Pass a score whose predictions are unchanged: no p-value, and no share of the false-alarm budget."""
    message = f"all {n} predictions are those of the baseline"
    detectable: float | None = None
    if repeats is not None:
        detectable = max(accepted.tolerance, repeats.tolerance(alpha))
    elif metric.correct is not None:
        detectable = max(accepted.tolerance, Paired(n, 0, 0).smallest_detectable(alpha) * metric.scale)
    return _score_judgement(Verdict.PASS, message, metric=metric, score=score, accepted=accepted, detectable=detectable)


def _by_pairs(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, pairs: Paired, alpha: float
) -> Judgement:
    drop = metric.drop(score.value, accepted.value)
    worse, better = pairs.p_worse(), pairs.p_better()
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= alpha, better <= alpha)
    message = (
        f"{_versus(metric, score, accepted)}; {pairs.lost} examples lost, {pairs.gained} gained, "
        f"exact McNemar p = {min(worse, better):.2g} (red at {alpha:.2g})"
    )
    return _score_judgement(
        verdict,
        message,
        [] if verdict is Verdict.PASS else subject.choices(),
        metric,
        score,
        accepted,
        p_value=worse,
        detectable=max(accepted.tolerance, pairs.smallest_detectable(alpha) * metric.scale),
    )


def _by_bootstrap(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    accepted: BaselineValue,
    stored: Array,
    labels: Array,
    alpha: float,
) -> Judgement:
    """Compare the drop with its paired bootstrap spread, for metrics that do not count right and wrong examples."""
    assert answers.score is not None

    def drop_of(new: Array, old: Array, of: Array) -> float:
        return metric.drop(metric.value(new, of), metric.value(old, of))

    # Computed from the predictions, as the file rounds the score to nine digits, which no bootstrap spread explains.
    drop = drop_of(answers.predictions, stored, labels)
    sd = bootstrap_drop_sd(answers.predictions, stored, labels, drop_of)
    worse, better = normal_p(drop, sd), normal_p(-drop, sd)
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= alpha, better <= alpha)
    message = (
        f"{_versus(metric, answers.score, accepted)}; paired bootstrap sd {sd:.3g} {metric.unit}, "
        f"p = {min(worse, better):.2g} (red at {alpha:.2g})"
    )
    detectable = max(accepted.tolerance, normal_quantile(alpha) * sd)
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return _score_judgement(verdict, message, actions, metric, answers.score, accepted, worse, detectable)


def _by_two_rules(beyond: bool, unlikely: bool, better: bool) -> Verdict:
    """Combine tolerance and test: both must be exceeded for red, one of them suffices for a warning."""
    if beyond and unlikely:
        return Verdict.REGRESSED
    if better:
        return Verdict.IMPROVED
    return Verdict.WARN if beyond or unlikely else Verdict.PASS


def _by_repeats(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, repeats: Repeats, alpha: float
) -> Judgement:
    """Judge a trained cell by a prediction interval, which a loosened tolerance may only widen."""
    drop = metric.drop(score.value, accepted.value)
    tolerance = max(accepted.tolerance, repeats.tolerance(alpha))
    verdict = beyond(drop, tolerance)
    p_value = p_above(drop, repeats.error, repeats.degrees)
    message = (
        f"{_versus(metric, score, accepted)}; {repeats.of}, so judged by the spread of trainings: tolerance "
        f"{tolerance:.2f} {metric.unit}, p = {p_value:.2g} (red at {alpha:.2g}; sd {repeats.sd:.2f} {metric.unit} "
        f"with {repeats.degrees} degrees of freedom, mean of {repeats.new} against mean of {repeats.old})"
    )
    actions = [] if verdict is Verdict.PASS else subject.choices("accept (from a run with --seeds 5)")
    judgement = _score_judgement(verdict, message, actions, metric, score, accepted, p_value, tolerance)
    return judgement.model_copy(update={"tolerance": tolerance})


def _too_few_repeats(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    message = (
        f"{_versus(metric, score, accepted)}; it trained, and the baseline has too few repeats to tell chance "
        "from change"
    )
    actions = subject.choices("record it anew (from a run with --seeds 5)")
    return _score_judgement(Verdict.ERROR, message, actions, metric, score, accepted)


def _by_tolerance(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    """Judge by the tolerance alone, where no paired test applies."""
    verdict = beyond(metric.drop(score.value, accepted.value), accepted.tolerance)
    message = f"{_versus(metric, score, accepted)}; tolerance {accepted.tolerance:.2f} {metric.unit}"
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return _score_judgement(verdict, message, actions, metric, score, accepted, detectable=accepted.tolerance)


def origin(baseline: BaselineCell | None, artifact_sha256: str | None, reference_sha256: str | None) -> str:
    """Say whether the artifact or the runtime changed the score; empty where that is unknown."""
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
