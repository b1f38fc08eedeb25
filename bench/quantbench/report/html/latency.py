"""Latency distributions of ``report.html``: what each fresh process took, and the percentiles of single calls.

As far as the record holds them: one value a process, and median, p90 and p99 with their intervals; single calls and
blocks are not kept. SVG from strings, as the other charts are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from quantbench.records import Cell, Measurement
from quantbench.records.measurements import name_at
from quantbench.report.html.charts import log_axis
from quantbench.report.html.markup import anchor, text

WIDTH, LEFT, RIGHT = 430, 12, 12
ROW, TOP, BOTTOM = 34, 6, 34
ALONE = 18  # of one cell alone, whose row has no label
PERCENTILES = {"latency_p50": "median", "latency_p90": "p90", "latency_p99": "p99"}
MARKS = {
    "process": "M0 0h0",
    "median": "M0 -7V7",
    "p90": "M-4 5L0 -4L4 5z",
    "p99": "M-4 -4L4 4M-4 4L4 -4",
}
NAMES = {"process": "one process, its typical call", "median": "median", "p90": "p90", "p99": "p99 of all single calls"}


@dataclass(frozen=True)
class Row:
    """What is drawn of one cell, in microseconds; an interval's end is None where there were too few calls for one."""

    cell: Cell
    processes: Sequence[float]
    percentiles: dict[str, Measurement]

    def numbers(self) -> Iterator[float]:
        """All that has to fit on the axis."""
        yield from self.processes
        for one in self.percentiles.values():
            yield from (value for value in (one.value, one.low, one.high) if value is not None and value > 0)

    def told(self) -> str:
        """The same in words."""
        parts = [f"{name} {one.value:,.1f} µs{_interval(one)}" for name, one in self.percentiles.items()]
        if self.processes:
            low, high, count = min(self.processes), max(self.processes), len(self.processes)
            parts.append(f"a typical call {low:,.1f} to {high:,.1f} µs in {count} processes")
        return "; ".join(parts)


def _interval(one: Measurement) -> str:
    if one.low is None and one.high is None:
        return ""
    low = "0" if one.low is None else f"{one.low:,.1f}"
    return f" (95 %: {low} to {'∞' if one.high is None else f'{one.high:,.1f}'})"


def row(cell: Cell) -> Row | None:
    """One thread, batch 1; None where the record holds no distribution."""
    timed = cell.measurements.get(name_at("latency", 1))
    processes = [value for value in (timed.values or [] if timed else []) if value > 0]
    found = {told: cell.measurements[name] for name, told in PERCENTILES.items() if name in cell.measurements}
    return Row(cell, processes, found) if len(processes) > 1 or found else None


def of_model(model: str, cells: Sequence[Cell]) -> str:
    """A row a variant, all to one scale; empty where fewer than two were timed."""
    rows = [found for cell in cells if (found := row(cell))]
    if len(rows) < 2:
        return ""
    title = f"{model}: latency, one thread, batch 1"
    return f"<figure><figcaption>{text(title)}</figcaption>{_svg(title, rows)}</figure>"


def of_cell(cell: Cell) -> str:
    """One cell's row, with its numbers."""
    found = row(cell)
    if found is None:
        return ""
    title = f"Latency of {cell.id}"
    return (
        f'<h4>Latency</h4><figure class="strip">{_svg(title, [found])}'
        f"<figcaption>{text(found.told())}. {legend()}</figcaption></figure>"
    )


def legend() -> str:
    """What the marks mean."""
    items = "".join(
        f'<span><svg viewBox="-8 -8 16 16" width="16" height="16" aria-hidden="true"><path class="{name}" '
        f'd="{MARKS[name]}"/></svg> {text(told)}</span> '
        for name, told in NAMES.items()
    )
    return f'<span class="legend">{items}<span>lines: 95 % intervals</span></span>'


def _svg(title: str, rows: Sequence[Row]) -> str:
    high = ROW if len(rows) > 1 else ALONE
    bottom = TOP + high * len(rows)
    place, ticks = log_axis([value for one in rows for value in one.numbers()], LEFT, WIDTH - RIGHT)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="group" aria-label="{text(title)}; the numbers are with '
        f'each cell">'
    ]
    parts += [
        f'<path class="grid" d="M{place(tick):.0f} {TOP}V{bottom}"/>'
        f'<text class="tick" x="{place(tick):.0f}" y="{bottom + 13}" text-anchor="middle">{label}</text>'
        for tick, label in ticks
    ]
    parts.append(f'<text class="axis" x="{WIDTH / 2}" y="{bottom + 28}" text-anchor="middle">µs a call</text>')
    for number, one in enumerate(rows):
        top = TOP + high * number
        named = f'<text class="name" x="{LEFT}" y="{top + 9}">{text(one.cell.variant)}</text>' if len(rows) > 1 else ""
        told = f"<title>{text(f'{one.cell.variant}: {one.told()}')}</title>"
        marks = "".join(_marks(one, top + high - 9, place))
        parts.append(f'<a href="{anchor(one.cell.id)}" tabindex="-1">{told}{named}{marks}</a>')
    return "".join(parts) + "</svg>"


def _marks(one: Row, y: float, place: Callable[[float], float]) -> Iterator[str]:
    for measured in one.percentiles.values():
        low = place(measured.low) if measured.low else place(measured.value)
        high = WIDTH - RIGHT if measured.high is None else place(measured.high)
        yield f'<path class="interval" d="M{low:.1f} {y:.1f}H{high:.1f}"/>'
    dots = "".join(f"M{place(value):.1f} {y:.1f}h0" for value in one.processes)  # round ends make dots of them
    yield f'<path class="process" d="{dots}"/>'
    for name, measured in one.percentiles.items():
        yield _mark(name, place(measured.value), y)


def _mark(name: str, x: float, y: float) -> str:
    return f'<path class="{name}" transform="translate({x:.1f} {y:.1f})" d="{MARKS[name]}"/>'
