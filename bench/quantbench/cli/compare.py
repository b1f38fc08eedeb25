"""Define the commands that compare several runs: ``compare`` and ``history``."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench import files
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput

_DEFAULTS = RunOptions()
_ModelDir = Annotated[Path, typer.Option("--model-dir", help="folder of model files, for the labels")]


def compare(
    old: Annotated[Path, typer.Argument(help="run folder, or its report.json")],
    new: Annotated[Path, typer.Argument(help="run folder, or its report.json")],
    html: Annotated[
        Path | None, typer.Option("--html", help="also write the comparison as an HTML page to this file")
    ] = None,
    model_dir: _ModelDir = _DEFAULTS.model_dir,
) -> None:
    """Compare two runs example by example, process by process and byte by byte, independent of the baselines.

    Exit status: 0 nothing is worse, 1 something is, 3 nothing could be compared, 4 bad input.

    Example: quantbench compare reports/2026-11-24T13-59-52Z reports/latest
    """
    from quantbench.comparison import compare as compared
    from quantbench.comparison.load import read_sides, truths
    from quantbench.report.comparison import page, render

    sides = read_sides(old, new)
    comparison = compared(*sides, truths(model_dir, sides[1].report))
    if html is not None:
        files.write_named(html, page(comparison), "--html")
    typer.echo(render(comparison), nl=False)
    raise typer.Exit(int(comparison.exit_status()))


def history(
    cell: Annotated[
        str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8 (default: all that changed)")
    ] = "",
    report_dir: Annotated[Path, typer.Option(help="folder of run folders")] = _DEFAULTS.report_dir,
    last: Annotated[int, typer.Option(min=0, help="number of newest runs to read; 0 = all")] = 0,
    chart: Annotated[Path | None, typer.Option(help="draw the cell's trend into this SVG file")] = None,
) -> None:
    """Show what changed over many runs, since which run and together with what; or the trend of one cell.

    Example: quantbench history seed_cnn/ptq_static_wi8_ai8 --chart trend.svg
    """
    from quantbench.comparison.history import read_history
    from quantbench.report import history as show

    if chart is not None and not cell:
        raise BadInput("--chart: it draws one cell; name one, e.g. seed_cnn/ptq_static_wi8_ai8")
    runs = read_history(report_dir, last)
    if chart is not None:
        show.chart(runs, cell, chart)
    typer.echo(show.of_cell(runs, cell) if cell else show.overview(runs), nl=False)
