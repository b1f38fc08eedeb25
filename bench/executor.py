"""Where cells are computed: ``submit(task, timeout)``. Here by local worker processes."""

import multiprocessing
import os
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Protocol, Self

from pebble import ProcessExpired, ProcessPool

from bench.interruption import end_with_parent
from bench.work import NOT_BEGUN, Outcome, Task, compute, failed, failure


class Executor(Protocol):
    """One small interface for local processes and for a cluster."""

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """Start computing; the future's result is an outcome, also when the worker crashed or hung."""

    def close(self) -> None:
        """Release the workers once everything submitted is done."""

    def stop(self) -> None:
        """Give up what is running and release the workers."""


class LocalExecutor:
    """Worker processes on this machine, kept warm; a crash or a hang costs one cell.

    Workers are spawned, not forked: a forked child of a process with threads can hang in native code.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._pool = ProcessPool(
            max_workers=workers or os.cpu_count() or 1,
            context=multiprocessing.get_context("spawn"),
            initializer=end_with_parent,
        )

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """See :class:`Executor`."""
        inner = self._pool.schedule(compute, args=[task], timeout=timeout)
        outer: Future[Outcome] = Future()
        inner.add_done_callback(lambda done: outer.set_result(_outcome(done, task, timeout)))
        return outer

    def close(self) -> None:
        """See :class:`Executor`."""
        self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.join()

    def stop(self) -> None:
        """See :class:`Executor`."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _outcome(done: "Future[Outcome]", task: Task, timeout: float) -> Outcome:
    if done.cancelled():
        return Outcome(task.seed, failure=failure("error", NOT_BEGUN, task.log))
    error = done.exception()
    if error is None:
        return done.result()
    if isinstance(error, FutureTimeout):
        return Outcome(
            task.seed, failure=failure("timeout", f"no result within {timeout:.0f} s (--cell-timeout)", task.log)
        )
    if isinstance(error, ProcessExpired):
        how = f"signal {-error.exitcode}" if (error.exitcode or 0) < 0 else f"exit status {error.exitcode}"
        return Outcome(task.seed, failure=failure("crash", f"the worker process died ({how})", task.log))
    return failed(task, error)
