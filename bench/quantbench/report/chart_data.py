"""Compute what the charts show: drops against size and latency, the Pareto front, and how much of a floor is used."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantbench.core.stats import pareto_front
from quantbench.records import Cell, Verdict
from quantbench.report import formatting

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # fractions of the drop that the floor allows; upper limits of the colours
LEGEND = ("no drop", "up to 25 % of its limit", "up to 50 %", "up to 75 %", "up to 100 %", "beyond its limit")
FAMILIES = {
    "ptq": "quantized after training",
    "qat": "trained quantized, pruned or clustered",
    "control": "float: references, pruned and clustered ones",
}


@dataclass(frozen=True)
class Axis:
    """Define the measurement that a drop is plotted against, with the factor to its unit."""

    what: str
    unit: str
    factor: float


SIZE = Axis("size", "KiB", 2**-10)
LATENCY = Axis("latency", "µs", 1.0)


@dataclass(frozen=True)
class Point:
    """Place a cell in a chart: further right is larger or slower, further up is worse."""

    cell: Cell
    x: float
    drop: float

    @property
    def family(self) -> str:
        """One of ``FAMILIES``."""
        return self.cell.family if self.cell.family in FAMILIES else "ptq"


def drop_of(cell: Cell, cells: dict[str, Cell]) -> float | None:
    """Return the drop from the control, rounded as in tables so that equal numbers are drawn alike; 0 for a control."""
    if cell.control is None:
        return 0.0 if "score" in cell.measurements else None
    drop = formatting.drop_from_control(cell, cells)
    return None if drop is None or not math.isfinite(drop) else round(drop, 2) + 0.0


def points(axis: Axis, cells: Sequence[Cell], by_id: dict[str, Cell]) -> list[Point]:
    """List the cells that have both values, in their order."""
    candidates = [(cell, cell.measurements.get(axis.what), drop_of(cell, by_id)) for cell in cells]
    return [
        Point(cell, axis.factor * measured.value, drop)
        for cell, measured, drop in candidates
        if measured is not None and drop is not None and 0 < measured.value < math.inf
    ]


def front(candidates: Sequence[Point]) -> list[Point]:
    """Return the Pareto front: no other point is as good in one value and better in the other."""
    best = pareto_front([(point.x, point.drop) for point in candidates])
    return sorted(
        (point for point, on_it in zip(candidates, best, strict=True) if on_it), key=lambda point: (point.x, point.drop)
    )


def shade(cell: Cell) -> int | None:
    """Return the index in ``LEGEND`` of how much of its floor a cell uses; None where it has no floor."""
    for judgement in cell.judgements:
        of_main = judgement.against == "floor" and judgement.measurement == "score"
        if of_main and judgement.change is not None and judgement.tolerance is not None:
            shown = round(judgement.change, 2)  # so that equal numbers have one colour
            share = shown / judgement.tolerance if judgement.tolerance else math.copysign(math.inf, shown or -1)
            return sum(share > end + 1e-9 for end in SHARES)
    return None


@dataclass(frozen=True)
class Drop:
    """Hold one tile of a heat map: its text, and its index in ``LEGEND`` (None: no colour)."""

    cell: str
    shown: str
    shade: int | None


@dataclass(frozen=True)
class Heat:
    """Hold drops by (model, variant); some pairs may be missing."""

    models: list[str]
    variants: list[str]
    units: dict[str, str]
    drops: dict[tuple[str, str], Drop]


def heat(cells: Sequence[Cell], by_id: dict[str, Cell]) -> Heat:
    """Collect the drops of cells, with models and variants in the order of their first cell."""
    return Heat(
        models=list(dict.fromkeys(cell.model for cell in cells)),
        variants=list(dict.fromkeys(cell.variant for cell in cells)),
        units={cell.model: cell.metric_unit for cell in cells},
        drops={(cell.model, cell.variant): _drop(cell, by_id) for cell in cells},
    )


def _drop(cell: Cell, by_id: dict[str, Cell]) -> Drop:
    drop = None if cell.control is None else drop_of(cell, by_id)
    if drop is not None:
        return Drop(cell.id, f"{drop:+.2f}", shade(cell))
    measured = cell.verdict is Verdict.PASS or "score" in cell.measurements
    return Drop(cell.id, "control" if measured else formatting.MARKS[cell.verdict], None)
