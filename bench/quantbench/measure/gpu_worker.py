"""Run an artifact on the GPU, in a short-lived process that :mod:`quantbench.measure.gpu` starts.

Reads a job as JSON from standard input, writes its measurements as JSON to standard output; output of LiteRT and the
driver goes to standard error:

    {"artifacts": {"variant": FILE, "control": FILE}, "inputs": {"variant": FILE.npz, "control": FILE.npz},
     "answers": FILE.npz or null, "answer_seconds": 60, "step_seconds": 120, "seconds": 0.3, "seed": 0,
     "driver": "openvino:CPU" or another or null}

Outputs go to the file ``answers``: of the first example, and of as many more as take ``answer_seconds``. A call is
timed from its start until its outputs have been read back. Calls of variant and control (which may be missing) follow
each other in random order. A step (loading a file, or a call) that takes more than ``step_seconds`` ends the process by
SIGALRM, wherever the driver hangs.
"""

import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.worker import worker_main
from quantbench.measure.openvino_devices import device_of
from quantbench.tflite.litert_gpu import LiteRTGPU
from quantbench.tflite.litert_openvino import LiteRTOpenVINO

WARMUP_CALLS = 5
LEAST_TURNS = 5
SLOW_SECONDS = 10.0  # of warming up, and of turns: then one is enough
END_OF_VARIANT = "quantbench: the variant is loaded"


def run(job: dict[str, Any]) -> dict[str, list[float]]:
    """Return seconds of each timed call, by artifact; the variant's outputs go to a file where the job names one."""
    examples = {name: _read(file) for name, file in job["inputs"].items()}

    def begin_step() -> None:
        alarm_after(job["step_seconds"])

    begin_step()
    # The variant first, so that everything logged about operators up to here is about the variant.
    runners = {"variant": _loaded(job, "variant")}
    print(END_OF_VARIANT, file=sys.stderr, flush=True)
    if job.get("answers"):
        end = math.inf

        def enough(done: int) -> bool:
            nonlocal end
            begin_step()
            if done == 1:  # the first call may compile for a minute (llvmpipe)
                end = time.perf_counter() + job["answer_seconds"]
            return time.perf_counter() >= end

        outputs = runners["variant"].run(examples["variant"], enough)
        np.savez(job["answers"], **{f"y_{name}": values for name, values in outputs.items()})  # type: ignore[arg-type]
    if "control" in job["artifacts"]:
        begin_step()
        runners["control"] = _loaded(job, "control")
    timed = _timed(runners, examples, job["seconds"], job["seed"], begin_step)
    for runner in runners.values():
        runner.close()
    alarm_after(0)
    return timed


def alarm_after(seconds: float) -> None:
    """Let the system end this process after so many seconds, however it hangs; 0: no more."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _loaded(job: dict[str, Any], name: str) -> LiteRTGPU:
    artifact, device = Path(job["artifacts"][name]), device_of(job.get("driver"))
    return LiteRTGPU(artifact) if device is None else LiteRTOpenVINO(artifact, device)


def _read(file: str) -> dict[str, Array]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name.removeprefix("x_"): arrays[name] for name in arrays.files}


def _timed(
    runners: dict[str, LiteRTGPU],
    examples: dict[str, dict[str, Array]],
    seconds: float,
    seed: int,
    begin_step: Callable[[], None],
) -> dict[str, list[float]]:
    feeders = {name: runner.feeder(examples[name]) for name, runner in runners.items()}
    since, turn = time.perf_counter(), 0
    while _more(turn, WARMUP_CALLS, 0, since):
        for name, feed in feeders.items():
            begin_step()
            feed(turn)
            runners[name].invoke()
        turn += 1
    timed: dict[str, list[float]] = {name: [] for name in runners}
    order = np.random.default_rng(seed)
    since, turn = time.perf_counter(), 0
    while _more(turn, LEAST_TURNS, seconds, since):
        for name in order.permutation(list(runners)):
            begin_step()
            feeders[name](turn)
            start = time.perf_counter()
            runners[name].invoke()
            timed[name].append(time.perf_counter() - start)
        turn += 1
    return timed


def _more(turns: int, least: int, seconds: float, since: float) -> bool:
    """Check whether the device gets another turn: for so many seconds and turns, or for one turn where it is slow."""
    passed = time.perf_counter() - since
    return passed < seconds or turns < (least if passed < SLOW_SECONDS else 1)


if __name__ == "__main__":
    worker_main(run)
