"""Store maps of classes, one per example, as where they differ from the float control's: mostly zeros.

A model that gives a class to each pixel stores a thousand bytes per example and variant, nearly all as the control's:
of the reference model ``segmenter``, differences take a tenth of the bytes after compression.
"""

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import FLOAT_CONTROL

_MARK = f"^{FLOAT_CONTROL}"


def as_differences(arrays: dict[str, Array]) -> dict[str, Array]:
    """Replace maps by their bitwise differences from the float control's, whose names end in a mark."""
    control = arrays.get(FLOAT_CONTROL)
    if control is None or not _is_map(control):
        return arrays
    return dict(_different(name, array, control) for name, array in arrays.items())


def _is_map(array: Array) -> bool:
    return array.ndim == 2 and array.dtype == np.uint8


def _different(name: str, array: Array, control: Array) -> tuple[str, Array]:
    if name == FLOAT_CONTROL or not _is_map(array) or array.shape != control.shape:
        return name, array
    return name + _MARK, array ^ control


def from_differences(arrays: dict[str, Array]) -> dict[str, Array]:
    """Undo :func:`as_differences`.

    Raises:
        ValueError: there is no control that a map is the difference from.
    """
    control = arrays.get(FLOAT_CONTROL)
    twice = [name for name in arrays if name.endswith(_MARK) and name.removesuffix(_MARK) in arrays]
    if twice:
        raise ValueError(f"array {twice[0]!r}: the file holds it whole too")
    return {name.removesuffix(_MARK): _whole(name, array, control) for name, array in arrays.items()}


def _whole(name: str, array: Array, control: Array | None) -> Array:
    if not name.endswith(_MARK):
        return array
    if control is None or not _is_map(control) or not _is_map(array) or array.shape != control.shape:
        raise ValueError(f"array {name!r}: expected a difference from {FLOAT_CONTROL!r} of its shape")
    return array ^ control
