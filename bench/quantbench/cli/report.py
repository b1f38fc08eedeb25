"""Define the command ``report``: render a run's report, or merge the shards of one run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from quantbench import files
from quantbench.cli import _screen
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput, full_disk_named

if TYPE_CHECKING:
    from quantbench.records import Report

_DEFAULTS = RunOptions()


def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="a run folder, or its report.json; or those of all shards of a run")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="write an HTML page to this file instead")] = None,
    charts: Annotated[
        bool, typer.Option("--charts", help="draw SVG charts into the run's folder, for its report.md")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="shorten to the limit of a GitHub job summary, worst cells first")
    ] = False,
    at_most: Annotated[
        int, typer.Option(min=8000, help="maximum bytes of a --summary; a GitHub issue takes 60000")
    ] = 1_000_000,
    report_dir: Annotated[Path, typer.Option(help="output folder for the merged run")] = _DEFAULTS.report_dir,
    model_dir: Annotated[Path, typer.Option(help="folder of model files")] = _DEFAULTS.model_dir,
    baseline_dir: Annotated[
        Path, typer.Option(help="folder of baselines, to judge shards by")
    ] = _DEFAULTS.baseline_dir,
    history: Annotated[
        str,
        typer.Option(help="folder of earlier runs, in which merged shards look up since when a cell is red"),
    ] = _DEFAULTS.history,
    as_json: Annotated[
        bool, typer.Option("--json", help="print report.json alone, also of merged shards; all else goes to stderr")
    ] = False,
) -> None:
    """Render a run's report (Markdown, HTML or charts), or merge the shards of one run.

    Given the folders of all shards of a run, merge them into one run folder, with the verdicts of an undivided run.

    Exit status: 0; of merged shards that of the whole run: 0 green, 1 a regression, 3 could not measure. 4 bad input,
    such as a missing shard.

    Example: quantbench report reports/latest --html report.html

    Example: quantbench report shards/*
    """
    from quantbench.records.run_folder import read
    from quantbench.report.formatting import headline
    from quantbench.report.github_summary import cut
    from quantbench.report.markdown import render

    given = runs or [report_dir / "latest"]
    first = read(given[0]) if len(given) == 1 else None
    if first is None or first[0].shard is not None:
        if html is not None or charts or summary:
            raise BadInput("--html, --charts and --summary: make one run of the shards first, then give its folder")
        options = RunOptions(report_dir=report_dir, model_dir=model_dir, baseline_dir=baseline_dir, history=history)
        _merge(given, options, as_json)
    loaded, folder = first
    if html is not None:
        _page(loaded, folder, html, model_dir)
    if charts:
        _charts(loaded, folder)
    if as_json:
        typer.echo(_screen.json_of(loaded))
    elif summary:
        typer.echo(cut(loaded, at_most), nl=False)
    elif html is None and not charts:
        typer.echo(f"{headline(loaded)}\n" if _screen.quiet() else render(loaded), nl=False)
    if not (summary or charts) and html is None:
        _annotate(loaded, model_dir)


def _annotate(loaded: "Report", model_dir: Path) -> None:
    """Print annotations where GitHub runs this, to standard error: standard output may go into the job's summary."""
    from quantbench.report.github_annotations import annotations, on_github

    if on_github(os.environ):
        own = {cell.model: model_dir / f"{cell.model}.py" for cell in loaded.cells}
        there = {name: path for name, path in own.items() if path.is_file()}
        for command in annotations(loaded, there, Path.cwd()):
            typer.echo(command, err=True)


def _charts(loaded: "Report", folder: Path) -> None:
    from quantbench.report import charts
    from quantbench.report.run_folder import write_markdown

    drawn = charts.write(folder, loaded)
    write_markdown(folder, loaded, drawn)
    _screen.progress(f"{len(drawn)} charts, shown in {folder / 'report.md'}")


def _quiet(_: str) -> None:
    """Say nothing."""


def _merge(runs: Sequence[Path], options: RunOptions, as_json: bool) -> NoReturn:
    from quantbench.engine.merge import merge
    from quantbench.engine.morning import check_history
    from quantbench.reference.model import load_models
    from quantbench.report.formatting import headline
    from quantbench.report.terminal import summary

    check_history(options)
    whole, folder = merge(runs, load_models(options.model_dir), options, _quiet if as_json else _screen.progress)
    _annotate(whole, options.model_dir)
    if as_json:
        typer.echo(_screen.json_of(whole))
    else:
        typer.echo(headline(whole) if _screen.quiet() else summary(whole, folder, _screen.verbose()))
    raise typer.Exit(whole.exit_status)


def _page(loaded: "Report", folder: Path, file: Path, model_dir: Path) -> None:
    from quantbench.reference.model import load_models
    from quantbench.report.html.page import write

    files.check_named(file, "--html")
    try:
        models = load_models(model_dir)
    except BadInput as error:
        models = {}
        typer.echo(f"no pictures: {error}", err=True)
    try:
        with full_disk_named(file.parent):
            write(file, loaded, folder, models)
    except OSError as error:
        raise BadInput(f"--html: cannot write {file}: {error.strerror}; give another file") from None
    _screen.progress(f"page: {file}")
