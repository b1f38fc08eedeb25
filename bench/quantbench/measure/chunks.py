"""Run examples through a model chunk by chunk, so that memory is bounded by a chunk and not by the data.

The results are bit for bit those of all examples at once. Where preparing or scoring an example depends on the others,
which a first few examples show, everything is done at once.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.reference.metrics import flat_outputs

FIRST = 8  # examples of the first chunk, by which the others are measured
CHUNK_BYTES = 64 * 2**20  # of prepared inputs and outputs; 107 images of 224 x 224 x 3 as float32
CHUNK_EXAMPLES = 1000  # progress is shown after each chunk, and a slow model takes 50 ms an example
KEPT_OUTPUTS = 1000
KEPT_VALUES = 200_000

Run = Callable[[Inputs], Inputs]
Predict = Callable[[Inputs, Inputs], dict[str, Array]]
Done = Callable[[int, int], object]


@dataclass(frozen=True)
class Answers:
    """Hold what is kept of the outputs of all examples.

    Attributes:
        predictions: name -> one per example, shape (n, ...).
        nonfinite: number of examples with a NaN or infinite output.
        first: outputs of the first examples, shape (m, values).
        inputs_sha256: hex digest of all prepared inputs.
    """

    predictions: dict[str, Array]
    nonfinite: int
    first: Array
    inputs_sha256: str


def answer(
    x: Inputs,
    prepare: Callable[[Inputs], Inputs],
    run: Run,
    predict: Predict,
    done: Done = lambda _done, _total: None,
    multiple: int = 1,
) -> Answers:
    """Prepare, run and predict every example.

    Args:
        x: raw examples, possibly in a memory-mapped file.
        predict: (outputs, prepared inputs) -> name -> predictions.
        done: called after each chunk with the number of examples so far, and of all.
        multiple: examples that must stay together, of the first example on; a batch of Keras.
    """
    count = length(x)
    first = multiple * -(-FIRST // multiple)
    inputs = prepare(rows(x, slice(0, first)))
    outputs = run(inputs)
    predictions = predict(outputs, inputs)
    if count <= first:
        done(count, count)
        return _joined([predictions], [nonfinite_rows(outputs)], [flat_outputs(outputs, {})], digest(inputs))
    half = slice(first // 2, first)
    alike = length(inputs) == first and prepared_alike(prepare, x, inputs)
    if not alike or not each_by_itself(predict, inputs, outputs, predictions, half):
        inputs = prepare(x)
        outputs = run(inputs)
        done(count, count)
        kept = first_rows(flat_outputs(outputs, {}))
        return _joined([predict(outputs, inputs)], [nonfinite_rows(outputs)], [kept], digest(inputs))
    size = multiple * max(1, examples_in(CHUNK_BYTES, inputs, outputs) // multiple)
    hashed = _Hash(inputs, count)
    parts, bad, kept_rows = [predictions], [nonfinite_rows(outputs)], [flat_outputs(outputs, {})]
    wanted = kept_of(kept_rows[0].shape[1])
    done(first, count)
    for part in slices(first, count, size):
        inputs = prepare(rows(x, part))
        hashed.add(inputs)
        outputs = run(inputs)
        parts.append(predict(outputs, inputs))
        bad.append(nonfinite_rows(outputs))
        if part.start < wanted:
            kept_rows.append(flat_outputs(outputs, {})[: wanted - part.start])
        done(part.stop, count)
    inputs_sha256 = hashed.digest(lambda: (prepare(rows(x, part)) for part in slices(0, count, size)))
    return _joined(parts, bad, kept_rows, inputs_sha256)


def prepared_alike(prepare: Callable[[Inputs], Inputs], x: Inputs, inputs: Inputs) -> bool:
    """Check that the second half of the first examples is prepared by itself as it is among all of them.

    Args:
        inputs: the first examples, prepared.
    """
    first = length(inputs)
    half = slice(first // 2, first)
    return _same(prepare(rows(x, half)), rows(inputs, half))


def slices(start: int, stop: int, size: int) -> Iterator[slice]:
    """Divide the examples from start to stop into chunks of this size, the last one shorter."""
    for begin in range(start, stop, size):
        yield slice(begin, min(stop, begin + size))


def examples_in(bound: int, inputs: Inputs, outputs: Inputs) -> int:
    """Return how many such examples make a chunk of so many bytes: 1 at least, :data:`CHUNK_EXAMPLES` at most."""
    each = bytes_each(inputs) + bytes_each(outputs)
    return max(1, min(CHUNK_EXAMPLES, bound // max(1, each)))


def fitting(bound: int, inputs: Inputs) -> int:
    """Return how many such examples take so many bytes, 1 at least."""
    return max(1, bound // max(1, bytes_each(inputs)))


def bytes_each(inputs: Inputs) -> int:
    """Return the bytes of one of these examples."""
    return sum(array.nbytes // max(1, len(array)) for array in _arrays(inputs))


def kept_of(values: int) -> int:
    """Return of how many examples the outputs are kept, with so many values an example."""
    return max(50, min(KEPT_OUTPUTS, KEPT_VALUES // max(1, values)))


def first_rows(flat: Array) -> Array:
    """Return the rows of the first examples, as many as are kept."""
    return flat[: kept_of(flat.shape[1])]


def nonfinite_rows(outputs: Inputs) -> int:
    """Count the examples that have a NaN or infinite value in any output."""
    arrays = _arrays(outputs)
    bad = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        bad |= ~np.isfinite(array.reshape(len(array), -1).astype(np.float64)).all(axis=1)
    return int(np.count_nonzero(bad))


def digest(inputs: Inputs) -> str:
    """Hash prepared inputs as a whole, as hex."""
    return _Hash(inputs, length(inputs)).digest(lambda: iter([inputs]))


def _joined(parts: list[dict[str, Array]], bad: list[int], kept: list[Array], inputs_sha256: str) -> Answers:
    predictions = {name: _concatenated([part[name] for part in parts]) for name in parts[0]}
    return Answers(predictions, sum(bad), first_rows(_concatenated(kept)), inputs_sha256)


def _concatenated(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def each_by_itself(
    predict: Predict, inputs: Inputs, outputs: Inputs, predictions: dict[str, Array], half: slice
) -> bool:
    """Check that a part of the first examples is predicted as it is among all of them."""
    arrays = [*_arrays(outputs), *predictions.values()]
    if any(len(array) != half.stop for array in arrays):
        return False
    part = predict(rows(outputs, half), rows(inputs, half))
    return all(_same(part[name], values[half]) for name, values in predictions.items())


def _same(one: Inputs, other: Inputs) -> bool:
    pairs = list(zip(_arrays(one), _arrays(other), strict=True))
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def _arrays(inputs: Inputs) -> list[Array]:
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


def _named(inputs: Inputs) -> dict[str, Array]:
    return inputs if isinstance(inputs, dict) else {"": inputs}


class _Hash:
    """Hash prepared inputs chunk by chunk, with the digest of all of them at once.

    Of several inputs each is hashed after the other, so that all but the first have to be prepared once more.

    Args:
        first: the first chunk.
        count: examples of all chunks.
    """

    def __init__(self, first: Inputs, count: int) -> None:
        self._hash = hashlib.sha256()
        self._first, *self._others = sorted(_named(first))
        self._headers = {
            name: f"{name} {array.dtype.str} {(count, *array.shape[1:])}".encode()
            for name, array in _named(first).items()
        }
        self._hash.update(self._headers[self._first])
        self.add(first)

    def add(self, chunk: Inputs) -> None:
        """Add the next chunk."""
        self._update(self._first, chunk)

    def _update(self, name: str, chunk: Inputs) -> None:
        self._hash.update(np.ascontiguousarray(_named(chunk)[name]).data)

    def digest(self, again: Callable[[], Iterator[Inputs]]) -> str:
        """Return the hex digest.

        Args:
            again: makes all chunks once more, for the inputs besides the first one.
        """
        for name in self._others:
            self._hash.update(self._headers[name])
            for chunk in again():
                self._update(name, chunk)
        return self._hash.hexdigest()
