"""Measure latency as a ratio to the float control in the same process, over many short-lived interpreters.

Memory layout differs between interpreters and changes a latency by about 1 %; starting afresh several times averages
this out, which one long process cannot. Within a process, interference from others only ever adds time, and mostly
shows: blocks during which the thread was interrupted are discarded, and the lower quartile of the rest counts.
"""

import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quantbench.core import child_process, walls
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.measure import stalls
from quantbench.records import Stalls
from quantbench.records.measurements import CPU, FIRST_CALL, MEAN, OF_YARDSTICK, OFF_CORE, P90
from quantbench.reference.model import ReferenceModel

LEAST_PROCESSES = 6
PROCESS_SECONDS = 0.25
EXAMPLES = 32
START_LIMIT_SECONDS = 60
# A block counts as undisturbed where its wall time equals its thread's CPU time, except for the clocks' own time.
OFF_CORE_SHARE, CLOCKS_SECONDS = 0.03, 2e-6
LEAST_UNDISTURBED = 0.25
CALLS = 300  # timed one by one in each process, after the blocks


class LatencyFailed(Exception):
    """Raised when a timing process crashed, hung or wrote nonsense; the message says which, in one line."""


@dataclass(frozen=True)
class Blocks:
    """Hold the blocks of one artifact, or of the reference load, in one process.

    Attributes:
        seconds: wall time per call, shape (blocks,).
        own: CPU time of the calling thread per call, shape (blocks,).
        threads: of the kernels; with several, the CPU time of the calling thread says nothing.
        calls: wall time of single calls, in seconds, shape (calls,); empty where none were timed.
        timing_cost: seconds that reading the clock adds to each single call.
        threads_at_work: average number of threads that work on a call; only counted for the control.
        first: seconds of loading the artifact and of its first call; 0 where not timed.
        whole: wall time of each block with the call before it, in seconds, shape (blocks,); empty where not timed.
        in_whole: calls in that time.
    """

    seconds: Array
    own: Array
    threads: int = 1
    calls: Array = field(default_factory=lambda: np.zeros(0))
    timing_cost: float = 0.0
    threads_at_work: float = 1.0
    first: float = 0.0
    whole: Array = field(default_factory=lambda: np.zeros(0))
    in_whole: int = 1

    @property
    def off_core(self) -> float:
        """Compute the share of its time that the calling thread did not run, over all blocks."""
        wall = float(self.seconds.sum())
        return max(0.0, 1 - float(self.own.sum()) / wall) if wall else 0.0

    @cached_property
    def undisturbed(self) -> Array:
        """Mark the blocks that ran without interruption, shape (blocks,)."""
        if self.threads > 1:
            return np.ones(len(self.seconds), dtype=bool)
        return self.seconds <= (1 + OFF_CORE_SHARE) * self.own + CLOCKS_SECONDS

    @cached_property
    def typical(self) -> float:
        """Compute seconds per call: the lower quartile of the undisturbed blocks, or of all where those are few."""
        calm = self.undisturbed
        chosen = self.seconds[calm] if calm.mean() >= LEAST_UNDISTURBED else self.seconds
        return float(np.quantile(chosen, 0.25))


Process = dict[str, Blocks]


def _timed(blocks: Blocks) -> stalls.Timed:
    return [(seconds, calls) for seconds, calls in ((blocks.whole, blocks.in_whole), (blocks.calls, 1)) if len(seconds)]


def _p90(blocks: Blocks) -> float:
    return float(np.quantile(blocks.calls, 0.9)) if len(blocks.calls) else 0.0


@dataclass(frozen=True)
class Latency:
    """Hold the times of fresh processes: the blocks of ``control``, ``variant`` and ``yardstick`` in each."""

    processes: list[Process]

    def microseconds(self) -> list[float]:
        """Return the variant's typical time per call, one value per process."""
        return [1e6 * process["variant"].typical for process in self.processes]

    def ratios(self) -> list[float]:
        """Return variant / control, one value per process."""
        return [process["variant"].typical / process["control"].typical for process in self.processes]

    def control_to_yardstick(self) -> list[float]:
        """Return control / yardstick, one value per process; it moves when the runtime itself gets slower."""
        return [process["control"].typical / process["yardstick"].typical for process in self.processes]

    def beside(self, base: Literal["control", "yardstick"]) -> dict[str, list[float]]:
        """Return what is judged beside the typical call, one value per process; empty with several threads.

        Nothing is left out as interrupted: the base in turns with the variant is interrupted as much.

        Args:
            base: what the variant is compared with; for float32, which is the control, the yardstick.
        """
        if any(process["variant"].threads > 1 for process in self.processes):
            return {}
        pairs = [(process["variant"], process[base]) for process in self.processes]
        values = {
            MEAN: [float(one.seconds.mean() / other.seconds.mean()) for one, other in pairs],
            CPU: [float(one.own.mean() / other.own.mean()) for one, other in pairs if other.own.mean() > 0],
            OFF_CORE: [one.off_core - other.off_core for one, other in pairs],
            OF_YARDSTICK: [each["variant"].typical / each["yardstick"].typical for each in self.processes],
            FIRST_CALL: [one.first / (other.first or other.typical) for one, other in pairs if one.first],
            P90: [_p90(one) / (_p90(other) or other.typical) for one, other in pairs if len(one.calls)],
        }
        return {name: of for name, of in values.items() if len(of) == len(pairs) and min(of) > -1}

    def stalls(self, beside: Literal["control", "yardstick"]) -> list[list[Stalls]]:
        """Return the stalls of the variant, one list of lengths per process, without those that cannot tell.

        Args:
            beside: what was timed in turns with the variant.
        """
        if any(process["variant"].threads > 1 or not len(process["variant"].whole) for process in self.processes):
            return []
        found = [stalls.counted(_timed(process["variant"]), _timed(process[beside])) for process in self.processes]
        return [one for one in found if one is not None]

    def usual_blocks(self, *names: Literal["variant", "control", "yardstick"]) -> dict[str, float]:
        """Return the usual seconds of what stalls are looked for in, by what is timed; empty with several threads."""
        if any(process["variant"].threads > 1 or not len(process["variant"].whole) for process in self.processes):
            return {}
        return {
            name: float(np.median([stalls.usual_block(_timed(process[name])) for process in self.processes]))
            for name in names
        }

    def threads_at_work(self) -> list[float]:
        """Return the number of threads that work on the control, one value per process."""
        return [process["control"].threads_at_work for process in self.processes]

    def disturbed(self) -> float:
        """Return the share of disturbed blocks; with several threads, of the yardstick's, which always has one."""
        single_threaded = [blocks for process in self.processes for blocks in process.values() if blocks.threads == 1]
        calm = [blocks.undisturbed for blocks in single_threaded]
        return 1 - float(np.mean(np.concatenate(calm)))

    def blocks(self) -> list[float]:
        """Return all of the variant's block means, in seconds."""
        return [float(block) for process in self.processes for block in process["variant"].seconds]

    def calls(self) -> list[Array]:
        """Return seconds of the variant's single calls, one array per process; empty where none were timed."""
        per_process = [process["variant"].calls for process in self.processes]
        return [calls for calls in per_process if len(calls)]

    def timing_cost(self) -> list[float]:
        """Return microseconds that reading the clock adds to a single call, one value per process."""
        return [1e6 * process["variant"].timing_cost for process in self.processes]


def measure(
    variant: Path,
    control: Path,
    model: ReferenceModel,
    seconds: float,
    threads: int = 1,
    times: int = 1,
    longer: int = 1,
) -> Latency:
    """Time ``variant`` against ``control`` on real test examples, batch 1.

    Args:
        seconds: total timing of a first stage. The number of its processes only depends on it: stopping once the spread
            looks small stops where it is underestimated, and more than doubled the false alarms.
        times: as many processes as this many first stages, see :mod:`quantbench.gate._sequential`.
        longer: how many times as long each process times as one of a first stage, blocks and single calls alike.

    Raises:
        LatencyFailed: a timing process did not finish.
    """
    processes = max(LEAST_PROCESSES, round(seconds / PROCESS_SECONDS))
    timed = Latency([])
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = save_inputs(model, Path(folder))
        room = child_process.room(model.form, variant, control, inputs)
        for seed in range(processes * times):
            more = {"calls": longer * CALLS} if threads == 1 else {}
            timed.processes.append(
                time_once(variant, control, inputs, longer * seconds / processes, threads, seed, room=room, **more)
            )
    return timed


def save_inputs(model: ReferenceModel, folder: Path) -> Path:
    """Save the first test examples, prepared, in a file that timing processes read."""
    path = folder / "inputs.npz"
    examples = model.prepare(rows(model.pack().test.x, slice(0, EXAMPLES)))
    np.savez(path, **named_for_npz(examples))  # type: ignore[arg-type]
    return path


def time_once(
    variant: Path,
    control: Path,
    inputs: Path,
    seconds: float,
    threads: int,
    seed: int,
    room: walls.Room | None = None,
    **more: Any,
) -> Process:
    """Run one fresh process.

    Args:
        seed: of the order of the blocks.
        room: what the process may access, see :func:`quantbench.core.child_process.start`.
        more: keys of the worker's job: how many single calls to time, or a regression to inject.

    Raises:
        LatencyFailed: the process did not finish.
    """
    job: dict[str, Any] = {"control": str(control), "variant": str(variant), "inputs": str(inputs)}
    job |= {"seconds": seconds, "threads": threads, "seed": seed, **more}
    result = run_worker("quantbench.measure.latency_worker", job, START_LIMIT_SECONDS + 10 * seconds, room)
    return {name: _blocks(name, result, threads) for name, result in result.items()}


def _blocks(name: str, result: dict[str, Any], threads: int) -> Blocks:
    return Blocks(
        np.array(result["seconds"]),
        np.array(result["own"]),
        1 if name == "yardstick" else threads,
        np.array(result.get("calls", [])),
        result.get("timing_cost", 0.0),
        result.get("threads_at_work", 1.0),
        result.get("first", 0.0),
        np.array(result.get("whole", [])),
        result.get("in_whole", 1),
    )


def named_for_npz(examples: Inputs) -> dict[str, Array]:
    """Name arrays ``x``, or ``x_<input name>``: a bare name could be an argument of ``np.savez``, such as ``file``."""
    return {f"x_{name}": x for name, x in examples.items()} if isinstance(examples, dict) else {"x": examples}


def run_worker(module: str, job: dict[str, Any], limit: float, room: walls.Room | None = None) -> dict[str, Any]:
    """Run ``module`` on a job in a fresh interpreter, and return its result.

    Args:
        limit: timeout in seconds.
        room: what the process may access, see :func:`quantbench.core.child_process.start`.

    Raises:
        LatencyFailed: the process did not finish, or wrote no result.
    """
    try:
        result: dict[str, Any] = child_process.result(
            child_process.start(module, job, limit, child_process.ONE_THREAD, room=room)
        )
    except child_process.ChildFailed as error:
        raise LatencyFailed(f"the timing process {error}") from None
    return result
