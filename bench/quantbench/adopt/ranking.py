"""Rank the variants: a table, the Pareto front, and one recommendation, as pure functions of a run's record."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from tabulate import tabulate

from quantbench.core.arrays import Array
from quantbench.core.drops import Drop, FractionDrop, MeanDrop, bootstrap_drop, fraction_drop
from quantbench.core.stats import Paired, pareto_front
from quantbench.records import Cell, Report, Verdict
from quantbench.records.measurements import RATIO
from quantbench.reference.metrics import Metric
from quantbench.variants import FLOAT_CONTROL

# Two-sided, for all variants together: of 100 tables, 95 have the truth inside every one of their intervals, and
# from at most 5 a variant is recommended that breaks the limit.
ALPHA = 0.05


class Answer(StrEnum):
    """Say whether a variant keeps the limit, as far as the examples tell."""

    WITHIN = "within"
    BEYOND = "beyond"
    TOO_FEW = "too few examples"


@dataclass(frozen=True)
class Candidate:
    """Describe one variant as a choice.

    Attributes:
        drop: accuracy drop from float32, in the metric's unit.
        low, high: its 95 % interval, which holds for all variants of the table together.
        size: bytes as a fraction of float32's.
        latency: time as a fraction of float32's; None where nothing was timed.
        agreement: fraction of examples with float32's own prediction; None for metrics without classes.
        answer: whether the drop is within the limit.
        needed: examples that would tell, where these are too few; None where no number would.
        front: whether no other candidate is at least as good in drop, size and latency, and better in one.
    """

    variant: str
    drop: float
    low: float
    high: float
    size: float
    latency: float | None
    agreement: float | None
    bytes: int
    answer: Answer
    needed: int | None = None
    front: bool = False


def candidates(
    report: Report, metric: Metric, predictions: dict[str, Array], labels: Array, max_drop: float
) -> list[Candidate]:
    """List every variant that was made and scored, the smallest drop first."""
    cells = {cell.variant: cell for cell in report.cells}
    control = cells.get(FLOAT_CONTROL)
    if control is None or "score" not in control.measurements:
        return []
    compared = []
    for name, cell in cells.items():
        scored = "score" in cell.measurements and name in predictions
        if name != FLOAT_CONTROL and scored and cell.family != "control" and _broken(cell) is None:
            compared.append(cell)
    alpha = alpha_each([predictions[cell.variant] for cell in compared])
    float32 = _candidate(control, control, metric, predictions, MeanDrop(0.0, 0.0, 1, len(labels)), max_drop, alpha)
    found = [float32] if FLOAT_CONTROL in predictions else []
    for cell in compared:
        drop = drop_between(metric, predictions[cell.variant], predictions[FLOAT_CONTROL], labels)
        found.append(_candidate(cell, control, metric, predictions, drop, max_drop, alpha))
    marked = [replace(one, front=best) for one, best in zip(found, _front(found), strict=True)]
    return sorted(marked, key=lambda one: (one.drop, one.size))


def alpha_each(compared: Sequence[Array]) -> float:
    """Share alpha evenly over the variants and both sides (Bonferroni); equal predictions are one variant."""
    different = {np.ascontiguousarray(predictions).tobytes() for predictions in compared}
    return ALPHA / 2 / max(1, len(different))


def too_small(
    metric: Metric, predictions: dict[str, Array], labels: Array, found: Sequence[Candidate], max_drop: float
) -> str:
    """Say once where a set is too small for any variant; empty where it is not, or where no metric counts."""
    if metric.correct is None or len(found) < 2:
        return ""
    alpha = alpha_each([predictions[one.variant] for one in found if one.variant != FLOAT_CONTROL])
    perfect = FractionDrop(Paired(len(labels), 0, 0), metric.scale)
    if answer(perfect, max_drop, alpha) is Answer.WITHIN:
        return ""
    needed = perfect.needed(max_drop, alpha)
    head = f"{len(labels):,} examples are too few to show that any variant stays within a drop of {max_drop:g} "
    many = "no number of examples would" if needed is None else f"about {needed:,} would at the least"
    return f"{head}{metric.unit}, even one that answers all of them as float32 does: {many}."


def drop_between(metric: Metric, new: Array, old: Array, labels: Array) -> Drop:
    """Compare a variant with float32 on the same examples: by Tango's interval, or by the bootstrap."""
    if metric.correct is not None:
        return fraction_drop(metric.correct(new, labels), metric.correct(old, labels), metric.scale)

    def drop(chosen: Array) -> float:
        of = labels[chosen]
        return metric.drop(metric.value(new[chosen], of), metric.value(old[chosen], of))

    return bootstrap_drop(drop, len(labels))


def answer(drop: Drop, max_drop: float, alpha: float) -> Answer:
    """Hold a drop against the limit, as a test of non-inferiority.

    Source: Wellek 2010, "Testing Statistical Hypotheses of Equivalence and Noninferiority", chapter 5.

    Args:
        alpha: one-sided, this variant's share.
    """
    if drop.p_below(max_drop) <= alpha or (_exact(drop) and drop.estimate <= max_drop):
        return Answer.WITHIN
    return Answer.BEYOND if drop.p_above(max_drop) <= alpha and drop.estimate > max_drop else Answer.TOO_FEW


def _exact(drop: Drop) -> bool:
    return isinstance(drop, MeanDrop) and drop.error == 0


def _candidate(
    cell: Cell,
    control: Cell,
    metric: Metric,
    predictions: dict[str, Array],
    drop: Drop,
    max_drop: float,
    alpha: float,
) -> Candidate:
    ratio = cell.measurements.get(RATIO)
    answered = answer(drop, max_drop, alpha)
    counted = metric.correct is not None
    return Candidate(
        variant=cell.variant,
        drop=drop.estimate,
        low=drop.lower(alpha),
        high=drop.upper(alpha),
        size=cell.measurements["size"].value / control.measurements["size"].value,
        latency=ratio.value if ratio else None,
        agreement=metric.agreement(predictions[cell.variant], predictions[FLOAT_CONTROL]) if counted else None,
        bytes=int(cell.measurements["size"].value),
        answer=answered,
        needed=drop.needed(max_drop, alpha) if answered is Answer.TOO_FEW else None,
    )


def _front(found: list[Candidate]) -> list[bool]:
    return pareto_front([(one.drop, one.size, one.latency) for one in found])


def choice(found: list[Candidate]) -> Candidate | None:
    """Choose, among what keeps the limit, the smallest product of size and time; None where only float32 does.

    A variant is not passed over for one that is better in all but may break the limit.
    """
    kept = [one for one in found if one.answer is Answer.WITHIN]
    front = zip(kept, _front(kept), strict=True)
    eligible = [one for one, best in front if best and one.variant != FLOAT_CONTROL]
    better = [one for one in eligible if _product(one) < 1]
    return min(better, key=_product, default=None)


def _product(one: Candidate) -> float:
    return one.size * (one.latency or 1.0)


def sentence(candidates: list[Candidate], unit: str, max_drop: float) -> str:
    """Recommend a variant under the limit, with the reason, and name a better one that more examples may admit."""
    best = choice(candidates)
    undecided = _undecided(candidates, best, unit)
    if best is None:
        head = f"Ship float32: no variant is smaller or faster and surely stays within a drop of {max_drop:g} {unit}."
        return f"{head} {undecided}" if undecided else head
    speed = "" if best.latency is None else f", {_speed(best.latency)}"
    smaller = f"{1 / best.size:.1f} times smaller than float32"
    head = (
        f"Ship {best.variant}: {smaller}{speed}, with a drop of {best.drop:.2f} {unit} "
        f"({best.low:.2f} to {best.high:.2f}) where {max_drop:g} is allowed; "
        "nothing else that is surely within the limit has a smaller product of size and time."
    )
    return f"{head} {undecided}" if undecided else head


def _undecided(candidates: list[Candidate], best: Candidate | None, unit: str) -> str:
    """Name the variant that would be recommended if the examples told that it keeps the limit; empty where none is."""
    product = 1.0 if best is None else _product(best)
    open_ones = [one for one in candidates if one.answer is Answer.TOO_FEW and _product(one) < product]
    if not open_ones:
        return ""
    first = min(open_ones, key=_product)
    many = "more examples" if first.needed is None else f"about {first.needed:,} examples"
    return (
        f"{first.variant} would be the better choice if it keeps the limit, which these examples do not tell: "
        f"its drop is {first.drop:.2f} {unit} ({first.low:.2f} to {first.high:.2f}); {many} would be needed."
    )


def _speed(ratio: float) -> str:
    return f"{1 / ratio:.2f} times as fast" if ratio < 1 else f"{ratio:.2f} times its time a call"


def table(candidates: list[Candidate], unit: str, metric: str) -> str:
    """Format the ranked table as Markdown; ``*`` marks the Pareto front."""
    best = choice(candidates)
    rows = [
        [
            ("→ " if best and candidate.variant == best.variant else "") + candidate.variant,
            f"{candidate.drop:+.2f} ({candidate.low:+.2f} to {candidate.high:+.2f})",
            f"{candidate.bytes / 1024:,.1f}",
            f"{1 / candidate.size:.2f}×",
            "" if candidate.latency is None else f"{candidate.latency:.2f}",
            "" if candidate.agreement is None else f"{100 * candidate.agreement:.2f} %",
            "*" if candidate.front else "",
            _answer(candidate),
        ]
        for candidate in candidates
    ]
    drop = f"{metric}: worse by, {unit} (95 %, all rows together)"
    headers = ["variant", drop, "KiB", "smaller", "time / float32", "agrees with float32", "Pareto", "within the limit"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _answer(one: Candidate) -> str:
    if one.answer is not Answer.TOO_FEW:
        return "yes" if one.answer is Answer.WITHIN else "no"
    return "too few examples" if one.needed is None else f"too few examples (about {one.needed:,} are needed)"


def refused(report: Report) -> list[str]:
    """List the variants that could not be made, or violate their quantization spec, with the reason."""
    failed = [f"{cell.variant}: {cell.failure.what}: {cell.failure.reason}" for cell in report.cells if cell.failure]
    return failed + [f"{cell.variant}: {reason}" for cell in report.cells if (reason := _broken(cell))]


def _broken(cell: Cell) -> str | None:
    for judgement in cell.judgements:
        if judgement.measurement == "promise" and judgement.verdict is not Verdict.PASS:
            return judgement.detail or judgement.message
    return None
