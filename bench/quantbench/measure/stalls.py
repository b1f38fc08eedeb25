"""Count stalls, blocks and calls that last far longer than usual: of an artifact, and of what ran in turns with it.

Typical calls, quantiles and trimmed means leave out what is rare. Other programs on the machine interrupt all that is
timed in turns in proportion to the time that it takes, so what falls on one side more often than that is its own.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import Stalled, Stalls

# Seconds that a stall lasts beyond the usual time, at least. The first is beyond what caches and interrupts cost, the
# second beyond most turns of a scheduler, so that long stalls are seen on a loaded machine too.
LONGER = (0.001, 0.020)
# Seconds of a usual block: in longer ones other programs interrupt so often that a block holds several stalls.
LONGEST_BLOCK = 0.002
# A stall also lasts as many times the usual block, as a slowdown of memory or clock is none.
TIMES = 2.0

Timed = Sequence[tuple[Array, int]]
"""Seconds of what was timed, and the calls in each; blocks and single calls apart."""


def counted(artifact: Timed, beside: Timed) -> list[Stalls] | None:
    """Count in one process, for each of :data:`LONGER`; None where blocks are too long to tell.

    Args:
        beside: what was timed in turns with the artifact.
    """
    usual = max(usual_block(artifact), usual_block(beside))
    if usual > LONGEST_BLOCK:
        return None
    return [
        Stalls(
            longer=longer,
            artifact=_sum(artifact, max(longer, TIMES * usual)),
            beside=_sum(beside, max(longer, TIMES * usual)),
        )
        for longer in LONGER
    ]


def usual_block(timed: Timed) -> float:
    """Return the seconds that the longer of blocks and calls usually take."""
    return max(_usual(seconds) for seconds, _ in timed)


def _usual(seconds: Array) -> float:
    return float(np.quantile(seconds, 0.25))


def _of(seconds: Array, calls: int, longer: float) -> Stalled:
    """Count what is late by ``longer`` seconds."""
    usual = _usual(seconds)
    late = seconds - usual
    stalls = late >= longer
    return Stalled(
        stalls=int(np.count_nonzero(stalls)),
        lost=float(late[stalls].sum()),
        usual=usual * len(seconds),
        calls=calls * len(seconds),
    )


def _sum(timed: Timed, longer: float) -> Stalled:
    return reduce(Stalled.plus, (_of(seconds, calls, longer) for seconds, calls in timed))
