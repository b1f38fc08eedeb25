"""Time an artifact in turns, in an interpreter that :mod:`quantbench.measure.interleaved` starts.

Reads a job as one line of JSON and answers ``ready``; then answers each further line with one turn's blocks, as
:func:`quantbench.measure.latency_worker.timed_block` times them. Between its turns it waits, without using a core.

    {"artifact": FILE, "inputs": FILE.npz, "threads": 1}
"""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from quantbench.core.worker import Job, answer_lines
from quantbench.measure.latency_worker import read_inputs, timed_block, warm_up
from quantbench.tflite.litert import LiteRT

# Far longer than switching takes (0.1 ms), far shorter than temporary slowdowns of a machine.
TURN_SECONDS = 0.004


def begin(job: Job) -> Callable[[str], dict[str, Any]]:
    """Load the artifact and warm it up; return a function that takes one turn."""
    runner = LiteRT(Path(job["artifact"]), job["threads"])
    feed = runner.feeder(read_inputs(job["inputs"]))
    feed(0)
    calls = warm_up(runner.invoke)
    turns = count()

    def turn(_line: str) -> dict[str, Any]:
        feed(next(turns))
        end = time.perf_counter() + TURN_SECONDS
        blocks = [timed_block(runner.invoke, calls)]
        while time.perf_counter() < end:
            blocks.append(timed_block(runner.invoke, calls, cold=False))
        return {clock: [block[clock] for block in blocks] for clock in blocks[0]} | {"in_whole": calls}

    return turn


if __name__ == "__main__":
    answer_lines(begin, ready="ready")
