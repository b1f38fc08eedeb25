"""Use a metric of the user's own: a function in a Python file, which is code that the user trusts.

    def score(predictions, labels):
        return value, losses

``predictions`` are the float32 values of the scored output, shape (n, ...) as the model gives them; ``labels`` are the
array ``y`` as it is in the data. ``value`` is one finite number. ``losses`` are n finite numbers, a loss per example,
whose mean is larger where the value is worse: by them two artifacts are compared example by example. Both may be called
with some of the examples alone. A value is an error (lower is better), unless the function says otherwise:

    score.higher_is_better = True
    score.unit = "m"          # default: units
    score.scale = 100         # from value to unit, default 1
"""

import hashlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.errors import BadInput
from quantbench.reference.metrics.metric import Metric, first_output

_PARTS, _PART_EXAMPLES = 20, 500
_OPPOSED = 0.8  # a correlation: a metric that is no mean of its losses follows them less closely
PROTOCOL = "NAME(predictions, labels) returns (value, losses): a finite number, and a loss for each example"


def is_own(metric: str) -> bool:
    """Check whether ``--metric`` names a function in a Python file."""
    return ".py:" in metric or metric.endswith(".py")


def parts(metric: str) -> tuple[Path, str]:
    """Split ``file.py:NAME``. Raises BadInput."""
    file, _, name = metric.rpartition(":") if ".py:" in metric else (metric, "", "")
    if not name.isidentifier():
        raise BadInput(f"--metric: expected file.py:NAME with the name of a function, found {metric!r}")
    return Path(file), name


def from_file(beside: str | Path, file: str, name: str, shape: tuple[int, ...] = (), sha256: str = "") -> Metric:
    """Return the metric that a function of a Python file defines.

    Args:
        beside: a file, such as a model's own, whose folder ``file`` is relative to.
        shape: of one example's scored output, which stored predictions have lost; empty: one row of values.
        sha256: of the file; empty: any.

    Raises:
        BadInput: no such file or function, or the file has changed or cannot be imported.
    """
    path = Path(beside).parent / file
    function, found = _function(path, name)
    if sha256 and found != sha256:
        raise BadInput(
            f"{path}: the metric has sha256 {found[:12]}…, expected {sha256[:12]}…; restore the file, or record the "
            "new hash in the model's file if the change is meant"
        )
    unit, scale = str(getattr(function, "unit", "units")), getattr(function, "scale", 1)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not (math.isfinite(scale) and scale > 0):
        raise BadInput(f"--metric: {path}: {name}.scale: expected a number above 0, found {scale!r}")

    def value(predictions: Array, labels: Array) -> float:
        return called(function, predictions.reshape(len(predictions), *(shape or (-1,))), labels)[0]

    def losses(predictions: Array, labels: Array) -> Array:
        return called(function, predictions.reshape(len(predictions), *(shape or (-1,))), labels)[1]

    return Metric(
        f"{path.stem}:{name}",
        bool(getattr(function, "higher_is_better", False)),
        unit,
        float(scale),
        "continuous",
        row_of_output,
        value,
        losses=losses,
        takes="any",
    )


def row_of_output(outputs: Inputs, _inputs: Inputs) -> Array:
    """Flatten the scored output of each example, shape (n, values)."""
    first = first_output(outputs)
    return np.asarray(first.reshape(len(first), -1).astype(np.float32))


def _function(path: Path, name: str) -> tuple[Callable[..., Any], str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"--metric: {path}: cannot be read ({error.strerror}); expected a Python file") from None
    sha256 = hashlib.sha256(content).hexdigest()
    module_name = f"quantbench_metrics.{path.stem}_{sha256[:12]}"
    if module_name not in sys.modules:
        try:
            _imported(path, module_name)
        except (Exception, SystemExit) as error:
            raise BadInput(f"--metric: {path} failed to import: {_words(error)}") from error
    function = getattr(sys.modules[module_name], name, None)
    if not inspect.isfunction(function):
        defined = [key for key, value in vars(sys.modules[module_name]).items() if inspect.isfunction(value)]
        raise BadInput(f"--metric: {path} defines no function {name}; it defines {', '.join(defined) or 'none'}")
    return function, sha256


def _imported(path: Path, module_name: str) -> None:
    """Import a file under a name; raises what the file raises, and BadInput where it is no Python file."""
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"--metric: {path}: not a Python file; expected file.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise


def check_travels(kept: Path, original: Path) -> None:
    """Import the copy of a metric's file that goes with the model.

    Raises:
        BadInput: it cannot be imported from there, as where it reads a file beside the original.
    """
    name = f"quantbench_metrics.{kept.stem}_copy"
    try:
        _imported(kept, name)
    except (Exception, SystemExit) as error:
        why = _words(error).replace(str(kept.parent), "...")
        raise BadInput(
            f"--metric: {original}: a copy of it goes with the model, and cannot be imported from another folder "
            f"({why}); put what it reads into the file itself, or name it by an absolute path"
        ) from error
    del sys.modules[name]


def check_direction(metric: Metric, path: Path, name: str, predictions: Array, labels: Array) -> None:
    """Compare the metric's value with the mean loss on random parts of the examples.

    Raises:
        BadInput: it is better where the losses are larger, so that a drop would count as a gain.
    """
    losses = metric.losses(predictions, labels) if metric.losses is not None else np.zeros(0)
    random, of_each = np.random.default_rng(0), min(len(losses) // 2, _PART_EXAMPLES)
    chosen = [random.choice(len(losses), of_each, replace=False) for _ in range(_PARTS if of_each else 0)]
    try:
        values = np.array([metric.value(predictions[part], labels[part]) for part in chosen])
    except BadInput:  # as an area under a curve, which needs examples of both kinds
        return
    means = np.array([float(np.mean(losses[part])) for part in chosen])
    if not chosen or not np.isfinite([values, means]).all() or np.ptp(values) == 0 or np.ptp(means) == 0:
        return
    together = float(np.corrcoef(values, means)[0, 1])
    if (together > _OPPOSED) if metric.higher_is_better else (together < -_OPPOSED):
        said = "has higher_is_better = True" if metric.higher_is_better else "does not set higher_is_better"
        change = "take that out" if metric.higher_is_better else f"set {name}.higher_is_better = True"
        raise BadInput(
            f"--metric: {path}: {name} {said}, and its value is {'higher' if together < 0 else 'lower'} where its "
            f"losses are smaller (correlation {together:+.2f} over {_PARTS} random parts of the examples): {change}, "
            "or return losses that are larger where the value is worse"
        )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def called(function: Callable[..., Any], predictions: Array, labels: Array) -> tuple[float, Array]:
    """Call the function and check what it returns. Raises BadInput."""
    path, name = function.__code__.co_filename, function.__name__
    try:
        returned = function(predictions.copy(), labels.copy())
    except (Exception, SystemExit) as error:
        raise BadInput(
            f"--metric: {path}: {name} raised {_words(error)} on predictions of shape {predictions.shape} and labels "
            f"of shape {labels.shape}"
        ) from error
    if not isinstance(returned, tuple) or len(returned) != 2:
        what = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else type(returned).__name__
        raise BadInput(f"--metric: {path}: {name} returned {what}; expected that {PROTOCOL}")
    try:
        value, losses = float(returned[0]), np.asarray(returned[1], dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"--metric: {path}: {name} returned no numbers; expected that {PROTOCOL}") from None
    if losses.shape != (len(labels),):
        raise BadInput(
            f"--metric: {path}: {name} returned losses of shape {losses.shape} for {len(labels)} examples; expected "
            "one for each"
        )
    if not math.isfinite(value) or not np.isfinite(losses).all():
        raise BadInput(f"--metric: {path}: {name} returned NaN or infinite values; expected that {PROTOCOL}")
    return value, losses
