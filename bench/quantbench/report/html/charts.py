"""Charts of ``report.html``: small SVG and a table with colours, made of strings.

A charting library would bring its own script (Vega's is 0.9 MB, and compiles expressions, which the page's security
policy forbids) or a heavy extra at every run. These are there without any script, take their colours from the style
sheet, so that they are right in light and dark, and print.
"""

import math
from collections.abc import Callable, Sequence

from quantbench.records import Cell, Verdict
from quantbench.report import formatting
from quantbench.report.chart_data import FAMILIES, LATENCY, LEGEND, SIZE, Point, front, leading_number, points, shade
from quantbench.report.html.markup import anchor, link, text

WIDTH, HEIGHT = 430, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 42
NEAR_ZERO = 0.1  # below this a drop is drawn to a linear scale, above it to a logarithmic one
STEPS = (1, 2, 5)
FINE_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8)  # where those are too far apart
FINEST_STEPS = (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9)
APART = 16  # pixels between two labels of an axis


def scatters(model: str, cells: list[Cell], by_id: dict[str, Cell]) -> str:
    """Drop against size and against latency, of one model."""
    unit = cells[0].metric_unit
    drawn = [(axis, points(axis, cells, by_id)) for axis in (SIZE, LATENCY)]
    return "".join(_figure(model, axis.what, axis.unit, unit, found) for axis, found in drawn)


def _figure(model: str, what: str, x_unit: str, y_unit: str, points: list[Point]) -> str:
    if len(points) < 2:
        return ""
    best = front(points)
    items = "".join(
        f"<li>{link(point.cell.id, point.cell.variant)}: {point.x:,.1f} {x_unit}, {point.drop:+.2f} {text(y_unit)}</li>"
        for point in best
    )
    title = f"{model}: drop from control against {what}"
    return (
        f"<figure><figcaption>{text(title)}</figcaption>{_svg(title, f'{what}, {x_unit}', y_unit, points, best)}"
        f"<details><summary>Pareto front, {len(best)} of {len(points)}</summary><ol>{items}</ol></details></figure>"
    )


def _svg(title: str, x_title: str, y_unit: str, points: list[Point], best: list[Point]) -> str:
    x_of, x_ticks = log_axis([point.x for point in points])
    y_of, y_ticks = _drop_axis([point.drop for point in points])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{text(title)}; the numbers are in the table of '
        f'all cells, the Pareto front is listed below">'
    ]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts += [
        f'<path class="grid" d="M{x_of(tick):.0f} {TOP}V{bottom}"/>'
        f'<text class="tick" x="{x_of(tick):.0f}" y="{bottom + 15}" text-anchor="middle">{label}</text>'
        for tick, label in x_ticks
    ]
    parts += [
        f'<path class="{"zero" if tick == 0 else "grid"}" d="M{LEFT} {y_of(tick):.0f}H{right}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y_of(tick) + 4:.0f}" text-anchor="end">{label}</text>'
        for tick, label in y_ticks
    ]
    parts.append(f'<text class="axis" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x_title}</text>')
    parts.append(f'<text class="axis" transform="translate(12 {HEIGHT / 2 - 14}) rotate(-90)" text-anchor="middle">')
    parts.append(f"drop, {text(y_unit)}</text>")
    steps = "".join(
        f"H{x_of(point.x):.1f}V{y_of(point.drop):.1f}" if i else f"M{x_of(point.x):.1f} {y_of(point.drop):.1f}"
        for i, point in enumerate(best)
    )
    parts.append(f'<path class="front" d="{steps}"/>')
    ranks = {point.cell.id: rank for rank, point in enumerate(best, 1)}
    parts += [_mark(point, x_of(point.x), y_of(point.drop), ranks.get(point.cell.id)) for point in points]
    return "".join(parts) + "</svg>"


def _mark(point: Point, x: float, y: float, rank: int | None) -> str:
    """A shape a family, for colour alone tells nothing in print; what is on the front has its number in the list."""
    told = f"{point.cell.variant}: {point.x:,.1f}, drop {point.drop:+.2f} {point.cell.metric_unit}"
    number = "" if rank is None else f'<text class="rank" x="{x + 6:.1f}" y="{y - 5:.1f}">{rank}</text>'
    family = point.family
    return (
        f'<a href="{anchor(point.cell.id)}" tabindex="-1"><title>{text(told)}</title>'
        f'<path class="mark {family}{" best" if rank else ""}" transform="translate({x:.1f} {y:.1f})" '
        f'd="{SHAPES[family]}"/>{number}</a>'
    )


SHAPES = {
    "ptq": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "qat": "M-4 -4h8v8h-8z",
    "control": "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
}


def legend() -> str:
    """What the shapes mean."""
    items = "".join(
        f'<span><svg viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true"><path class="mark {family}" '
        f'd="{SHAPES[family]}"/></svg> {text(FAMILIES[family])}</span> '
        for family in SHAPES
    )
    return f'<p class="legend">{items}<span>line and numbers: Pareto front</span></p>'


def log_axis(
    values: Sequence[float], left: float = LEFT, right: float = WIDTH - RIGHT
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Places of values between two edges of a picture, and the ticks with their labels."""
    low, high = math.log(min(values)), math.log(max(values))
    gap = 0.06 * (high - low) or 0.1
    low, high = low - gap, high + gap

    def place(value: float) -> float:
        return left + (right - left) * (math.log(value) - low) / (high - low)

    def inside(steps: Sequence[float]) -> list[float]:
        decades = range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
        nice = [step * 10.0**decade for decade in decades for step in steps]
        return [value for value in nice if low <= math.log(value) <= high]

    evenly = [math.exp(low + share * (high - low)) for share in (0.1, 0.37, 0.63, 0.9)]
    ticks = next((found for found in map(inside, (STEPS, FINE_STEPS, FINEST_STEPS)) if len(found) >= 3), evenly)
    return place, [(value, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}") for value in ticks]


def _drop_axis(values: list[float]) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    def squeeze(value: float) -> float:
        return math.copysign(math.log1p(abs(value) / NEAR_ZERO), value)

    low, high = squeeze(min(0.0, *values)), squeeze(max(0.0, *values))
    gap = 0.06 * (high - low) or 0.1
    low, high = low - gap, high + gap

    def place(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - squeeze(value)) / (high - low)

    sizes = [step * 10.0**decade for decade in range(-2, 7) for step in STEPS]
    ticks = [0.0]
    for value in sorted([*sizes, *(-size for size in sizes)], key=abs):
        free = all(abs(place(value) - place(tick)) >= APART for tick in ticks)
        if free and low <= squeeze(value) <= high:
            ticks.append(value)
    return place, [(tick, f"{tick:+g}" if tick else "0") for tick in ticks]


def heat_map(cells: list[Cell], by_id: dict[str, Cell]) -> str:
    """Drops, a row a variant, a column a model. Colour: how much of its floor is used, whatever the unit."""
    models = list(dict.fromkeys(cell.model for cell in cells))
    variants = list(dict.fromkeys(cell.variant for cell in cells))
    placed = {(cell.model, cell.variant): cell for cell in cells}
    units = {cell.model: cell.metric_unit for cell in cells}
    head = "".join(f'<th scope="col">{text(model)}<br><small>{text(units[model])}</small>' for model in models)
    rows = "".join(
        f'<tr><th scope="row">{text(variant).replace("_", "_<wbr>")}'
        + "".join(_heat(placed.get((model, variant)), by_id) for model in models)
        for variant in variants
    )
    keys = "".join(f'<span class="key h{i}">{text(label)}</span> ' for i, label in enumerate(LEGEND))
    return (
        f'<p class="legend">{keys}<span>no colour: has no floor</span></p>'
        '<div class="box tall" tabindex="0" role="region" aria-label="Drops by variant and model">'
        f'<table class="heat"><caption>Drop from control</caption><thead><tr><th scope="col">variant{head}'
        f"<tbody>{rows}</table></div>"
    )


def _heat(cell: Cell | None, by_id: dict[str, Cell]) -> str:
    if cell is None:
        return "<td>"
    drop = leading_number(formatting.drop(cell, by_id))
    if drop is None:
        if cell.verdict is Verdict.PASS or "score" in cell.measurements:
            return f"<td>{link(cell.id, 'control')}"
        return f"<td>{link(cell.id, formatting.MARKS[cell.verdict])}"
    step = shade(cell)
    classes = "" if step is None else f' class="h{step}"'
    return f"<td{classes}>{link(cell.id, f'{drop + 0.0:+.2f}')}"
