"""Run pools of confined workers whose answers are plain data.

A worker under the control of a malicious model may send anything to the process that reads its answers, and an ordinary
unpickler would execute it. So answers may consist of listed classes only.
"""

import io
import os
import pickle
import threading
from enum import Enum
from multiprocessing import connection, reduction, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from quantbench.core import walls

# Allowed content of a worker's answers: pebble's envelopes, ours, arrays, and plain values.
PLAIN = {
    *(("pebble.common.types", name) for name in ("Result", "ResultStatus", "rebuild_exception")),
    *(("pebble.pool.base_pool", name) for name in ("Acknowledgement", "TaskResult", "TaskProblem", "NoMessage")),
    *(("pebble.pool.process", name) for name in ("Acknowledgement", "TaskResult", "TaskProblem", "NoMessage")),
    ("quantbench.engine.workers.task", "Outcome"),
    ("quantbench.measure.memory", "Memory"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
}
_ERRORS = ("builtins", "quantbench.errors")


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return the class if it is listed, one of our records, or an exception of a listed module."""
        if (module, name) == ("builtins", "getattr"):
            return _member
        if (module, name) in PLAIN or (module == "quantbench.records" or module.startswith("quantbench.records.")):
            candidate = super().find_class(module, name)
            if (module, name) in PLAIN or _is_record(candidate):
                return candidate
        elif module in _ERRORS and "." not in name:
            candidate = super().find_class(module, name)
            if isinstance(candidate, type) and issubclass(candidate, Exception):
                return candidate
        raise pickle.PicklingError(f"a worker's answer holds {module}.{name}, which no answer is made of")


def _member(kind: Any, name: Any) -> Enum:
    """Return a member of a listed enumeration, which Python 3.11.0 to 3.11.3 pickle as ``getattr(kind, name)``."""
    if not (isinstance(kind, type) and issubclass(kind, Enum) and isinstance(name, str) and name in kind.__members__):
        raise pickle.PicklingError("a worker's answer asks for an attribute, which no answer is made of")
    return kind[name]


def _is_record(candidate: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def plain(pickled: bytes) -> Any:
    """Unpickle a worker's answer.

    Raises:
        PicklingError: it is damaged, or holds anything but plain data. None of it was executed.
    """
    try:
        return _Plain(io.BytesIO(pickled)).load()
    except pickle.PicklingError:
        raise
    except Exception as error:  # damaged data can fail in any way
        raise pickle.PicklingError(f"a worker's answer is damaged ({type(error).__name__}: {error})") from None


def refused(error: BaseException) -> bool:
    """Return whether a pool ended because an answer was refused."""
    return isinstance(error.__cause__, pickle.PicklingError)


class _Reader(connection.Connection):
    def recv(self) -> Any:
        """Return the next answer. Raise PicklingError, which ends pebble's pool."""
        return plain(self.recv_bytes())


# In a worker the queue is an ordinary one: it may trust requests of our own process.
reduction.register(_Reader, connection.reduce_connection)  # type: ignore[attr-defined]


_of_thread = threading.local()  # ``confined``: the process that this thread starts is
_usual_preparation = spawn.get_preparation_data


def _preparation(name: str) -> dict[str, object]:
    """Leave out of a confined process what a spawned one imports first: the user's script, which it may not read."""
    data = _usual_preparation(name)
    if getattr(_of_thread, "confined", False):
        data = {key: value for key, value in data.items() if not key.startswith("init_main_from")}
    return data


spawn.get_preparation_data = _preparation


class _Process(SpawnProcess):
    room: walls.Room

    def start(self) -> None:
        """Start the process confined."""
        resource_tracker.ensure_running()  # not by the confined thread: it serves our own process as well
        walls.behind(self._start, self.room)
        if self.pid is not None:
            walls.bound(self.pid)

    def _start(self) -> None:
        _of_thread.confined = True
        try:
            super().start()
        finally:
            _of_thread.confined = False


class Context(SpawnContext):
    """Start processes and open pipes for a pool, in the interface of :mod:`multiprocessing`.

    Args:
        room: what its workers may access.
    """

    def __init__(self, room: walls.Room) -> None:
        super().__init__()
        self._room = room

    def Process(self, *arguments: Any, **named: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        """Return a process that is not started yet."""
        process = _Process(*arguments, **named)
        process.room = self._room
        return process

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
        """Return a pipe whose reader accepts plain data only."""
        reader, writer = super().Pipe(duplex)
        if duplex:
            return reader, writer
        own = _Reader(os.dup(reader.fileno()), writable=False)
        reader.close()
        return own, writer
