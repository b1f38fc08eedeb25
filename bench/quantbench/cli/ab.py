"""The command ``ab``: what another set of packages does to every cell."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.core.options import RunOptions, check_cache_size
from quantbench.errors import BadInput

_DEFAULTS = RunOptions()
_Requirements = list[str]


def ab(
    context: typer.Context,
    old: Annotated[_Requirements, typer.Option(help="requirement or wheel of one side; repeat it for several")],
    new: Annotated[_Requirements, typer.Option(help="of the other side, e.g. tf-nightly")],
    override: Annotated[
        _Requirements, typer.Option(help="requirement of both sides that replaces what other packages ask for")
    ] = [],  # noqa: B006 - the command line library copies it
    model_dir: Annotated[Path, typer.Option(help="folder of model files")] = _DEFAULTS.model_dir,
    report_dir: Annotated[Path, typer.Option(help="folder that gets a folder ab-TIME")] = _DEFAULTS.report_dir,
    latency_budget: Annotated[float, typer.Option(help="seconds of timing a cell; 0: time nothing")] = 3.0,
    time_all: Annotated[
        bool, typer.Option("--time-all", help="time every cell, not only those that the pull-request gate times")
    ] = False,
    cache_size: Annotated[
        float, typer.Option(help="GB that stored cells and environments may take together; 0: any")
    ] = _DEFAULTS.cache_size,
) -> None:
    """Build every cell with two sets of packages from the same weights, and compare: what would an upgrade do.

    Makes two throw-away environments with uv (kept by what they resolved to, as long as --cache-size has room).
    Anything not listed goes to both runs: -m, --models, --variants, --seeds, --workers, ... A nightly replaces the
    release that it stands for, tf-keras too.

    A cell or measurement that the new side no longer has is worse.

    Exit status: 0 nothing is worse, 1 something is, 3 nothing could be compared or the new run is not complete, 4 bad
    input.

    Example: quantbench ab --old "tensorflow==2.20.*" --new "tensorflow==2.21.*" -m "not nightly"
    """
    from quantbench.ab.check import check
    from quantbench.ab.environments import side
    from quantbench.ab.report import render
    from quantbench.ab.result import Asked

    if not 0 <= latency_budget < float("inf"):
        raise BadInput(f"--latency-budget: expected a number of at least 0, found {latency_budget}")
    check_cache_size(cache_size)
    sides = (side("--old", old, override), side("--new", new, override))
    arguments = (*context.args, f"--cache-size={cache_size}")
    asked = Asked(*sides, arguments, model_dir, report_dir, latency_budget, time_all, cache_size)
    found = check(asked, lambda line: typer.echo(line, err=True))
    typer.echo(render(found), nl=False)
    typer.echo(f"report: {found.folder}", err=True)
    raise typer.Exit(int(found.comparison.exit_status()))
