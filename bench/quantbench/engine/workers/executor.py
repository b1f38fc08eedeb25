"""Declare what computes the cells of a run, without loading any of the libraries that do."""

from concurrent.futures import Future
from typing import Protocol

from quantbench.engine.workers.task import Outcome, Task


class Executor(Protocol):
    """Declare the interface shared by local processes and a cluster.

    Attributes:
        workers: number of cells computed at a time.
    """

    workers: int

    def submit(self, task: Task, timeout: float) -> Future[Outcome]:
        """Start computing; the future's result is an outcome, including when the worker crashed or hung.

        The future runs once a worker has started it, and is never done where the run is stopped before that.
        """

    def close(self) -> None:
        """Release the workers once everything submitted is done."""

    def stop(self) -> None:
        """Cancel everything running or queued, and release the workers."""
