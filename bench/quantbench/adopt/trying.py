"""Try a model in one call, as a library: :func:`try_model`."""

import os
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.adopt import limits
from quantbench.adopt.commands import Tried, tried
from quantbench.adopt.understand import Given
from quantbench.core import arguments
from quantbench.core.arguments import Names
from quantbench.core.arrays import Array
from quantbench.core.config import settings_at
from quantbench.core.output import output_to
from quantbench.core.signals import forget
from quantbench.engine.progress import Lines
from quantbench.errors import BadInput
from quantbench.records import Preference


def try_model(
    model: Any,
    data: str | PathLike[str] | tuple[Array, Array] | None = None,
    *,
    calibration: str | PathLike[str] | Array | None = None,
    train_data: str | PathLike[str] | tuple[Array, Array] | None = None,
    metric: str = "",
    output: str = "",
    labels: str = "",
    max_drop: str | float | Sequence[str | float] | None = None,
    variants: Names = "",
    everything: bool = False,
    prefer: Preference = "balanced",
    target: str = "",
    report_dir: Path | str | None = None,
    latency_budget: float | None = None,
    allow_code: bool = False,
    config: Path | str | None = None,
) -> Tried:
    """Quantize a model with the schemes that an expert would try first, and recommend one; prints nothing.

    Worker processes are spawned, so a script calls this under ``if __name__ == "__main__":``. What is None comes from
    the repository's config, or is the command's default.

    Args:
        model: a saved model (.keras, .h5, a SavedModel folder, float .tflite), ``file.py:NAME``, or a Keras model.
        data: examples with labels to evaluate on: a file or folder as ``quantbench try`` takes it, or arrays
            ``(x, y)``.
        calibration: examples to find ranges with, never those of ``data``; an array is ``x``.
        train_data: examples with labels to fine-tune on.
        metric, output, labels: as the options of ``quantbench try``; worked out where empty.
        max_drop: largest drop that may be shipped: 0.5, ``"0.5pp"``, ``"2%"``, or one of each output.
        variants: names to try, comma-separated or a list, instead of the shortlist.
        everything: whether to try all variants.
        prefer: what to choose by within the limit: size, latency or balanced.
        target: what will be shipped to: ``"tflm"`` for TFLite-Micro; a machine like this one where empty.
        report_dir: output folder; the run gets a subfolder.
        latency_budget: seconds of timing per variant; 0 = no timing.
        allow_code: whether Lambda layers may run code from the file.
        config: folder from which a config file is looked for, upward, or such a file; the working directory where None.

    Raises:
        BadInput: an argument, the model or the data is wrong.
        KeyboardInterrupt: it was stopped before there was anything to report.
        DiskFull: no space is left.
    """
    arguments.check(bool, everything=everything, allow_code=allow_code)
    arguments.check(float, latency_budget=latency_budget)
    arguments.check(str, metric=metric, output=output, labels=labels, target=target)
    chosen = arguments.names(variants, "variants") or ""
    reports = arguments.optional_path(report_dir, "report_dir")
    settings = settings_at(config)
    asked = settings["max_drop"] if max_drop is None else max_drop
    given_limits = [asked] if isinstance(asked, str | float | int) else [] if asked is None else asked
    if not isinstance(given_limits, list | tuple):
        raise BadInput(f'max_drop: expected a number, text such as "0.5pp", or a list of them, found {asked!r}')
    limit = limits.parse([str(each) for each in given_limits])
    forget()
    with tempfile.TemporaryDirectory(prefix="quantbench-try-") as aside, settings.cache_in_force():
        place = Path(aside)
        given = Given(
            _model_file(model, place),
            _examples_file(data, place, "data"),
            _examples_file(calibration, place, "calibration"),
            _examples_file(train_data, place, "train_data"),
            metric,
            limit,
            allow_code,
            output,
            labels,
        )
        folder = place / "model"
        folder.mkdir()
        return tried(
            given,
            folder,
            chosen,
            settings["report_dir"] if reports is None else reports,
            settings["latency_budget"] if latency_budget is None else latency_budget,
            lambda _: None,
            prefer,
            everything,
            Lines,
            target,
        )


def _model_file(model: Any, folder: Path) -> str:
    """Return the file of a model; a Keras model is saved into the folder. Raises BadInput."""
    if isinstance(model, str | PathLike):
        return os.fspath(model)
    if not callable(getattr(model, "save", None)):
        raise BadInput(f"model: expected a path, file.py:NAME or a Keras model, found {type(model).__name__}")
    # Keras 2 (tf_keras) writes this ending in a format that Keras 3 cannot read; its own loader tells the two apart.
    file = folder / "model.keras"
    with output_to(folder / "saving.log"):
        model.save(file)
    return str(file)


def _examples_file(examples: Any, folder: Path, argument: str) -> Path | None:
    """Return the file of examples; arrays are saved into the folder. Raises BadInput."""
    if examples is None or isinstance(examples, str | PathLike):
        return None if examples is None else Path(examples)
    arrays = {"x": examples} if isinstance(examples, np.ndarray) else None
    if isinstance(examples, tuple) and len(examples) == 2:
        arrays = dict(zip(("x", "y"), examples, strict=True))
    if arrays is None:
        raise BadInput(
            f"{argument}: expected a file, a folder, or arrays (x, y), found {type(examples).__name__}; save "
            "other forms as .npz with x and y"
        )
    file = folder / f"{argument}.npz"
    np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    return file
