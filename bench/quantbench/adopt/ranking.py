"""Rank the variants: a table, the Pareto front, and one recommendation, as pure functions of a run's record."""

from dataclasses import dataclass, replace

from tabulate import tabulate

from quantbench.core.arrays import Array
from quantbench.core.stats import bootstrap_drop_sd, pair, paired_interval, pareto_front
from quantbench.records import Cell, Report, Verdict
from quantbench.records.measurements import RATIO
from quantbench.reference.metrics import Metric
from quantbench.variants import FLOAT_CONTROL


@dataclass(frozen=True)
class Candidate:
    """Describe one variant as a choice.

    Attributes:
        drop: accuracy drop from float32, in the metric's unit, with its 95 % interval.
        size: bytes as a fraction of float32's.
        latency: time as a fraction of float32's; None where nothing was timed.
        agreement: fraction of examples with float32's own prediction; None for metrics without classes.
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
    within: bool
    front: bool = False


def candidates(
    report: Report, metric: Metric, predictions: dict[str, Array], labels: Array, max_drop: float
) -> list[Candidate]:
    """List every variant that was made and scored, the smallest drop first."""
    cells = {cell.variant: cell for cell in report.cells}
    control = cells.get(FLOAT_CONTROL)
    if control is None or "score" not in control.measurements:
        return []
    found = []
    for name, cell in cells.items():
        scored = "score" in cell.measurements and name in predictions
        if name == FLOAT_CONTROL or (scored and cell.family != "control" and _broken(cell) is None):
            found.append(_candidate(cell, control, metric, predictions, labels, max_drop))
    front = pareto_front([(one.drop, one.size, one.latency) for one in found])
    marked = [replace(one, front=best) for one, best in zip(found, front, strict=True)]
    return sorted(marked, key=lambda one: (one.drop, one.size))


def _candidate(
    cell: Cell, control: Cell, metric: Metric, predictions: dict[str, Array], labels: Array, max_drop: float
) -> Candidate:
    new, old = predictions[cell.variant], predictions[FLOAT_CONTROL]
    drop = metric.drop(metric.value(new, labels), metric.value(old, labels))
    if metric.correct is not None:
        half = metric.scale * paired_interval(pair(metric.correct(new, labels), metric.correct(old, labels)))
    else:

        def drop_of(a: Array, b: Array, of: Array) -> float:
            return metric.drop(metric.value(a, of), metric.value(b, of))

        half = 1.96 * bootstrap_drop_sd(new, old, labels, drop_of)
    ratio = cell.measurements.get(RATIO)
    return Candidate(
        variant=cell.variant,
        drop=drop,
        low=drop - half,
        high=drop + half,
        size=cell.measurements["size"].value / control.measurements["size"].value,
        latency=ratio.value if ratio else None,
        agreement=metric.agreement(new, old) if metric.correct is not None else None,
        bytes=int(cell.measurements["size"].value),
        within=drop <= max_drop + 1e-9,
    )


def choice(found: list[Candidate]) -> Candidate | None:
    """Choose, within the limit, the smallest product of size and time; None where only float32 is within it."""
    eligible = [one for one in found if one.within and one.front and one.variant != FLOAT_CONTROL]
    better = [one for one in eligible if one.size * (one.latency or 1.0) < 1]
    return min(better, key=lambda one: one.size * (one.latency or 1.0), default=None)


def sentence(candidates: list[Candidate], unit: str, max_drop: float) -> str:
    """Recommend a variant under the limit, with the reason."""
    best = choice(candidates)
    if best is None:
        return f"Ship float32: no variant is smaller or faster and stays within a drop of {max_drop:g} {unit}."
    speed = "" if best.latency is None else f", {_speed(best.latency)}"
    smaller = f"{1 / best.size:.1f} times smaller than float32"
    return (
        f"Ship {best.variant}: {smaller}{speed}, with a drop of {best.drop:.2f} {unit} "
        f"({best.low:.2f} to {best.high:.2f}) where {max_drop:g} is allowed; "
        "nothing else within the limit has a smaller product of size and time."
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
            "yes" if candidate.within else "no",
        ]
        for candidate in candidates
    ]
    drop = f"{metric}: worse by, {unit} (95 %)"
    headers = ["variant", drop, "KiB", "smaller", "time / float32", "agrees with float32", "Pareto", "within the limit"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def refused(report: Report) -> list[str]:
    """List the variants that could not be made, or violate their quantization spec, with the reason."""
    failed = [f"{cell.variant}: {cell.failure.what}: {cell.failure.reason}" for cell in report.cells if cell.failure]
    return failed + [f"{cell.variant}: {reason}" for cell in report.cells if (reason := _broken(cell))]


def _broken(cell: Cell) -> str | None:
    for judgement in cell.judgements:
        if judgement.measurement == "promise" and judgement.verdict is not Verdict.PASS:
            return judgement.detail or judgement.message
    return None
