"""Read the user's examples and labels: inputs that fit the model, one split at a time."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.adopt import formats
from quantbench.core.arrays import Array, Inputs
from quantbench.errors import BadInput
from quantbench.reference.datasets import read_npz


def read_split(path: Path, specs: formats.Specs) -> tuple[Inputs, Array | None]:
    """Read inputs that fit the model, and labels where there are any, from one ``.npz``. Raises BadInput."""
    arrays = read_npz(path, "data", follow=True)  # a person named it
    inputs: dict[str, Array] = {}
    for name, (shape, dtype) in specs.items():
        key = f"x_{name}" if f"x_{name}" in arrays else "x"
        if key not in arrays or (key == "x" and len(specs) > 1):
            wanted = ", ".join(f"x_{each}" for each in specs) if len(specs) > 1 else "x"
            raise BadInput(f"{path}: expected the array(s) {wanted}, found {', '.join(arrays) or 'none'}")
        inputs[name] = _fitted(path, key, arrays[key], shape, np.dtype(dtype))
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"{path}: inputs have different numbers of examples: {counts}")
    count = next(iter(counts.values()))
    labels = arrays.get("y")
    if labels is not None and len(np.atleast_1d(labels)) != count:
        raise BadInput(f"{path}: y has {len(np.atleast_1d(labels))} labels, x has {count} examples")
    if labels is not None and labels.dtype.kind not in "fiub":
        raise BadInput(f"{path}: y has dtype {labels.dtype}, expected numbers")
    if labels is not None and labels.size == count:
        labels = labels.reshape(-1)  # (n, 1), as in some data sets, would broadcast against (n,)
    if labels is not None and labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise BadInput(f"{path}: y holds NaN or infinite values")
    single = next(iter(inputs.values())) if len(inputs) == 1 else None
    return (inputs if single is None else single), labels


def further_labels(path: Path, count: int) -> dict[str, Array]:
    """Read labels of named outputs, the arrays ``y_NAME``, by NAME. Raises BadInput."""
    arrays = read_npz(path, "data", follow=True)
    found = {key.removeprefix("y_"): values for key, values in arrays.items() if key.startswith("y_")}
    for name, values in found.items():
        if values.ndim == 0 or len(values) != count:
            many = len(np.atleast_1d(values))
            raise BadInput(f"{path}: y_{name} has {many} labels, there are {count} examples")
        if values.dtype.kind not in "fiub":
            raise BadInput(f"{path}: y_{name} has dtype {values.dtype}, expected numbers")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadInput(f"{path}: y_{name} holds NaN or infinite values")
    return {name: values.reshape(-1) if values.size == count else values for name, values in found.items()}


def _fitted(path: Path, key: str, values: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Convert the array to what the model's input takes, adding a missing channel axis of size 1."""
    if values.dtype.kind not in "fiub":
        raise BadInput(f"{path}: array {key} has dtype {values.dtype}, expected numbers")
    if values.ndim == 0 or len(values) == 0:
        raise BadInput(f"{path}: array {key} is empty")
    if values.shape[1:] != shape[1:] and (*values.shape[1:], 1) == shape[1:]:
        values = values[..., None]
    if values.shape[1:] != shape[1:]:
        raise BadInput(
            f"{path}: array {key} has examples of shape {values.shape[1:]}, the model takes {tuple(shape[1:])}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
        raise BadInput(f"{path}: array {key} holds NaN or infinite values in {bad} of {len(values)} examples")
    if values.dtype.kind == "f" and dtype.kind != "f":
        raise BadInput(f"{path}: array {key} has dtype {values.dtype}, the model takes {dtype}")
    return values


def hashes(inputs: Inputs) -> set[bytes]:
    """Hash each example, all of its inputs together."""
    arrays = [inputs[name] for name in sorted(inputs)] if isinstance(inputs, dict) else [inputs]
    together = zip(*arrays, strict=True)
    return {
        hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in example)).digest() for example in together
    }
