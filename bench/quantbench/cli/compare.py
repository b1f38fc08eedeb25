"""Define the commands that compare several runs: ``compare`` and ``history``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantbench import files
from quantbench.cli import _screen
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput, Exit

if TYPE_CHECKING:
    from quantbench.comparison import Side
    from quantbench.report.comparison import Section

_DEFAULTS = RunOptions()
_AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document alone; everything else goes to stderr")]
_ModelDir = Annotated[Path, typer.Option("--model-dir", help="folder of model files, for the labels")]
_BaselineDir = Annotated[
    Path, typer.Option("--baseline-dir", help="folder of baselines, for the spread between trainings")
]


def compare(
    old: Annotated[Path, typer.Argument(help="run folder, or its report.json; or a .tflite file")],
    new: Annotated[Path, typer.Argument(help="run folder, or its report.json; or a .tflite file")],
    html: Annotated[
        Path | None, typer.Option("--html", help="also write the comparison as an HTML page to this file")
    ] = None,
    model_dir: _ModelDir = _DEFAULTS.model_dir,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
    as_json: _AsJson = False,
) -> None:
    """Compare two runs example by example, process by process and byte by byte, independent of accepted values.

    Of the baselines, only the spread between trainings is used, so that runs with one seed can be compared. A cell or
    measurement that only the old run has is worse where both runs were asked for the same.

    Of two .tflite files, list what changed: operators, weights, options and ranges, matched by their place in the
    graph.

    Exit status: 0 nothing is worse, 1 something is, 3 nothing could be compared or the new run is not complete, 4 bad
    input. Of two files always 0 or 4.

    Example: quantbench compare reports/2026-11-24T13-59-52Z reports/latest

    Example: quantbench compare accepted.tflite new.tflite
    """
    if any(path.suffix.lower() == ".tflite" for path in (old, new)):
        _files(old, new, html, as_json)
        return
    from quantbench.comparison import Outcome
    from quantbench.comparison import compare as compared
    from quantbench.comparison.load import accepted_spreads, read_sides, retrained, truths
    from quantbench.report.comparison import page, render, within

    sides = read_sides(old, new)
    spreads = accepted_spreads(baseline_dir, retrained(*sides))
    comparison = compared(*sides, truths(model_dir, sides[1].report), accepted=spreads)
    worse = [cell for cell, outcome in comparison.cells.items() if outcome is Outcome.WORSE]
    more = _changes(sides, (old, new), worse) if worse and (html is not None or not as_json) else []
    if html is not None:
        files.write_named(html, page(comparison, more=more), "--html")
    if as_json:
        from quantbench.report.answers import of_comparison

        typer.echo(_screen.json_of(of_comparison(comparison)))
    else:
        _screen.document(render(comparison, more=[*more, *([within(comparison)] if _screen.verbose() else [])]))
    raise typer.Exit(int(comparison.exit_status()))


def _changes(sides: "tuple[Side, Side]", runs: tuple[Path, Path], worse: list[str]) -> "list[Section]":
    """List what changed in the artifacts of cells that are worse."""
    from quantbench.engine.file_changes import of_runs
    from quantbench.records.run_folder import run_folder
    from quantbench.report.file_changes import section

    old, new = ((side.report, run_folder(run)) for side, run in zip(sides, runs, strict=True))
    return section(of_runs(old, new, worse))


def _files(old: Path, new: Path, html: Path | None, as_json: bool) -> None:
    """Compare two artifacts."""
    from quantbench.engine.file_changes import of_two
    from quantbench.report.file_changes import render

    for path in (old, new):
        if path.suffix.lower() != ".tflite":
            raise BadInput(f"{path}: expected a .tflite file beside another one, or two runs; give two of a kind")
    if html is not None:
        raise BadInput("--html: is of two runs; two files are compared as text or with --json")
    found = of_two(str(old), str(new), Path())
    if as_json:
        typer.echo(_screen.json_of(found))
    else:
        _screen.document(render(found))


def history(
    cell: Annotated[
        str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_static_wi8_ai8 (default: all that changed)")
    ] = "",
    report_dir: Annotated[Path, typer.Option(help="folder of run folders")] = _DEFAULTS.report_dir,
    last: Annotated[int, typer.Option(min=0, help="number of newest runs to read; 0 = all")] = 0,
    chart: Annotated[Path | None, typer.Option(help="draw the cell's trend into this SVG file")] = None,
    alarm: Annotated[bool, typer.Option("--alarm", help="exit with status 1 where there is an alarm")] = False,
    baseline_dir: _BaselineDir = _DEFAULTS.baseline_dir,
    as_json: _AsJson = False,
) -> None:
    """Show what changed over many runs, since which run and together with what; or the trend of one cell.

    An alarm is a measurement that got worse beyond noise and tolerance within the newest runs and stayed so for three.

    Exit status: 0, or with --alarm 1 where there is an alarm; 4 bad input.

    Example: quantbench history seed_cnn/ptq_static_wi8_ai8 --chart trend.svg
    """
    from quantbench.comparison.history import retrained, with_accepted
    from quantbench.comparison.history_index import read_indexed
    from quantbench.comparison.load import accepted_spreads
    from quantbench.comparison.trends import trends
    from quantbench.report import history as show

    if chart is not None and not cell:
        raise BadInput("--chart: it draws one cell; name one, e.g. seed_cnn/ptq_static_wi8_ai8")
    runs = read_indexed(report_dir, last, cell)
    runs = with_accepted(runs, accepted_spreads(baseline_dir, retrained(runs)))
    if chart is not None:
        show.chart(runs, cell, chart)
    if as_json:
        from quantbench.report.answers import of_history

        typer.echo(_screen.json_of(of_history(runs, cell)))
    else:
        _screen.document(show.of_cell(runs, cell) if cell else show.overview(runs))
    if alarm and show.raised(runs, trends(runs, cell) if cell else ()):
        raise typer.Exit(int(Exit.REGRESSED))
