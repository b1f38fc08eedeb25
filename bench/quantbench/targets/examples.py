"""Divide a model's test examples into parts that travel to a target once, each under its hash.

What travels is what the model's ``prepare`` makes of them, so that nothing of the user's own code runs there; it is
made again, part by part, where the target lacks a part.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.measure import chunks
from quantbench.reference.model import ReferenceModel
from quantbench.targets.session import Input, Part

PART_BYTES = 16 * 2**20
File = tuple[str, int, Callable[[], bytes]]  # SHA-256, bytes, content


class Examples:
    """Hold the first test examples of a model for targets.

    Args:
        count: how many; 0 for all.

    Attributes:
        count: how many there are.
        inputs: input name -> its parts; of a single input the name is empty.
    """

    def __init__(self, model: ReferenceModel, count: int = 0) -> None:
        x = model.pack().test.x
        self._model = model
        self.count = min(count or length(x), length(x))
        first = min(chunks.FIRST, length(x))
        few = model.prepare(rows(x, slice(0, first)))
        alike = length(few) == first and chunks.prepared_alike(model.prepare, x, few)
        # Where preparing an example depends on the others, all are prepared at once, as for the answers here.
        self._everything = None if alike else model.prepare(x)
        self.inputs = self._divided(few, chunks.fitting(PART_BYTES, few))

    def prepared(self, part: slice) -> Inputs:
        """Prepare some of the examples."""
        if self._everything is not None:
            return rows(self._everything, part)
        return self._model.prepare(rows(self._model.pack().test.x, part))

    def files(self, parts: int | None = None) -> Iterator[File]:
        """Yield each part, or the first ``parts`` of each input."""
        for one in self.inputs.values():
            for part in one.parts[:parts]:
                yield part.sha256, part.size, part.content

    def _divided(self, few: Inputs, size: int) -> dict[str, Input]:
        parts: dict[str, list[Part]] = {name: [] for name in _named(few)}
        for part in chunks.slices(0, self.count, size):
            for name, values in _named(self.prepared(part)).items():
                content = _contents(values)
                again = partial(self._again, part, name)
                parts[name].append(Part(hashlib.sha256(content).hexdigest(), len(values), len(content), again))
        return {
            name: Input(values.dtype.name, tuple(int(each) for each in values.shape[1:]), tuple(parts[name]))
            for name, values in _named(few).items()
        }

    def _again(self, part: slice, name: str) -> bytes:
        return _contents(_named(self.prepared(part))[name])


def _named(inputs: Inputs) -> dict[str, Array]:
    return inputs if isinstance(inputs, dict) else {"": inputs}


def _contents(values: Array) -> bytes:
    """Return values as they travel: row by row, little-endian."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
