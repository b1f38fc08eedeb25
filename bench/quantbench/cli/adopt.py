"""Define the commands for a model of the user's own: ``try``, ``adopt``."""

from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli._common import BaselineDir, ModelDir, RunEnded

ModelArgument = Annotated[str, typer.Argument(help="a .keras, .h5, SavedModel folder, float .tflite, or file.py:NAME")]
Data = Annotated[Path | None, typer.Option(help=".npz to evaluate on: x (or x_<input name>) and y")]
Calibration = Annotated[Path | None, typer.Option(help=".npz with x to find ranges with; never evaluation data")]
TrainData = Annotated[Path | None, typer.Option(help=".npz with x and y to fine-tune on (QAT)")]
MetricName = Annotated[str, typer.Option(help="accuracy, top5, auc, mean_absolute_error, ...; worked out if not given")]
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
AsJson = Annotated[bool, typer.Option("--json", help="print the advice alone, as JSON; everything else goes to stderr")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="load Lambda layers, which run code from the file")]


def try_model(
    model: ModelArgument,
    data: Data = None,
    calibration: Calibration = None,
    train_data: TrainData = None,
    metric: MetricName = "",
    max_drop: MaxDrop = None,
    variants: Annotated[str, typer.Option(help="comma-separated variants (default: all)")] = "",
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    latency_budget: Annotated[float, typer.Option(help="seconds of timing per variant; 0 = no timing")] = 3.0,
    prefer: Prefer = "balanced",
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Quantize your own model with every scheme, and recommend a variant to ship.

    A .py model is code that runs as you do: give only files that you trust.

    Exit status: 0 a variant or float32 is recommended; 3 nothing could be made or scored, and the last line says why;
    2 interrupted, 4 bad input, 6 disk full.

    Example: quantbench try my.keras --data eval.npz --calibration some_training_inputs.npz --max-drop 0.5
    """
    import tempfile

    from quantbench.adopt import limits
    from quantbench.adopt.commands import Shown, try_once
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, limits.parse(max_drop or []), allow_code)
    shown = Shown.on(typer.echo, lambda words: typer.echo(words, err=True), as_json)
    with tempfile.TemporaryDirectory(prefix="quantbench-try-") as folder:
        status = try_once(given, Path(folder), variants, report_dir, latency_budget, shown, prefer)
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
    max_drop: MaxDrop = None,
    report_dir: Annotated[
        Path, typer.Option(help="output folder; each run gets a subfolder, `latest` links to the newest")
    ] = Path("reports"),
    allow_code: AllowCode = False,
) -> None:
    """Turn a model of your own into a gated reference model in folders of your own, with its first baseline.

    Afterwards: quantbench run --model-dir DIR --baseline-dir DIR

    Example: quantbench adopt my.keras --name my --data eval.npz --model-dir models --baseline-dir baselines
    """
    from quantbench.adopt import limits
    from quantbench.adopt.commands import adopt_for_good
    from quantbench.adopt.understand import Given

    given = Given(model, data, calibration, train_data, metric, limits.parse(max_drop or []), allow_code)
    raise RunEnded(int(adopt_for_good(given, name, model_dir, baseline_dir, report_dir, typer.echo)))
