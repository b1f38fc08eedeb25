"""Simulate how much faster several workers of a cluster compute the cells of a finished run.

    python -m studies.cluster_simulation reports/latest --report-dir reports/reference

Cells take as long as they took in that run, and are given out by the queue that gives them out in a run. Each worker is
a machine with a store of its own: what another one has trained, it trains again. What is sent takes as long as wires of
the given bandwidths and delays need. ``python -m studies.cluster_scaling --waiting`` measures the same with real
workers whose cells wait.
"""

import argparse
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quantbench.core import environment
from quantbench.core.options import RunOptions
from quantbench.engine.scheduler import order, turn_of
from quantbench.engine.workers.cluster import model_files
from quantbench.engine.workers.task import Task
from quantbench.engine.workers.task_queue import TaskQueue
from quantbench.errors import BadInput
from quantbench.records import Cell
from quantbench.records.run_folder import read
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.variants import FLOAT_CONTROL, VARIANTS

from studies import _common
from studies._wire import Wire

TARGETS = {2: 1.7, 4: 3.0}
WIRES = "1000/0.5,100/2,10/50"
HANDING_SECONDS = 0.15  # from a cell's end to the next one on its worker: both sides look every .1 s
MESSAGES = 4  # one after the other, beside what they carry
REPLY_BYTES = 610_000  # what comes back of a cell, the mean of the whole matrix: artifact, outputs, contents
_TRAININGS: Mapping[str, tuple[str, ...]] = {
    "float32_finetuned": ("finetuned",),
    "float32_finetuned_2x": ("finetuned", "finetuned_twice"),
    "float32_finetuned_3x": ("finetuned", "finetuned_twice", "finetuned_thrice"),
    "pqat_wi8_ai8": ("pruned",),
    "cqat_wi8_ai8": ("clustered16",),
    "pcqat_wi8_ai8": ("pruned", "pruned_clustered"),
}


@dataclass(frozen=True)
class Recorded:
    """Describe a cell by what it took once.

    Attributes:
        own: seconds without the trainings that it may share with other cells.
        trainings: name -> seconds of each, the earliest first.
        files: hash -> bytes of what a worker needs of its model.
    """

    task: Task
    own: float
    trainings: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the cell's key."""
        return f"{self.task.model}/{self.task.variant}"


@dataclass(frozen=True)
class Simulated:
    """Hold what came of a simulation.

    Attributes:
        seconds: from the first cell submitted to the last one finished.
        trained: number of trainings that cells may share.
        again: seconds of those that another worker had done.
        carried: bytes over the wires.
    """

    seconds: float
    trained: int
    again: float
    carried: int


class InOrder(TaskQueue[Recorded]):
    """Give out cells as they are sent, whichever models a worker has had."""

    def _rank(self, item: Recorded, worker: object) -> int:  # noqa: ARG002 - called as what it replaces
        return 0


def trainings(variant: str) -> tuple[str, ...]:
    """Name the stages that a variant trains, and finds in the store where another one has, the earliest first."""
    first = variant.partition("_")[0]
    return _TRAININGS.get(variant, (first,) if first.startswith(("pruned", "clustered")) else ())


def recorded(cells: Iterable[Cell], models: Mapping[str, ReferenceModel]) -> list[Recorded]:
    """List what a run computed, in the order in which a run sends it.

    A training took what the first cell that needs it took longer than the float control of its model, which is
    converted and evaluated the same way.
    """
    computed = [cell for cell in cells if not cell.cached and _has_result(cell) and cell.model in models]
    place = order([cell.model for cell in computed])
    computed.sort(key=lambda cell: place(cell.model, VARIANTS[cell.variant]))
    control = {cell.model: cell.seconds for cell in computed if cell.variant == FLOAT_CONTROL}
    took: dict[tuple[str, str], float] = {}
    found = []
    for cell in computed:
        names = (
            () if cell.failure is not None else trainings(cell.variant)
        )  # what is refused is refused before it trains
        new = [name for name in names if (cell.model, name) not in took]
        training = max(0.0, cell.seconds - control.get(cell.model, 0.0)) if new else 0.0
        took |= {(cell.model, name): training / len(new) for name in new}
        file = models[cell.model].file
        turn = turn_of(VARIANTS[cell.variant])
        task = Task(
            file, cell.model, cell.variant, 0, None, Path(), Path(f"{cell.model}.{cell.variant}.log"), turn=turn
        )
        files = {sha256: path.stat().st_size for path, sha256 in model_files(file, cell.model).values()}
        shared = {name: took[cell.model, name] for name in names}
        found.append(Recorded(task, cell.seconds - training, shared, files))
    return found


def _has_result(cell: Cell) -> bool:
    return cell.failure is None or cell.failure.what == "unsupported"


def simulate(
    cells: Sequence[Recorded], workers: int, wire: Wire | None = None, queue: type[TaskQueue[Recorded]] = TaskQueue
) -> Simulated:
    """Give the cells to workers, and add up what each does.

    Args:
        wire: joins each worker, and the client, to all others; without one, nothing but the cells takes time.
        queue: gives them out.
    """
    waiting = queue(lambda cell: cell.task)
    for one in cells:
        waiting.put(one)
    stores: list[set[str]] = [set() for _ in range(workers)]
    trained: set[str] = set()
    events = [(0.0, False, worker) for worker in range(workers)]  # when, whether its cell has ended, where
    taken_in = again = 0.0
    count = carried = 0
    while events:
        now, ended, worker = heapq.heappop(events)
        if ended:  # the client takes in one result after the other
            taken_in = max(taken_in, now) + _over(wire, REPLY_BYTES)
            carried += REPLY_BYTES
            heapq.heappush(events, (taken_in + (HANDING_SECONDS if wire else 0.0), False, worker))
            continue
        if (cell := waiting.take_now(worker)) is None:
            continue
        files = sum(size for sha256, size in cell.files.items() if sha256 not in stores[worker])
        missing = {f"{cell.task.model}/{name}": took for name, took in cell.trainings.items()}
        missing = {name: took for name, took in missing.items() if name not in stores[worker]}
        count += len(missing)
        again += sum(took for name, took in missing.items() if name in trained)
        stores[worker] |= {*cell.files, *missing}
        trained |= missing.keys()
        carried += files
        heapq.heappush(events, (now + _over(wire, files) + cell.own + sum(missing.values()), True, worker))
    return Simulated(taken_in, count, again, carried if wire else 0)


def _over(wire: Wire | None, size: int) -> float:
    """Return the seconds that something takes over a wire, with the messages around it."""
    if wire is None:
        return 0.0
    return size * 8 / (wire.megabits * 1e6) + MESSAGES / 2 * wire.milliseconds / 1000


def report(cells: Sequence[Recorded], numbers: Sequence[int], wires: Sequence[Wire]) -> list[str]:
    """Write the report's paragraphs and table."""
    headers = ["wire", "a free worker takes", "workers", "seconds", "faster", "trainings (again)", "carried"]
    rows = []
    ratios: dict[int, list[float]] = {}
    queues: dict[str, type[TaskQueue[Recorded]]] = {"any cell": InOrder, "its models' cells": TaskQueue}
    ways = [(None, "any cell"), *((wire, "its models' cells") for wire in (None, *wires))]
    for wire, how in ways:
        queue = queues[how]
        alone = simulate(cells, 1, wire, queue).seconds
        for number in numbers:
            one = simulate(cells, number, wire, queue)
            rows.append([_named(wire), how, str(number), *_shown(one, alone)])
            if queue is TaskQueue:
                ratios.setdefault(number, []).append(alone / one.seconds)
    models = {cell.task.model for cell in cells}
    return [
        f"{len(cells)} cells of {len(models)} models: {simulate(cells, 1).seconds:,.0f} s of one worker, from nothing.",
        "Each worker has a store of its own, so that it trains again what another one has trained: *trainings* counts "
        "the stages that cells share, and in brackets the seconds of those that were done before. A wire joins each "
        "worker to the others; without one, nothing but the cells takes time. *its models' cells*: as the executor "
        "gives them out; *any cell*: in their order alone.",
        _common.table(headers, rows),
        " ".join(
            f"{number} workers are {min(found):.2f} to {max(found):.2f} times as fast as one; the target is "
            f"{TARGETS[number]}."
            for number, found in ratios.items()
            if number in TARGETS
        ),
    ]


def _named(wire: Wire | None) -> str:
    return "none" if wire is None else f"{wire.megabits:g} Mbit/s, {wire.milliseconds:g} ms"


def _shown(one: Simulated, alone: float) -> list[str]:
    trained = f"{one.trained} ({one.again:,.0f} s)"
    return [f"{one.seconds:,.0f}", f"{alone / one.seconds:.2f}×", trained, f"{one.carried / 1e6:,.0f} MB"]


def wires_of(words: str) -> list[Wire]:
    """Read wires such as ``100/2``: megabits a second and milliseconds one way. Raises BadInput."""
    try:
        return [Wire(*map(float, word.split("/"))) for word in words.split(",")]
    except (TypeError, ValueError):
        raise BadInput(
            f"--wires: expected megabits/milliseconds such as 100/2, comma-separated, found {words!r}"
        ) from None


def of_run(run: Path, models: Iterable[str] = ()) -> list[Recorded]:
    """List what a finished run computed, of some models or all of them. Raises BadInput where it computed nothing."""
    known = load_models(RunOptions().model_dir)
    chosen = {name: model for name, model in known.items() if not models or name in models}
    found = recorded(read(run)[0].cells, chosen)
    if not found:
        raise BadInput(f"{run}: every cell of these models came from the cache; give a run from nothing")
    return found


def main(arguments: list[str] | None = None) -> None:
    """Simulate, print, and write ``cluster_simulation.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run, or its report.json")
    parser.add_argument("--workers", default="1,2,4,8", help="numbers to compare (default: %(default)s)")
    parser.add_argument("--wires", default=WIRES, help="megabits/milliseconds of each (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/cluster_scaling"))
    given = parser.parse_args(arguments)
    numbers = [int(word) for word in given.workers.split(",")]
    run = read(given.run)[0]
    where = (
        f"{environment.describe(run.environment)}. The run took {run.seconds:,.0f} s on {run.environment.cores} cores, "
        "with what is not simulated here: judging, instruction counts and reports."
    )
    said = report(of_run(given.run), numbers, wires_of(given.wires))
    _common.write(given.report_dir, "cluster_simulation.md", ["# How much faster more workers would be", where, *said])


if __name__ == "__main__":
    _common.quietly(main)
