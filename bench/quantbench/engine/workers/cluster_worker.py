"""Compute cells on a worker of a Dask cluster. Each cell runs in its own process, as it does locally.

So a crash, a hang or a time limit fails the cell and not the Dask worker, and a lost Dask worker never counts as the
cell's failure. A worker cannot access the client's disk: the model's files are sent with the job, and results return
as entries of the store.
"""

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from distributed import Status, get_worker  # noqa: TID253 - loaded on Dask workers only, which have it loaded

from quantbench.build.store import Store, default_root, digest, temporary_files_in
from quantbench.core import environment
from quantbench.core.options import PACKAGE
from quantbench.engine.workers import task as work
from quantbench.engine.workers.local import LocalExecutor, again
from quantbench.engine.workers.task import Outcome, Task, failure
from quantbench.files import replace as replace_file
from quantbench.records import Environment
from quantbench.reference.datasets import file_sha256

# What must be identical on both sides for results to be identical.
PACKAGES = (*(name for name in environment.PACKAGES if not name.startswith("pytest")), "distributed")
_TICK_SECONDS = 0.2
_MOST_LOG = 1_000_000
_ENDING = (Status.closing, Status.closed)


@dataclass(frozen=True)
class Files:
    """Describe files of one folder as they are sent; their contents are sent separately, in this order.

    Attributes:
        sha256: path relative to the folder -> hash.
        first: the main path: a model's own file.
        model: name of the model that it declares; empty where it is not a model.
    """

    sha256: Mapping[str, str]
    first: str
    model: str = ""


@dataclass(frozen=True)
class Job:
    """Hold a task as it is sent.

    Attributes:
        task: its paths are those of the client, and invalid here.
        files: everything that the model needs.
        code: hash of the client's code of this package.
        run: name of the run, also used for its events.
        fresh: compute into a store used by this run alone, which is removed after it.
        key: of the job, used for its events.
    """

    task: Task
    files: Files
    code: str
    run: str
    fresh: bool
    key: str


@dataclass(frozen=True)
class Entry:
    """Hold one entry of a store as it is sent."""

    key: str
    files: dict[str, bytes]
    ingredients: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """Hold the result of a job.

    Attributes:
        outcome: its artifact's path is relative to the store.
        entries: all entries that the client's store needs to find this outcome again.
        log: the cell's own.
    """

    outcome: Outcome
    entries: list[Entry]
    log: str


@dataclass(frozen=True)
class About:
    """Describe a worker, as far as results depend on it.

    Attributes:
        code: hash of its code of this package.
        cpu: see :func:`quantbench.core.environment.cpu`.
        daemon: whether its process may not start child processes.
    """

    code: str
    cpu: tuple[str, str]
    daemon: bool
    environment: Environment


def about() -> About:
    """Describe this worker."""
    daemon = multiprocessing.current_process().daemon
    return About(code(), environment.cpu(), daemon, environment.collect())


@lru_cache
def code() -> str:
    """Return a hash of all code of this package: a version number does not distinguish two checkouts."""
    sources = sorted(path for path in PACKAGE.rglob("*.py") if "carried" not in path.parts)
    return digest({path.relative_to(PACKAGE).as_posix(): file_sha256(path, follow=True) for path in sources})


def carry(content: bytes) -> bytes:
    """Return a file's content as a task of the cluster, so that it is sent once per worker and never lost with one."""
    return content


# ---------------------------------------------------------------- one cell


@dataclass(frozen=True)
class _Remembering(Store):
    """Record which entries of a store were read."""

    keys: list[str] = field(default_factory=list)

    def get(self, key: str) -> Path | None:
        path = super().get(key)
        if path is not None and key not in self.keys:
            self.keys.append(key)
        return path


def compute_and_list(task: Task) -> Outcome:
    """Compute a cell in its own process, and list the store entries that hold its outcome."""
    outcome = work.compute(task)
    store = _Remembering(task.store)
    work.from_store(task, store)
    return replace(outcome, entries=tuple(store.keys))


def compute(job: Job, timeout: float, *contents: bytes) -> Reply:
    """Compute a cell in its own process, and pack the result."""
    worker = get_worker()
    worker.log_event(job.run, {"key": job.key, "worker": worker.address})
    folder = Path(worker.local_directory) / "quantbench"
    log = folder / "logs" / job.run / job.task.log.name
    if code() != job.code:
        reason = f"the worker at {worker.address} has different quantbench code than this run; install the same on both"
        return Reply(Outcome(job.task.seed, failure=failure("error", reason, log)), [], "")
    model_file = _unpacked(folder / "files", job.files, contents)
    store = Store(_own_store(folder, job.run) if job.fresh else default_root().absolute())
    task = replace(job.task, model_file=model_file, store=store.root, log=log)
    outcome = _result(job, task, timeout, worker)
    entries = [_packed(store, key) for key in outcome.entries]
    if outcome.artifact is not None:
        outcome = replace(outcome, artifact=outcome.artifact.relative_to(store.root))
    return Reply(replace(outcome, entries=()), entries, _log_text(log) + _log_text(again(log)))


def _log_text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_MOST_LOG:] if log.exists() else ""


def _unpacked(root: Path, files: Files, contents: Sequence[bytes]) -> Path:
    """Write files into their own folder; return the path of the first.

    Raises:
        ValueError: a path is outside the folder.
    """
    folder = root / digest(files.sha256)
    for path, content in zip(files.sha256, contents, strict=True):
        target = folder / path
        if not inside(path):
            raise ValueError(f"{path} would lie outside of its folder")
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(target, content, inside=folder)
    return folder / files.first


def inside(path: str) -> bool:
    """Return whether a relative path stays within its folder."""
    parts = Path(path).parts
    return bool(parts) and not Path(path).is_absolute() and ".." not in parts


def _packed(store: Store, key: str) -> Entry:
    folder = store.path(key)
    index = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    return Entry(key, {name: (folder / name).read_bytes() for name in index["files"]}, index["ingredients"])


# ---------------------------------------------------------------- one measurement


def call(function: Callable[..., Any], arguments: Sequence[Any], *contents: bytes) -> Any:
    """Call a measuring function here; :class:`Files` in its arguments become a path, or the model they declare."""
    folder, rest = Path(get_worker().local_directory) / "quantbench", list(contents)
    aside = folder / "temporary"  # Dask removes what a killed worker leaves in its own folder
    aside.mkdir(parents=True, exist_ok=True)
    given = []
    for argument in arguments:
        if isinstance(argument, Files):
            own, rest = rest[: len(argument.sha256)], rest[len(argument.sha256) :]
            path = _unpacked(folder / "files", argument, own)
            task = Task(path, argument.model, "", 0, None, Path(), Path())
            given.append(work.model_of(task) if argument.model else path)
        else:
            given.append(argument)
    with temporary_files_in(aside):
        return function(*given)


# ---------------------------------------------------------------- the processes of a run

_LOCK = threading.Lock()
_EXECUTORS: dict[str, LocalExecutor] = {}
_UNDER_WAY: dict[str, int] = {}


class GivenUp(Exception):
    """Raised when the client has stopped its run, or this worker is to end, as it is where its scheduler is lost."""


def _result(job: Job, task: Task, timeout: float, worker: Any) -> Outcome:
    with _LOCK:
        for run in [run for run in _EXECUTORS if run != job.run and not _UNDER_WAY[run]]:
            _stop(run)  # of a client that disappeared
        if job.run not in _EXECUTORS:
            places = worker.state.nthreads
            _EXECUTORS[job.run] = LocalExecutor(places, task.log.parent / "workers", compute_and_list)
            _UNDER_WAY[job.run] = 0
        executor = _EXECUTORS[job.run]
        _UNDER_WAY[job.run] += 1
    try:
        future: Future[Outcome] = executor.submit(task, timeout)
        while not future.done():
            wait([future], timeout=_TICK_SECONDS)
            if worker.status in _ENDING:
                end(job.run, worker)
            if _EXECUTORS.get(job.run) is not executor and not future.done():
                raise GivenUp(job.run)
        return future.result()
    finally:
        with _LOCK:
            if _EXECUTORS.get(job.run) is executor:
                _UNDER_WAY[job.run] -= 1


def _stop(run: str) -> None:
    """Stop a run's processes in a thread: it takes seconds, during which a worker must answer the scheduler."""
    threading.Thread(target=_EXECUTORS.pop(run).stop, daemon=True).start()
    _UNDER_WAY.pop(run, None)


def _own_store(folder: Path, run: str) -> Path:
    return folder / "stores" / run


def end(run: str, dask_worker: Any = None) -> None:
    """End the processes of a run that is over or stopped, and remove the store that only it used."""
    with _LOCK:
        if run in _EXECUTORS:
            _stop(run)
    shutil.rmtree(_own_store(Path(dask_worker.local_directory) / "quantbench", run), ignore_errors=True)
