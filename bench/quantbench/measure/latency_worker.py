"""Time a variant against the float control, in an interpreter that :mod:`quantbench.measure.latency` starts.

Reads a job as JSON from standard input, writes block times as JSON to standard output:

    {"control": FILE, "variant": FILE, "inputs": FILE.npz, "seconds": 0.25, "threads": 1, "seed": 0}

Blocks of control, variant and yardstick follow each other in random order, so that a temporary slowdown of the machine
affects all three alike. The yardstick is a fixed NumPy kernel that does not depend on the runtime.

With a key ``calls``, as many calls of variant and control are timed one by one after the blocks, in turns, each on the
next example, for at most 15 % of the seconds each. The time that reading the clock twice takes is returned with them.
``whole`` is the time of each block with the call before it, ``in_whole`` how many calls that are: a stall is looked for
in all calls.
``first`` is the time from nothing loaded to the first result of each, once the runtime has loaded another artifact.

More keys inject a regression, for the selftest: ``runtime`` (another than ``litert-cpu``), ``slow`` (for each of the
three, its slowdown as a fraction), ``wait`` (seconds that each call of the variant sleeps), ``stall`` (calls of the
variant and seconds: one of so many calls, the first of them at random, sleeps as long), ``lasting`` (seconds that each
call of variant and control takes at least) and ``first`` (seconds that the variant's first call takes longer).
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Inputs
from quantbench.core.worker import worker_main
from quantbench.tflite.litert import LiteRT

# Far below a scheduler's time slice, so that most blocks on a loaded machine run without interruption, and the others
# can be recognized. Blocks of 4 ms spread eighty times as much under the same load.
BLOCK_SECONDS = 0.0002
WARMUP_BLOCKS = 200
LEAST_TURNS = 5
LEAST_CALLS, CALLS_SHARE = 10, 0.15
CALLS_IN_TURN = 20
CLOCK_READINGS = 200
AT_WORK_SECONDS = 0.05

Blocks = dict[str, Any]


def _yardstick() -> Callable[[], object]:
    # A matrix product would depend on which BLAS NumPy was built with, and how it is configured.
    values = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    return lambda: np.sort(values * values + values).sum()


def timed_block(call: Callable[[], object], calls: int, slow: float = 0.0, cold: bool = True) -> dict[str, float]:
    """Time ``calls`` calls as one block; return wall time and CPU time of this thread, in seconds per call, and
    ``whole``, the seconds from beginning to end.

    Args:
        cold: whether other blocks came before; if so, one more call refills the caches, which is in ``whole`` alone.
            Without it, models of several MB came out 4 to 9 % slower than in consecutive calls.
    """
    began = time.perf_counter()
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
    return {"seconds": (end - start) / calls, "own": own / calls, "whole": end - began}


def threads_at_work(call: Callable[[], object]) -> float:
    """Measure how many threads work on a call, on average while this thread is on a core.

    This takes consecutive calls for long enough: the system updates the CPU time of the kernels' threads about a
    hundred times a second, seldom within the block that it belongs to.
    """
    end = time.perf_counter() + AT_WORK_SECONDS
    every, own = time.process_time(), time.thread_time()
    while time.perf_counter() < end:
        call()
    own, every = time.thread_time() - own, time.process_time() - every
    return every / own


def warm_up(call: Callable[[], object]) -> int:
    """Call until none of ten consecutive blocks was the fastest so far; return the calls that fill a block."""
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
    """Time single calls in seconds, each on the next example; fewer than ``most`` where they take long."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < most and (len(times) < LEAST_CALLS or time.perf_counter() < end):
        feed(len(times))
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _in_turns(
    calls: dict[str, Callable[[], object]],
    examples: dict[str, Callable[[int], None]],
    most: int,
    seconds: float,
    order: np.random.Generator,
) -> dict[str, list[float]]:
    """Time single calls of several artifacts, a few of each in turn; ``seconds`` are for each of them.

    The order is random: fixed turns of 2 ms would meet the ticks of a scheduler always in the same one of them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    share = seconds * CALLS_IN_TURN / most
    while any(len(of) < most for of in times.values()):
        before = sum(map(sum, times.values()))
        for name in order.permutation(list(calls)):
            times[name] += _one_by_one(calls[name], examples[name], min(CALLS_IN_TURN, most - len(times[name])), share)
        taken = sum(map(sum, times.values()))
        if taken + (taken - before) > seconds * len(calls):
            break
    return times


def _first(runner: Callable[[], LiteRT], inputs: Inputs, longer: float) -> tuple[LiteRT, Callable[[int], None], float]:
    """Load an artifact and run it once; return it, its feeder and the seconds of loading and running."""
    start = time.perf_counter()
    loaded = runner()
    end = time.perf_counter()
    feed = loaded.feeder(inputs)
    feed(0)
    again = time.perf_counter()
    loaded.invoke()
    if longer:
        time.sleep(longer)
    return loaded, feed, end - start + time.perf_counter() - again


def _waiting(call: Callable[[], object], seconds: float) -> Callable[[], object]:
    def waiting() -> None:
        call()
        time.sleep(seconds)

    return waiting


def _lasting(call: Callable[[], object], seconds: float) -> Callable[[], object]:
    def lasting() -> None:
        end = time.perf_counter() + seconds
        call()
        while time.perf_counter() < end:
            pass

    return lasting


def _stalling(call: Callable[[], object], every: int, seconds: float, first: int) -> Callable[[], object]:
    made = count(every - first)

    def stalling() -> None:
        call()
        if next(made) % every == 0:
            time.sleep(seconds)

    return stalling


def _timing_cost() -> float:
    """Measure seconds between two readings of the clock, as included in the time of every single call."""
    pairs = []
    for _ in range(CLOCK_READINGS):
        start = time.perf_counter()
        pairs.append(time.perf_counter() - start)
    return float(np.median(pairs))


def read_inputs(path: str) -> Inputs:
    """Read the examples that :func:`quantbench.measure.latency.save_inputs` saved."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays["x"] if list(arrays) == ["x"] else {name.removeprefix("x_"): x for name, x in arrays.items()}


def run(job: dict[str, Any]) -> dict[str, Blocks]:
    """Time ``control``, ``variant`` and ``yardstick``: each clock of :func:`timed_block`, one value per block.

    The control also gets its threads at work, the variant its single calls where the job requests them.
    """
    inputs = read_inputs(job["inputs"])
    runtime = job.get("runtime", "litert-cpu")
    files = {name: Path(job[name]) for name in ("control", "variant")}
    for file in files.values():  # reading it from the disk, and what the runtime sets up once, are in no first call
        LiteRT(file, job["threads"], runtime=runtime)
    order = np.random.default_rng(job["seed"])
    first: dict[str, float] = {}
    calls: dict[str, Callable[[], object]] = {}
    examples: dict[str, Callable[[int], None]] = {}
    for name in (("control", "variant"), ("variant", "control"))[job["seed"] % 2]:
        longer = job.get("first", 0.0) if name == "variant" else 0.0
        loaded, examples[name], first[name] = _first(
            partial(LiteRT, files[name], job["threads"], runtime=runtime), inputs, longer
        )
        calls[name] = loaded.invoke
    if job.get("wait"):
        calls["variant"] = _waiting(calls["variant"], job["wait"])
    if job.get("lasting"):
        calls |= {name: _lasting(call, job["lasting"]) for name, call in calls.items()}
    if job.get("stall"):
        every, seconds = job["stall"]
        calls["variant"] = _stalling(calls["variant"], every, seconds, int(order.integers(every)))
    calls["yardstick"] = _yardstick()
    calls = {name: calls[name] for name in ("control", "variant", "yardstick")}
    per_block = {name: warm_up(call) for name, call in calls.items()}
    slow = job.get("slow", {})
    blocks: dict[str, Blocks] = {name: {"seconds": [], "own": [], "whole": []} for name in calls}
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
    for name, seconds in first.items():
        blocks[name]["first"] = seconds
    for name, calls_timed in per_block.items():
        blocks[name]["in_whole"] = calls_timed + 1
    if job.get("calls"):
        both = {name: calls[name] for name in ("control", "variant")}
        for name, times in _in_turns(both, examples, job["calls"], CALLS_SHARE * job["seconds"], order).items():
            blocks[name]["calls"] = times
        blocks["variant"]["timing_cost"] = _timing_cost()
    return blocks


if __name__ == "__main__":
    worker_main(run)
