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


def divided(model: ReferenceModel, count: int) -> dict[str, Input]:
    """Return the first ``count`` examples as the inputs of an artifact: input name, empty where there is one.

    Where preparing an example depends on others, all are prepared at once, as for the answers on this machine.
    """
    x = rows(model.pack().test.x, slice(0, count))
    few = model.prepare(rows(x, slice(0, min(count, chunks.FIRST))))
    alone = length(few) == min(count, chunks.FIRST) and chunks.prepared_alike(model.prepare, x, few)
    everything = None if alone else model.prepare(model.pack().test.x)
    whole = few if everything is None else rows(everything, slice(0, count))
    size = chunks.fitting(PART_BYTES, few)

    def made(part: slice) -> Inputs:
        return model.prepare(rows(x, part)) if everything is None else rows(whole, part)

    parts: dict[str, list[Part]] = {name: [] for name in named(few)}
    for part in chunks.slices(0, count, size):
        for name, values in named(made(part)).items():
            content = contents(values)
            again = partial(_again, made, part, name)
            parts[name].append(Part(hashlib.sha256(content).hexdigest(), len(values), len(content), again))
    return {
        name: Input(values.dtype.name, tuple(int(each) for each in values.shape[1:]), tuple(parts[name]))
        for name, values in named(few).items()
    }


def _again(made: Callable[[slice], Inputs], part: slice, name: str) -> bytes:
    return contents(named(made(part))[name])


def named(inputs: Inputs) -> dict[str, Array]:
    """Return inputs by name; that of a single one is empty."""
    return inputs if isinstance(inputs, dict) else {"": inputs}


def contents(values: Array) -> bytes:
    """Return values as they travel: row by row, little-endian."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


def files(inputs: dict[str, Input], parts: int | None = None) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Yield (SHA-256, bytes, content) of each part, or of the first ``parts`` of each input."""
    for one in inputs.values():
        for part in one.parts[:parts]:
            yield part.sha256, part.size, part.content
