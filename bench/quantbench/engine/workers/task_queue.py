"""Hand waiting tasks to workers, so that each model is loaded, exported and converted by as few of them as possible."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from quantbench.engine.workers.task import Task

T = TypeVar("T")


class TaskQueue(Generic[T]):
    """Keep what waits for a worker; safe to use from several threads.

    A worker keeps the export of a model and its data, which take as long as the conversion of some variants, and memory
    of every model that it has computed. So it takes a task of a model that it has had before; else one of a model that
    no worker has had; else whatever is next. Tasks of a lower turn come first in any case.

    Args:
        task: returns the task of an item.
    """

    def __init__(self, task: Callable[[T], Task]) -> None:
        self._task = task
        self._waiting: list[T] = []
        self._had: dict[tuple[Path, str], set[Hashable]] = {}  # model -> the workers that have computed cells of it
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Add an item behind those of the same turn."""
        with self._changed:
            self._waiting.append(item)
            self._changed.notify()

    def close(self) -> None:
        """Let workers end once nothing waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, worker: Hashable) -> T | None:
        """Wait for an item, and return it; None where the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            return self._taken(worker)

    def take_now(self, worker: Hashable) -> T | None:
        """Return an item; None where none waits."""
        with self._changed:
            return self._taken(worker)

    def _taken(self, worker: Hashable) -> T | None:
        if not self._waiting:
            return None
        first = min(self._task(item).turn for item in self._waiting)
        due = [i for i, item in enumerate(self._waiting) if self._task(item).turn == first]
        item = self._waiting.pop(min(due, key=lambda i: self._rank(self._waiting[i], worker)))
        self._had.setdefault(self._model(item), set()).add(worker)
        return item

    def _rank(self, item: T, worker: Hashable) -> int:
        had = self._had.get(self._model(item), set())
        return 0 if worker in had else min(1, len(had)) + 1

    def _model(self, item: T) -> tuple[Path, str]:
        task = self._task(item)
        return task.model_file, task.model
