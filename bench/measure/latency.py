"""Latency as a ratio to the float control, in the same process, over many short-lived fresh interpreters.

Memory layout differs from one interpreter to the next and moves a latency by about 1 %; starting afresh
several times averages it out, which one long process cannot.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.datasets import Array, Inputs, rows
from bench.reference import ReferenceModel

PROCESSES = 6
EXAMPLES = 32
START_LIMIT_SECONDS = 60


class LatencyFailed(Exception):
    """A timing process crashed, hung or wrote nonsense; the message says which, in one line."""


@dataclass(frozen=True)
class Latency:
    """Block means, by process.

    Attributes:
        control, variant, yardstick: one list a process, of mean seconds a call, one a block; the blocks of one
            position were timed right after each other.
    """

    control: list[list[float]]
    variant: list[list[float]]
    yardstick: list[list[float]]

    def microseconds(self) -> list[float]:
        """The variant's median time of a call, one value a process."""
        return [1e6 * float(np.median(blocks)) for blocks in self.variant]

    def ratios(self) -> list[float]:
        """Variant / control, median over the blocks, one value a process."""
        return _ratios(self.variant, self.control)

    def control_to_yardstick(self) -> list[float]:
        """Control / yardstick, one value a process: moves when the runtime itself is slower."""
        return _ratios(self.control, self.yardstick)

    def blocks(self) -> list[float]:
        """All of the variant's block means, in seconds."""
        return [block for process in self.variant for block in process]


def _ratios(upper: list[list[float]], lower: list[list[float]]) -> list[float]:
    return [float(np.median(np.divide(a, b))) for a, b in zip(upper, lower, strict=True)]


def measure(
    variant: Path, control: Path, model: ReferenceModel, seconds: float, threads: int = 1, processes: int = PROCESSES
) -> Latency:
    """Time ``variant`` against ``control`` for ``seconds`` in all, on real test examples, batch 1.

    Raises:
        LatencyFailed: a timing process did not finish.
    """
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = Path(folder) / "inputs.npz"
        examples = model.prepare(rows(model.pack().test.x, slice(0, EXAMPLES)))
        np.savez(inputs, **named_for_npz(examples))  # type: ignore[arg-type]
        done = []
        for seed in range(processes):
            job = {
                "control": str(control),
                "variant": str(variant),
                "inputs": str(inputs),
                "seconds": seconds / processes,
                "threads": threads,
                "seed": seed,
            }
            done.append(_run_worker(job, seconds))
    return Latency(*([one[name] for one in done] for name in ("control", "variant", "yardstick")))


def named_for_npz(examples: Inputs) -> dict[str, Array]:
    """``x``, or ``x_<input name>``: a bare name could be an argument of ``np.savez`` itself, such as ``file``."""
    return {f"x_{name}": x for name, x in examples.items()} if isinstance(examples, dict) else {"x": examples}


def _run_worker(job: dict[str, object], seconds: float) -> dict[str, list[float]]:
    # One thread for NumPy too: a yardstick that spreads over the cores would measure their load.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.measure.latency_worker"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=START_LIMIT_SECONDS + 10 * seconds,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        raise LatencyFailed(
            f"the timing process did not finish within {START_LIMIT_SECONDS + 10 * seconds:.0f} s"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise LatencyFailed(f"the timing process ended with status {done.returncode}: {last}")
    try:
        result: dict[str, list[float]] = json.loads(done.stdout)
    except ValueError:
        raise LatencyFailed(f"the timing process wrote no result but {done.stdout[:80]!r}") from None
    return result
