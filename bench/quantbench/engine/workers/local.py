"""Where cells are computed: ``submit(task, timeout)``. Here by local worker processes; by Dask in
:mod:`quantbench.engine.workers.cluster`.

Whatever a cell does to its process costs that cell alone. Only what is no fault of the cell is tried again: a worker
that was killed from outside, or ran out of memory, gets one more chance, with nothing else of ours beside it.
"""

import os
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
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol, Self

from quantbench.core.signals import hurried_by
from quantbench.engine.workers.process import Lane, Stopped
from quantbench.engine.workers.task import Outcome, Task, compute, failure

_Submitted = tuple["Future[Outcome]", Task, float]


class Executor(Protocol):
    """One small interface for local processes and for a cluster.

    Attributes:
        workers: cells that are computed at a time.
    """

    workers: int

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """Start computing; the future's result is an outcome, also when the worker crashed or hung.

        It is running once a worker is at it, and never done where the run is stopped before it was.
        """

    def close(self) -> None:
        """Release the workers once everything submitted is done."""

    def stop(self) -> None:
        """Give up what is running and what is queued, and release the workers."""


class LocalExecutor:
    """Worker processes on this machine, kept warm; a crash or a hang costs one cell.

    Args:
        workers: their number; one a core where not given.
        logs: folder for what they print outside of cells; none is kept where not given.
        how: what a worker does with a task; :func:`quantbench.engine.workers.task.compute` where not given.
    """

    def __init__(
        self, workers: int | None = None, logs: Path | None = None, how: Callable[[Task], Outcome] | None = None
    ) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._aside = None if logs else tempfile.TemporaryDirectory(prefix="quantbench-workers-")
        folder = logs or Path(self._aside.name if self._aside else "")
        self._lanes = [Lane(folder / str(number), how or compute) for number in range(self.workers)]
        self._queue: SimpleQueue[_Submitted | None] = SimpleQueue()
        self._free = threading.Semaphore(self.workers)
        self._turnstile = threading.Lock()
        _start_tracker()
        # Daemons, so that a process that ends without closing does not wait for its cells.
        self._threads = [threading.Thread(target=self._serve, args=[lane], daemon=True) for lane in self._lanes]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """See :class:`Executor`."""
        future: Future[Outcome] = Future()
        self._queue.put((future, task, timeout))
        return future

    def close(self) -> None:
        """See :class:`Executor`."""
        for _ in self._threads:
            self._queue.put(None)  # behind everything that was submitted
        for thread in self._threads:
            thread.join()
        if self._aside is not None:
            self._aside.cleanup()

    def stop(self) -> None:
        """See :class:`Executor`."""
        for lane in self._lanes:
            lane.stop()
        with hurried_by(self._kill):
            self.close()

    def _kill(self) -> None:
        for lane in self._lanes:
            lane.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, lane: Lane) -> None:
        """One thread a lane: it takes what is next until there is nothing more, or all of it is given up."""
        while (submitted := self._queue.get()) is not None:
            future, task, timeout = submitted
            try:
                future.set_result(self._computed(lane, future, task, timeout))
            except Stopped:
                continue
            except Exception as error:  # a future that nobody fulfils would be waited for until the end of days
                reason = f"{type(error).__name__}: {error}"
                future.set_result(Outcome(task.seed, failure=failure("error", reason, task.log)))
        lane.close()

    def _computed(self, lane: Lane, future: "Future[Outcome]", task: Task, timeout: float) -> Outcome:
        with self._places(1):
            future.set_running_or_notify_cancel()
            first = lane.run(task, timeout)
        if not first.exhausted or first.failure is None:
            return first
        with self._places(self.workers):
            second = lane.run(replace(task, log=again(task.log)), timeout)
        return replace(second, retried=(f"{first.failure.reason}; computed once more, alone",))

    @contextmanager
    def _places(self, number: int) -> Iterator[None]:
        """Hold so many of the workers' places; who waits for all of them lets nobody else in meanwhile."""
        with self._turnstile:
            for _ in range(number):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(number)


def _start_tracker() -> None:
    """Start the process that cleans up after workers that were killed.

    SIGHUP does not end it, as SIGTERM does not. And it cleans up without a word: that we kill a worker which does not
    end in time, or whose run was stopped twice, is no news to anybody.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")  # goes into its command line
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def again(log: Path) -> Path:
    """The log of a cell's second chance, beside that of the first."""
    return log.with_suffix(".again.log")
