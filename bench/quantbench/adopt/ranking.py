"""Decide what to ship: a verdict on each variant by non-inferiority, and one choice by a stated preference.

Pure functions of a run's record and its predictions; what they find goes out as :class:`quantbench.records.Advice`, and
:mod:`quantbench.report.advice` puts it into words.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from quantbench.adopt import data, limits, task
from quantbench.adopt.limits import Limit, Unsupported
from quantbench.adopt.understand import Understood
from quantbench.core.amounts import Amount
from quantbench.core.arrays import Array
from quantbench.core.drops import Drop, FractionDrop, MeanDrop, bootstrap_drop, fraction_drop
from quantbench.core.stats import Paired, pareto_front
from quantbench.errors import BadInput
from quantbench.records import (
    Advice,
    AdvisedVariant,
    Cell,
    DeadColumn,
    Decision,
    JudgedOutput,
    Machine,
    OutputVerdict,
    Preference,
    Refusal,
    Report,
    Verdict,
)
from quantbench.records.measurements import RATIO
from quantbench.reference.metrics import Metric
from quantbench.variants import FLOAT_CONTROL, VARIANTS

# Two-sided, for all variants together: of 100 tables, 95 have the truth inside every one of their intervals, and
# from at most 5 a variant is recommended that breaks the limit. Of several outputs each is tested at the same level, as
# a variant has to pass all of them (intersection-union test, Berger 1982).
ALPHA = 0.05
# Latencies within this share of the fastest are equal, so that the size decides: two processes of one artifact differ
# by as much.
SAME_TIME = 0.02
PREFERENCES: tuple[Preference, ...] = ("size", "latency", "balanced")


class Scored(Protocol):
    """One output of the model that is scored."""

    @property
    def output(self) -> str:
        """Return its name; empty where the model has only one."""
        ...

    @property
    def metric(self) -> Metric:
        """Return how it is scored."""
        ...

    @property
    def labels(self) -> Array:
        """Return what it is scored against."""
        ...

    @property
    def evidence(self) -> list[str]:
        """Return how that was found, one line each."""
        ...

    @property
    def asked(self) -> bool:
        """Return whether the user named the metric."""
        ...


@dataclass(frozen=True)
class Judging:
    """Hold what one output's drops are tested by; implements :class:`Scored`."""

    output: str
    metric: Metric
    labels: Array
    evidence: list[str] = field(default_factory=list)
    asked: bool = False


def judged_of(understood: Understood) -> Sequence[Scored]:
    """Return the scored outputs of a model; the only one, where it is not said which there are."""
    judged: Sequence[Scored] = getattr(understood, "judged", ())
    model = understood.model
    return judged or [Judging("", model.metric, model.pack().test.y)]


def preference(word: str, timed: bool) -> Preference:
    """Read ``--prefer``.

    Raises:
        BadInput: it is none, or it is latency and nothing is to be timed.
    """
    for known in PREFERENCES:
        if word == known:
            if known == "latency" and not timed:
                raise BadInput("--prefer latency: --latency-budget 0 times nothing; give seconds, or prefer size")
            return known
    raise BadInput(f"--prefer: expected one of {', '.join(PREFERENCES)}, found {word!r}")


# ------------------------------------------------------------ one drop against its limit


def alpha_each(compared: Sequence[Array]) -> float:
    """Share alpha evenly over the variants and both sides (Bonferroni); equal predictions are one variant."""
    different = {hashlib.sha256(np.ascontiguousarray(predictions).data).digest() for predictions in compared}
    return ALPHA / 2 / max(1, len(different))


def drop_between(metric: Metric, new: Array, old: Array, labels: Array) -> Drop:
    """Compare a variant with float32 on the same examples: by Tango's interval, or by the bootstrap."""
    if metric.correct is not None:
        return fraction_drop(metric.correct(new, labels), metric.correct(old, labels), metric.scale)
    if (differences := _loss_differences(metric, new, old, labels)) is not None:
        return bootstrap_drop(lambda chosen: float(np.mean(differences[chosen])), len(labels))
    return bootstrap_drop(metric.drop_of_chosen(new, old, labels), len(labels))


def _loss_differences(metric: Metric, new: Array, old: Array, labels: Array) -> Array | None:
    """Return what each example's loss adds to the drop, where the score is the mean of the losses, or falls by it.

    None elsewhere, as for the area under a curve.

    Drawing one number an example again is a thousand times faster than drawing an example's whole output.
    """
    if metric.losses is None:
        return None
    after, before = metric.losses(new, labels), metric.losses(old, labels)
    means = float(np.mean(after)), float(np.mean(before))
    values = metric.value(new, labels), metric.value(old, labels)
    if metric.higher_is_better:  # one minus the mean, or another number of which nothing but losses takes away
        if not np.isclose(values[0] + means[0], values[1] + means[1], rtol=1e-4, atol=1e-9):
            return None
    elif not np.allclose(values, means, rtol=1e-4, atol=0):
        return None
    return np.asarray((after - before) * metric.scale)


def answer(drop: Drop, limit: float, alpha: float) -> Decision:
    """Hold a drop against the limit, as a test of non-inferiority.

    Source: Wellek 2010, "Testing Statistical Hypotheses of Equivalence and Noninferiority", chapter 5.

    Args:
        alpha: one-sided, this variant's share.
    """
    if drop.p_below(limit) <= alpha or (_exact(drop) and drop.estimate <= limit):
        return "within"
    return "beyond" if drop.p_above(limit) <= alpha and drop.estimate > limit else "undecided"


def _exact(drop: Drop) -> bool:
    return isinstance(drop, MeanDrop) and drop.error == 0


def together(verdicts: Iterable[Decision]) -> Decision:
    """Return the verdict on several outputs: within only where all are, beyond where any is."""
    found = set(verdicts)
    return "beyond" if "beyond" in found else "undecided" if "undecided" in found else "within"


# ------------------------------------------------------------ the advice


def advise(
    report: Report,
    judged: Sequence[Scored],
    predictions: Mapping[str, Array],
    limit: Limit,
    prefer: Preference = "balanced",
) -> Advice:
    """Judge every variant of a run, and choose one.

    Args:
        predictions: of each variant; of further outputs under ``VARIANT@OUTPUT``.

    Raises:
        BadInput: the limit does not fit the metric, or is for an output that is not scored.
    """
    limit.check_outputs(one.output for one in judged)
    cells = {cell.variant: cell for cell in report.cells}
    control = cells.get(FLOAT_CONTROL)
    machine = Machine(cpu=report.environment.cpu, threads=1)
    facts = {"machine": machine, "prefer": prefer, "refused": refused(report)}
    if control is None or "score" not in control.measurements or FLOAT_CONTROL not in predictions:
        of = unscored(judged, limit)
        return Advice(judged=of, variants=[], nothing=_why_nothing(control), **facts)  # type: ignore[arg-type]
    compared = _compared(report, judged, predictions)
    variants, outputs, reasons = judged_each(control, compared, judged, predictions, limit)
    marked = [one.model_copy(update={"front": best}) for one, best in zip(variants, _front(variants), strict=True)]
    against, warnings = _against(judged, reasons)
    warnings += _crowded_words([one for one in variants if one.dead], judged, predictions)
    advice = choose(Advice(judged=outputs, variants=marked, warnings=warnings, **facts))  # type: ignore[arg-type]
    return _withheld(advice, against) if against else advice


def _against(judged: Sequence[Scored], reasons: Sequence[Unsupported | None]) -> tuple[str, list[str]]:
    """Divide what the data do not support into the reason to recommend nothing, and warnings.

    Where the user named the metric by which float32 has no skill, there is no other reading to ask for.
    """
    found = [(one, reason) for one, reason in zip(judged, reasons, strict=True) if reason is not None]
    meant = [reason.words for one, reason in found if reason.by_metric and one.asked]
    against = [reason.words for one, reason in found if reason.words not in meant]
    return (against[0] if against else ""), [*against[1:], *meant]


def _withheld(advice: Advice, why: str) -> Advice:
    """Return advice that recommends nothing, with its table."""
    nothing = {"choice": None, "next_best": None, "better_if_decided": None, "nothing": why}
    return advice.model_copy(update=nothing)


def unscored(judged: Sequence[Scored], limit: Limit) -> list[JudgedOutput]:
    """Describe what will be scored, before it is; a limit that is a share of a score is 0 as yet.

    Raises:
        BadInput: a limit does not fit its metric, or is for an output that is not scored.
    """
    limit.check_outputs(one.output for one in judged)
    found, main = [], judged[0].metric
    for one in judged:
        largest = _finite(limit.of(one.metric, math.nan, one.labels, one.output, main)) or 0.0
        found.append(_output(one, math.nan, largest, limit.amount(one.metric, one.output, main), []))
    return found


def _why_nothing(control: Cell | None) -> str:
    if control is None or control.failure is None:
        return "the float model could not be scored"
    return f"the float model could not be converted and run ({control.failure.what}: {control.failure.reason})"


def _compared(report: Report, judged: Sequence[Scored], predictions: Mapping[str, Array]) -> list[Cell]:
    """List the variants that were made as specified, and whose outputs were all scored."""
    found = []
    for cell in report.cells:
        scored = "score" in cell.measurements and all(_key(cell.variant, judged, one) in predictions for one in judged)
        if cell.variant != FLOAT_CONTROL and scored and cell.family != "control" and _broken(cell) is None:
            found.append(cell)
    return found


def _key(variant: str, judged: Sequence[Scored], one: Scored) -> str:
    """Return the name of a variant's predictions of one output; those of the first one bear its own."""
    return variant if one is judged[0] else f"{variant}@{one.output}"


def judged_each(
    control: Cell,
    compared: Sequence[Cell],
    judged: Sequence[Scored],
    predictions: Mapping[str, Array],
    limit: Limit,
) -> tuple[list[AdvisedVariant], list[JudgedOutput], list[Unsupported | None]]:
    """Judge float32 and these variants, on every output; see :func:`advise` for what the predictions are."""
    verdicts: dict[str, list[OutputVerdict]] = {cell.variant: [] for cell in [control, *compared]}
    outputs, reasons, main = [], [], judged[0].metric
    for one in judged:
        of = {name: predictions[_key(name, judged, one)] for name in verdicts}
        float32 = of[FLOAT_CONTROL]
        float_score = one.metric.value(float32, one.labels)
        largest = limit.of(one.metric, float_score, one.labels, one.output, main)
        others = [of[cell.variant] for cell in compared]
        outputs.append(_output(one, float_score, largest, limit.amount(one.metric, one.output, main), others))
        reasons.append(limits.unsupported(one.metric, one.labels, float32, float_score, largest, one.output))
        alpha = alpha_each(others)
        same = MeanDrop(0.0, 0.0, 1, len(one.labels))
        verdicts[FLOAT_CONTROL].append(_verdict(one, same, largest, alpha, float_score))
        for cell in compared:
            new = of[cell.variant]
            drop = drop_between(one.metric, new, float32, one.labels)
            verdicts[cell.variant].append(_verdict(one, drop, largest, alpha, one.metric.value(new, one.labels)))
    first = _first_of_equals([control, *compared])
    variants = []
    for cell in [control, *compared]:
        own = verdicts[cell.variant]
        dead = [] if cell is control else _dead(judged, predictions, cell.variant)
        made = _variant(cell, control, judged[0].metric, predictions, own)
        update = {"dead": dead, "same_as": first.get(cell.variant)}
        variants.append(made.model_copy(update=update))
    return variants, outputs, reasons


def _output(
    one: Scored, float_score: float, largest: float, amount: Amount | None, others: Sequence[Array]
) -> JudgedOutput:
    too_few, least = _too_few(one.metric, len(one.labels), largest, alpha_each(others)) if others else (False, None)
    return JudgedOutput(
        output=one.output,
        metric=one.metric.name,
        unit=one.metric.unit,
        scale=one.metric.scale,
        higher_is_better=one.metric.higher_is_better,
        evidence=list(one.evidence),
        examples=len(one.labels),
        float_score=_finite(float_score),
        limit=largest,
        limit_given="" if amount is None else amount.text,
        too_few=too_few,
        least_examples=least,
    )


def _too_few(metric: Metric, n: int, limit: float, alpha: float) -> tuple[bool, int | None]:
    """Check whether a set is too small for any variant, and how many examples would do; of metrics that count."""
    if metric.correct is None:
        return False, None
    perfect = FractionDrop(Paired(n, 0, 0), metric.scale)
    if answer(perfect, limit, alpha) == "within":
        return False, None
    return True, perfect.needed(limit, alpha)


def _verdict(one: Scored, drop: Drop, limit: float, alpha: float, score: float) -> OutputVerdict:
    decided = answer(drop, limit, alpha) if math.isfinite(drop.estimate) else "beyond"
    return OutputVerdict(
        output=one.output,
        score=_finite(score),
        drop=drop.estimate if math.isfinite(drop.estimate) else _no_number(one.metric),
        low=_finite(drop.lower(alpha)),
        high=_finite(drop.upper(alpha)),
        verdict=decided,
        needed=drop.needed(limit, alpha) if decided == "undecided" else None,
    )


def _no_number(metric: Metric) -> float:
    """Return the drop that stands for a score that is no number: all of a fraction, or a number too large to miss."""
    return 100.0 if metric.unit == "pp" else 1e9


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _variant(
    cell: Cell, control: Cell, metric: Metric, predictions: Mapping[str, Array], verdicts: list[OutputVerdict]
) -> AdvisedVariant:
    ratio, is_float = cell.measurements.get(RATIO), cell is control
    counted = metric.correct is not None
    agreement = metric.agreement(predictions[cell.variant], predictions[FLOAT_CONTROL]) if counted else None
    return AdvisedVariant(
        variant=cell.variant,
        verdict="within" if is_float else together(one.verdict for one in verdicts),
        outputs=verdicts,
        bytes=int(cell.measurements["size"].value),
        size=cell.measurements["size"].value / control.measurements["size"].value,
        latency=ratio.value if ratio else (1.0 if is_float and "latency" in cell.measurements else None),
        agreement=agreement,
    )


def _dead(judged: Sequence[Scored], predictions: Mapping[str, Array], variant: str) -> list[DeadColumn]:
    """List the output values that a variant left nothing of, where predictions are the outputs themselves."""
    find: Callable[[Array, Array], Iterable[tuple[int, int]]] | None = getattr(task, "dead_columns", None)
    found: list[DeadColumn] = []
    for one in judged:
        new, old = (predictions[_key(name, judged, one)] for name in (variant, FLOAT_CONTROL))
        if find is not None and new.dtype.kind == "f":
            found += [DeadColumn(column=column, distinct=distinct) for column, distinct in find(new, old)]
    return found


def _crowded_words(
    dead: Sequence[AdvisedVariant], judged: Sequence[Scored], predictions: Mapping[str, Array]
) -> list[str]:
    """Say of each output why these variants left nothing of some of its values, where that is for want of a scale."""
    found = [(one, why) for one in judged if (why := crowded(dead, one, judged, predictions)) is not None]
    count = f"dead output values in {len(dead)} variant{'s' * (len(dead) > 1)}"
    return [f"{count}{f', output {one.output}' if one.output else ''}: {why.words}" for one, why in found]


def crowded(
    dead: Sequence[AdvisedVariant], one: Scored, judged: Sequence[Scored], predictions: Mapping[str, Array]
) -> task.Crowded | None:
    """Return which values of an output are too small beside its others for the scale that they share; else None."""
    if len(one.metric.outputs) > 1:
        return None  # predictions are several tensors in one row, each with a scale of its own
    float32 = predictions[_key(FLOAT_CONTROL, judged, one)]
    news = [predictions[_key(variant.variant, judged, one)] for variant in dead]
    on_one = [new for new in news if task.on_one_int8_scale(new)]
    return task.crowded(float32, {column for new in on_one for column, _ in task.dead_columns(new, float32)})


def _first_of_equals(cells: Sequence[Cell]) -> dict[str, str]:
    """Map each variant whose file is that of an earlier one to the first of them."""
    first: dict[str, str] = {}
    same = {}
    for cell in cells:
        if cell.artifact_sha256 is not None:
            before = first.setdefault(cell.artifact_sha256, cell.variant)
            if before != cell.variant:
                same[cell.variant] = before
    return same


def worst_share(one: AdvisedVariant, outputs: Sequence[JudgedOutput]) -> float:
    """Return the largest drop of a variant, each as a share of its output's limit."""
    return max(v.drop / (of.limit or 1.0) for v, of in zip(one.outputs, outputs, strict=True))


def _front(found: Sequence[AdvisedVariant]) -> list[bool]:
    return pareto_front([(*(v.drop for v in one.outputs), one.size, one.latency) for one in found])


# ------------------------------------------------------------ the choice


def choose(advice: Advice) -> Advice:
    """Return the advice with its choice, and its variants in the order of preference.

    Chosen is the best of what is surely within, or float32 where nothing is better than that. A variant is not passed
    over for one that is better in all but may break the limit.

    Where nothing was timed, no variant is faster than float32, and the balance is one of sizes.
    """
    others = [one for one in advice.variants if one.variant != FLOAT_CONTROL]
    timed = any(one.latency is not None for one in others)
    ordered = in_order([one for one in others if one.eligible], advice.prefer, timed)
    best = ordered[0] if ordered else None
    open_ones = [one for one in others if _may_prove_within(one, advice.judged)]
    hoped = in_order([*open_ones, *([best] if best else [])], advice.prefer, timed)
    hope = hoped[0].variant if hoped and hoped[0] is not best else None
    chosen = best or advice.of(FLOAT_CONTROL)
    second = ordered[1].variant if len(ordered) > 1 else (FLOAT_CONTROL if best and advice.of(FLOAT_CONTROL) else None)
    rest = [one for one in advice.variants if one not in ordered]
    places = {"within": 0, "undecided": 1, "beyond": 2}
    rest.sort(
        key=lambda one: (
            one.same_as is not None,
            bool(one.dead),
            places[one.verdict],
            worst_share(one, advice.judged) if one.verdict == "beyond" else cost(one, advice.prefer),
            one.variant,
        )
    )
    return advice.model_copy(
        update={
            "variants": [*ordered, *rest],
            "choice": None if chosen is None else chosen.variant,
            "next_best": second,
            "better_if_decided": hope,
        }
    )


def _may_prove_within(one: AdvisedVariant, judged: Sequence[JudgedOutput]) -> bool:
    """Check whether a variant is undecided, and more examples would rather show it within its limits than beyond."""
    if one.verdict != "undecided" or one.dead or one.same_as is not None:
        return False
    return all(found.drop <= output.limit for found, output in zip(one.outputs, judged, strict=True))


def with_files(advice: Advice, kept: Mapping[str, str]) -> Advice:
    """Return the advice with the files of its variants.

    Args:
        kept: variant -> its artifact's file, relative to the run's folder.
    """
    variants = [one.model_copy(update={"file": kept.get(one.variant)}) for one in advice.variants]
    file = None if advice.choice is None else kept.get(advice.choice)
    return advice.model_copy(update={"variants": variants, "file": file})


def in_order(found: Sequence[AdvisedVariant], prefer: Preference, timed: bool) -> list[AdvisedVariant]:
    """Sort variants by a preference, the best first; those that are no better than float32 are left out.

    Where some were timed, what was not cannot win by its time.
    """
    if prefer != "size" and timed:
        found = [one for one in found if one.latency is not None]
    better = [one for one in found if cost(one, prefer) < 1]
    rest, ordered = sorted(better, key=lambda one: (cost(one, prefer), one.size, one.variant)), []
    while rest:
        alike = [one for one in rest if prefer == "latency" and _about(one, rest[0])]
        best = min(alike, key=lambda one: (one.size, cost(one, prefer), one.variant), default=rest[0])
        ordered.append(best)
        rest.remove(best)
    return ordered


def _about(one: AdvisedVariant, fastest: AdvisedVariant) -> bool:
    """Check whether a variant takes no longer than the fastest, as far as times can tell."""
    return cost(one, "latency") <= cost(fastest, "latency") * (1 + SAME_TIME)


def cost(one: AdvisedVariant, prefer: Preference) -> float:
    """Return what is to be small, as a fraction of float32's: size, time, or the product of both.

    On TFLite-Micro the arena takes the place of the time.
    """
    if one.arena is not None:
        return one.size if prefer == "size" else one.size * one.arena
    time = 1.0 if one.latency is None else one.latency
    if prefer == "latency":
        return time if time < 1 - SAME_TIME else max(1.0, time)
    return one.size if prefer == "size" else one.size * time


# ------------------------------------------------------------ what could not be made


def refused(report: Report) -> list[Refusal]:
    """Group the variants that could not be made, or violate their quantization spec, by reason, the most first."""
    groups: dict[str, dict[str, str]] = {}
    for cell in report.cells:
        if cell.failure is not None:
            what = "" if cell.failure.what == "unsupported" else f"{cell.failure.what}: "
            reason = data.with_option(f"{what}{cell.failure.reason}")
        elif (broken := _broken(cell)) is not None:
            reason = broken
        else:
            continue
        # Counts and names of tensors differ between variants that fail alike.
        groups.setdefault(_alike(reason), {})[cell.variant] = reason
    found = [
        Refusal(
            reason=_in_one(list(reasons.values())),
            variants=list(reasons),
            trained=all(name in VARIANTS and VARIANTS[name].trained for name in reasons),
        )
        for reasons in groups.values()
    ]
    return sorted(found, key=lambda one: -len(one.variants))


def _in_one(reasons: Sequence[str]) -> str:
    """Return the commonest of reasons that differ in their numbers alone, and how many of them have others."""
    (commonest, count), *_ = Counter(reasons).most_common(1)
    others = len(reasons) - count
    return f"{commonest} (other numbers in {others} of them)" if others else commonest


def _alike(reason: str) -> str:
    return re.sub(r"\d+", "#", reason)


def _broken(cell: Cell) -> str | None:
    for judgement in cell.judgements:
        if judgement.measurement == "promise" and judgement.verdict is not Verdict.PASS:
            return judgement.message
    return None
