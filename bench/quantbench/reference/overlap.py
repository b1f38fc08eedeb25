"""Find test examples that are among the training or calibration examples too, so that a score counts memory."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from quantbench.core.arrays import Array, Inputs, chunks, length

# Shared examples that are no finding, as a share of the test split: they move a score by 0.1 pp at most.
MOST_SHARED = 0.001
# Error of the bound on how many twins chance brings; it holds once a data pack, not once a run.
_CHANCE = 1e-6
_SAMPLED = 256  # bytes of an example that are looked at first; two that differ there are not equal


def shared(test: Inputs, others: Inputs) -> int:
    """Count the test examples whose inputs are, bit for bit, among ``others``; constant ones count as nothing."""
    if length(test) == 0 or length(others) == 0 or _form(test) != _form(others):
        return 0
    sampled = set(_keys(others, _SAMPLED))
    candidates = [row for row, key in enumerate(_keys(test, _SAMPLED)) if key in sampled]
    candidates = [row for row in candidates if not _constant(test, row)]
    if not candidates:
        return 0
    whole = set(_keys(others, None))
    return sum(_key(test, row) in whole for row in candidates)


def most_by_chance(test: Inputs, others: Inputs) -> int:
    """How many shared examples are natural: a test example has a twin among ``others`` as often as these have one.

    Test and training examples of one source are exchangeable, so the share of training examples with a twin in the rest
    of their split is the chance of a test example; the number is the binomial distribution's quantile, and 0.1 %.
    """
    from scipy import stats

    count = length(test)
    twins = sum(times for times in Counter(_keys(others, None)).values() if times > 1)
    share = twins / max(1, length(others))
    return int(stats.binom.isf(_CHANCE, count, share)) + int(MOST_SHARED * count)


def _form(inputs: Inputs) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape[1:], array.dtype.str) for name, array in _named(inputs).items()}


def _named(inputs: Inputs) -> dict[str, Array]:
    return dict(sorted(inputs.items())) if isinstance(inputs, dict) else {"": inputs}


def _keys(inputs: Inputs, most: int | None) -> Iterator[int]:
    """Yield a hash of each example: of all its bytes, or of ``most`` of them, evenly spread."""
    arrays = list(_named(inputs).values())
    for part in chunks(inputs):
        parts = []
        for array in arrays:
            chunk = np.ascontiguousarray(array[part]).reshape(part.stop - part.start, -1).view(np.uint8)
            step = max(1, chunk.shape[1] // most) if most else 1
            parts.append(np.ascontiguousarray(chunk[:, ::step]))
        for rows in zip(*parts, strict=True):
            yield hash(b"".join(row.tobytes() for row in rows))


def _key(inputs: Inputs, row: int) -> int:
    return hash(b"".join(array[row].tobytes() for array in _named(inputs).values()))


def _constant(inputs: Inputs, row: int) -> bool:
    """Whether an example holds one value alone: an empty image, silence, padding."""
    return all(
        array[row].size == 0 or bool((array[row] == array[row].flat[0]).all()) for array in _named(inputs).values()
    )
