"""The judges: (measurement, baseline) -> judgement. Pure functions; they never measure and never print.

A measurement gets two verdicts: drift against the baseline, and, for the score, the floor against the float
control measured in this same run.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.datasets import Array
from bench.errors import Exit
from bench.metrics import CONVERSION_AGREEMENT, Metric
from bench.records import (
    BaselineCell,
    BaselineValue,
    Failure,
    FalseAlarms,
    Judgement,
    Kind,
    Measurement,
    Verdict,
    worst,
)
from bench.reference import Floor
from bench.stats import (
    Paired,
    bootstrap_drop_sd,
    normal_p,
    normal_quantile,
    p_above,
    pair,
    prediction_tolerance,
    ratio_change,
    t_quantile,
)

DEFAULT_BUDGET = 0.01
SIZE_TOLERANCES = {"size": 0.001, "gzip_size": 0.01}
SIZE_TOLERANCE_REASONS = {
    "size": "0.1 % of the size: a string of another converter version, but not a tensor",
    "gzip_size": "1 % of the size: deflate implementations differ a little",
}
# Float rounding flips a few near ties; a lost weight or a kept state flips far more than one in a thousand.
KERAS_AGREEMENT = 0.999
# XNNPACK and the reference kernels round in different ways, which flips a near tie now and then (0.973 has been seen
# with nothing wrong).
REFERENCE_AGREEMENT = 0.95
REFERENCE_SLACK = 0.05
LOOK_CLOSER = "quantbench run --models {model} --variants {variant} --no-cache"
ACCEPT = 'quantbench baseline update {run} --only {model}/{variant} --reason "why this is right"'


@dataclass(frozen=True)
class Subject:
    """Who is judged; the run's name goes into the command that would accept a change."""

    model: str
    variant: str
    run: str

    @property
    def id(self) -> str:
        """The cell's key."""
        return f"{self.model}/{self.variant}"

    def action(self, accept: str = "accept") -> str:
        """What to do about a change: look closer, or accept."""
        names = {"model": self.model, "variant": self.variant, "run": self.run}
        return f"look closer: {LOOK_CLOSER.format(**names)}; {accept}: {ACCEPT.format(**names)}"


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
class Retrained:
    """How far a float model trained again may land from the pinned one.

    Attributes:
        sd: of the score over seeds, in the metric's unit.
        n: how many seeds.
        tolerance: largest drop that chance explains, in the metric's unit.
    """

    sd: float
    n: int
    tolerance: float


def retrained(metric: Metric, seed_scores: Sequence[float], allowed: float) -> Retrained:
    """Tolerance of one new training against one old one, from the recorded scores of several seeds."""
    sd = metric.scale * float(np.std(seed_scores, ddof=1))
    n = len(seed_scores)
    return Retrained(sd, n, prediction_tolerance(sd, 1, n - 1, allowed))


def share(budget: float, judgements: int) -> FalseAlarms:
    """Split the run's false-alarm budget evenly (Bonferroni) over the judgements that chance can move."""
    return FalseAlarms(budget=budget, judgements=judgements, share=budget / max(1, judgements))


def missing(subject: Subject, kind: Kind, measurement: str, baseline: BaselineCell | None = None) -> Judgement:
    """The verdict on a measurement that has no baseline at all."""
    accept = ACCEPT.format(model=subject.model, variant=subject.variant, run=subject.run)
    news = "; it was declared unsupported, and works now" if baseline and baseline.unsupported else ""
    return Judgement(
        kind=kind,
        measurement=measurement,
        against="baseline",
        verdict=Verdict.MISSING,
        message=f"{subject.id}: no {measurement} baseline{news}",
        action=f"record one: {accept}",
    )


def failed(subject: Subject, kind: Kind, failure: Failure, baseline: BaselineCell | None) -> Judgement:
    """The verdict on a cell without a result: ``unsupported`` as declared by the baseline, else an error.

    A cell that used to work and is now refused, or crashes, is an error: it could not be measured.
    """
    declared = baseline.unsupported if baseline else None
    refused = failure.what == "unsupported"
    if refused and declared is not None and _same_reason(declared, failure.reason):
        verdict, message, action = Verdict.UNSUPPORTED, f"{subject.id}: unsupported, as declared: {failure.reason}", ""
    elif refused and baseline is None:
        verdict, message = Verdict.MISSING, f"{subject.id}: the tools refuse it: {failure.reason}"
        action = f"declare it: {ACCEPT.format(model=subject.model, variant=subject.variant, run=subject.run)}"
    else:
        verdict, message = Verdict.ERROR, f"{subject.id}: {failure.what}: {failure.reason}"
        message += f" (declared unsupported for another reason: {declared})" if declared else ""
        action = f"repeat it alone: {LOOK_CLOSER.format(model=subject.model, variant=subject.variant)}"
    return Judgement(kind=kind, measurement="cell", against="baseline", verdict=verdict, message=message, action=action)


def _same_reason(declared: str, found: str) -> bool:
    """Whether a tool refuses in the words that were declared; numbers and addresses in them may differ."""
    return re.sub(r"[0-9]+", "", declared)[:80] == re.sub(r"[0-9]+", "", found)[:80]


def without_baseline(judgement: Judgement) -> Judgement:
    """The same judgement where no baseline is expected: what would be missing is merely unjudged or unsupported."""
    if judgement.verdict is not Verdict.MISSING:
        return judgement
    verdict = Verdict.UNSUPPORTED if judgement.measurement == "cell" else Verdict.UNJUDGED
    return judgement.model_copy(update={"verdict": verdict, "action": ""})


def never_judged(subject: Subject, kind: Kind) -> Judgement:
    """The verdict on what a run was asked for and did not get to."""
    return Judgement(
        kind=kind,
        measurement="cell",
        against="nothing",
        verdict=Verdict.ERROR,
        message=f"{subject.id}: {kind} was never judged: its test failed or did not run; see pytest's own output",
        action=f"repeat it alone: {LOOK_CLOSER.format(model=subject.model, variant=subject.variant)}",
    )


def not_timed(subject: Subject, reason: str) -> Judgement:
    """The verdict on a latency that could not be measured."""
    return Judgement(
        kind=Kind.LATENCY,
        measurement="latency_ratio",
        against="nothing",
        verdict=Verdict.ERROR,
        message=f"{subject.id}: latency could not be measured: {reason}",
        action=f"repeat it alone: {LOOK_CLOSER.format(model=subject.model, variant=subject.variant)}",
    )


# ---------------------------------------------------------------- accuracy


def accuracy(
    subject: Subject,
    metric: Metric,
    answers: Answers,
    labels: Array,
    baseline: BaselineCell | None,
    stored: Array | None,
    allowed: float,
    trained: bool,
    retrained: Retrained | None = None,
) -> Judgement:
    """Drift of the score against the baseline.

    Args:
        labels: of the test split, shape (n,).
        stored: the baseline's predictions, shape (n,).
        allowed: this judgement's share of the false-alarm budget.
        trained: training made this cell, so it is judged by its spread over seeds.
        retrained: the float model itself was trained again, so its spread over seeds counts instead.
    """
    if answers.nonfinite or answers.score is None:
        n = len(answers.predictions)
        message = f"{subject.id}: {answers.nonfinite} of {n} examples have a NaN or infinite output"
        return _score_judgement(Verdict.REGRESSED, message, subject.action())
    accepted = baseline.measurements.get("score") if baseline else None
    if accepted is None:
        return missing(subject, Kind.ACCURACY, "score", baseline)
    consistent = stored is not None and _is_score_of(accepted, metric, stored, labels, trained)
    if consistent and np.array_equal(answers.predictions, stored) and _same_seeds(answers.score, accepted):  # type: ignore[arg-type]
        return _identical(subject, metric, answers.score, accepted, len(labels), allowed, trained)
    if retrained is not None:
        return _by_seeds(subject, metric, answers.score, accepted, retrained)
    if trained:
        return _by_spread(subject, metric, answers.score, accepted)
    if consistent and metric.correct is not None:
        assert stored is not None
        pairs = pair(metric.correct(answers.predictions, labels), metric.correct(stored, labels))
        return _by_pairs(subject, metric, answers.score, accepted, pairs, allowed)
    if consistent and metric.correct is None:
        assert stored is not None
        return _by_bootstrap(subject, metric, answers, accepted, stored, labels, allowed)
    return _by_tolerance(subject, metric, answers.score, accepted, consistent)


def _same_seeds(score: Measurement, accepted: BaselineValue) -> bool:
    """Predictions are stored of the first seed alone; the other seeds of this run must repeat their scores too."""
    if not score.values or not accepted.values:
        return True
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(score.values, accepted.values, strict=False))


def _is_score_of(accepted: BaselineValue, metric: Metric, stored: Array, labels: Array, trained: bool) -> bool:
    """Whether the accepted value is the score of the stored predictions; not so where it was edited by hand."""
    value = accepted.value
    if trained and accepted.values:
        if not math.isclose(value, float(np.mean(accepted.values)), abs_tol=1e-6):
            return False
        value = accepted.values[0]
    return math.isclose(value, metric.value(stored, labels), abs_tol=1e-6)


def _score_judgement(
    verdict: Verdict,
    message: str,
    action: str = "",
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
        action=action,
    )


def _versus(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> str:
    drop = metric.drop(score.value, accepted.value)
    now, before = show_score(metric, score.value), show_score(metric, accepted.value)
    return f"{subject.id}: {metric.name} {now}, baseline {before} (drop {drop:+.2f} {metric.unit})"


def show_score(metric: Metric, value: float) -> str:
    """A score as the reports print it."""
    return f"{100 * value:.2f} %" if metric.scale == 100 else f"{value:.5g}"


def _identical(
    subject: Subject,
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    n: int,
    allowed: float,
    trained: bool,
) -> Judgement:
    message = f"{subject.id}: all {n} predictions are those of the baseline"
    detectable: float | None = accepted.tolerance
    if not trained:
        detectable = Paired(n, 0, 0).smallest_detectable(allowed) * metric.scale if metric.correct else None
    return _score_judgement(
        Verdict.PASS, message, metric=metric, score=score, accepted=accepted, p_value=1.0, detectable=detectable
    )


def _by_pairs(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, pairs: Paired, allowed: float
) -> Judgement:
    drop = metric.drop(score.value, accepted.value)
    worse, better = pairs.p_worse(), pairs.p_better()
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= allowed, better <= allowed)
    message = (
        f"{_versus(subject, metric, score, accepted)}; {pairs.lost} examples lost, {pairs.gained} gained, "
        f"exact McNemar p = {min(worse, better):.2g} (red at {allowed:.2g})"
    )
    return _score_judgement(
        verdict,
        message,
        "" if verdict is Verdict.PASS else subject.action(),
        metric,
        score,
        accepted,
        p_value=worse,
        detectable=pairs.smallest_detectable(allowed) * metric.scale,
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

    drop = metric.drop(answers.score.value, accepted.value)
    sd = bootstrap_drop_sd(answers.predictions, stored, labels, drop_of)
    worse, better = normal_p(drop, sd), normal_p(-drop, sd)
    verdict = _by_two_rules(drop > accepted.tolerance, worse <= allowed, better <= allowed)
    message = (
        f"{_versus(subject, metric, answers.score, accepted)}; paired bootstrap sd {sd:.3g} {metric.unit}, "
        f"p = {min(worse, better):.2g} (red at {allowed:.2g})"
    )
    detectable = max(accepted.tolerance, normal_quantile(allowed) * sd)
    action = "" if verdict is Verdict.PASS else subject.action()
    return _score_judgement(verdict, message, action, metric, answers.score, accepted, worse, detectable)


def _by_two_rules(beyond: bool, unlikely: bool, better: bool) -> Verdict:
    """Red takes both a drop beyond its tolerance and one that chance does not explain; a warning takes one of them."""
    if beyond and unlikely:
        return Verdict.REGRESSED
    if better:
        return Verdict.IMPROVED
    return Verdict.WARN if beyond or unlikely else Verdict.PASS


def _by_spread(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    drop = metric.drop(score.value, accepted.value)
    verdict = _beyond(drop, accepted.tolerance)
    message = (
        f"{_versus(subject, metric, score, accepted)}; trained, so judged by its spread over seeds: "
        f"tolerance {accepted.tolerance:.2f} {metric.unit} ({accepted.tolerance_from})"
    )
    action = "" if verdict is Verdict.PASS else subject.action("accept (from a run with --seeds 5)")
    return _score_judgement(verdict, message, action, metric, score, accepted, detectable=accepted.tolerance)


def _by_seeds(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, retrained: Retrained
) -> Judgement:
    drop = metric.drop(score.value, accepted.value)
    message = (
        f"{_versus(subject, metric, score, accepted)}; the float model was trained again: "
        f"{drop / retrained.sd:+.1f} seed standard deviations below the pinned one, tolerance "
        f"{retrained.tolerance:.2f} {metric.unit} (seed sd {retrained.sd:.2f}, n = {retrained.n})"
    )
    verdict = _beyond(drop, retrained.tolerance)
    action = (
        "" if verdict is Verdict.PASS else "compare the training recipe, TensorFlow version and data with the pinned"
    )
    found = _score_judgement(verdict, message, action, metric, score, accepted, detectable=retrained.tolerance)
    return found.model_copy(update={"tolerance": retrained.tolerance})


def _by_tolerance(
    subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue, consistent: bool
) -> Judgement:
    """Where no paired test applies: the tolerance alone decides."""
    verdict = _beyond(metric.drop(score.value, accepted.value), accepted.tolerance)
    why = "" if consistent else "; the baseline's value is not that of its stored predictions, so it was edited"
    message = f"{_versus(subject, metric, score, accepted)}; tolerance {accepted.tolerance:.2f} {metric.unit}{why}"
    action = "" if verdict is Verdict.PASS else subject.action()
    return _score_judgement(verdict, message, action, metric, score, accepted, detectable=accepted.tolerance)


def _beyond(change: float, tolerance: float) -> Verdict:
    slack = 1e-9  # of rounding in stored values
    if change > tolerance + slack:
        return Verdict.REGRESSED
    return Verdict.IMPROVED if change < -tolerance - slack else Verdict.PASS


def floor(
    subject: Subject, metric: Metric, score: Measurement | None, control: Measurement | None, limit: Floor | None
) -> Judgement | None:
    """The release floor: the drop from the float control of this same run. None where no floor is declared."""
    if limit is None or score is None:
        return None
    if control is None:
        message = (
            f"{subject.id}: the floor of {limit.max_drop} {metric.unit} cannot be judged: its control has no score"
        )
        return Judgement(
            kind=Kind.ACCURACY, measurement="score", against="floor", verdict=Verdict.ERROR, message=message
        )
    drop = metric.drop(score.value, control.value)
    red = drop > limit.max_drop + 1e-9
    message = (
        f"{subject.id}: {metric.name} {show_score(metric, score.value)} is {drop:+.2f} {metric.unit} below its control "
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
        action="the floor is policy in the model's file; no baseline update moves it" if red else "",
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


def agreement(subject: Subject, share_agreeing: Measurement) -> Judgement:
    """Whether the float ``.tflite`` still answers as the float model itself: conversion is checked too."""
    red = share_agreeing.value < KERAS_AGREEMENT
    message = (
        f"{subject.id}: the float .tflite agrees with the float model on {100 * share_agreeing.value:.2f} % of "
        f"{share_agreeing.n} examples; {100 * KERAS_AGREEMENT:g} % are required"
    )
    action = "compare the outputs of both on one example: conversion, its state or its inputs are wrong"
    verdict = Verdict.REGRESSED if red else Verdict.PASS
    return _agreeing("float_agreement", "float model", verdict, share_agreeing, KERAS_AGREEMENT, message, action)


def _agreeing(
    name: str,
    against: Literal["float model", "before conversion", "reference kernels"],
    verdict: Verdict,
    agreement: Measurement,
    limit: float,
    message: str,
    action: str,
) -> Judgement:
    """A share of examples that should be nearly all of them; the action is for where it is not."""
    return Judgement(
        kind=Kind.ACCURACY,
        measurement=name,
        against=against,
        verdict=verdict,
        value=agreement.value,
        reference=1.0,
        unit="fraction",
        tolerance=1 - limit,
        message=message,
        action="" if verdict is Verdict.PASS else action,
    )


def conversion(subject: Subject, agreement: Measurement, parting: str) -> Judgement:
    """Whether a fake-quantized model's artifact answers as the model did before conversion; a warning, never red."""
    warn = agreement.value < CONVERSION_AGREEMENT
    message = (
        f"{subject.id}: the artifact answers as the fake-quantized model on {100 * agreement.value:.2f} % of "
        f"{agreement.n} examples; {100 * CONVERSION_AGREEMENT:g} % are expected"
    )
    message = f"{message}; {parting}" if warn and parting else message
    action = "what was trained is not what is shipped: look at that tensor before the training"
    verdict = Verdict.WARN if warn else Verdict.PASS
    return _agreeing(
        "conversion_agreement", "before conversion", verdict, agreement, CONVERSION_AGREEMENT, message, action
    )


def reference_kernels(subject: Subject, agreement: Measurement, baseline: BaselineCell | None) -> Judgement:
    """Whether the default kernels answer as the reference kernels do; a warning, never red, until it is accepted."""
    known = baseline.reference_agreement if baseline else None
    limit = REFERENCE_AGREEMENT if known is None else min(REFERENCE_AGREEMENT, known - REFERENCE_SLACK)
    warn = agreement.value < limit
    message = (
        f"{subject.id}: litert-cpu answers as litert-reference on {100 * agreement.value:.1f} % of {agreement.n} "
        f"examples; {100 * max(0.0, limit):.0f} % are expected"
    )
    action = f"the runtime's kernels disagree with each other: report it with this artifact; {subject.action()}"
    verdict = Verdict.WARN if warn else Verdict.PASS
    return _agreeing("reference_agreement", "reference kernels", verdict, agreement, max(0.0, limit), message, action)


# ---------------------------------------------------------------- size


def sizes(subject: Subject, measured: dict[str, Measurement], baseline: BaselineCell | None) -> list[Judgement]:
    """Size and gzip size, each against its baseline."""
    return [_size(subject, name, measured[name], baseline) for name in SIZE_TOLERANCES if name in measured]


def _size(subject: Subject, name: str, size: Measurement, baseline: BaselineCell | None) -> Judgement:
    accepted = baseline.measurements.get(name) if baseline else None
    if accepted is None:
        return missing(subject, Kind.SIZE, name, baseline)
    growth = size.value - accepted.value
    allowed = accepted.tolerance * accepted.value
    verdict = _beyond(growth, allowed)
    percent = 100 * growth / accepted.value if accepted.value else math.inf
    message = (
        f"{subject.id}: {name.replace('_', ' ')} {size.value:,.0f} bytes, baseline {accepted.value:,.0f} "
        f"({growth:+,.0f} bytes, {percent:+.2f} %; tolerance {100 * accepted.tolerance:g} %)"
    )
    return Judgement(
        kind=Kind.SIZE,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=size.value,
        reference=accepted.value,
        unit="bytes",
        change=growth,
        tolerance=allowed,
        detectable=allowed,
        message=message,
        action="" if verdict is Verdict.PASS else subject.action(),
    )


# ---------------------------------------------------------------- latency


def latency(
    subject: Subject,
    name: str,
    ratio: Measurement,
    baseline: BaselineCell | None,
    machine: str,
    allowed: float,
) -> Judgement:
    """A latency ratio against the baseline of this machine class.

    Args:
        name: ``latency_ratio`` (variant to float control) or ``control_to_yardstick`` (the control itself).
    """
    accepted = baseline.latency.get(machine) if baseline else None
    if accepted is None:
        return Judgement(
            kind=Kind.LATENCY,
            measurement=name,
            against="nothing",
            verdict=Verdict.UNJUDGED,
            value=ratio.value,
            unit=ratio.unit,
            message=f"{subject.id}: {name} {ratio.value:.3f}; no latency baseline for this machine class ({machine})",
        )
    values = ratio.values or [ratio.value]
    change, error, degrees = ratio_change(values, accepted.value, accepted.noise, accepted.n)
    slower, faster = p_above(change, error, degrees), p_above(-change, error, degrees)
    verdict = Verdict.PASS
    if change > accepted.tolerance and slower <= allowed:
        verdict = Verdict.REGRESSED
    elif -change > accepted.tolerance and faster <= allowed:
        verdict = Verdict.IMPROVED
    elif change > accepted.tolerance:
        verdict = Verdict.WARN
    detectable = max(accepted.tolerance, t_quantile(allowed, degrees) * error)
    message = (
        f"{subject.id}: {name} {ratio.value:.3f}, baseline {accepted.value:.3f} ({100 * change:+.1f} % ± "
        f"{100 * error:.1f} % standard error, p = {min(slower, faster):.2g}, red at {allowed:.2g} and beyond "
        f"{100 * accepted.tolerance:g} %)"
    )
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=ratio.value,
        reference=accepted.value,
        unit="ratio",
        change=change,
        tolerance=accepted.tolerance,
        p_value=slower,
        detectable=detectable,
        message=message,
        action="" if verdict is Verdict.PASS else subject.action(),
    )


# ---------------------------------------------------------------- the whole run


def exit_status(verdicts: list[Verdict], interrupted: bool = False) -> Exit:
    """Exit status of a run: a regression is never hidden by an error, nor by an interruption."""
    decided = worst(verdicts)
    if decided is Verdict.REGRESSED:
        return Exit.REGRESSED
    if interrupted:
        return Exit.INTERRUPTED
    if decided in (Verdict.ERROR, Verdict.MISSING):
        return Exit.NOT_MEASURED
    return Exit.GREEN
