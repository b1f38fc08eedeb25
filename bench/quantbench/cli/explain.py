"""Define the command ``explain``: where an artifact's error comes from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantbench import files
from quantbench.cli._common import DEFAULTS, LATEST, BaselineDir, ModelDir
from quantbench.errors import BadInput

if TYPE_CHECKING:
    from quantbench.records import Attribution


def explain(
    cell: Annotated[str, typer.Argument(metavar="CELL|FILE", help="MODEL/VARIANT of a run, or a .tflite file")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="an accepted artifact; of a FILE also its float model (.tflite)"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="of a FILE: examples as the model takes them, array x")
    ] = None,
    times: Annotated[
        bool, typer.Option("--time", help="where the time goes, operator by operator, instead of the error")
    ] = False,
    run: Annotated[Path, typer.Option(metavar="RUN", help="run folder, or its report.json")] = LATEST,
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
    html: Annotated[
        Path | None, typer.Option("--html", help="also write an HTML page with charts to this file")
    ] = None,
    node_data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="also write the errors as node data for Model Explorer to this file"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
) -> None:
    """Show which operators an artifact's error comes from, proved by repairing the suspects one at a time.

    The cell is compared with float32 of the same run, operator by operator on the same examples, and with the accepted
    artifact where the cache still has it. With --time, both are timed in turns by LiteRT's own profiler.

    Example: quantbench explain vit_tiny/ptq_static_wi8_ai8 --run reports/latest
    """
    from quantbench.engine import explain as explaining
    from quantbench.engine import explain_time
    from quantbench.records import Attribution, OperatorTimes, json_text
    from quantbench.records.run_folder import read
    from quantbench.report import attribution, operator_times

    if times and (html is not None or node_data is not None):
        raise BadInput("--time: the page and the node data show errors, not times; leave out --html and --node-data")
    found: Attribution | OperatorTimes
    if cell.endswith(".tflite") or Path(cell).is_file():
        if against is None or data is None:
            raise BadInput(f"{cell}: a file is compared with another one; give --against FILE.tflite and --data x.npz")
        of_files = explain_time.of_files if times else explaining.of_files
        found = of_files(Path(cell), against, explaining.examples_of(data, against))
    else:
        if data is not None:
            raise BadInput(f"--data: {cell} is a cell, which has its model's data; leave it out")
        report, folder = read(run)
        of_cell = explain_time.of_cell if times else explaining.of_cell
        found = of_cell(report, folder, cell, model_dir, baseline_dir, against)
    if isinstance(found, Attribution):
        _write(found, html, node_data)
    if as_json:
        typer.echo(json_text(found.model_dump(mode="json")))
    else:
        typer.echo(attribution.screen(found) if isinstance(found, Attribution) else operator_times.screen(found))


def _write(found: "Attribution", html: Path | None, node_data: Path | None) -> None:
    """Write the files that were asked for."""
    if html is not None:
        from quantbench.report.html.causes import page

        files.write_named(html, page(found), "--html")
    if node_data is not None:
        from quantbench.report.node_data import text

        files.write_named(node_data, text(found), "--node-data")
