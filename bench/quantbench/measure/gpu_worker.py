"""Run an artifact on the GPU, in a short-lived process that :mod:`quantbench.measure.gpu` starts.

Reads a job as JSON from standard input, writes its measurements as JSON to standard output; output of LiteRT and the
driver goes to standard error:

    {"artifacts": {"variant": FILE, "control": FILE}, "inputs": {"variant": FILE.npz, "control": FILE.npz},
     "answers": FILE.npz or null, "seconds": 0.3, "seed": 0, "driver": "openvino:CPU" or another or null}

A call is timed from its start until its outputs have been read back. Calls of variant and control (which may be
missing) follow each other in random order.
"""

import sys
import time
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
END_OF_VARIANT = "quantbench: the variant is loaded"


def run(job: dict[str, Any]) -> dict[str, list[float]]:
    """Return seconds of each timed call, by artifact; the variant's outputs go to a file where the job names one."""
    examples = {name: _read(file) for name, file in job["inputs"].items()}
    # The variant first, so that everything logged about operators up to here is about the variant.
    runners = {"variant": _loaded(job, "variant")}
    print(END_OF_VARIANT, file=sys.stderr, flush=True)
    if job.get("answers"):
        outputs = runners["variant"].run(examples["variant"])
        np.savez(job["answers"], **{f"y_{name}": values for name, values in outputs.items()})  # type: ignore[arg-type]
    if "control" in job["artifacts"]:
        runners["control"] = _loaded(job, "control")
    timed = _timed(runners, examples, job["seconds"], job["seed"])
    for runner in runners.values():
        runner.close()
    return timed


def _loaded(job: dict[str, Any], name: str) -> LiteRTGPU:
    artifact, device = Path(job["artifacts"][name]), device_of(job.get("driver"))
    return LiteRTGPU(artifact) if device is None else LiteRTOpenVINO(artifact, device)


def _read(file: str) -> dict[str, Array]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name.removeprefix("x_"): arrays[name] for name in arrays.files}


def _timed(
    runners: dict[str, LiteRTGPU], examples: dict[str, dict[str, Array]], seconds: float, seed: int
) -> dict[str, list[float]]:
    feeders = {name: runner.feeder(examples[name]) for name, runner in runners.items()}
    for name, feed in feeders.items():
        for i in range(WARMUP_CALLS):
            feed(i)
            runners[name].invoke()
    timed: dict[str, list[float]] = {name: [] for name in runners}
    order = np.random.default_rng(seed)
    end, turn = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turn < LEAST_TURNS:
        for name in order.permutation(list(runners)):
            feeders[name](turn)
            start = time.perf_counter()
            runners[name].invoke()
            timed[name].append(time.perf_counter() - start)
        turn += 1
    return timed


if __name__ == "__main__":
    worker_main(run)
