"""Define the commands for a model of the user's own: ``try``, ``adopt``."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli import _screen
from quantbench.cli._common import BaselineDir, ModelDir, RunEnded

ModelArgument = Annotated[str, typer.Argument(help="a .keras, .h5, SavedModel folder, float .tflite, or file.py:NAME")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="examples to evaluate on: an .npz or a folder of .npy files with x (or x_<input name>) and y, a folder of "
        "images with a folder a class, or file.py:NAME, an iterable of (x, y): code that runs as you do"
    ),
]
Calibration = Annotated[
    Path | None, typer.Option(help="examples to find ranges with, in any of these forms; never evaluation data")
]
TrainData = Annotated[
    Path | None, typer.Option(help="examples with labels to fine-tune on (QAT), in any of these forms")
]
MetricName = Annotated[
    str,
    typer.Option(
        help="accuracy, top5, auc, file.py:NAME, ... (default: worked out); OUTPUT=METRIC,... for several outputs"
    ),
]
OutputName = Annotated[str, typer.Option("--output", help="output that y has the labels of (default: worked out)")]
LabelForm = Annotated[
    str,
    typer.Option("--labels", help="classes, one-hot, flags, values, positions or normal:N (default: worked out)"),
]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        help="largest drop that may be shipped: 0.5 (in the metric's unit), 0.5pp, 2% (of the float score, or of the "
        "labels' spread), or OUTPUT=0.5pp for each of several outputs (default: 0.5pp, or 1% of the labels' spread)"
    ),
]
Prefer = Annotated[
    str, typer.Option(help="what to choose by within the limit: size, latency, or balanced (size × time)")
]
Target = Annotated[
    str,
    typer.Option(help="what to ship to: tflm (TFLite-Micro), which chooses by arena and size (default: this machine)"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the advice alone, as JSON; everything else goes to stderr")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="load Lambda layers, which run code from the file")]


def try_model(
    model: ModelArgument,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    output: OutputName = "",
    labels: LabelForm = "",
    max_drop: MaxDrop = None,
    variants: Annotated[str, typer.Option(help="comma-separated variants (default: a shortlist of about 8)")] = "",
    everything: Annotated[bool, typer.Option("--all", help="try every variant; takes a few minutes")] = False,
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per variant; 0 = no timing")] = 3.0,
    prefer: Prefer = "balanced",
    target: Target = "",
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Quantize your own model with the schemes that an expert would try first, and recommend a variant to ship.

    A .py model, and examples from file.py:NAME, are code that runs as you do: give only files that you trust.

    Exit status: 0 a variant or float32 is recommended; 3 nothing could be made or scored, and the last line says why;
    2 interrupted, 4 bad input, 6 disk full.

    Example: quantbench try my.keras --data eval.npz --calibration some_training_inputs.npz --max-drop 0.5
    """
    import dataclasses
    import tempfile

    from quantbench.adopt import limits
    from quantbench.adopt.commands import Shown, try_once
    from quantbench.adopt.understand import Given

    given = Given(
        model, data, calibration, train_data, metric, limits.parse(max_drop or []), allow_code, output, labels
    )
    with (
        _screen.answer_alone(as_json) as answer,
        tempfile.TemporaryDirectory(prefix="quantbench-try-") as folder,
    ):
        shown = Shown.on(_screen.progress, _screen.progress, as_json)
        shown = dataclasses.replace(shown, answer=lambda text: answer(text if as_json else _screen.last(text)))
        status = try_once(given, Path(folder), variants, report_dir, latency_budget, shown, prefer, everything, target)
    raise RunEnded(int(status))


def adopt(
    model: ModelArgument,
    model_dir: ModelDir,
    baseline_dir: BaselineDir,
    name: Annotated[str, typer.Option(help="name of the new reference model")] = "",
    update: Annotated[
        str, typer.Option(help="name of an adopted model that this one replaces: retrained, changed, or gated anew")
    ] = "",
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    output: OutputName = "",
    labels: LabelForm = "",
    max_drop: MaxDrop = None,
    gate: Annotated[
        str, typer.Option(help="comma-separated variants to gate (default: float32 and what `try` recommends)")
    ] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="gate the mixed artifact of this recipe, which `quantbench tune` wrote"),
    ] = None,
    artifact: Annotated[
        list[str] | None,
        typer.Option(help="gate this .tflite too, which another tool builds; it is read anew in each run"),
    ] = None,
    spec: Annotated[
        list[str] | None,
        typer.Option(help="how an artifact has to be quantized: int8, int8-io, dynamic, float16, ... (see `judge`)"),
    ] = None,
    vela_report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="summary that Arm's Vela writes of a compiled artifact; it is read again in each run",
        ),
    ] = None,
    new_data: Annotated[
        bool, typer.Option("--new-data", help="with --update: measure the previous model on other evaluation data too")
    ] = False,
    accept: Annotated[
        str, typer.Option(help="why what got worse with --update, or an artifact that breaks its --spec, is accepted")
    ] = "",
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per variant; 0 = no timing")] = 3.0,
    allow_code: AllowCode = False,
) -> None:
    """Turn a model of your own into a gated reference model in folders of your own, with its first baseline.

    Afterwards: quantbench run --model-dir DIR --baseline-dir DIR

    A retrained model takes the place of the adopted one with --update NAME: both are compared on the same examples, and
    the baseline keeps its history. Data that is not given stays as it was.

    Example: quantbench adopt my.keras --name my --data eval.npz --model-dir models --baseline-dir baselines
    """
    from quantbench.adopt import artifacts, limits
    from quantbench.adopt.gating import Folders, adopt_for_good
    from quantbench.adopt.understand import Given
    from quantbench.adopt.updating import Asked, update_for_good
    from quantbench.errors import BadInput

    if bool(name) == bool(update):
        raise BadInput("give --name for a new model, or --update with the name of an adopted one, and not both")
    if new_data and not update:
        raise BadInput("--new-data: goes with --update NAME; leave it out")
    if accept and not (update or spec):
        raise BadInput("--accept: goes with --update NAME, or with --spec; leave it out")
    limit = limits.parse(max_drop or [])
    given = Given(model, data, calibration, train_data, metric, limit, allow_code, output, labels)
    own = artifacts.parse(artifact or [], spec or [], vela_report or [])
    folders = Folders(model_dir, baseline_dir, report_dir)
    if update:
        asked = Asked(update, gate, new_data, accept, limit if max_drop else None, latency_budget, recipe, own)
        raise RunEnded(int(update_for_good(given, asked, folders, _screen.progress)))
    raise RunEnded(
        int(adopt_for_good(given, name, folders, gate, latency_budget, _screen.progress, recipe, own, accept))
    )
