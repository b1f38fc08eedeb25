"""Define the command ``export``: write an artifact of a run to a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantbench import files
from quantbench.cli import _screen
from quantbench.cli._common import LATEST
from quantbench.errors import BadInput

if TYPE_CHECKING:
    from quantbench.records import Report


def export(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_float16; of `try` the variant is enough")] = "",
    run: Annotated[Path, typer.Option(help="run folder, or its report.json")] = LATEST,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file to write (default: VARIANT.tflite); with --red a folder")
    ] = None,
    red: Annotated[bool, typer.Option("--red", help="every cell that is not green, as MODEL/VARIANT.tflite")] = False,
) -> None:
    """Write the .tflite of any cell of a run to a file, from the run's folder or the cache.

    Example: quantbench export ptq_static_wi8_ai8 --run reports/latest -o model.tflite
    """
    from quantbench.engine.artifacts import find
    from quantbench.records.run_folder import read

    report, folder = read(run)
    if bool(cell) == red:
        raise BadInput("give a cell such as seed_cnn/ptq_float16, or --red for every cell that is not green")
    if red:
        _export_red(report, folder, output or Path("red"))
        return
    found, content = find(report, folder, cell)
    target = output or Path(f"{found.variant}.tflite")
    if target.is_dir():
        target = target / f"{found.variant}.tflite"
    if not target.parent.is_dir():
        raise BadInput(f"--output: {target.parent} is no folder; make it first, or give another file")
    if target.exists() and target.read_bytes() != content:
        raise BadInput(f"--output: {target} exists and holds something else; remove it first, or give another file")
    files.write_named(target, content, "--output")
    _screen.progress(f"wrote {target}: {found.id}, {len(content):,} bytes, sha256 {found.artifact_sha256}")


def _export_red(report: "Report", folder: Path, target: Path) -> None:
    """Write the artifact of each red cell, and say which have none."""
    from quantbench.engine.artifacts import red

    cells = red(report, folder)
    if not cells:
        typer.echo("no cell is red: nothing to write")
        return
    for cell, content in cells:
        if content is None:
            typer.echo(f"no artifact of {cell.id}: {cell.failure.reason if cell.failure else 'it is gone'}")
            continue
        path = target / cell.model / f"{cell.variant}.tflite"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"--output: cannot make {path.parent}: {error.strerror}; give another folder") from None
        files.write_named(path, content, "--output")
    typer.echo(f"{sum(content is not None for _, content in cells)} of {len(cells)} red cells written to {target}")
