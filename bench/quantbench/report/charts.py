"""SVG charts beside ``report.md``: drops against size and latency with the Pareto fronts, and the heat map.

Drawn by Altair and vl-convert (the extra ``charts``), which are imported here alone and only when something is drawn:
they take longer to load than most reports take to write. ``report.html`` has charts of its own, which need neither.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from quantbench import files
from quantbench.core.echo import plain
from quantbench.errors import BadInput, full_disk_named
from quantbench.records import Cell, Report
from quantbench.report import formatting
from quantbench.report.chart_data import (
    FAMILIES,
    LATENCY,
    LEGEND,
    SIZE,
    Axis,
    Point,
    front,
    leading_number,
    points,
    shade,
)

FOLDER = "charts"
HEAT_MAP = "drop_by_variant_and_model.svg"
NEEDS = "it needs Altair: pip install 'quantbench[charts]'"
MOST_MODELS = 24  # in one picture; those that need attention first
COLUMNS = 3
NEAR_ZERO = 0.1  # below this a drop is drawn to a linear scale, above it to a logarithmic one
COLOURS = {"ptq": "#0b6bcb", "qat": "#b4570a", "control": "#57606a"}
SHAPES = {"ptq": "circle", "qat": "square", "control": "diamond"}
SHADES = ("#dcefe4", "#f4f2d8", "#fbe3b4", "#f9c78d", "#f2a16c", "#bf3a31")
NO_FLOOR = "has no floor"


@dataclass(frozen=True)
class Chart:
    """A picture in the run's folder.

    Attributes:
        file: its name in ``charts/``.
        title: what it shows, in place of the picture too.
        told: what it shows, in words and numbers.
    """

    file: str
    title: str
    told: list[str]


def available() -> bool:
    """Whether the extra is installed; imports nothing of it."""
    return all(importlib.util.find_spec(name) is not None for name in ("altair", "vl_convert"))


def write(folder: Path, report: Report) -> list[Chart]:
    """Draw what the report has numbers for into ``charts/`` of a run's folder; the same report gives the same bytes.

    Raises:
        BadInput: the extra is not installed, or the folder cannot be written.
    """
    if not available():
        raise BadInput(f"--charts: {NEEDS}")
    known = list(of(report))
    if not known:
        return []
    import altair
    import vl_convert

    place = folder / FOLDER
    try:
        for chart, draw in known:
            drawn = vl_convert.vegalite_to_svg(_styled(draw(altair)).to_json())
            with full_disk_named(place):
                files.replace(place / chart.file, _named(drawn, chart.title), inside=folder)
    except OSError as error:
        raise BadInput(f"--charts: cannot write to {place}: {error.strerror}") from None
    return [chart for chart, _ in known]


def of(report: Report) -> Iterator[tuple[Chart, Callable[[Any], Any]]]:
    """Each chart that the report has numbers for, and what draws it with Altair."""
    by_id = {cell.id: cell for cell in report.cells}
    models = _models(report)
    some = "" if len(models) == len({cell.model for cell in report.cells}) else f" ({len(models)} of the models)"
    cells = {model: [cell for cell in report.cells if cell.model == model] for model in models}
    for axis in (LATENCY, SIZE):
        found = {model: points(axis, of_model, by_id) for model, of_model in cells.items()}
        found = {model: known for model, known in found.items() if len(known) > 1}
        if found:
            title = f"Drop from control against {axis.what}, and the Pareto front{some}"
            told = [_front(model, axis, known) for model, known in found.items()]
            yield Chart(f"drop_against_{axis.what}.svg", title, told), _scatters(axis, found)
    if any(formatting.drop(cell, by_id) for of_model in cells.values() for cell in of_model):
        title = f"Drop from control by variant and model{some}"
        told = ["Colours: how much of its floor a drop uses; the numbers are in the tables below."]
        shown = [cell for of_model in cells.values() for cell in of_model]
        yield Chart(HEAT_MAP, title, told), _heat_map(shown, by_id)


def _models(report: Report) -> list[str]:
    """In the report's order; of too many, those that need attention first."""
    models = list(dict.fromkeys(cell.model for cell in report.cells))
    if len(models) <= MOST_MODELS:
        return models
    known = {cell for cell, *_ in formatting.attention(report)}
    urgent = {cell.model for cell in report.cells if cell.id in known}
    chosen = set(sorted(models, key=lambda model: model not in urgent)[:MOST_MODELS])
    return [model for model in models if model in chosen]


def _front(model: str, axis: Axis, found: list[Point]) -> str:
    """A Pareto front in words, with the numbers that stand in the picture."""
    unit = formatting.escape(found[0].cell.metric_unit)
    steps = [
        f"{rank} {formatting.code(point.cell.variant)} {point.x:,.1f} {axis.unit} {point.drop:+.2f} {unit}"
        for rank, point in enumerate(front(found), 1)
    ]
    return f"{formatting.escape(model)}: {', '.join(steps)}"


def _scatters(axis: Axis, found: dict[str, list[Point]]) -> Callable[[Any], Any]:
    def draw(altair: Any) -> Any:
        panels = [_panel(altair, model, axis, known) for model, known in found.items()]
        return altair.concat(*panels, columns=COLUMNS)

    return draw


def _panel(altair: Any, model: str, axis: Axis, found: list[Point]) -> Any:
    ranks = {point.cell.id: rank for rank, point in enumerate(front(found), 1)}
    values = [
        {
            "x": point.x,
            "drop": point.drop,
            "family": FAMILIES[point.family],
            "rank": str(ranks.get(point.cell.id, "")),
            "best": point.cell.id in ranks,
        }
        for point in found
    ]
    unit = found[0].cell.metric_unit
    across = altair.X("x:Q", title=f"{axis.what}, {axis.unit}", axis=altair.Axis(tickCount=4, format="~s"))
    across = across.scale(type="log", nice=False, padding=12)
    up = altair.Y("drop:Q", title=f"drop, {unit}", axis=altair.Axis(tickCount=6, format="+~g"))
    up = up.scale(type="symlog", constant=NEAR_ZERO, nice=False, padding=12)
    base = altair.Chart(altair.InlineData(values=values)).encode(x=across, y=up)
    names = list(FAMILIES.values())
    family = {
        "color": altair.Color("family:N", title=None).scale(domain=names, range=[COLOURS[name] for name in FAMILIES]),
        "shape": altair.Shape("family:N", title=None).scale(domain=names, range=[SHAPES[name] for name in FAMILIES]),
    }
    dots = base.mark_point(filled=True, size=45).encode(
        **family, opacity=altair.condition("datum.best", altair.value(1.0), altair.value(0.4))
    )
    best = base.transform_filter("datum.best")
    line = best.mark_line(interpolate="step-after", strokeDash=[5, 3], strokeWidth=1.2, color="#1b1f24")
    numbers = best.mark_text(align="left", baseline="bottom", dx=5, dy=-3, fontWeight="bold").encode(text="rank:N")
    return (line + dots + numbers).properties(width=250, height=170, title=model)


def _heat_map(cells: list[Cell], by_id: dict[str, Cell]) -> Callable[[Any], Any]:
    labels = [*LEGEND, NO_FLOOR]
    values = []
    for cell in cells:
        drop, step = leading_number(formatting.drop(cell, by_id)), shade(cell)
        if cell.control is None and drop is None:
            continue  # a control has nothing to drop from
        values.append(
            {
                "variant": cell.variant,
                "model": f"{cell.model}, {cell.metric_unit}",
                "shown": str(cell.verdict) if drop is None else f"{drop + 0.0:+.2f}",
                "used": NO_FLOOR if step is None else LEGEND[step],
                "beyond": step == len(LEGEND) - 1,
            }
        )

    def draw(altair: Any) -> Any:
        base = altair.Chart(altair.InlineData(values=values)).encode(
            x=altair.X("model:N", title=None, sort=None, axis=altair.Axis(orient="top", labelAngle=0)),
            y=altair.Y("variant:N", title=None, sort=None, axis=altair.Axis(labelLimit=320)),
        )
        used = altair.Color("used:N", title="of what the floor allows", sort=labels)
        boxes = base.mark_rect(stroke="white").encode(color=used.scale(domain=labels, range=[*SHADES, "#f4f5f7"]))
        ink = altair.condition("datum.beyond", altair.value("white"), altair.value("#1b1f24"))
        numbers = base.mark_text(fontSize=11).encode(text="shown:N", color=ink)
        return (boxes + numbers).properties(width=altair.Step(110), height=altair.Step(18))

    return draw


def _styled(picture: Any) -> Any:
    """White paper behind it, for a picture does not know whether its reader likes it dark."""
    return (
        picture.configure(background="white", padding=12)
        .configure_view(stroke="#d0d7de")
        .configure_axis(gridColor="#e6e9ed", labelFontSize=11, titleFontSize=11)
        .configure_legend(orient="bottom", columns=4, labelLimit=320)
    )


def _named(drawn: str, title: str) -> str:
    """The picture with its title for those who hear it, and for a pointer that rests on it."""
    told = escape(title)
    start, _, rest = drawn.partition(">")
    start = start.replace("<svg", f'<svg role="img" aria-label="{told}"', 1)
    return plain(f"{start}><title>{told}</title>{rest}\n")
