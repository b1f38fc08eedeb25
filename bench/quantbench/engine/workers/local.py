"""Compute cells in local worker processes: ``submit(task, timeout)``. For Dask see
:mod:`quantbench.engine.workers.cluster`.

A crash, hang or timeout only fails the cell that caused it. A cell is retried once, alone, only where its worker was
killed from outside or ran out of memory.
"""

import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from types import TracebackType
from typing import Self

from quantbench.core import counters
from quantbench.core.signals import hurried_by
from quantbench.core.threads import cores
from quantbench.engine.workers.process import Stopped, WorkerSlot
from quantbench.engine.workers.task import Outcome, Task, compute, failure, salvaged
from quantbench.engine.workers.task_queue import TaskQueue

_Submitted = tuple["Future[Outcome]", Task, float]


class LocalExecutor:
    """Compute in warm worker processes on this machine; a crash or a hang fails one cell.

    Args:
        workers: number of processes; one per core where not given.
        logs: folder for output outside of cells; discarded where not given.
        how: computes a task in a worker; :func:`quantbench.engine.workers.task.compute` where not given.
    """

    def __init__(
        self, workers: int | None = None, logs: Path | None = None, how: Callable[[Task], Outcome] | None = None
    ) -> None:
        self.workers = workers or cores()
        self._aside = None if logs else tempfile.TemporaryDirectory(prefix="quantbench-workers-")
        folder = logs or Path(self._aside.name if self._aside else "")
        self._lanes = [WorkerSlot(folder / str(number), how or compute) for number in range(self.workers)]
        self._share = folder.absolute() / "share"
        self._busy = 0
        self._counting = threading.Lock()
        self._queue: TaskQueue[_Submitted] = TaskQueue(lambda submitted: submitted[1])
        self._free = threading.Semaphore(self.workers)
        self._turnstile = threading.Lock()
        _start_tracker()
        # Daemons, so that a process that ends without closing does not wait for its cells.
        self._threads = [threading.Thread(target=self._serve, args=one, daemon=True) for one in enumerate(self._lanes)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """See :class:`Executor`."""
        future: Future[Outcome] = Future()
        self._queue.put((future, task, timeout))
        return future

    def close(self) -> None:
        """See :class:`Executor`."""
        self._queue.close()
        for thread in self._threads:
            thread.join()
        self._share.unlink(missing_ok=True)
        if self._aside is not None:
            self._aside.cleanup()

    def stop(self) -> None:
        """See :class:`Executor`."""
        for slot in self._lanes:
            slot.stop()
        with hurried_by(self._kill):
            self.close()

    def _kill(self) -> None:
        for slot in self._lanes:
            slot.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, number: int, slot: WorkerSlot) -> None:
        """Serve one slot in a thread: take the next task until there is none, or all are cancelled."""
        while (submitted := self._queue.take(number)) is not None:
            future, task, timeout = submitted
            try:
                future.set_result(self._computed(slot, future, task, timeout))
            except Stopped:
                continue
            except Exception as error:  # a future without a result would be waited for forever
                reason = f"{type(error).__name__}: {error}"
                future.set_result(Outcome(task.seed, failure=failure("error", reason, task.log)))
        slot.close()

    def _computed(self, slot: WorkerSlot, future: "Future[Outcome]", task: Task, timeout: float) -> Outcome:
        task = replace(task, share=self._share)
        with self._places(1), self._counted():
            future.set_running_or_notify_cancel()
            first = slot.run(task, timeout)
        if not first.exhausted or first.failure is None:
            return _with_what_is_left(task, first)
        with self._places(self.workers), self._counted():
            second = slot.run(replace(task, log=again(task.log)), timeout)
        second = _with_what_is_left(task, second)
        return replace(second, retried=(f"{first.failure.reason}; retried once, alone",))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Tell the cells that are being computed how many cores each may use, which changes as others begin and end."""
        self._begun(1)
        try:
            yield
        finally:
            self._begun(-1)

    def _begun(self, change: int) -> None:
        with self._counting:
            self._busy += change
            self._share.parent.mkdir(parents=True, exist_ok=True)
            counters.write(self._share, max(1, self.workers // max(1, self._busy)))

    @contextmanager
    def _places(self, number: int) -> Iterator[None]:
        """Hold this many of the workers' places; a thread waiting for all of them blocks others meanwhile."""
        with self._turnstile:
            for _ in range(number):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(number)


def _with_what_is_left(task: Task, outcome: Outcome) -> Outcome:
    """Return the result of a cell whose worker died after it had stored it; any other outcome as it is."""
    lost = outcome.failure
    if lost is None or lost.what not in ("crash", "timeout"):
        return outcome
    try:
        return salvaged(task, lost) or outcome
    except Exception:  # what is stored is damaged, or its model is: the cell failed
        return outcome


def _start_tracker() -> None:
    """Start the process that cleans up after workers that were killed.

    Neither SIGHUP nor SIGTERM ends it. And it prints nothing: that we kill a worker which does not end in time, or
    whose run was stopped twice, is not worth a warning.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")  # passed on to its command line
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def again(log: Path) -> Path:
    """Return the log of a cell's retry, beside that of the first attempt."""
    return log.with_suffix(".again.log")
