"""One short-lived interpreter that times an artifact whenever it is its turn; started by
:mod:`quantbench.ab.interleaved`.

Reads a job as one line of JSON, and says ``ready``; then answers each further line with one turn's blocks, as
:func:`quantbench.measure.latency_worker.timed_block` times them. Between its turns it waits, and takes no time of a
core.

    {"artifact": FILE, "inputs": FILE.npz, "threads": 1}
"""

import json
import sys
import time
from pathlib import Path

from quantbench.measure.latency_worker import read_inputs, timed_block, warm_up
from quantbench.tflite.litert import LiteRT

# Far longer than handing over takes (0.1 ms), far shorter than what slows a machine for a while.
TURN_SECONDS = 0.004


def main() -> None:
    """Take turns until the input ends."""
    job = json.loads(sys.stdin.readline())
    runner = LiteRT(Path(job["artifact"]), job["threads"])
    feed = runner.feeder(read_inputs(job["inputs"]))
    feed(0)
    calls = warm_up(runner.invoke)
    print("ready", flush=True)
    turn = 0
    while sys.stdin.readline():
        feed(turn)
        end = time.perf_counter() + TURN_SECONDS
        blocks = [timed_block(runner.invoke, calls)]
        while time.perf_counter() < end:
            blocks.append(timed_block(runner.invoke, calls, cold=False))
        print(json.dumps({clock: [block[clock] for block in blocks] for clock in blocks[0]}), flush=True)
        turn += 1


if __name__ == "__main__":
    main()
