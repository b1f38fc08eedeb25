"""One short-lived interpreter that times an artifact whenever it is its turn; started by
:mod:`quantbench.ab.interleaved`.

Reads a job as one line of JSON, and says ``ready``; then answers each further line with one turn's blocks, as
:func:`quantbench.measure.latency_worker.timed_block` times them. Between its turns it waits, and takes no time of a
core.

    {"artifact": FILE, "inputs": FILE.npz, "threads": 1}
"""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from quantbench.core.worker import Job, answer_lines
from quantbench.measure.latency_worker import read_inputs, timed_block, warm_up
from quantbench.tflite.litert import LiteRT

# Far longer than handing over takes (0.1 ms), far shorter than what slows a machine for a while.
TURN_SECONDS = 0.004


def begin(job: Job) -> Callable[[str], dict[str, list[float]]]:
    """Load the artifact and warm it up; what it returns takes one turn."""
    runner = LiteRT(Path(job["artifact"]), job["threads"])
    feed = runner.feeder(read_inputs(job["inputs"]))
    feed(0)
    calls = warm_up(runner.invoke)
    turns = count()

    def turn(_line: str) -> dict[str, list[float]]:
        feed(next(turns))
        end = time.perf_counter() + TURN_SECONDS
        blocks = [timed_block(runner.invoke, calls)]
        while time.perf_counter() < end:
            blocks.append(timed_block(runner.invoke, calls, cold=False))
        return {clock: [block[clock] for block in blocks] for clock in blocks[0]}

    return turn


if __name__ == "__main__":
    answer_lines(begin, ready="ready")
