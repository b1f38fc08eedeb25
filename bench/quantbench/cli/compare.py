"""Commands that look at several runs: ``compare`` and ``history``."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench import files
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput, Exit

_DEFAULTS = RunOptions()
_ModelDir = Annotated[Path, typer.Option("--model-dir", help="folder of model files, for the labels")]
_BaselineDir = Annotated[
    Path, typer.Option("--baseline-dir", help="folder of baselines, for the spread between trainings")
]


def compare(
    old: Annotated[Path, typer.Argument(help="run folder, or its report.json")],
    new: Annotated[Path, typer.Argument(help="run folder, or its report.json")],
    html: Annotated[Path | None, typer.Option("--html", help="write the same as one HTML page to this file")] = None,
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Compare two runs example by example, process by process and byte by byte, independent of accepted values.

    Of the baselines, only the spread between trainings is used, so that runs with one seed can be compared. A cell or
    measurement that only the old run has is worse where both runs were asked for the same.

    Exit status: 0 nothing is worse, 1 something is, 3 nothing could be compared or the new run is not complete, 4 bad
    input.

    Example: quantbench compare reports/2026-11-24T13-59-52Z reports/latest
    """
    from quantbench.comparison import compare as compared
    from quantbench.comparison.load import accepted_spreads, read_sides, truths
    from quantbench.report.comparison import page, render

    sides = read_sides(old, new)
    trained = [cell.id for cell in sides[1].report.cells if cell.seeds]
    spreads = accepted_spreads(baseline_dir, trained)
    found = compared(*sides, truths(model_dir, sides[1].report), accepted=spreads)
    if html is not None:
        files.write_named(html, page(found), "--html")
    typer.echo(render(found), nl=False)
    raise typer.Exit(int(found.exit_status()))


def history(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8; all that moved if none")] = "",
    report_dir: Annotated[Path, typer.Option(help="folder of run folders")] = _DEFAULTS.report_dir,
    last: Annotated[int, typer.Option(min=0, help="only the newest so many runs; 0: all")] = 0,
    chart: Annotated[Path | None, typer.Option(help="draw the cell's trend into this SVG file")] = None,
    alarm: Annotated[bool, typer.Option("--alarm", help="exit with status 1 where there is an alarm")] = False,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
) -> None:
    """Show what moved over many runs, since which one, and what else changed there; or the trend of one cell.

    An alarm is a measurement that got worse beyond noise and tolerance within the newest runs and stayed so for three.

    Exit status: 0, or with --alarm 1 where there is an alarm; 4 bad input.

    Example: quantbench history seed_cnn/ptq_static_wi8_ai8 --chart trend.svg
    """
    from quantbench.comparison.history import read_history, trends, with_accepted
    from quantbench.comparison.load import accepted_spreads
    from quantbench.report import history as told

    if chart is not None and not cell:
        raise BadInput("--chart: it draws one cell; name one, e.g. seed_cnn/ptq_static_wi8_ai8")
    found = read_history(report_dir, last)
    found = with_accepted(found, accepted_spreads(baseline_dir, {one for run in found.runs for one in run.trained}))
    if chart is not None:
        told.chart(found, cell, chart)
    typer.echo(told.of_cell(found, cell) if cell else told.overview(found), nl=False)
    if alarm and told.raised(found, trends(found, cell) if cell else ()):
        raise typer.Exit(int(Exit.REGRESSED))
