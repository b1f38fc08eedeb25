"""One short-lived interpreter that times a variant against the float control; started by
:mod:`quantbench.measure.latency`.

Reads a job as JSON from standard input, writes block times as JSON to standard output:

    {"control": FILE, "variant": FILE, "inputs": FILE.npz, "seconds": 0.25, "threads": 1, "seed": 0}

Blocks of control, variant and yardstick follow each other in random order, so what slows the machine
for a while slows all three alike. The yardstick is a fixed NumPy kernel that does not depend on the runtime.

With a key ``calls``, as many calls of the variant are timed one by one after the blocks: each on the next example, and
for a fifth of the seconds at most. What reading the clock twice takes is told beside them.

Two more keys plant a regression, for the selftest: ``runtime`` (another than ``litert-cpu``) and ``slow`` (which of the
three takes so much longer, as a fraction).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Inputs
from quantbench.core.worker import worker_main
from quantbench.tflite.litert import LiteRT

# Far below a scheduler's time slice: on a loaded machine most blocks then run without a break, and those that do not
# show it. Blocks of 4 ms spread eighty times as much under the same load.
BLOCK_SECONDS = 0.0002
WARMUP_BLOCKS = 200
LEAST_TURNS = 5
LEAST_CALLS, CALLS_SHARE = 10, 0.2
CLOCK_READINGS = 200
AT_WORK_SECONDS = 0.05

Blocks = dict[str, Any]


def _yardstick() -> Callable[[], object]:
    # No matrix product: its speed depends on which BLAS NumPy was built with and how that is configured.
    values = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    return lambda: np.sort(values * values + values).sum()


def timed_block(call: Callable[[], object], calls: int, slow: float = 0.0, cold: bool = True) -> dict[str, float]:
    """Seconds of one call, over ``calls`` calls timed as one: on the wall, and of this thread on a core.

    Args:
        cold: other blocks came before it: one call is not timed, which fetches into the caches what they displaced.
            Without it, models of several MB came out 4 to 9 % slower than in calls one after the other.
    """
    if cold:
        call()
    own, start = time.thread_time(), time.perf_counter()
    for _ in range(calls):
        call()
    end = time.perf_counter()
    if slow:
        until = end + slow * (end - start)
        while end < until:
            end = time.perf_counter()
    own = time.thread_time() - own
    return {"seconds": (end - start) / calls, "own": own / calls}


def threads_at_work(call: Callable[[], object]) -> float:
    """How many threads have a share in it, on average while this one is on a core.

    In calls one after the other, for long enough: what the threads of the kernels take is booked when the system next
    looks, a hundred times a second or more, and seldom within the block that it belongs to.
    """
    end = time.perf_counter() + AT_WORK_SECONDS
    every, own = time.process_time(), time.thread_time()
    while time.perf_counter() < end:
        call()
    own, every = time.thread_time() - own, time.process_time() - every
    return every / own


def warm_up(call: Callable[[], object]) -> int:
    """Call until ten blocks in a row were none of them the fastest so far; returns calls that fill a block."""
    calls, best, since = 1, float("inf"), 0
    for _ in range(WARMUP_BLOCKS):
        now = timed_block(call, calls, cold=False)["seconds"]
        since = 0 if now < best else since + 1
        best = min(best, now)
        calls = max(1, round(BLOCK_SECONDS / max(best, 1e-7)))
        if since == 10:
            break
    return calls


def _one_by_one(call: Callable[[], object], feed: Callable[[int], None], most: int, seconds: float) -> list[float]:
    """Seconds of single calls, each on the next example; fewer than ``most`` where they take long."""
    call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < most and (len(found) < LEAST_CALLS or time.perf_counter() < end):
        feed(len(found))
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def _timing_cost() -> float:
    """Seconds that reading the clock before and after nothing takes, as in the time of every single call."""
    pairs = []
    for _ in range(CLOCK_READINGS):
        start = time.perf_counter()
        pairs.append(time.perf_counter() - start)
    return float(np.median(pairs))


def read_inputs(path: str) -> Inputs:
    """The examples that :func:`quantbench.measure.latency.save_inputs` has saved."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays["x"] if list(arrays) == ["x"] else {name.removeprefix("x_"): x for name, x in arrays.items()}


def run(job: dict[str, Any]) -> dict[str, Blocks]:
    """Of ``control``, ``variant`` and ``yardstick``: a call by each clock of :func:`timed_block`, a value a block.

    The control has its threads at work beside them, the variant its single calls where they were asked for.
    """
    inputs = read_inputs(job["inputs"])
    runtime = job.get("runtime", "litert-cpu")
    runners = {name: LiteRT(Path(job[name]), job["threads"], runtime=runtime) for name in ("control", "variant")}
    examples = {name: runner.feeder(inputs) for name, runner in runners.items()}
    calls: dict[str, Callable[[], object]] = {name: runner.invoke for name, runner in runners.items()}
    calls["yardstick"] = _yardstick()
    for feed in examples.values():
        feed(0)
    per_block = {name: warm_up(call) for name, call in calls.items()}
    slow = job.get("slow", {})
    blocks: dict[str, Blocks] = {name: {"seconds": [], "own": []} for name in calls}
    order = np.random.default_rng(job["seed"])
    end = time.perf_counter() + job["seconds"]
    turn = 0
    while time.perf_counter() < end or turn < LEAST_TURNS:
        for name in order.permutation(list(calls)):
            if name in examples:
                examples[name](turn)
            for clock, value in timed_block(calls[name], per_block[name], slow.get(name, 0.0)).items():
                blocks[name][clock].append(value)
        turn += 1
    blocks["control"]["threads_at_work"] = threads_at_work(calls["control"])
    if job.get("calls"):
        single = _one_by_one(calls["variant"], examples["variant"], job["calls"], CALLS_SHARE * job["seconds"])
        blocks["variant"] |= {"calls": single, "timing_cost": _timing_cost()}
    return blocks


if __name__ == "__main__":
    worker_main(run)
