"""Time the operators of several artifacts of one model in turns, in an interpreter of its own.

Reads a job as JSON: ``{"files": {NAME: FILE}, "inputs": FILE.npz, "seconds": 0.5, "seed": 0}``, and writes for each
name its seconds per call without the profiler, and its kernels with microseconds in a call:

    {NAME: {"call": 0.0002, "kernels": [[NAME, POSITION or null, MICROSECONDS], ...]}}

or ``{"refused": WHY}`` where LiteRT does not profile one of them. The profiler costs as much as a small operator, so
that calls are timed without it, in other blocks.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, rows
from quantbench.core.worker import worker_main
from quantbench.measure.latency_worker import timed_block, warm_up
from quantbench.tflite.litert import LiteRT
from quantbench.tflite.profiler import Kernel, NoProfile, Profiled

PROFILED_SECONDS = 0.004  # in one block, so that blocks of all artifacts see the same load
MOST_CALLS = 200
# Of the times of an operator the longest quarter is left out: those that something interrupted.
KEPT = 0.75


class _Side:
    """Hold one artifact, loaded for the profiler and for plain calls."""

    def __init__(self, path: Path, inputs: Any) -> None:
        artifact = path.read_bytes()
        self.plain, self.profiled = LiteRT(artifact), Profiled(artifact)
        self.plain.feeder(inputs)(0)
        prepared = self.plain.prepare(rows(inputs, slice(0, 1)))
        self.profiled.feed(dict(zip(self.plain.input_names(), prepared, strict=True)))
        self.calls = warm_up(self.plain.invoke)
        self.blocks: list[float] = []
        self.kernels: list[Kernel] = []
        self.times: list[Array] = []
        self.profiled.profile(1)

    def block(self) -> None:
        """Time one block without the profiler, and one with it."""
        self.blocks.append(timed_block(self.plain.invoke, self.calls)["seconds"])
        self.profiled.call()
        count = max(2, min(MOST_CALLS, round(PROFILED_SECONDS / max(1e-6, self.blocks[-1]))))
        kernels, times = self.profiled.profile(count)
        if not self.kernels:
            self.kernels = kernels
        if kernels == self.kernels:
            self.times.append(times)

    def result(self) -> dict[str, Any]:
        """Return what was timed, as the module describes it."""
        times = np.sort(np.concatenate(self.times), axis=0)
        typical = times[: max(1, round(KEPT * len(times)))].mean(axis=0)
        return {
            "call": float(np.quantile(self.blocks, 0.25)),
            "kernels": [[one.name, one.position, float(t)] for one, t in zip(self.kernels, typical, strict=True)],
        }


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time the artifacts, or say why they cannot be."""
    try:
        return _timed(job)
    except NoProfile as error:
        return {"refused": str(error)}


def _timed(job: dict[str, Any]) -> dict[str, Any]:
    """Time blocks of all artifacts in random order until the time is up; each five times at least."""
    with np.load(job["inputs"], allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    inputs = arrays["x"] if "x" in arrays else {name.removeprefix("x_"): x for name, x in arrays.items()}
    sides = {name: _Side(Path(path), inputs) for name, path in job["files"].items()}
    random, end, turns = np.random.default_rng(job["seed"]), time.perf_counter() + job["seconds"], 0
    while turns < 5 or time.perf_counter() < end:
        for place in random.permutation(len(sides)):
            list(sides.values())[place].block()
        turns += 1
    return {name: side.result() for name, side in sides.items()}


if __name__ == "__main__":
    worker_main(run)
