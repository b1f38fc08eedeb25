"""Pass samples that were taken elsewhere to pytest-benchmark, through its documented interface alone.

``benchmark.pedantic`` reads its timer once before and once after each round. :func:`timer` returns a clock that
has moved by the next sample for those two readings, and the real clock to any other caller.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

_readings: Iterator[float] = iter(())


def timer() -> float:
    """Return the next replayed reading in seconds, or the real clock where nothing is being replayed."""
    return next(_readings, time.perf_counter())


def replay(benchmark: Any, samples: Sequence[float]) -> None:
    """Pass ``samples`` (seconds per call) to a pytest-benchmark fixture as its rounds."""
    global _readings

    def readings() -> Iterator[float]:
        now = 0.0
        for sample in samples:
            yield now
            now += sample
            yield now

    _readings = readings()
    benchmark.pedantic(lambda: None, rounds=len(samples), iterations=1, warmup_rounds=0)
    _readings = iter(())
