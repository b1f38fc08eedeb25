"""Define arrays as passed between rooms: a single input is an array, several are a dict by name."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# A single input is a plain array; several are a dict keyed by input name.
Inputs = Array | dict[str, Array]

# Bytes of examples that are looked at together: more is no faster, and several such chunks fit anywhere.
CHUNK_BYTES = 2**25
_OPEN_SHARDS = 4  # kept open: each takes a file descriptor, and a process may have 1024


def rows(inputs: Inputs, index: slice | Array) -> Inputs:
    """Return the examples of ``inputs`` selected by ``index``."""
    if isinstance(inputs, dict):
        return {name: array[index] for name, array in inputs.items()}
    return inputs[index]


def length(inputs: Inputs) -> int:
    """Return the number of examples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def chunks(inputs: Inputs, most_bytes: int = CHUNK_BYTES) -> Iterator[slice]:
    """Divide examples into slices of at most so many bytes, and of one example at least."""
    arrays = inputs.values() if isinstance(inputs, dict) else [inputs]
    count = length(inputs)
    step = max(1, most_bytes * count // max(1, sum(array.nbytes for array in arrays)))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


class Shards(np.lib.mixins.NDArrayOperatorsMixin):
    """Hold examples in several arrays as if they were one, and read only those that are selected.

    Selecting returns plain arrays. NumPy's functions and operators work too, but read everything into memory.

    Args:
        counts: number of examples in each array.
        open_shard: index -> that array, usually memory-mapped; called each time it is needed.
        example: shape of one example.
        dtype: of every array.
    """

    def __init__(
        self, counts: Sequence[int], open_shard: Callable[[int], Array], example: tuple[int, ...], dtype: Any
    ) -> None:
        self._ends = np.cumsum(counts)
        self._open = open_shard
        self._shard = lru_cache(maxsize=_OPEN_SHARDS)(self._reshaped)
        self.shape = (int(self._ends[-1]), *example)
        self.dtype = np.dtype(dtype)

    def _reshaped(self, index: int) -> Array:
        array = self._open(index)
        return array.reshape(len(array), *self.shape[1:])

    @property
    def ndim(self) -> int:
        """Return the number of axes, that of the examples included."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Return the number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Return the bytes of all values."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"example {index} of {len(self)}")
            return self._at(np.asarray([index % len(self)]))[0]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._between(start, stop) if step == 1 else self._at(np.arange(start, stop, step))
        if isinstance(index, np.ndarray | list) and np.asarray(index).ndim == 1:
            places = np.asarray(index)
            places = np.flatnonzero(places) if places.dtype.kind == "b" else places.astype(np.int64)
            return self._at(np.where(places < 0, places + len(self), places))
        return np.asarray(self)[index]

    def _between(self, start: int, stop: int) -> Array:
        parts = []
        while start < stop:
            shard = int(np.searchsorted(self._ends, start, side="right"))
            first = int(self._ends[shard - 1]) if shard else 0
            end = min(stop, int(self._ends[shard]))
            parts.append(self._shard(shard)[start - first : end - first])
            start = end
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)

    def _at(self, places: Array) -> Array:
        found = np.empty((len(places), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._ends, places, side="right")
        for shard in np.unique(shards):
            here = shards == shard
            first = self._ends[shard - 1] if shard else 0
            found[here] = self._shard(int(shard))[places[here] - first]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._between(0, len(self)), dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **more: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(one) if isinstance(one, Shards) else one for one in given), **more)

    def astype(self, dtype: Any) -> Array:
        """Read everything as another dtype."""
        return np.asarray(self, dtype=dtype)

    def reshape(self, *shape: Any) -> Array:
        """Read everything in another shape."""
        return np.asarray(self).reshape(*shape)


def shards(counts: Sequence[int], open_shard: Callable[[int], Array], example: tuple[int, ...], dtype: Any) -> Array:
    """Return arrays of examples as one; a single one as it is, see :class:`Shards`."""
    if len(counts) == 1:
        return open_shard(0).reshape(counts[0], *example)
    return cast(Array, Shards(counts, open_shard, example, dtype))
