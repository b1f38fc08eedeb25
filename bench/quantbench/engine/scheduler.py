"""Compute the cells of one run: take them from the store or submit them to an executor; and report progress."""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from pathlib import Path

from quantbench.build.store import Store
from quantbench.core import counters
from quantbench.core.options import RunOptions
from quantbench.core.signals import check
from quantbench.engine.cell import CellId, Planned, failure_of
from quantbench.engine.durations import Durations, seconds_left
from quantbench.engine.progress import Counts, Progress
from quantbench.engine.trained_twice import TrainedTwice, cheapest
from quantbench.engine.workers.executor import Executor
from quantbench.engine.workers.task import Outcome, Task, from_store
from quantbench.errors import DiskFull
from quantbench.measure import micro
from quantbench.records import Kind
from quantbench.variants import VARIANTS, Variant

_TICK_SECONDS = 0.2
_GUESS_SECONDS = 1.0
TRAINED, SLOW, OTHERS = range(3)  # turns


def turn_of(variant: Variant) -> int:
    """Return the turn of a cell: the long ones start first, and the short ones fill the gaps at the end.

    LiteRT has no fast kernels for int16 activations: what takes 2 s takes 100 s there.
    """
    if variant.trained:
        return TRAINED
    return SLOW if variant.taxonomy.activations.startswith("int16") else OTHERS


def order(models: Collection[str]) -> Callable[[str, Variant], tuple[int, int, bool]]:
    """Return the key (model, variant) -> place by which cells of these models are submitted.

    Those that train are ordered by variant, not by model: neighbours of one model often need the same training, and the
    second would wait for the first. All others are ordered by model, what is calibrated first: it takes up to ten times
    as long, so that no worker waits for it at the end. Within a turn, a local worker prefers models that it has had, so
    that this order decides only among the others: see :class:`quantbench.engine.workers.task_queue.TaskQueue`.
    """
    of_model = {name: place for place, name in enumerate(dict.fromkeys(models))}

    def key(model: str, variant: Variant) -> tuple[int, int, bool]:
        turn = turn_of(variant)
        place = list(VARIANTS).index(variant.name) if turn == TRAINED else of_model[model]
        return turn, place, not variant.taxonomy.activations.startswith("int")

    return key


class Computing:
    """Submit cells, wait for them, and report progress.

    Attributes:
        partial: whether the run was stopped, so that only finished cells count.

    Args:
        cells: of the run, in the order of its report.
        logs: folder for one log per cell.
        make: called for an executor where the store does not hold everything.
    """

    def __init__(
        self,
        options: RunOptions,
        cells: Collection[Planned],
        store: Store,
        logs: Path,
        progress: Progress,
        make: Callable[[], Executor],
    ) -> None:
        self._options = options
        self._cells = list(cells)
        self._store = store
        self._logs = logs
        self._progress = progress
        self._make = make
        self._executor: Executor | None = None
        self._twice: TrainedTwice | None = None
        self._durations = Durations(options.report_dir)
        self._workers = 1
        self.partial = False
        self._pending = list(cells)
        self._futures: dict[CellId, list[Future[Outcome]]] = {}
        for cell in cells:  # all at once: a run may be stopped while it submits, and reports what is there
            self._futures[cell.id] = [Future() for _ in cell.seeds]
        self._beside: dict[CellId, list[Future[Outcome]]] = {}
        self._finished = self._failed = self._running = 0
        self._begun: dict[Future[Outcome], float] = {}
        self._tasks: dict[Future[Outcome], tuple[CellId, Task]] = {}
        self._left: float | None = None
        self._guessed = -_GUESS_SECONDS

    def submit(self) -> None:
        """Start computing whatever is not in the store."""
        tasks = [(cell, i, self._task(cell, seed)) for cell in self._cells for i, seed in enumerate(cell.seeds)]
        turn = order([cell.model.name for cell in self._cells])
        tasks.sort(key=lambda task: turn(task[0].model.name, task[0].variant))
        missing = []
        for cell, place, task in tasks:
            stored_outcome = from_store(task, model=cell.model)
            if stored_outcome is not None:
                self._futures[cell.id][place].set_result(stored_outcome)
            else:
                missing.append((cell, place, task))
        if not missing:
            return
        self._executor = self._make()
        self._workers = self._executor.workers
        # Where there are fewer cells than workers, the idle ones' cores help to evaluate.
        share = max(1, self._workers // len(missing))
        for cell, place, task in missing:
            shared = replace(task, interpreters=share)
            future = self._executor.submit(shared, self._options.cell_timeout)
            self._futures[cell.id][place] = future
            self._tasks[future] = cell.id, shared
        if not self._options.cluster:  # its workers' machines are not this one
            usual = {trained: self._usual(trained) for trained in (False, True)}
            trained = {cell.id: cell.variant.trained for cell, _, _ in missing}
            chosen = cheapest(
                [(cell, task) for cell, _, task in missing],
                lambda cell_id: self._durations.expected(cell_id, usual[trained[cell_id]]),
            )
            if chosen is not None:
                self._twice = TrainedTwice(*chosen, self._executor, self._options.cell_timeout)

    def reseed(self, cell: Planned) -> None:
        """Compute a cell with the seeds that it is planned with now; those that are computed stay, others go."""
        self._cells = [cell if one.id == cell.id else one for one in self._cells]
        if all(one.id != cell.id for one in self._pending):
            self._finished -= 1
            self._pending.append(cell)
        self._pending = [cell if one.id == cell.id else one for one in self._pending]
        before = self._futures[cell.id]
        for unneeded in before[len(cell.seeds) :]:
            unneeded.cancel()
        more = [self._submitted(self._task(cell, seed)) for seed in cell.seeds[len(before) :]]
        self._futures[cell.id] = before[: len(cell.seeds)] + more

    def train_beside(self, cell: Planned, seeds: Collection[int]) -> None:
        """Compute further seeds of a control, for the limits of its variants alone; :meth:`wait` waits for them too."""
        self._beside[cell.id] = [self._submitted(self._task(cell, seed)) for seed in seeds]

    def beside(self, cell_id: CellId) -> list[Outcome]:
        """Return the computed outcomes of those further seeds."""
        futures = self._beside.get(cell_id, [])
        return [future.result() for future in futures if future.done() and not future.cancelled()]

    def _submitted(self, task: Task) -> Future[Outcome]:
        """The outcome of a task, from the store or to be computed."""
        found = from_store(task)
        if found is None:
            if self._executor is None:
                self._executor = self._make()
                self._workers = self._executor.workers
            return self._executor.submit(task, self._options.cell_timeout)
        known: Future[Outcome] = Future()
        known.set_result(found)
        return known

    def _task(self, cell: Planned, seed: int) -> Task:
        name = f"{cell.model.name}.{cell.variant.name}.{seed}.log"
        train_seed = 0 if self._options.train else None
        root = self._store.root.absolute()
        model, stranger = cell.model, cell.model.form != "code"
        log = self._logs / name
        on_micro = Kind.MICRO in cell.kinds and not self._options.cluster and not micro.unavailable()
        return Task(
            model.file,
            model.name,
            cell.variant.name,
            seed,
            train_seed,
            root,
            log,
            stranger=stranger,
            memory=Kind.MEMORY in cell.kinds,
            micro=on_micro,
            turn=turn_of(cell.variant),
        )

    def wait(self, cells: Collection[Planned]) -> None:
        """Wait until these cells are computed, announcing each cell that finishes.

        Raises:
            KeyboardInterrupt: a signal was received.
            DiskFull: see :meth:`_announce`.
        """
        waiting = [future for cell in cells for future in (*self._futures[cell.id], *self._beside.get(cell.id, []))]
        self._wait_for(waiting)

    def _wait_for(self, waiting: Collection[Future[Outcome]]) -> None:
        while True:
            check()
            self._announce()
            unfinished = [future for future in waiting if not future.done()]
            if not unfinished:
                return
            try:
                unfinished[0].result(timeout=_TICK_SECONDS)
            except FutureTimeout:
                continue

    def so_far(self, cell_id: CellId) -> list[Outcome | None]:
        """Return one outcome per seed; None where it is not computed yet."""
        return [future.result() if future.done() else None for future in self._futures[cell_id]]

    def _is_finished(self, cell: Planned) -> bool:
        """Return whether all its seeds are computed."""
        return all(future.done() for future in self._futures[cell.id])

    def computed(self, cell: Planned) -> bool:
        """Return whether a cell and its controls are computed."""
        return all(future.done() for name in (cell.id, *cell.needs) for future in self._futures[name])

    def finish(self) -> None:
        """Wait for all cells and release the workers, so that none of our other processes run during timing."""
        if self._executor is not None:
            self.wait(self._cells)
            self._wait_for([] if self._twice is None else [self._twice.future])
            self._executor.close()
            self._executor = None
            self._forget_progress(only_done=False)
            self._durations.save()
            if self._twice is not None:
                self._twice.close()

    def notes(self) -> list[str]:
        """Return what was found out about the machine meanwhile: that training does not repeat."""
        note = None if self._twice is None else self._twice.note(self.so_far(self._twice.cell.id)[0])
        return [] if note is None else [note]

    def stop(self) -> None:
        """Cancel everything unfinished."""
        if self._executor is not None:
            self._executor.stop()
            self._executor = None
            self._forget_progress(only_done=False)
            self._durations.save()
            if self._twice is not None:
                self._twice.close()

    def where_full(self) -> str:
        """Return what to do about a full disk, naming the folder with the least free space."""
        folders = (self._store.root, self._logs.parent, Path(tempfile.gettempdir()))
        free = {folder: shutil.disk_usage(folder).free for folder in folders if folder.exists()}
        folder = min(free, key=lambda folder_of: free[folder_of])
        return f"no space is left in {folder}; free some and run again: finished cells are taken from the cache"

    # ------------------------------------------------------------ progress

    def _announce(self) -> None:
        """Announce cells that have finished. A full disk ends the run, because no other cell would succeed.

        Raises:
            DiskFull: a cell has met a full disk, and the run is not over yet.
        """
        if not self._pending:
            return
        finished = [cell for cell in self._pending if self._is_finished(cell)]
        ids = {cell.id for cell in finished}
        self._pending = [cell for cell in self._pending if cell.id not in ids]
        full = False
        for cell in finished:
            outcomes = [future.result() for future in self._futures[cell.id]]
            failure = failure_of(outcomes)
            failed = failure is not None and failure.what != "unsupported"
            full = full or any(outcome.disk_full for outcome in outcomes)
            self._failed += failed
            if not failed and not all(outcome.cached for outcome in outcomes):
                self._durations.note(cell.id, outcomes[-1].seconds)
            self._finished += 1
            self._progress.finished(_result_line(cell, outcomes), self._counts(), failed)
        self._running = sum(any(future.running() for future in self._futures[cell.id]) for cell in self._pending)
        self._progress.show(replace(self._counts(), within=self._within()))
        if full and not self.partial:
            raise DiskFull(self.where_full())

    def _counts(self) -> Counts:
        return Counts("cells", self._finished, len(self._cells), self._running, self._failed, self._time_left())

    def _within(self) -> tuple[str, ...]:
        """Return how far the cells are that are being computed, where they have begun to evaluate examples."""
        self._forget_progress(only_done=True)
        words = []
        for future, (cell_id, task) in self._tasks.items():
            numbers = counters.read(task.progress) if future.running() else []
            if len(numbers) == 2 and 0 < numbers[0] < numbers[1]:
                words.append(f"{cell_id}: {numbers[0]:,} of {numbers[1]:,} examples")
        return tuple(words)

    def _forget_progress(self, only_done: bool) -> None:
        """Remove the files in which cells tell how far they are."""
        for future, (_, task) in list(self._tasks.items()):
            if future.done() or not only_done:
                task.progress.unlink(missing_ok=True)
                del self._tasks[future]

    def _time_left(self) -> float | None:
        """Return the estimated remaining time, updated at most once a second: there may be thousands of cells."""
        now = time.monotonic()
        if now - self._guessed < _GUESS_SECONDS:
            return self._left
        self._guessed = now
        kinds = {trained: self._usual(trained) for trained in (False, True)}
        expected: dict[str, float | None] = {}
        running = {}
        for cell in self._cells:
            for seed, future in zip(cell.seeds, self._futures[cell.id], strict=True):
                if future.done():
                    continue
                name = f"{cell.id}/{seed}"
                expected[name] = self._durations.expected(cell.id, kinds[cell.variant.trained])
                if future.running():
                    running[name] = now - self._begun.setdefault(future, now)
        self._left = seconds_left(expected, running, self._workers)
        return self._left

    def _usual(self, trained: bool) -> float | None:
        return self._durations.usual(cell.id for cell in self._cells if cell.variant.trained is trained)


def _result_line(cell: Planned, outcomes: list[Outcome]) -> str:
    """Return one line on a finished cell."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    how = "from the cache" if all(outcome.cached for outcome in outcomes) else f"{seconds:.1f} s"
    failure = failure_of(outcomes)
    ended = f" {failure.what}: {failure.reason[:120]}" if failure else ""
    again = "".join(f" after {reason}" for outcome in outcomes for reason in outcome.retried)
    return f"{cell.id} {how}{ended}{again}"
