"""Define the command ``export``: write an artifact of a run to a file."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench import files
from quantbench.cli import _screen
from quantbench.cli._common import LATEST
from quantbench.errors import BadInput


def export(
    cell: Annotated[str, typer.Argument(help="a cell, e.g. seed_cnn/ptq_float16; of `try` the variant is enough")],
    run: Annotated[Path, typer.Option(help="run folder, or its report.json")] = LATEST,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file to write (default: VARIANT.tflite)")
    ] = None,
) -> None:
    """Write the .tflite of any cell of a run to a file, from the run's folder or the cache.

    Example: quantbench export ptq_static_wi8_ai8 --run reports/latest -o model.tflite
    """
    from quantbench.engine.artifacts import find
    from quantbench.records.run_folder import read

    report, folder = read(run)
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
