"""Define the commands for a model of the user's own: ``try``, ``adopt``."""

from pathlib import Path
from typing import Annotated

import typer

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
MetricName = Annotated[str, typer.Option(help="accuracy, top5, auc, mean_absolute_error, ...; worked out if not given")]
MaxDrop = Annotated[
    float, typer.Option(help="largest drop that may be shipped, in the metric's unit (pp for accuracy)")
]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="load Lambda layers, which run code from the file")]


def try_model(
    model: ModelArgument,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    max_drop: MaxDrop = 0.5,
    variants: Annotated[str, typer.Option(help="comma-separated variants (default: all)")] = "",
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per variant; 0 = no timing")] = 3.0,
    allow_code: AllowCode = False,
) -> None:
    """Quantize your own model with every scheme, and recommend a variant to ship.

    A .py model, and examples from file.py:NAME, are code that runs as you do: give only files that you trust.

    Example: quantbench try my.keras --data eval.npz --calibration some_training_inputs.npz --max-drop 0.5
    """
    import tempfile

    from quantbench.adopt.commands import try_once
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, max_drop, allow_code)
    with tempfile.TemporaryDirectory(prefix="quantbench-try-") as folder:
        status = try_once(given, Path(folder), variants, report_dir, latency_budget, typer.echo)
    raise RunEnded(int(status))


def adopt(
    model: ModelArgument,
    name: Annotated[str, typer.Option(help="name of the new reference model")],
    model_dir: ModelDir,
    baseline_dir: BaselineDir,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    max_drop: MaxDrop = 0.5,
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    allow_code: AllowCode = False,
) -> None:
    """Turn a model of your own into a gated reference model in folders of your own, with its first baseline.

    Afterwards: quantbench run --model-dir DIR --baseline-dir DIR

    Example: quantbench adopt my.keras --name my --data eval.npz --model-dir models --baseline-dir baselines
    """
    from quantbench.adopt.commands import adopt_for_good
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, max_drop, allow_code)
    raise RunEnded(int(adopt_for_good(given, name, model_dir, baseline_dir, report_dir, typer.echo)))
