"""One short-lived interpreter that times a variant against the float control; started by :mod:`bench.measure.latency`.

Reads a job as JSON from standard input, writes block times as JSON to standard output:

    {"control": FILE, "variant": FILE, "inputs": FILE.npz, "seconds": 0.5, "threads": 1, "seed": 0}

Blocks of control, variant and yardstick follow each other in random order, so what slows the machine
for a while slows all three alike. The yardstick is a fixed NumPy kernel that does not depend on the runtime.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.runtimes.litert import LiteRT

BLOCK_SECONDS = 0.004
MAX_WARMUP_BLOCKS = 40


def _yardstick() -> Callable[[], object]:
    # No matrix product: its speed depends on which BLAS NumPy was built with and how that is configured.
    values = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    return lambda: np.sort(values * values + values).sum()


def _block(call: Callable[[], object], calls: int) -> float:
    """Mean seconds of one call, over ``calls`` calls timed as one."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def _warm_up(call: Callable[[], object]) -> int:
    """Call until the time of a block no longer falls by more than 2 %; returns calls that fill a block."""
    calls = 1
    best = _block(call, calls)
    for _ in range(MAX_WARMUP_BLOCKS):
        calls = max(1, min(100_000, round(BLOCK_SECONDS / max(best, 1e-7))))
        now = _block(call, calls)
        if now > 0.98 * best:
            break
        best = now
    return calls


def run(job: dict[str, Any]) -> dict[str, list[float]]:
    """Block means in seconds a call, by name: ``control``, ``variant``, ``yardstick``."""
    with np.load(job["inputs"], allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    inputs = arrays["x"] if list(arrays) == ["x"] else {name.removeprefix("x_"): x for name, x in arrays.items()}
    runners = {name: LiteRT(Path(job[name]), threads=job["threads"]) for name in ("control", "variant")}
    examples = {name: runner.feeder(inputs) for name, runner in runners.items()}
    calls: dict[str, Callable[[], object]] = {name: runner.invoke for name, runner in runners.items()}
    calls["yardstick"] = _yardstick()
    for feed in examples.values():
        feed(0)
    per_block = {name: _warm_up(call) for name, call in calls.items()}
    blocks: dict[str, list[float]] = {name: [] for name in calls}
    order = np.random.default_rng(job["seed"])
    end = time.perf_counter() + job["seconds"]
    turn = 0
    while time.perf_counter() < end or turn < 3:
        for name in order.permutation(list(calls)):
            if name in examples:
                examples[name](turn)
            blocks[name].append(_block(calls[name], per_block[name]))
        turn += 1
    return blocks


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
