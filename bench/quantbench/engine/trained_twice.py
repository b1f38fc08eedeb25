"""Train one cheap cell of a run twice with the same seed, to see whether training repeats on this machine.

Where it does not, a trained cell whose weights differ from the accepted ones has not necessarily changed. The second
training goes into a store of its own, that is removed; it costs at most :data:`MOST` of what the run computes, and
nothing where everything comes from the store.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from quantbench.engine.cell import Planned
from quantbench.engine.shards import CONVERTED, TRAINED
from quantbench.engine.workers.executor import Executor
from quantbench.engine.workers.task import Outcome, Task
from quantbench.variants import FINETUNED_CONTROL

MOST = 0.1
# Trained in one stage from the pinned weights; what starts from the training of another cell would train that too.
SHORTEST = FINETUNED_CONTROL


def cheapest(
    missing: Sequence[tuple[Planned, Task]], expected: Callable[[str], float | None]
) -> tuple[Planned, Task] | None:
    """Choose what to train twice among everything that is to be computed; None where it would cost too much.

    Args:
        expected: cell -> seconds that it took last time; None where unknown.
    """

    def seconds(cell: Planned) -> float:
        known = expected(cell.id)
        return (TRAINED if cell.variant.trained else CONVERTED) if known is None else known

    candidates = [(cell, task) for cell, task in missing if cell.variant.name == SHORTEST and task.seed == 0]
    if not candidates:
        return None
    # Where nothing is known, the smallest model.
    cell, task = min(candidates, key=lambda one: (seconds(one[0]), _size(one[0])))
    whole = sum(seconds(one) for one, _ in missing)
    return (cell, task) if seconds(cell) <= MOST * whole else None


def _size(cell: Planned) -> int:
    path = cell.model.file.parent / cell.model.weights
    return path.stat().st_size if path.is_file() else 0


class TrainedTwice:
    """Hold the second training of one cell.

    Attributes:
        cell: which is trained twice.
    """

    def __init__(self, cell: Planned, task: Task, executor: Executor, timeout: float) -> None:
        self.cell = cell
        self._store = Path(tempfile.mkdtemp(prefix="quantbench-again-"))
        log = task.log.with_name(f"{task.log.stem}.again.log")
        again = replace(task, store=self._store, log=log, memory=False, micro=False)
        self.future: Future[Outcome] = executor.submit(again, timeout)

    def close(self) -> None:
        """Remove what the second training left."""
        shutil.rmtree(self._store, ignore_errors=True)

    def note(self, first: Outcome | None) -> str | None:
        """Say that the two trainings gave different weights; None where they did not, or one of them is not there."""
        if first is None or not self.future.done() or self.future.cancelled():
            return None
        again = self.future.result()
        if first.trained_sha256 is None or again.trained_sha256 is None or first.trained_sha256 == again.trained_sha256:
            return None
        return (
            f"training is not reproducible on this machine: {self.cell.id}, trained twice with seed {first.seed}, "
            "gave two "
            "different models; so different weights alone do not mean that the code changed, and trained cells are "
            "compared by the spread of their seeds"
        )
