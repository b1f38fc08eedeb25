"""Define the command ``answers``: whether a target answers as this machine does."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.cli._common import DEFAULTS, LATEST, SETTINGS, BaselineDir, ModelDir, RunEnded
from quantbench.errors import BadInput


def answers(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="run folder, or its report.json")] = LATEST,
    target: Annotated[str, typer.Option(help="where the artifacts run")] = "qemu-aarch64",
    cells: Annotated[str, typer.Option(help="comma-separated cells of the run (default: all)")] = "",
    accept: Annotated[str, typer.Option(help="accept the target's answers as its baseline, with this reason")] = "",
    where_possible: Annotated[
        bool, typer.Option("--where-possible", help="only say so where an emulated target cannot be had here")
    ] = False,
    model_dir: ModelDir = DEFAULTS.model_dir,
    baseline_dir: BaselineDir = DEFAULTS.baseline_dir,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Check that a target answers as this machine does: the first test examples, with the artifacts of a run.

    Answers are compared in pairs with this machine's and with the accepted ones of the target. Times are not judged.

    Exit status: as of a run; with --where-possible 0 where an emulated target cannot be had.

    Example: quantbench answers reports/latest --target qemu-aarch64
    """
    from quantbench.baselines.update import check_length
    from quantbench.build.store import Store, default_root
    from quantbench.core.targets import of_option
    from quantbench.engine.target_answers import compare
    from quantbench.records.run_folder import read
    from quantbench.reference.model import load_models
    from quantbench.report.target_answers import screen
    from quantbench.targets.failures import TargetFailed
    from quantbench.targets.runner import Runner

    check_length("--accept", accept.strip())
    chosen = of_option(target, context.meta[SETTINGS].targets)
    if len(chosen) != 1:
        raise BadInput(f"--target: expected one target, found {target!r}; ask one after the other")
    report, folder = read(run)
    runner = Runner(chosen[0], Store(default_root()))
    try:
        runner.connect()
        only = [cell.strip() for cell in cells.split(",") if cell.strip()]
        found, take = compare(report, folder, runner, load_models(model_dir), baseline_dir, _screen.say, only)
    except TargetFailed as failed:
        if not where_possible or failed.code != "not-here":
            raise BadInput(f"--target: {chosen[0].name}: {failed}") from None
        typer.echo(f"{chosen[0].name}: not compared: {failed}")
        return
    finally:
        runner.close()
    typer.echo(_screen.json_of(found) if as_json else screen(found, _screen.quiet()))
    if accept:
        typer.echo(f"accepted: {', '.join(map(str, take(accept)))}", err=as_json)
        return
    raise RunEnded(found.exit_status)
