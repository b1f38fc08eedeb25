"""Store predictions as differences from like ones, which take few bytes after compression.

Variants of a model answer nearly all examples alike, and some of them all. An array ``NAME^OTHER`` of a file is how
NAME differs from the array OTHER of the same file: bytes by exclusive or, so that most are 0; float32 by how many
numbers of that format lie between, in planes of bytes of one significance, so that the highest are 0. ``NAME^`` is
float32 as it differs from 0. Whatever an array holds, it is read back as it was.
"""

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import FLOAT_CONTROL

_MARK = "^"
_SAMPLE = 4_000  # values by which is chosen what an array is stored as different from; all of 10,000 save 0.1 %


def as_differences(arrays: dict[str, Array]) -> dict[str, Array]:
    """Replace each array by how it differs from the one before it that leaves least to store, if any does."""
    stored: dict[str, Array] = {}
    before: dict[str, Array] = {}
    for name in sorted(arrays, key=lambda name: (name != FLOAT_CONTROL, name)):
        array = arrays[name]
        other = _nearest(array, before)
        if other is None:
            stored[name] = array
        else:
            stored[f"{name}{_MARK}{other}"] = _difference(array, before.get(other))
        before[name] = array
    return stored


def from_differences(arrays: dict[str, Array]) -> dict[str, Array]:
    """Undo :func:`as_differences`.

    Raises:
        ValueError: an array is there twice, or is the difference from one that is not there before it.
    """
    whole = {name: array for name, array in arrays.items() if _MARK not in name}
    for name, array in arrays.items():
        own, mark, other = name.partition(_MARK)
        if mark and not own:
            raise ValueError(f"array {name!r}: expected a name before {_MARK!r}")
        if mark and own in whole:
            raise ValueError(f"array {own!r}: the file holds it twice")
        if mark:
            whole[own] = _undone(name, array, other, whole)
    return whole


def _nearest(array: Array, others: dict[str, Array]) -> str | None:
    """Choose what an array is stored as different from; None where it takes least as it is."""
    if array.dtype not in (np.uint8, np.float32) or not array.size:
        return None
    few = _few(array)
    alike = {name: _few(other) for name, other in others.items() if _alike(array, other)}
    bits = {name: _bits(_difference(few, other)) for name, other in alike.items()}
    bits[""] = _bits(few if array.dtype == np.uint8 else _difference(few, None))
    best = min(bits, key=lambda name: (bits[name], name))
    return None if not best and array.dtype == np.uint8 else best


def _few(array: Array) -> Array:
    return array.reshape(-1)[:_SAMPLE]


def _alike(array: Array, other: Array) -> bool:
    return array.dtype == other.dtype and array.shape == other.shape


def _bits(stored: Array) -> float:
    """Estimate what an array takes after compression: the entropy of the bytes of each plane."""
    return sum(_entropy(plane) for plane in stored.reshape(-1, stored.shape[-1]))


def _entropy(plane: Array) -> float:
    counts = np.bincount(plane)
    counts = counts[counts > 0]
    return float(np.sum(counts * np.log2(len(plane) / counts)))


def _difference(array: Array, other: Array | None) -> Array:
    if array.dtype == np.uint8:
        return array if other is None else array ^ other
    between = array.view(np.int32) - (0 if other is None else other.view(np.int32))  # modulo 2**32: nothing is lost
    numbers = (between << 1 ^ between >> 31).view(np.uint32)  # 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
    return np.stack([(numbers >> shift).astype(np.uint8) for shift in (0, 8, 16, 24)])


def _undone(name: str, array: Array, of: str, whole: dict[str, Array]) -> Array:
    other = whole.get(of)
    if other is not None and array.dtype == other.dtype == np.uint8 and array.shape == other.shape:
        return array ^ other
    if not of and not _are_planes(array):
        raise ValueError(f"array {name!r}: expected the four bytes of each float32")
    if of and (
        other is None or other.dtype != np.float32 or array.shape != (4, *other.shape) or not _are_planes(array)
    ):
        raise ValueError(f"array {name!r}: expected a difference from {of!r} of its shape")
    numbers = np.zeros(array.shape[1:], np.uint32)
    for place, plane in enumerate(array):  # one plane at a time: a file may hold as much as half of the memory
        numbers |= plane.astype(np.uint32) << 8 * place
    signs = numbers & 1
    np.negative(signs, out=signs)
    numbers >>= 1
    numbers ^= signs
    if other is not None:
        numbers += other.view(np.uint32)
    return numbers.view(np.float32)


def _are_planes(array: Array) -> bool:
    return array.dtype == np.uint8 and array.ndim > 1 and len(array) == 4
