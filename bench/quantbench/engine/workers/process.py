"""Run one worker process that computes cells one after another, stays warm, and is replaced when it dies.

There is a pool per process, rather than one for all: where a worker dies before it reports its task, pebble marks its
whole pool as broken, and every running cell would be lost.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from multiprocessing.util import Finalize, _exit_function, is_exiting  # type: ignore[attr-defined]
from pathlib import Path
from types import FrameType

import psutil
from pebble import ProcessExpired, ProcessPool

from quantbench.build import refusals
from quantbench.build.store import for_strangers
from quantbench.core import pools, walls
from quantbench.core.child_process import ended
from quantbench.core.output import send_output_to
from quantbench.core.signals import end_with_parent, stop_asked
from quantbench.engine.workers.task import Outcome, Task, failed, failure, log_tail
from quantbench.errors import SHORT
from quantbench.files import is_folder
from quantbench.reference import npy_folder
from quantbench.variants import built
from quantbench.variants.tuned import ENDING

_TICK_SECONDS = 0.2
_GONE_SECONDS = 10
_TELLING_SECONDS = 2.0
_START_SECONDS = 180.0  # a worker takes a second or two until its first cell; half a minute on a machine that swaps
# TensorFlow keeps memory of every model it trained: 7 GB after seventy of them. A fresh worker costs 5 s.
_MOST_RESIDENT = 1.2 * 2**30
# What the first cell of a large model leaves is no leak: ResNet50's is 1.23 GiB, and importing TensorFlow, loading and
# exporting it again for each variant took as long as 200 of its 1,000 evaluations. A worker may hold a quarter more
# than its first cell left, as long as the next conversion, which takes another GiB, stays below 3 GiB.
_MOST_GROWTH, _MOST_OF_LARGE = 1.25, 1.7 * 2**30
_FIRST, _LAST = 10_000, -10_000  # priorities of multiprocessing's finalizers; the highest runs first
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_CRASHES = (signal.SIGABRT, signal.SIGSEGV)
# What C++, TensorFlow and OpenBLAS print before they abort or crash because memory or threads run out.
_LACKS = ("bad_alloc", "pthread_create", "can't start new thread", *(os.strerror(number) for number in SHORT))


class Stopped(Exception):
    """Raised when the run was stopped before or while a cell was computed."""


class WorkerSlot:
    """Compute one cell at a time.

    Workers are spawned, not forked: a forked child of a process with threads can hang in native code.

    Args:
        logs: its own folder, for what its workers print outside of cells, one file per worker.
        compute: computes a task in a worker.
    """

    def __init__(self, logs: Path, compute: Callable[[Task], Outcome]) -> None:
        self._logs = logs
        self._compute = compute
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._before: set[Path] = set()
        self._running: Future[Outcome] | None = None
        self._stopped = False
        self._room: walls.Room | None = None  # of its worker; None where that worker is not confined
        self._first_left: int | None = None  # bytes that its worker held after its first cell

    def run(self, task: Task, timeout: float) -> Outcome:
        """Compute a cell; return an outcome also where the worker crashed, hung or exited.

        Raises:
            Stopped: :meth:`stop` was called.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            task.log.unlink(missing_ok=True)  # a crash is described by its own last output
            try:
                pool = self._started(_room(task, self._logs))
                self._running = pool.schedule(self._compute, args=[task])
            except (OSError, RuntimeError) as error:  # no process can be started: no memory, no file descriptors
                return self._afresh(_crash(task, f"no worker process could be started ({error})", exhausted=True))
        outcome = self._result(self._running, task, timeout)
        failure = outcome.failure
        if failure is not None and failure.what != "unsupported" and _comes_from_the_end_of_the_run():
            raise Stopped
        # A process that ran short of memory is unreliable, and one that died is gone.
        return self._afresh(outcome) if outcome.exhausted or _lost(outcome) or self._grown() else outcome

    def stop(self) -> None:
        """Cancel what is running, from any thread; the slot cannot be used again."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.cancel()

    def kill(self) -> None:
        """Kill what is running at once; for a signal's handler, which must not wait. :meth:`stop` is called too."""
        self._stopped = True
        for process in multiprocessing.active_children():
            with suppress(OSError, ValueError):
                if process.pid is not None and (self._logs / f"{process.pid}.log").exists():
                    process.kill()

    def close(self) -> None:
        """End the worker process, and return when it is gone and its leases on the store are free."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None
            self._first_left = None
            psutil.wait_procs(list(self._alive()), timeout=_GONE_SECONDS)

    def _afresh(self, outcome: Outcome) -> Outcome:
        self.close()
        return outcome

    def _started(self, room: walls.Room | None) -> ProcessPool:
        # Its worker was killed while idle; or is confined to another room, which cannot be changed.
        if self._pool is not None and (not self._pool.active or room != self._room):
            self.close()
        if self._pool is None:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._before = set(self._logs.iterdir())
            self._room = room
            spawn = multiprocessing.get_context("spawn") if room is None else pools.Context(room)
            own = [self._logs, room is not None]
            self._pool = ProcessPool(max_workers=1, initializer=_enter, initargs=own, context=spawn)
        return self._pool

    def _workers(self) -> list[int]:
        """Return the process ids that this pool has had; several where pebble replaced one that exited."""
        return [int(log.stem) for log in set(self._logs.iterdir()) - self._before]

    def _alive(self) -> Iterator[psutil.Process]:
        for pid in self._workers():
            with suppress(psutil.Error):  # it is gone
                yield psutil.Process(pid)

    def _grown(self) -> bool:
        """Return whether its worker uses so much memory that it should be replaced."""
        with suppress(psutil.Error):
            held = max((worker.memory_info().rss for worker in self._alive()), default=0)
            self._first_left = held if self._first_left is None else self._first_left
            return held > max(_MOST_RESIDENT, min(_MOST_OF_LARGE, _MOST_GROWTH * self._first_left))
        return False

    def _cannot_begin(self, running: "Future[Outcome]", asked: float) -> bool:
        """Return whether the worker hangs before its cell, or died before pebble had noted which cell it was for."""
        if self._pool is None or self._pool.active:
            return not running.running() and time.monotonic() - asked > _START_SECONDS
        wait([running], timeout=_TELLING_SECONDS)  # else pebble is about to say how it died
        return not running.done()

    def _result(self, running: "Future[Outcome]", task: Task, timeout: float) -> Outcome:
        begun: float | None = None
        asked = time.monotonic()
        while not running.done():
            wait([running], timeout=_TICK_SECONDS)
            if begun is None and self._cannot_begin(running, asked):
                self.close()
                return _crash(task, "the worker process did not begin", exhausted=True)
            # Counted here, because pebble uses a clock that may be set while a cell is computed.
            begun = time.monotonic() if begun is None and running.running() else begun
            if begun is not None and time.monotonic() - begun > timeout and not running.done():
                self.close()  # first, because that writes the running line of Python to the log
                reason = f"no result within {timeout:.0f} s (--cell-timeout)"
                return Outcome(task.seed, failure=failure("timeout", _with_last_words(reason, task), task.log))
            # A second worker in a pool of one: pebble replaces one that exited with status 0 without notice.
            if len(self._workers()) > 1 and not running.done():
                wait([running], timeout=_TICK_SECONDS)
                return running.result() if running.done() else _crash(task, "the worker process ended with status 0")
        if running.cancelled():
            raise Stopped
        error = running.exception()
        if error is None:
            return running.result()
        if isinstance(error, ProcessExpired):
            status = error.exitcode or 0
            return _crash(task, f"the worker process {ended(status)}", exhausted=_no_fault_of_its_own(status, task))
        if pools.refused(error):
            return _crash(task, "the worker process sent something that is not a result, so it was ignored")
        if type(error).__name__ == "BrokenProcessPool":
            return _crash(task, "the worker process died before it began", exhausted=True)
        return failed(task, error)


def _comes_from_the_end_of_the_run() -> bool:
    """Return whether a signal is ending the run, and perhaps caused what a worker did.

    A terminal sends it to all processes at once, and the worker's end may be noticed here before the signal.
    """
    time.sleep(_TICK_SECONDS)
    return stop_asked()


def _room(task: Task, logs: Path) -> walls.Room | None:
    """Return what a worker may access that computes an untrusted model: the model, the store, and its logs."""
    if not task.stranger:
        return None
    folder = task.model_file.absolute().parent
    read: tuple[Path, ...] = (folder,)
    if folder in (Path.home(), *Path.home().parents):  # it would include all of the user's files
        recipe = folder / f"{task.model}{ENDING}"
        listed = built.list_of(task.model_file, task.model)
        read = (task.model_file, recipe, listed, folder / "weights", folder / "data", folder / "metrics")
    read = (*read, *_data_elsewhere(folder / "data"))
    read = (*read, *built.files_of(task.model_file, task.model))
    for place in (logs, task.log.parent):
        place.mkdir(parents=True, exist_ok=True)
    write = (*for_strangers(task.store), logs, task.log.parent)
    return walls.Room(write, (*read, task.store), locks=True)


def _data_elsewhere(folder: Path) -> tuple[Path, ...]:
    """Return the files that stand for those of data packs; of a model that is only tried, data stays where it is."""
    packs = sorted(folder.iterdir()) if is_folder(folder) else []
    return tuple(path for pack in packs if is_folder(pack) for path in npy_folder.elsewhere(pack))


def _enter(logs: Path, walled: bool) -> None:
    """Prepare a worker before its first cell.

    Native code also prints outside of cells, when it starts and ends. When the worker dies or is ended, the log gets
    the line of Python that was running.
    """
    if walled:
        walls.forget_environment()
    send_output_to(logs / f"{os.getpid()}.log")
    faulthandler.enable(2, all_threads=False)
    signal.signal(signal.SIGTERM, _leave)
    faulthandler.register(signal.SIGTERM, 2, all_threads=False, chain=True)
    # A closing terminal sends it to all, and the run's first process decides what to do.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Pebble closes a worker's pipe and sends SIGTERM at once, which would end the worker while it removes its scratch
    # folder and its semaphores.
    Finalize(None, _leave_undisturbed, exitpriority=_FIRST)
    Finalize(None, _left, exitpriority=_LAST)
    end_with_parent()


_ended_by: list[int] = []


def _leave(number: int, _: FrameType | None) -> None:
    """End by the signal after cleaning up: pebble's own handler ends with a status that does not name a signal."""
    if not is_exiting():
        _ended_by.append(number)
        _exit_function()


def _leave_undisturbed() -> None:
    faulthandler.unregister(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _left() -> None:
    """Exit at once when cleaned up; what native libraries do at exit takes seconds and is unnecessary."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for number in _ended_by:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(0)


def _no_fault_of_its_own(status: int, task: Task) -> bool:
    """Return whether the worker was killed from outside, or memory, threads or processes ran out.

    The system kills silently; native code prints what it lacks, and aborts or crashes.
    """
    if -status in _FROM_OUTSIDE:
        return True
    return -status in _CRASHES and any(words in log_tail(task.log) for words in _LACKS)


def _crash(task: Task, reason: str, exhausted: bool = False) -> Outcome:
    if exhausted and reason.endswith(signal.SIGKILL.name):
        reason += ", as the system does where memory runs out"
    outcome = Outcome(task.seed, failure=failure("crash", _with_last_words(reason, task), task.log))
    return replace(outcome, exhausted=exhausted)


def _with_last_words(reason: str, task: Task) -> str:
    return refusals.of_crash(log_tail(task.log, 20_000), reason)


def _lost(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure.what in ("crash", "timeout")
