"""Generate random background load: on every core, bursts of work with pauses between them.

    with busy(seed=0):
        ...  # measure

Each process draws its own bursts: sorting, matrix products or copying memory, for 5 to 500 ms (log-uniform), with
pauses of the same distribution, so that about half of every core is busy and no two seconds are alike.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

SHORTEST, LONGEST = 0.005, 0.5


@contextmanager
def busy(seed: int, processes: int = 0) -> Iterator[None]:
    """Load the machine while the block runs; by default, with one process per core."""
    command = [sys.executable, "-m", "quantbench.selftest.load"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    count = processes or os.cpu_count() or 1
    running = [subprocess.Popen([*command, str(seed * 1000 + i)], env=environment) for i in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def _work(random: np.random.Generator) -> list[Callable[[], object]]:
    small, large = random.standard_normal((128, 128)), random.standard_normal(4_000_000)
    return [lambda: np.sort(large[:100_000]), lambda: small @ small, lambda: large.copy()]


def _bursts(seed: int) -> None:
    random = np.random.default_rng(seed)
    work = _work(random)
    parent = os.getppid()
    while os.getppid() == parent:  # no load remains if the parent is killed
        burst, pause = np.exp(random.uniform(np.log(SHORTEST), np.log(LONGEST), 2))
        chosen = work[random.integers(len(work))]
        end = time.perf_counter() + burst
        while time.perf_counter() < end:
            chosen()
        time.sleep(pause)


if __name__ == "__main__":
    _bursts(int(sys.argv[1]))
