"""Latency as a ratio to the float control, in the same process, over many short-lived fresh interpreters.

Memory layout differs from one interpreter to the next and moves a latency by about 1 %; starting afresh
several times averages it out, which one long process cannot. Within a process, what others do on the machine only ever
adds time, and mostly shows: a block during which the thread was not on a core all the time is left out, and of the rest
the lower quartile counts.
"""

import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core import child_process, walls
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.reference.model import ReferenceModel

LEAST_PROCESSES = 6
PROCESS_SECONDS = 0.25
EXAMPLES = 32
START_LIMIT_SECONDS = 60
# A block counts as undisturbed where its wall time is that of its thread, but for the clocks' own time.
OFF_CORE, CLOCKS_SECONDS = 0.03, 2e-6
LEAST_UNDISTURBED = 0.25
CALLS = 300  # timed one by one in each process, after the blocks


class LatencyFailed(Exception):
    """A timing process crashed, hung or wrote nonsense; the message says which, in one line."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of one artifact, or of the yardstick, in one process.

    Attributes:
        seconds: wall time of a call, shape (blocks,).
        own: of it, time that the thread spent on a core, shape (blocks,).
        threads: of the kernels; with several, the time of the calling one says nothing.
        calls: wall time of single calls, in seconds, shape (calls,); empty where none was timed.
        timing_cost: what reading the clock adds to each of those, in seconds.
        threads_at_work: how many threads had a share in a call, on average; counted of the control alone.
    """

    seconds: Array
    own: Array
    threads: int = 1
    calls: Array = field(default_factory=lambda: np.zeros(0))
    timing_cost: float = 0.0
    threads_at_work: float = 1.0

    @cached_property
    def undisturbed(self) -> Array:
        """Which blocks ran without a break, shape (blocks,)."""
        if self.threads > 1:
            return np.ones(len(self.seconds), dtype=bool)
        return self.seconds <= (1 + OFF_CORE) * self.own + CLOCKS_SECONDS

    @cached_property
    def typical(self) -> float:
        """Seconds of a call: the lower quartile of the undisturbed blocks, or of all where those are few."""
        calm = self.undisturbed
        chosen = self.seconds[calm] if calm.mean() >= LEAST_UNDISTURBED else self.seconds
        return float(np.quantile(chosen, 0.25))


Process = dict[str, Blocks]


@dataclass(frozen=True)
class Latency:
    """What fresh processes have timed: the blocks of ``control``, ``variant`` and ``yardstick`` in each."""

    processes: list[Process]

    def microseconds(self) -> list[float]:
        """The variant's typical time of a call, one value a process."""
        return [1e6 * process["variant"].typical for process in self.processes]

    def ratios(self) -> list[float]:
        """Variant / control, one value a process."""
        return [process["variant"].typical / process["control"].typical for process in self.processes]

    def control_to_yardstick(self) -> list[float]:
        """Control / yardstick, one value a process: moves when the runtime itself is slower."""
        return [process["control"].typical / process["yardstick"].typical for process in self.processes]

    def threads_at_work(self) -> list[float]:
        """Threads that had a share in the control, one value a process."""
        return [process["control"].threads_at_work for process in self.processes]

    def disturbed(self) -> float:
        """Share of blocks that others interrupted; with several threads, of the yardstick's, which is one."""
        told = [blocks for process in self.processes for blocks in process.values() if blocks.threads == 1]
        calm = [blocks.undisturbed for blocks in told]
        return 1 - float(np.mean(np.concatenate(calm)))

    def blocks(self) -> list[float]:
        """All of the variant's block means, in seconds."""
        return [float(block) for process in self.processes for block in process["variant"].seconds]

    def calls(self) -> list[Array]:
        """Seconds of the variant's single calls, an array a process; empty where none were timed."""
        found = [process["variant"].calls for process in self.processes]
        return [calls for calls in found if len(calls)]

    def timing_cost(self) -> list[float]:
        """Microseconds that reading the clock adds to a single call, one value a process."""
        return [1e6 * process["variant"].timing_cost for process in self.processes]


def measure(variant: Path, control: Path, model: ReferenceModel, seconds: float, threads: int = 1) -> Latency:
    """Time ``variant`` against ``control`` on real test examples, batch 1.

    Args:
        seconds: of timing in all. As many processes as fit are run, whatever they show: to stop once the spread looks
            small is to stop where it is underestimated, and more than doubled the false alarms.

    Raises:
        LatencyFailed: a timing process did not finish.
    """
    processes = max(LEAST_PROCESSES, round(seconds / PROCESS_SECONDS))
    timed = Latency([])
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = save_inputs(model, Path(folder))
        room = child_process.room(model.form, variant, control, inputs)
        for seed in range(processes):
            more = {"calls": CALLS} if threads == 1 else {}
            timed.processes.append(
                time_once(variant, control, inputs, seconds / processes, threads, seed, room=room, **more)
            )
    return timed


def save_inputs(model: ReferenceModel, folder: Path) -> Path:
    """The first test examples, prepared, in a file that timing processes read."""
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
    """One fresh process.

    Args:
        seed: of the order in which blocks follow each other.
        room: what the process may reach, see :func:`quantbench.core.child_process.start`.
        more: keys of the worker's job: how many single calls to time, or a regression to plant.

    Raises:
        LatencyFailed: it did not finish.
    """
    job: dict[str, Any] = {"control": str(control), "variant": str(variant), "inputs": str(inputs)}
    job |= {"seconds": seconds, "threads": threads, "seed": seed, **more}
    result = run_worker("quantbench.measure.latency_worker", job, START_LIMIT_SECONDS + 10 * seconds, room)
    return {name: _blocks(name, told, threads) for name, told in result.items()}


def _blocks(name: str, told: dict[str, Any], threads: int) -> Blocks:
    return Blocks(
        np.array(told["seconds"]),
        np.array(told["own"]),
        1 if name == "yardstick" else threads,
        np.array(told.get("calls", [])),
        told.get("timing_cost", 0.0),
        told.get("threads_at_work", 1.0),
    )


def named_for_npz(examples: Inputs) -> dict[str, Array]:
    """``x``, or ``x_<input name>``: a bare name could be an argument of ``np.savez`` itself, such as ``file``."""
    return {f"x_{name}": x for name, x in examples.items()} if isinstance(examples, dict) else {"x": examples}


def run_worker(module: str, job: dict[str, Any], limit: float, room: walls.Room | None = None) -> dict[str, Any]:
    """What a fresh interpreter that runs ``module`` makes of a job.

    Args:
        limit: seconds after which it is given up.
        room: what it may reach, see :func:`quantbench.core.child_process.start`.

    Raises:
        LatencyFailed: it did not finish, or wrote no result.
    """
    try:
        found: dict[str, Any] = child_process.result(
            child_process.start(module, job, limit, child_process.ONE_THREAD, room=room)
        )
    except child_process.ChildFailed as error:
        raise LatencyFailed(f"the timing process {error}") from None
    return found
