"""Call an interpreter thousands of times: no answer may change, and no memory may be kept.

Part of :mod:`quantbench.measure.memory_worker`, which imports it once its peak is measured.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from quantbench.core.arrays import Array

SAMPLES = 64  # of the resident memory
# Sums are computed in another order: kernels choose it by the shape of their operands.
FLOAT_TOLERANCE, INTEGER_TOLERANCE = 1e-4, 1


def many_calls(
    answer: Callable[[int], int],
    known: list[int],
    resident: Callable[[], int],
    calls: int,
    seconds: float,
) -> dict[str, Any]:
    """Call with each example in turn.

    Args:
        answer: number of an example -> digest of its outputs.
        known: digest of each example's first outputs.
        resident: bytes that the process holds now.
        calls, seconds: whichever ends first.

    Returns:
        ``calls`` made, ``wrong`` ones among them, and ``resident``: pairs (calls so far, bytes).
    """
    pairs: list[tuple[int, int]] = []
    wrong = done = sampled = 0
    start = last = time.perf_counter()
    while done < calls and (last - start < seconds or done < len(known)):
        wrong += answer(done % len(known)) != known[done % len(known)]
        done += 1
        now = time.perf_counter()
        if done - sampled >= calls // SAMPLES or now - last >= seconds / SAMPLES:
            pairs.append((done, resident()))
            sampled, last = done, time.perf_counter()
    return {"calls": done, "wrong": int(wrong), "resident": pairs}


def batched(together: list[Array], single: list[Array]) -> str:
    """Compare the outputs of a batch with those of its examples one by one.

    Args:
        together, single: outputs of shape (examples, ...) each.

    Returns:
        ``same``, ``permuted`` where every example got the outputs of another one, in whatever order, or ``other``.
    """
    if [t.shape for t in together] != [s.shape for s in single]:
        return "other"
    count = len(single[0])
    agrees = np.ones((count, count), dtype=bool)  # (row of the batch, example)
    for rows, expected in zip(together, single, strict=True):
        apart = np.abs(
            rows.reshape(count, 1, -1).astype(np.float64) - expected.reshape(1, count, -1).astype(np.float64)
        )
        tolerance = INTEGER_TOLERANCE if rows.dtype.kind in "iu" else FLOAT_TOLERANCE * (1 + np.abs(expected).max())
        agrees &= (apart <= tolerance).all(axis=2)
    if agrees.diagonal().all():
        return "same"
    return "permuted" if agrees.any(axis=1).all() and agrees.any(axis=0).all() else "other"
