"""Define the command ``tune``: the smallest mixed artifact within a limit."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.cli._common import DEFAULTS, ModelDir, RunEnded
from quantbench.cli.adopt import (
    AllowCode,
    AsJson,
    Calibration,
    Data,
    LabelForm,
    MaxDrop,
    MetricName,
    OutputName,
)

_MODEL = "a .keras, .h5, SavedModel folder, float .tflite, file.py:NAME, or the name of a reference model"


def tune(
    model: Annotated[str, typer.Argument(help=_MODEL)],
    data: Data = None,
    calibration: Calibration = None,
    metric: MetricName = "",
    output: OutputName = "",
    labels: LabelForm = "",
    max_drop: MaxDrop = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="make the artifact of this recipe again instead of searching")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="seconds of search, besides the fixed variants and the judging")
    ] = 75.0,
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    model_dir: ModelDir = DEFAULTS.model_dir,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Find the smallest artifact within a limit whose operators are quantized each in its own way.

    A third of the examples are searched on; the rest, which the search never sees, judge what it found. The best so far
    is in the run's folder at any time, with a recipe that makes it again. An interruption leaves it there.

    Exit status: 0 an artifact is within the limit; 3 none is, or nothing could be scored; 2 interrupted, 4 bad input,
    6 disk full; with --recipe 1 where the artifact could not be shown to be within.

    Example: quantbench tune my.keras --data eval.npz --max-drop 0.5
    """
    import tempfile

    from quantbench.adopt import limits, rebuilding, tuning
    from quantbench.adopt.understand import Given
    from quantbench.errors import BadInput
    from quantbench.records import read_recipe
    from quantbench.report.tuning import screen

    if recipe is not None and as_json:
        raise BadInput("--json: goes with a search, and not with --recipe; leave it out")
    held = read_recipe(recipe) if recipe is not None else None
    named = _named(model, model_dir)
    given = Given(named, data, calibration, None, metric, limits.parse(max_drop or []), allow_code, output, labels)
    with (
        _screen.answer_alone(as_json) as answer,
        tempfile.TemporaryDirectory(prefix="quantbench-tune-") as place,
    ):
        folder = Path(place)
        if held is not None and recipe is not None:
            status, words = rebuilding.rebuild(given, held, recipe, folder, report_dir, _screen.progress)
            answer(words)
            raise RunEnded(int(status))
        status, found = tuning.tune(given, folder, report_dir, seconds, _screen.progress)
        if found is not None:
            answer(_screen.json_of(found) if as_json else screen(found))
    raise RunEnded(int(status))


def _named(model: str, model_dir: Path) -> str:
    """Return the file and name of a reference model that is named; anything else as it is."""
    from quantbench.reference.model import load_models

    if "/" in model or "." in model or Path(model).exists() or not model_dir.is_dir():
        return model
    known = load_models(model_dir)
    return f"{known[model].file}:{model}" if model in known else model
