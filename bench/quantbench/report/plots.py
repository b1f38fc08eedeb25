"""Place the axes, ticks and marks of every chart, in pixels; ``html/templates/plot.svg.j2`` writes them as SVG.

This is the only chart engine. Altair with vl-convert draws the same, but takes 100 MB to install and, for the charts of
308 cells, 5 s instead of 0.1 s (0.6 s to start, 0.1 s and 32 kB per scatter plot, 8 ms per strip), in colours that do
not suit a dark background. These charts take their colours from a style sheet, so that they suit light, dark and print.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import Cell, Measurement
from quantbench.records.measurements import name_at
from quantbench.report.chart_data import FAMILIES, LEGEND, Axis, Heat, Point

LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 42
CHARACTER = 6.2  # average width of a letter in pixels, at most
GAP, HEAD = 12, 20  # between the plots of a sheet, and for the title of each
NEAR_ZERO = 0.1  # smaller drops are on a linear scale, larger ones on a logarithmic one
STEPS = (1, 2, 5)
FINE_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8)  # where those are too far apart
FINEST_STEPS = (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9)
LEAST, MOST = 1e-250, 1e250  # numbers beyond these are drawn at the edge: their steps, squares and sums would overflow
APART = 16  # pixels between two labels of an axis
SHAPES = {
    "ptq": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "qat": "M-4 -4h8v8h-8z",
    "control": "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
}
ROW, STRIP = 34, 18  # height of a row of latencies, and of one alone, which has no label
EDGE = 12
PERCENTILES = {"latency_p50": "median", "latency_p90": "p90", "latency_p99": "p99"}
LATENCY_MARKS = {
    "process": "M0 0h0",
    "median": "M0 -7V7",
    "p90": "M-4 5L0 -4L4 5z",
    "p99": "M-4 -4L4 4M-4 4L4 -4",
}
LATENCY_NAMES = {
    "process": "one process, its typical call",
    "median": "median",
    "p90": "p90",
    "p99": "p99 of all single calls",
}
NO_FLOOR = "no release limit"
MOST_LETTERS = 48  # of a label; a longer one is cut


class Item(NamedTuple):
    """Describe a path (``d``) or text, with its classes in the style sheet.

    Attributes:
        place: offset of a path, ``x y``, or start of vertical text.
        x, y, anchor: position of other text; ``anchor`` is ``start``, ``middle`` or ``end``.
    """

    kind: str
    d: str = ""
    place: str = ""
    text: str = ""
    x: str = ""
    y: str = ""
    anchor: str = "start"


@dataclass(frozen=True)
class Group:
    """Group items with one tooltip (``title``) and the cell that a page links them to."""

    items: Sequence[Item]
    title: str = ""
    cell: str = ""


@dataclass(frozen=True)
class Plot:
    """Describe a picture, in pixels from its upper left corner.

    Attributes:
        note: where the numbers are, for readers who cannot see it.
    """

    title: str
    width: str
    height: str
    groups: Sequence[Group] = field(repr=False)
    note: str = ""


class Tick(NamedTuple):
    """Hold a position on an axis and its label."""

    at: float
    label: str
    zero: bool = False


def plotted(title: str, width: float, height: float, groups: Sequence[Group], note: str = "") -> Plot:
    """Make a picture of a size in pixels."""
    return Plot(title, _px(width), _px(height), groups, note)


def text_at(kind: str, text: str, x: float, y: float, anchor: str = "start") -> Item:
    """Place a word."""
    return Item(kind, text=text, x=_px(x), y=_px(y), anchor=anchor)


def mark_at(kind: str, d: str, x: float, y: float) -> Item:
    """Place a mark."""
    return Item(kind, d, f"{x:.1f} {y:.1f}")


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def across(ticks: Sequence[Tick], top: float, bottom: float) -> list[Item]:
    """Draw grid lines and labels of the horizontal axis."""
    grid = Item("grid", "".join(f"M{_px(tick.at)} {_px(top)}V{_px(bottom)}" for tick in ticks))
    return [grid, *(text_at("tick", tick.label, tick.at, bottom + 14, "middle") for tick in ticks)]


def upwards(ticks: Sequence[Tick], left: float, right: float) -> list[Item]:
    """Draw grid lines and labels of the vertical axis."""
    lines = {
        kind: "".join(f"M{_px(left)} {_px(tick.at)}H{_px(right)}" for tick in ticks if tick.zero is zero)
        for kind, zero in (("grid", False), ("zero", True))
    }
    labels = (text_at("tick", tick.label, left - 6, tick.at + 4, "end") for tick in ticks)
    return [*(Item(kind, d) for kind, d in lines.items() if d), *labels]


Place = Callable[[float], float]


def _within(value: float) -> float:
    """Clip a value at ``MOST``; a magnitude below ``LEAST`` becomes zero."""
    if LEAST <= abs(value) <= MOST:
        return value
    return 0.0 if abs(value) < LEAST else math.copysign(MOST, value)


def _log(value: float) -> float:
    return math.log(_within(value) or LEAST)


def log_axis(values: Sequence[float], left: float, right: float) -> tuple[Place, list[Tick]]:
    """Place positive values between two edges of a picture on a logarithmic scale; return the mapping and the ticks."""
    low, high = _log(min(values)), _log(max(values))
    gap = 0.06 * (high - low) or 0.1
    low, high = low - gap, high + gap

    def place(value: float) -> float:
        return left + (right - left) * (_log(value) - low) / (high - low)

    def inside(steps: Sequence[float]) -> list[float]:
        decades = range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
        nice = [step * 10.0**decade for decade in decades for step in steps]
        return [value for value in nice if low <= math.log(value) <= high]

    evenly = [math.exp(low + share * (high - low)) for share in (0.1, 0.37, 0.63, 0.9)]
    ticks = next(
        (candidate for candidate in map(inside, (STEPS, FINE_STEPS, FINEST_STEPS)) if len(candidate) >= 3), evenly
    )
    return place, [Tick(place(value), f"{value:,.3g}" if value < 1000 else f"{value:,.0f}") for value in ticks]


def drop_axis(values: Sequence[float], top: float, bottom: float) -> tuple[Place, list[Tick]]:
    """Place drops in the same way, upwards: linear near zero, logarithmic beyond it on both sides."""

    def squeeze(value: float) -> float:
        return math.copysign(math.log1p(abs(_within(value)) / NEAR_ZERO), value)

    low, high = squeeze(min(0.0, *values)), squeeze(max(0.0, *values))
    gap = 0.06 * (high - low) or 0.1
    low, high = low - gap, high + gap

    def place(value: float) -> float:
        return top + (bottom - top) * (high - squeeze(value)) / (high - low)

    sizes = [step * 10.0**decade for decade in range(-2, 7) for step in STEPS]
    ticks = {0.0: place(0.0)}
    for value in sorted([*sizes, *(-size for size in sizes)], key=abs):
        if low <= squeeze(value) <= high and all(abs(place(value) - at) >= APART for at in ticks.values()):
            ticks[value] = place(value)
    return place, [Tick(at, f"{value:+g}" if value else "0", value == 0) for value, at in ticks.items()]


def linear_axis(values: Sequence[float], start: float, end: float, style: str) -> tuple[Place, list[Tick]]:
    """Place values in the same way on a linear scale that need not begin at zero.

    Args:
        style: format of the labels.
    """
    low, high = _within(min(values)), _within(max(values))
    gap = 0.08 * (high - low) or abs(high) * 0.01 or 1.0
    low, high = low - gap, high + gap

    def place(value: float) -> float:
        return start + (end - start) * (_within(value) - low) / (high - low)

    rough = (high - low) / max(5.0, abs(end - start) / 40)  # for at least two labels
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(step * decade for step in (*STEPS, 10) if step * decade >= rough)
    ticks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return place, [Tick(place(tick), format(tick + 0.0, style)) for tick in ticks if _shows(style, tick, step)]


def _shows(style: str, value: float, step: float) -> bool:
    """Check whether a label shows the value itself and not a rounded one."""
    return abs(float(format(value, style).replace(",", "")) - value) < step / 100


def scatter(
    title: str, axis: Axis, points: Sequence[Point], best: Sequence[Point], width: int = 430, height: int = 280
) -> Plot:
    """Plot drop against size or latency.

    Args:
        best: the Pareto front; its points are numbered in this order.
    """
    unit = points[0].cell.metric_unit
    right, bottom = width - RIGHT, height - BOTTOM
    x_of, x_ticks = log_axis([point.x for point in points], LEFT, right)
    y_of, y_ticks = drop_axis([point.drop for point in points], TOP, bottom)
    corners = "".join(
        f"H{x_of(point.x):.1f}V{y_of(point.drop):.1f}" if i else f"M{x_of(point.x):.1f} {y_of(point.drop):.1f}"
        for i, point in enumerate(best)
    )
    ranks = {point.cell.id: rank for rank, point in enumerate(best, 1)}
    marks = [_mark(point, x_of(point.x), y_of(point.drop), ranks.get(point.cell.id)) for point in points]
    axes = [*across(x_ticks, TOP, bottom), *upwards(y_ticks, LEFT, right)]
    axes.append(text_at("axis", f"{axis.what}, {axis.unit}", (LEFT + right) / 2, height - 6, "middle"))
    axes.append(Item("axis", text=f"drop, {unit}", place=f"12 {_px(height / 2 - 14)}", anchor="middle"))
    note = "the numbers are in the table of all cells, the Pareto front is listed below"
    return plotted(title, width, height, [Group([*axes, Item("front", corners)]), *marks], note)


def _mark(point: Point, x: float, y: float, rank: int | None) -> Group:
    """Draw a shape for each family, as print may lose colours; points of the front have their number in the list."""
    shape = mark_at(f"mark {point.family}{' best' if rank else ''}", SHAPES[point.family], x, y)
    number = [] if rank is None else [text_at("rank", str(rank), x + 6, y - 5)]
    title = f"{point.cell.variant}: {point.x:,.1f}, drop {point.drop:+.2f} {point.cell.metric_unit}"
    return Group([shape, *number], title, point.cell.id)


@dataclass(frozen=True)
class Row:
    """Hold what is drawn of one cell's latency, in microseconds; an interval's end is None where calls are too few."""

    cell: Cell
    processes: Sequence[float]
    percentiles: dict[str, Measurement]

    def numbers(self) -> Iterator[float]:
        """Yield all values that must fit on the axis."""
        yield from self.processes
        for measured in self.percentiles.values():
            yield from (
                value for value in (measured.value, measured.low, measured.high) if value is not None and value > 0
            )

    def words(self) -> str:
        """Describe the same in words."""
        parts = [f"{name} {measured.value:,.1f} µs{_interval(measured)}" for name, measured in self.percentiles.items()]
        if self.processes:
            low, high, count = min(self.processes), max(self.processes), len(self.processes)
            parts.append(f"a typical call {low:,.1f} to {high:,.1f} µs in {count} processes")
        return "; ".join(parts)


def _interval(measured: Measurement) -> str:
    if measured.low is None and measured.high is None:
        return ""
    low = "0" if measured.low is None else f"{measured.low:,.1f}"
    return f" (95 %: {low} to {'∞' if measured.high is None else f'{measured.high:,.1f}'})"


def latency_row(cell: Cell) -> Row | None:
    """Collect the latency of one thread, batch 1; None where the record holds no distribution."""
    timed = cell.measurements.get(name_at("latency", 1))
    processes = [value for value in (timed.values or [] if timed else []) if value > 0]
    percentiles = {short: cell.measurements[name] for name, short in PERCENTILES.items() if name in cell.measurements}
    return Row(cell, processes, percentiles) if len(processes) > 1 or percentiles else None


def latencies(title: str, rows: Sequence[Row], width: int = 430) -> Plot:
    """Plot one row per cell on a common scale: the time of each fresh process, and percentiles of single calls."""
    high, named = (ROW, True) if len(rows) > 1 else (STRIP, False)
    top, right = 6, width - EDGE
    bottom = top + high * len(rows)
    place, ticks = log_axis([value for row in rows for value in row.numbers()], EDGE, right)
    axis = [*across(ticks, top, bottom), text_at("axis", "µs a call", width / 2, bottom + 28, "middle")]
    groups = [Group(axis)]
    for number, row in enumerate(rows):
        start = top + high * number
        label = [text_at("name", row.cell.variant, EDGE, start + 9)] if named else []
        marks = [*label, *_latency_marks(row, start + high - 9, right, place)]
        groups.append(Group(marks, f"{row.cell.variant}: {row.words()}", row.cell.id))
    return plotted(title, width, bottom + 34, groups, "the numbers are with each cell")


def _latency_marks(row: Row, y: float, right: float, place: Place) -> Iterator[Item]:
    ends = [
        (place(measured.low or measured.value), right if measured.high is None else place(measured.high))
        for measured in row.percentiles.values()
    ]
    yield Item("interval", "".join(f"M{low:.1f} {y:.1f}H{high:.1f}" for low, high in ends))
    dots = "".join(f"M{place(value):.1f} {y:.1f}h0" for value in row.processes)  # round ends make dots of them
    yield Item("process", dots)
    for name, measured in row.percentiles.items():
        yield mark_at(name, LATENCY_MARKS[name], place(measured.value), y)


DECISIONS = {
    "within": ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "within the limit"),
    "undecided": ("M0 -5.5L5.5 0L0 5.5L-5.5 0z", "too few examples to tell"),
    "beyond": ("M-4 -4h8v8h-8z", "beyond the limit"),
    "excluded": ("M-4 -4L4 4M-4 4L4 -4", "excluded: a dead output"),
}
RING = "M-8 0a8 8 0 1 0 16 0a8 8 0 1 0 -16 0z"


class Decided(NamedTuple):
    """Hold what is drawn of one variant: its drop with an interval, and its size or time.

    Attributes:
        number: in the table below.
        title: the same in words.
        kind: one of ``DECISIONS``.
        low, high: ends of the interval; None where it has none on that side.
        chosen: whether it is recommended.
    """

    number: int
    title: str
    kind: str
    x: float
    drop: float
    low: float | None
    high: float | None
    chosen: bool


def decisions(title: str, drop: str, points: Sequence[Decided], limit: float, width: int = 560) -> Plot:
    """Plot drops with their intervals against size or time, and the limit as a line.

    Args:
        title: what the horizontal axis shows.
        drop: what the vertical one does.
    """
    height = 340
    right, bottom = width - RIGHT, height - BOTTOM
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    x_of, x_ticks = log_axis([point.x for point in points], LEFT, right)
    y_of, y_ticks = drop_axis([*(point.drop for point in points), *ends, limit], TOP, bottom)
    axes = [*across(x_ticks, TOP, bottom), *upwards(y_ticks, LEFT, right)]
    axes.append(text_at("axis", title, (LEFT + right) / 2, height - 6, "middle"))
    axes.append(Item("axis", text=drop, place=f"12 {_px(height / 2 - 14)}", anchor="middle"))
    axes.append(Item("limit", f"M{_px(LEFT)} {y_of(limit):.1f}H{_px(right)}"))
    groups = [Group(axes)]
    for point in points:
        x, y = x_of(point.x), y_of(point.drop)
        low = bottom if point.low is None else y_of(point.low)
        high = TOP if point.high is None else y_of(point.high)
        marks = [Item("interval", f"M{x:.1f} {low:.1f}V{high:.1f}")]
        marks.append(mark_at(f"decision {point.kind}", DECISIONS[point.kind][0], x, y))
        marks += [mark_at("ring", RING, x, y)] if point.chosen else []
        marks.append(text_at("rank", str(point.number), x + 7, y - 5))
        groups.append(Group(marks, point.title))
    return plotted(title, width, height, groups, "the numbers are in the table of variants")


def decision_legend() -> list[tuple[Item, str]]:
    """List the marks of verdicts with their meaning."""
    return [(Item(f"decision {kind}", shape), words) for kind, (shape, words) in DECISIONS.items()]


def heat_map(heat: Heat) -> Plot:
    """Plot drops, one row per variant and one column per model; the colour shows how much of its floor a drop uses."""
    names = [_cut(name) for name in heat.variants]
    left = 12 + CHARACTER * max(map(len, names))
    columns = [max(76.0, 10 + CHARACTER * max(len(_cut(model)), len(heat.units[model]))) for model in heat.models]
    starts = [left + sum(columns[:i]) for i in range(len(columns))]
    items = [text_at("name", name, left - 6, 46 + 18 * i, "end") for i, name in enumerate(names)]
    for model, start, wide in zip(heat.models, starts, columns, strict=True):
        items.append(text_at("name", _cut(model), start + wide / 2, 12, "middle"))
        items.append(text_at("tick", heat.units[model], start + wide / 2, 26, "middle"))
        for i, variant in enumerate(heat.variants):
            drop = heat.drops.get((model, variant))
            if drop is not None:
                kind = "none" if drop.shade is None else f"h{drop.shade}"
                items.append(Item(f"tile {kind}", f"M{start:.1f} {33 + 18 * i}h{wide:.1f}v18h{-wide:.1f}z"))
                items.append(text_at(f"value {kind}", drop.shown, start + wide / 2, 46 + 18 * i, "middle"))
    width, height = left + sum(columns) + 4, 33 + 18 * len(names) + 6
    return plotted("Drop vs float32 by variant and model", width, height, [Group(items)])


def trend(
    title: str, runs: Sequence[int], values: Sequence[float], style: str, shifts: Sequence[tuple[int, str]]
) -> Plot:
    """Plot one measurement over the runs.

    Args:
        runs: the run number of each value, from 1.
        style: format of the labels.
        shifts: (number of the first run at the new level, its name).
    """
    width, height = 720, 150
    left, right, top, bottom = 80, width - RIGHT, TOP, height - 30
    x_of, x_ticks = linear_axis([*runs, 1], left, right, ".0f")
    x_ticks = [tick for tick in x_ticks if int(tick.label) >= 1]
    y_of, y_ticks = linear_axis(values, bottom, top, style)
    places = [(x_of(run), y_of(value)) for run, value in zip(runs, values, strict=True)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    items = [*across(x_ticks, top, bottom), *upwards(y_ticks, left, right), Item("trend", line)]
    items.append(Item("process", "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)))
    for number, (run, name) in enumerate(shifts):
        x, late = x_of(run - 0.5), run > max(runs) / 2
        beside = text_at(
            "tick", name, x + (-3 if late else 3), top + 10 + 12 * (number % 4), "end" if late else "start"
        )
        items += [Item("shift", f"M{x:.1f} {top}V{bottom}"), beside]
    return plotted(title, width, height, [Group(items)])


class Series(NamedTuple):
    """Hold one measurement, a value a night; shape (nights,) each, NaN where there is none.

    Attributes:
        half: half the width of each value's 95 % interval.
        accepted: the accepted value of each night.
        limit: the largest value that a release may have.
    """

    values: Array
    half: Array | None = None
    accepted: Array | None = None
    limit: Array | None = None


MOST_DOTS = 90  # nights; of more, the line is drawn alone
_DATES = 6  # labels of the axis of nights
_WIDE = 8  # pixels a night, where there is room for broad bars
_DATE = 54  # pixels right of the last night, whose date is centred on it


def over_nights(
    title: str, dates: Sequence[str], series: Series, style: str, shifts: Sequence[tuple[int, str]] = ()
) -> Plot:
    """Plot one measurement over the nights, oldest left: its line and intervals, what is accepted, limits and shifts.

    Args:
        dates: label of each night.
        style: format of the labels.
        shifts: (place of the first night at the new level, what a tooltip says).
    """
    width, height = 720, 170
    left, right, top, bottom = 80, width - _DATE, TOP, height - 30
    apart = (right - left) / max(1, len(dates) - 1)
    values = _bounded(series.values)
    half, accepted, limit = (None if one is None else _bounded(one) for one in series[1:])
    shown = [values] if half is None else [values, values - half, values + half]
    y_of, y_ticks = linear_axis(
        _ends(shown + [one for one in (accepted, limit) if one is not None]), bottom, top, style
    )
    items = [*across(_date_ticks(dates, left, apart), top, bottom), *upwards(y_ticks, left, right)]
    there = np.flatnonzero(np.isfinite(values))
    x, y = left + apart * there, _heights(values[there], y_of)
    if half is not None:
        wide = np.nan_to_num(half[there])
        above, below = _heights(values[there] + wide, y_of), _heights(values[there] - wide, y_of)
        if wide.any():
            items.append(Item("band", f"M{_points(x, above)}L{_points(x[::-1], below[::-1])}z"))
    items.append(Item("trend", "M" + _points(*_corners(x, y))))
    if len(there) <= MOST_DOTS:
        items.append(Item("night", "".join(f"M{dot}h0" for dot in _points(x, y).split("L"))))
    for column, kind in ((accepted, "accepted"), (limit, "limit")):
        if column is not None and np.isfinite(column).any():
            items.append(Item(kind, _levels(column, left, apart, y_of)))
    groups = [Group(items)]
    for place, told in shifts:
        at = left + apart * (place - 0.5)
        groups.append(Group([Item("shift", f"M{at:.1f} {top}V{bottom}")], told))
    return plotted(title, width, height, groups, "the numbers are in the table of the newest nights")


def _bounded(values: Array) -> Array:
    """Draw what is beyond any measure at the edge: sums of such numbers would overflow."""
    return np.clip(values, -MOST, MOST)


def _ends(columns: Sequence[Array]) -> tuple[float, float]:
    """Return the least and the greatest finite value."""
    whole = np.concatenate(columns)
    whole = whole[np.isfinite(whole)]
    return float(whole.min()), float(whole.max())


def _heights(values: Array, y_of: Place) -> Array:
    """Place many values on a linear axis at once, rounded as they are drawn."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.full(len(values), round(y_of(low), 1))
    share = (values - low) / (high - low)
    return np.round(y_of(low) + share * (y_of(high) - y_of(low)), 1)


def _points(x: Array, y: Array) -> str:
    return "L".join(map("%.1f %.1f".__mod__, zip(x.tolist(), y.tolist(), strict=True)))


def _corners(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the points of a line; of those at one height only the first and the last."""
    inner = np.zeros(len(y), bool)
    inner[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return x[~inner], y[~inner]


def _levels(column: Array, left: float, apart: float, y_of: Place) -> str:
    """Draw a level that holds from night to night; each unbroken one reaches half a night beyond its ends."""
    filled = np.where(np.isfinite(column), column, np.inf)
    right = left + apart * (len(column) - 1)
    begins = np.flatnonzero(np.r_[True, filled[1:] != filled[:-1]])
    ends = np.r_[begins[1:], len(column)]
    found = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if math.isfinite(column[begin]):
            start, stop = (min(max(left + apart * (place - 0.5), left), right) for place in (begin, end))
            found.append(f"M{start:.1f} {y_of(float(column[begin])):.1f}H{stop:.1f}")
    return "".join(found)


def _date_ticks(dates: Sequence[str], left: float, apart: float) -> list[Tick]:
    """Label some nights, the newest among them."""
    step = max(1, -(-len(dates) // _DATES))
    return [Tick(left + apart * place, dates[place]) for place in range(len(dates) - 1, -1, -step)]


def reds(title: str, dates: Sequence[str], counts: Sequence[int]) -> Plot:
    """Plot how many cells were red each night, oldest left."""
    width, height = 1000, 110
    left, right, top, bottom = 40, width - _DATE, TOP, height - 30
    y_of, y_ticks = linear_axis([0, max(1, *counts)], bottom, top, ".0f")
    apart = (right - left) / max(1, len(dates))
    ticks = _date_ticks(dates, left + apart / 2, apart)
    bars = "".join(
        f"M{left + apart * (place + 0.5):.1f} {bottom}V{y_of(count):.1f}" for place, count in enumerate(counts) if count
    )
    bar = Item("reds wide" if apart > _WIDE else "reds", bars)
    items = [*across(ticks, top, bottom), *upwards(y_ticks, left, right), bar]
    return plotted(title, width, height, [Group(items)], "the table of nights has the numbers")


def family_legend(names: Sequence[str] = tuple(SHAPES)) -> list[tuple[Item, str]]:
    """List the shapes with their meaning."""
    return [(Item(f"mark {family}", SHAPES[family]), FAMILIES[family]) for family in names]


def latency_legend() -> list[tuple[Item, str]]:
    """List the latency marks with their meaning."""
    return [(Item(name, LATENCY_MARKS[name]), words) for name, words in LATENCY_NAMES.items()]


def heat_legend() -> list[tuple[Item, str]]:
    """List the colours with their meaning."""
    box = "M-6 -6h12v12h-12z"
    return [
        (Item(f"tile {kind}", box), words)
        for kind, words in [*((f"h{i}", words) for i, words in enumerate(LEGEND)), ("none", NO_FLOOR)]
    ]


class Placed(NamedTuple):
    """Place a plot on a sheet: its upper left corner, ``x y``, and its title where it is shown."""

    plot: Plot
    place: str
    title: str


@dataclass(frozen=True)
class Sheet:
    """Combine several plots with one legend in one picture."""

    title: str
    width: str
    height: str
    plots: Sequence[Placed]
    legend: Sequence[Item]


def sheet(
    title: str, plots: Sequence[Plot], legend: Sequence[tuple[Item, str]] = (), columns: int = 1, heads: bool = True
) -> Sheet:
    """Lay plots out row by row, with their titles (``heads``), and the legend below them."""
    head = HEAD if heads else 0
    wide = max(float(plot.width) for plot in plots)
    width = GAP + min(columns, len(plots)) * (wide + GAP)
    placed, y = [], float(GAP)
    for start in range(0, len(plots), columns):
        row = plots[start : start + columns]
        for i, plot in enumerate(row):
            place = f"{_px(GAP + i * (wide + GAP))} {_px(y + head)}"
            placed.append(Placed(plot, place, plot.title if head else ""))
        y += head + max(float(plot.height) for plot in row) + GAP
    items, x = [], float(GAP)
    for key, label in legend:
        needs = 34 + CHARACTER * len(label)
        if x + needs > width and x > GAP:
            x, y = float(GAP), y + 18
        items += [key._replace(place=f"{_px(x + 8)} {_px(y + 6)}"), text_at("name", label, x + 20, y + 10)]
        x += needs
    return Sheet(title, _px(width), _px(y + (24 if legend else 0)), placed, items)


def _cut(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"
