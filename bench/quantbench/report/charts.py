"""Write SVG charts beside ``report.md``: drops against size and latency with the Pareto fronts, and the heat map."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput, full_disk_named
from quantbench.records import Cell, Report
from quantbench.report import chart_data, formatting, plots
from quantbench.report.chart_data import LATENCY, SIZE, Axis, Point, front, points
from quantbench.report.html.templating import picture
from quantbench.report.plots import Sheet, sheet

FOLDER = "charts"
HEAT_MAP = "drop_by_variant_and_model.svg"
MOST_MODELS = 24  # per picture; those that need attention come first
COLUMNS = 3
PANEL = (340, 240)  # pixels of a plot


@dataclass(frozen=True)
class Chart:
    """Describe a picture in the run's folder.

    Attributes:
        file: its name in ``charts/``.
        title: what it shows; also the picture's alternative text.
        description: what it shows, as lines of words and numbers.
    """

    file: str
    title: str
    description: list[str]


def write(folder: Path, report: Report) -> list[Chart]:
    """Draw the charts that the report has numbers for into ``charts/`` of a run's folder; the bytes are reproducible.

    Raises:
        BadInput: the folder cannot be written.
    """
    drawn = list(of(report))
    if not drawn:
        return []
    place = folder / FOLDER
    try:
        for chart, laid_out in drawn:
            with full_disk_named(place):
                files.replace(place / chart.file, picture(laid_out), inside=folder)
    except OSError as error:
        raise BadInput(f"--charts: cannot write to {place}: {error.strerror}") from None
    return [chart for chart, _ in drawn]


def of(report: Report) -> Iterator[tuple[Chart, Sheet]]:
    """Yield each chart that the report has numbers for, with its layout."""
    by_id = {cell.id: cell for cell in report.cells}
    models = _models(report)
    some = "" if len(models) == len({cell.model for cell in report.cells}) else f" ({len(models)} of the models)"
    cells = {model: [cell for cell in report.cells if cell.model == model] for model in models}
    for axis in (LATENCY, SIZE):
        plotted = {model: points(axis, of_model, by_id) for model, of_model in cells.items()}
        plotted = {model: several for model, several in plotted.items() if len(several) > 1}
        if plotted:
            title = f"Drop vs float32 by {axis.what}, with the Pareto front{some}"
            words = [_front(model, axis, several) for model, several in plotted.items()]
            yield Chart(f"drop_against_{axis.what}.svg", title, words), _scatters(title, axis, plotted)
    shown = [cell for of_model in cells.values() for cell in of_model]
    if any(formatting.drop_from_control(cell, by_id) is not None for cell in shown):
        title = f"Drop vs float32 by variant and model{some}"
        words = ["Colours: how much of its release limit a drop uses; the numbers are in the tables below."]
        yield Chart(HEAT_MAP, title, words), _heat_map(title, shown, by_id)


def _models(report: Report) -> list[str]:
    """List the models in the report's order; of too many, those that need attention first."""
    models = list(dict.fromkeys(cell.model for cell in report.cells))
    if len(models) <= MOST_MODELS:
        return models
    listed = {cell for cell, *_ in formatting.attention(report)}
    urgent = {cell.model for cell in report.cells if cell.id in listed}
    chosen = set(sorted(models, key=lambda model: model not in urgent)[:MOST_MODELS])
    return [model for model in models if model in chosen]


def _front(model: str, axis: Axis, candidates: list[Point]) -> str:
    """Describe a Pareto front in words, with the numbers in the picture."""
    unit = formatting.escape(candidates[0].cell.metric_unit)
    steps = [
        f"{rank} {formatting.code(point.cell.variant)} {point.x:,.1f} {axis.unit} {point.drop:+.2f} {unit}"
        for rank, point in enumerate(front(candidates), 1)
    ]
    return f"{formatting.escape(model)}: {', '.join(steps)}"


def _scatters(title: str, axis: Axis, plotted: dict[str, list[Point]]) -> Sheet:
    panels = [plots.scatter(model, axis, several, front(several), *PANEL) for model, several in plotted.items()]
    return sheet(title, panels, plots.family_legend(), COLUMNS)


def _heat_map(title: str, cells: list[Cell], by_id: dict[str, Cell]) -> Sheet:
    return sheet(title, [plots.heat_map(chart_data.heat(cells, by_id))], plots.heat_legend(), heads=False)
