"""Compute cells on a Dask cluster: ``submit(task, timeout)`` as for local workers. The workers' side is in
:mod:`quantbench.engine.workers.cluster_worker`.

What is computed there is copied into this machine's store, so that judging, resuming and reporting work as usual.
Dask itself computes a cell again where a worker is lost; otherwise only what local workers retry is retried.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantbench.build.store import Store, digest
from quantbench.engine.workers.cluster import Cluster, model_files, travelling
from quantbench.engine.workers.task import Outcome, Task, failure
from quantbench.engine.workers.task_queue import TaskQueue
from quantbench.files import replace as replace_file

NO_WORKER_SECONDS = 60
_TICK_SECONDS = 0.1
_LOOK_SECONDS = 5.0
_FETCH_SECONDS = 600
_END_SECONDS = 10


class _SchedulerLost(Exception):
    """Raised when the scheduler or the connection to it is gone, and with it all that was sent."""


@dataclass
class _Open:
    """Hold a submitted task that has not come back.

    Attributes:
        inner: Dask's future, once it was sent.
        worker: the worker that it was sent to.
        at: the workers that have begun it; others than that one where it was lost.
    """

    key: str
    task: Task
    timeout: float
    future: "Future[Outcome]"
    inner: Any = None
    worker: str = ""
    at: list[str] = field(default_factory=list)


class ClusterExecutor:
    """Compute cells on a cluster; see :class:`quantbench.engine.workers.local.Executor`.

    Args:
        store: receives what is computed.
        run: name of the run.
        fresh: whether the workers may not use their own stores.
        say: prints a line for the user.
    """

    def __init__(self, cluster: Cluster, store: Store, run: str, fresh: bool, say: Callable[[str], None]) -> None:
        self.workers = cluster.workers
        self._cluster = cluster
        self._client = cluster.client
        self._store = store
        self._run = f"quantbench-{run}-{uuid.uuid4().hex[:8]}"  # two clients may start in one second
        self._fresh = fresh
        self._say = say
        self._open: dict[str, _Open] = {}
        self._queue: TaskQueue[_Open] = TaskQueue(lambda submitted: submitted.task)
        self._places: dict[str, int] = {}  # worker -> cells that it computes at a time
        self._look_again = 0.0
        self._alone_since: float | None = None
        self._over = threading.Event()
        with suppress(Exception):  # the collector reports a scheduler that is already lost
            self._client.subscribe_topic(self._run, self._begun)
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self._collector.start()

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """Submit a task; see :class:`Executor`. Raise BadInput where the model's files cannot be sent."""
        model_files(task.model_file, task.model)
        future: Future[Outcome] = Future()
        key = f"{self._run}-{task.model}-{task.variant}-{task.seed}"
        self._open[key] = _Open(key, task, timeout, future)
        self._queue.put(self._open[key])
        return future

    def _send(self) -> None:
        """Give every free place of a worker the next cell, one of a model that the worker has had where there is one.

        A worker keeps what it has trained, and what it needs to convert a model. The rest waits here: Dask would assign
        all at once, and some workers would be idle at the end.
        """
        for worker in self._free():
            submitted = self._queue.take_now(worker)
            while submitted is not None and self._open.get(submitted.key) is not submitted:  # given up meanwhile
                submitted = self._queue.take_now(worker)
            if submitted is None:
                return
            self._send_to(worker, submitted)

    def _free(self) -> list[str]:
        """Name the worker of each free place; those that have least to do come first."""
        busy = Counter(submitted.at[-1] if submitted.at else submitted.worker for submitted in self._sent())
        places = [(place, worker) for worker, of in self._places.items() for place in range(busy[worker], of)]
        return [worker for _, worker in sorted(places)]

    def _sent(self) -> list[_Open]:
        """List what was sent; first copied, as others may submit meanwhile."""
        return [submitted for submitted in list(self._open.values()) if submitted.inner is not None]

    def _send_to(self, worker: str, submitted: _Open) -> None:
        from quantbench.engine.workers import cluster_worker

        file, model = submitted.task.model_file, submitted.task.model
        contents = [self._cluster.carried(*model_part) for model_part in model_files(file, model).values()]
        files = travelling(file, model)
        job = cluster_worker.Job(submitted.task, files, cluster_worker.code(), self._run, self._fresh, submitted.key)
        submitted.worker = worker
        # Dask computes it again only where a worker is lost, and then on any other.
        submitted.inner = self._client.submit(
            cluster_worker.compute,
            job,
            submitted.timeout,
            *contents,
            key=submitted.key,
            workers=[worker],
            allow_other_workers=True,
            retries=0,
            pure=False,
        )

    def close(self) -> None:
        """See :class:`Executor`."""
        while self._open and self._collector.is_alive():
            time.sleep(_TICK_SECONDS)
        self._part()

    def stop(self) -> None:
        """See :class:`Executor`."""
        self._over.set()
        self._collector.join()
        with suppress(Exception):  # what is already gone need not be stopped
            self._client.cancel([submitted.inner for submitted in self._sent()], force=True)
        self._part()

    def _part(self) -> None:
        from quantbench.engine.workers import cluster_worker

        self._over.set()
        self._collector.join()
        if self._cluster.is_lost:  # its workers end by themselves
            return
        with suppress(Exception):  # the same
            client = self._client  # as its `run` does, but with a time limit
            client.sync(client._run, cluster_worker.end, self._run, on_error="ignore", callback_timeout=_END_SECONDS)

    # ------------------------------------------------------------ results

    def _begun(self, event: tuple[float, Any]) -> None:
        """Note that a worker has started a cell: for the first time, or again after another worker was lost."""
        submitted = self._open.get(event[1]["key"])
        if submitted is None:
            return
        if not submitted.at:
            submitted.future.set_running_or_notify_cancel()
        else:
            self._say(f"{submitted.task.model}/{submitted.task.variant}: begun again: {_lost(submitted.at[-1])}")
        submitted.at.append(event[1]["worker"])

    def _collect(self) -> None:
        """Collect results and send cells one after the other; runs in one thread."""
        while not self._over.wait(_TICK_SECONDS):
            try:
                self._check()
                self._look_for_workers()
                self._take_in()
                self._send()
            except Exception as error:  # the scheduler is gone, or a model's files are
                lost = self._cluster.is_lost or isinstance(error, _SchedulerLost)
                words = f"nothing can be sent to {self._cluster.address} ({type(error).__name__}: {error})"
                self._give_up(self._cluster.lost if lost else words)

    def _check(self) -> None:
        """Raise _SchedulerLost also where Dask has found a new scheduler, which does not know our cells."""
        if self._cluster.is_lost or any(submitted.inner.status == "cancelled" for submitted in self._sent()):
            raise _SchedulerLost

    def _take_in(self) -> None:
        for key, submitted in list(self._open.items()):
            if submitted.inner is None or submitted.inner.status in ("pending", "lost", "cancelled"):
                continue  # lost: its worker was lost, and Dask computes it again
            outcome = self._outcome(submitted)
            if self._over.is_set():
                return
            del self._open[key]
            submitted.future.set_result(outcome)

    def _give_up(self, reason: str) -> None:
        for key, submitted in list(self._open.items()):
            del self._open[key]
            submitted.future.set_result(
                Outcome(submitted.task.seed, failure=failure("error", reason, submitted.task.log))
            )

    def _outcome(self, submitted: _Open) -> Outcome:
        task = submitted.task
        try:
            if submitted.inner.status == "error":
                error = submitted.inner.exception()
                if type(error).__name__ == "KilledWorker":
                    reason = f"the cluster lost every worker that computed it: {', '.join(submitted.at)}"
                    return Outcome(task.seed, failure=failure("crash", reason, task.log))
                raise error
            outcome = self._kept(submitted.inner.result(timeout=_FETCH_SECONDS), task)
            return replace(
                outcome, retried=outcome.retried + tuple(f"{_lost(at)}; begun again" for at in submitted.at[:-1])
            )
        except Exception as error:  # it is this cell's, and results of others still come in
            if self._cluster.is_lost or isinstance(error, CancelledError):
                raise _SchedulerLost from None
            words = " ".join(str(error).split())[:500]
            return Outcome(task.seed, failure=failure("error", f"{type(error).__name__}: {words}", task.log))

    def _kept(self, reply: Any, task: Task) -> Outcome:
        """Put the result where a local worker would have put it."""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        replace_file(task.log, reply.log)
        for entry in reply.entries:
            if digest(entry.ingredients) != entry.key or any(Path(name).name != name for name in entry.files):
                raise ValueError(f"a worker sent a cache entry whose content does not match its key: {entry.key[:80]}")
            if self._store.get(entry.key) is None:
                self._store.put(entry.key, entry.files, entry.ingredients)
        outcome: Outcome = reply.outcome
        return outcome if outcome.artifact is None else replace(outcome, artifact=self._store.root / outcome.artifact)

    def _look_for_workers(self) -> None:
        """Update the workers and their places; where none appears for long, the cells fail instead of waiting."""
        now = time.monotonic()
        if not self._open or now < self._look_again:
            return
        self._look_again = now + _LOOK_SECONDS
        try:
            self._places = dict(self._client.nthreads(callback_timeout=NO_WORKER_SECONDS))
        except TimeoutError:  # the scheduler or the network hangs
            self._cluster.close()
            raise _SchedulerLost from None
        except OSError:  # the connection was just lost, or another one could not be made
            return
        workers = sum(self._places.values())
        self.workers = workers or self.workers
        if workers:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
            self._say(f"the cluster has no worker left; waiting {NO_WORKER_SECONDS} s for one")
        elif now - self._alone_since > NO_WORKER_SECONDS:
            self._give_up(f"the cluster has had no worker for {NO_WORKER_SECONDS} s")


def _lost(worker: str) -> str:
    return f"the cluster lost the worker at {worker}"
