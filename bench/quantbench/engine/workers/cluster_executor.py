"""Cells on a Dask cluster: ``submit(task, timeout)`` once more. See :mod:`quantbench.engine.workers.cluster_worker` for
the workers' side.

What is computed there comes back into this machine's store, so that judging, resuming and reporting know no difference.
Dask itself computes a cell again where a worker is lost; nothing else is tried twice but what local workers try twice.
"""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantbench.build.store import Store, digest
from quantbench.engine.workers.cluster import Cluster, model_files, travelling
from quantbench.engine.workers.task import Outcome, Task, failure
from quantbench.files import replace as replace_file

NO_WORKER_SECONDS = 60
_TICK_SECONDS = 0.1
_LOOK_SECONDS = 5.0
_FETCH_SECONDS = 600
_END_SECONDS = 10


class _SchedulerLost(Exception):
    """The scheduler is gone, or the connection to it, and all that was sent to it."""


@dataclass
class _Open:
    """A submitted task that has not come back."""

    task: Task
    timeout: float
    future: "Future[Outcome]"
    inner: Any = None  # Dask's, once it was sent
    at: list[str] = field(default_factory=list)


class ClusterExecutor:
    """See :class:`quantbench.engine.workers.local.Executor`.

    Args:
        store: takes what is computed.
        run: name of the run.
        fresh: whether the workers may take nothing from their own stores.
        say: takes a line that the user should see.
    """

    def __init__(self, cluster: Cluster, store: Store, run: str, fresh: bool, say: Callable[[str], None]) -> None:
        self.workers = cluster.workers
        self._cluster = cluster
        self._client = cluster.client
        self._store = store
        self._run = f"quantbench-{run}-{uuid.uuid4().hex[:8]}"  # two clients may begin in one second
        self._fresh = fresh
        self._say = say
        self._open: dict[str, _Open] = {}
        self._look_again = 0.0
        self._alone_since: float | None = None
        self._over = threading.Event()
        with suppress(Exception):  # a scheduler that is lost already is told by the collector
            self._client.subscribe_topic(self._run, self._begun)
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self._collector.start()

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        """See :class:`Executor`. Raises BadInput where the model's files cannot travel."""
        model_files(task.model_file, task.model)
        future: Future[Outcome] = Future()
        self._open[f"{self._run}-{task.model}-{task.variant}-{task.seed}"] = _Open(task, timeout, future)
        return future

    def _send(self) -> None:
        """Give the cluster as many cells as it has workers.

        The rest waits here: Dask would deal all of them out at once, and more to a worker that has the files already,
        so that others had nothing to do at the end.
        """
        from quantbench.engine.workers import cluster_worker

        waiting = [key for key, one in self._open.items() if one.inner is None]
        for key in waiting[: max(0, self.workers - len(self._open) + len(waiting))]:
            one = self._open[key]
            file, model = one.task.model_file, one.task.model
            contents = [self._cluster.carried(*found) for found in model_files(file, model).values()]
            files = travelling(file, model)
            job = cluster_worker.Job(one.task, files, cluster_worker.code(), self._run, self._fresh, key)
            # Dask computes it again where a worker is lost, and nowhere else.
            one.inner = self._client.submit(
                cluster_worker.compute, job, one.timeout, *contents, key=key, retries=0, pure=False
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
        with suppress(Exception):  # whatever is not there any more needs not be stopped
            self._client.cancel([one.inner for one in self._open.values() if one.inner is not None], force=True)
        self._part()

    def _part(self) -> None:
        from quantbench.engine.workers import cluster_worker

        self._over.set()
        self._collector.join()
        if self._cluster.is_lost:  # its workers end by themselves
            return
        with suppress(Exception):  # the same
            client = self._client  # as its `run` does, but for a bounded time
            client.sync(client._run, cluster_worker.end, self._run, on_error="ignore", callback_timeout=_END_SECONDS)

    # ------------------------------------------------------------ what comes back

    def _begun(self, event: tuple[float, Any]) -> None:
        """A worker has begun with a cell: the first time, or again after another one was lost."""
        found = self._open.get(event[1]["key"])
        if found is None:
            return
        if not found.at:
            found.future.set_running_or_notify_cancel()
        else:
            self._say(f"{found.task.model}/{found.task.variant}: begun again: {_lost(found.at[-1])}")
        found.at.append(event[1]["worker"])

    def _collect(self) -> None:
        """One thread sends cells, and takes in whatever is done, one after the other."""
        while not self._over.wait(_TICK_SECONDS):
            try:
                self._check()
                self._send()
                self._take_in()
                self._look_for_workers()
            except Exception as error:  # the scheduler is gone, or a model's files are
                lost = self._cluster.is_lost or isinstance(error, _SchedulerLost)
                words = f"nothing can be sent to {self._cluster.address} ({type(error).__name__}: {error})"
                self._give_up(self._cluster.lost if lost else words)

    def _check(self) -> None:
        """Raises _SchedulerLost also where Dask has found a scheduler again: that one knows nothing of our cells."""
        sent = (one.inner for one in self._open.values() if one.inner is not None)
        if self._cluster.is_lost or any(inner.status == "cancelled" for inner in sent):
            raise _SchedulerLost

    def _take_in(self) -> None:
        for key, one in list(self._open.items()):
            if one.inner is None or one.inner.status in ("pending", "lost", "cancelled"):
                continue  # lost: the worker that had it was, and Dask computes it again
            outcome = self._outcome(one)
            if self._over.is_set():
                return
            del self._open[key]
            one.future.set_result(outcome)

    def _give_up(self, reason: str) -> None:
        for key, one in list(self._open.items()):
            del self._open[key]
            one.future.set_result(Outcome(one.task.seed, failure=failure("error", reason, one.task.log)))

    def _outcome(self, one: _Open) -> Outcome:
        task = one.task
        try:
            if one.inner.status == "error":
                error = one.inner.exception()
                if type(error).__name__ == "KilledWorker":
                    reason = f"the cluster lost every worker that computed it: {', '.join(one.at)}"
                    return Outcome(task.seed, failure=failure("crash", reason, task.log))
                raise error
            outcome = self._kept(one.inner.result(timeout=_FETCH_SECONDS), task)
            return replace(outcome, retried=outcome.retried + tuple(f"{_lost(at)}; begun again" for at in one.at[:-1]))
        except Exception as error:  # whatever it is, it is this cell's, and the others still come in
            if self._cluster.is_lost or isinstance(error, CancelledError):
                raise _SchedulerLost from None
            words = " ".join(str(error).split())[:500]
            return Outcome(task.seed, failure=failure("error", f"{type(error).__name__}: {words}", task.log))

    def _kept(self, reply: Any, task: Task) -> Outcome:
        """Put what came back where a local worker would have put it."""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        replace_file(task.log, reply.log)
        for entry in reply.entries:
            if digest(entry.ingredients) != entry.key or any(Path(name).name != name for name in entry.files):
                raise ValueError(f"a worker sent an entry of the store that is not what its key says: {entry.key[:80]}")
            if self._store.get(entry.key) is None:
                self._store.put(entry.key, entry.files, entry.ingredients)
        outcome: Outcome = reply.outcome
        return outcome if outcome.artifact is None else replace(outcome, artifact=self._store.root / outcome.artifact)

    def _look_for_workers(self) -> None:
        """How many there are now; cells that nobody will ever compute are failures, not a wait without end."""
        now = time.monotonic()
        if not self._open or now < self._look_again:
            return
        self._look_again = now + _LOOK_SECONDS
        try:
            found = sum(self._client.nthreads(callback_timeout=NO_WORKER_SECONDS).values())
        except TimeoutError:  # it hangs, or the network does
            self._cluster.close()
            raise _SchedulerLost from None
        except OSError:  # the connection was just lost, or another one could not be made
            return
        self.workers = found or self.workers
        if found:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
            self._say(f"the cluster has no worker left; waiting {NO_WORKER_SECONDS} s for one")
        elif now - self._alone_since > NO_WORKER_SECONDS:
            self._give_up(f"the cluster has had no worker for {NO_WORKER_SECONDS} s")


def _lost(worker: str) -> str:
    return f"the cluster lost the worker at {worker}"
