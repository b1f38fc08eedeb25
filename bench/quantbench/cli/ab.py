"""Define the command ``ab``: preview an upgrade."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.core.options import RunOptions, check_cache_size
from quantbench.errors import BadInput

_DEFAULTS = RunOptions()
_Requirements = list[str]


def ab(
    context: typer.Context,
    old: Annotated[_Requirements, typer.Option(help="requirement or wheel for the old side; repeatable")],
    new: Annotated[_Requirements, typer.Option(help="requirement or wheel for the new side, e.g. tf-nightly")],
    override: Annotated[
        _Requirements, typer.Option(help="requirement for both sides that overrides those of other packages")
    ] = [],  # noqa: B006 - the command line library copies it
    model_dir: Annotated[Path, typer.Option(help="folder of model files")] = _DEFAULTS.model_dir,
    report_dir: Annotated[Path, typer.Option(help="output folder; gets a subfolder ab-TIME")] = _DEFAULTS.report_dir,
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per cell; 0 = no timing")] = 3.0,
    time_all: Annotated[
        bool, typer.Option("--time-all", help="time every cell, not only those that the pull-request gate times")
    ] = False,
    cache_size: Annotated[
        float, typer.Option(help="maximum size of cached cells and environments in GB; 0 = unlimited")
    ] = _DEFAULTS.cache_size,
) -> None:
    """Preview an upgrade: build everything with two package sets from the same weights, and compare.

    Creates two temporary environments with uv, cached by their resolved packages within --cache-size.
    Other options are passed to both runs: -m, --models, --variants, --seeds, --workers, ... A nightly replaces the
    matching release, also of tf-keras.

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
    result = check(asked, _screen.say)
    _screen.document(render(result))
    _screen.say(f"report: {result.folder}")
    raise typer.Exit(int(result.comparison.exit_status()))
