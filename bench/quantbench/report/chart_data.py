"""What charts are made of: drops against size and latency, the Pareto front, and how much of a floor is used."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantbench.core.stats import pareto_front
from quantbench.records import Cell, Verdict
from quantbench.report import formatting

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of what the floor allows; each is the end of one colour
LEGEND = ("no drop", "up to 25 % of its floor", "up to 50 %", "up to 75 %", "up to 100 %", "beyond its floor")
FAMILIES = {
    "ptq": "quantized after training",
    "qat": "trained quantized, pruned or clustered",
    "control": "float: controls, pruned and clustered ones",
}


@dataclass(frozen=True)
class Axis:
    """What a drop is drawn against: a measurement, times a factor to its unit."""

    what: str
    unit: str
    factor: float


SIZE = Axis("size", "KiB", 2**-10)
LATENCY = Axis("latency", "µs", 1.0)


@dataclass(frozen=True)
class Point:
    """A cell in a chart: right is larger or slower, up is worse."""

    cell: Cell
    x: float
    drop: float

    @property
    def family(self) -> str:
        """One of ``FAMILIES``."""
        return self.cell.family if self.cell.family in FAMILIES else "ptq"


def drop_of(cell: Cell, cells: dict[str, Cell]) -> float | None:
    """Drop from the control, as exact as tables show it, so that what looks equal is; a control itself stands at 0."""
    if cell.control is None:
        return 0.0 if "score" in cell.measurements else None
    drop = formatting.drop_from_control(cell, cells)
    return None if drop is None or not math.isfinite(drop) else round(drop, 2) + 0.0


def points(axis: Axis, cells: Sequence[Cell], by_id: dict[str, Cell]) -> list[Point]:
    """The cells that have both, in their order."""
    known = [(cell, cell.measurements.get(axis.what), drop_of(cell, by_id)) for cell in cells]
    return [
        Point(cell, axis.factor * found.value, drop)
        for cell, found, drop in known
        if found is not None and drop is not None and 0 < found.value < math.inf
    ]


def front(found: Sequence[Point]) -> list[Point]:
    """The Pareto front: no other point is as good in one and better in the other."""
    best = pareto_front([(point.x, point.drop) for point in found])
    return sorted((point for point, on_it in zip(found, best, strict=True) if on_it), key=lambda one: (one.x, one.drop))


def shade(cell: Cell) -> int | None:
    """The place in ``LEGEND`` of how much of its floor a cell uses; None where it has none."""
    for one in cell.judgements:
        if one.against == "floor" and one.change is not None and one.tolerance is not None:
            shown = round(one.change, 2)  # so that equal numbers have one colour
            share = shown / one.tolerance if one.tolerance else math.copysign(math.inf, shown or -1)
            return sum(share > end + 1e-9 for end in SHARES)
    return None


@dataclass(frozen=True)
class Drop:
    """One cell of a heat map: what is written in it, and its place in ``LEGEND``; None has no colour."""

    cell: str
    shown: str
    shade: int | None


@dataclass(frozen=True)
class Heat:
    """Drops by (model, variant), of which some may be absent."""

    models: list[str]
    variants: list[str]
    units: dict[str, str]
    drops: dict[tuple[str, str], Drop]


def heat(cells: Sequence[Cell], by_id: dict[str, Cell]) -> Heat:
    """The drops of cells in the order in which models and variants come."""
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
