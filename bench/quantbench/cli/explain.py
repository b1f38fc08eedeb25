"""Define the command ``explain``: where an artifact's error comes from."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench import files
from quantbench.cli._common import DEFAULTS, LATEST, BaselineDir, ModelDir
from quantbench.errors import BadInput


def explain(
    cell: Annotated[str, typer.Argument(metavar="CELL|FILE", help="MODEL/VARIANT of a run, or a .tflite file")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="an accepted artifact; of a FILE also its float model (.tflite)"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="of a FILE: examples as the model takes them, array x")
    ] = None,
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
    artifact where the cache still has it.

    Example: quantbench explain vit_tiny/ptq_static_wi8_ai8 --run reports/latest
    """
    from quantbench.engine import explain as explaining
    from quantbench.records import json_text
    from quantbench.records.run_folder import read
    from quantbench.report.attribution import screen

    if cell.endswith(".tflite") or Path(cell).is_file():
        if against is None or data is None:
            raise BadInput(f"{cell}: a file is compared with another one; give --against FILE.tflite and --data x.npz")
        found = explaining.of_files(Path(cell), against, explaining.examples_of(data, against))
    else:
        if data is not None:
            raise BadInput(f"--data: {cell} is a cell, which has its model's data; leave it out")
        report, folder = read(run)
        found = explaining.of_cell(report, folder, cell, model_dir, baseline_dir, against)
    if html is not None:
        from quantbench.report.html.causes import page

        files.write_named(html, page(found), "--html")
    if node_data is not None:
        from quantbench.report.node_data import text

        files.write_named(node_data, text(found), "--node-data")
    typer.echo(json_text(found.model_dump(mode="json")) if as_json else screen(found))
