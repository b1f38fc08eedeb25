"""Pools of workers behind walls, which answer with plain data.

A worker that a stranger's model has taken over may send whatever it likes to the process that reads its answers, where
an ordinary unpickler would run it. So answers may be made of listed classes alone.
"""

import io
import os
import pickle
from multiprocessing import connection, reduction, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from quantbench.core import walls

# What a worker's answers are made of: pebble's envelopes, ours, arrays, and plain values.
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
        """Of the modules that answers come from, the listed classes; of errors, any that is one."""
        if (module, name) in PLAIN or (module == "quantbench.records" or module.startswith("quantbench.records.")):
            found = super().find_class(module, name)
            if (module, name) in PLAIN or _is_record(found):
                return found
        elif module in _ERRORS and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, Exception):
                return found
        raise pickle.PicklingError(f"a worker's answer holds {module}.{name}, which no answer is made of")


def _is_record(found: Any) -> bool:
    from pydantic import BaseModel

    return isinstance(found, type) and issubclass(found, BaseModel)


def plain(pickled: bytes) -> Any:
    """What a worker's answer holds.

    Raises:
        PicklingError: anything but plain data, or it is damaged. Nothing of it was run.
    """
    try:
        return _Plain(io.BytesIO(pickled)).load()
    except pickle.PicklingError:
        raise
    except Exception as error:  # a damaged one fails in as many ways as it has bytes
        raise pickle.PicklingError(f"a worker's answer is damaged ({type(error).__name__}: {error})") from None


def refused(error: BaseException) -> bool:
    """Whether a pool ended because of an answer that was not read."""
    return isinstance(error.__cause__, pickle.PicklingError)


class _Reader(connection.Connection):
    def recv(self) -> Any:
        """The next answer. Raises PicklingError, which pebble takes for the end of its pool."""
        return plain(self.recv_bytes())


# In a worker it is an ordinary one: what our own process asks of it, it may trust.
reduction.register(_Reader, connection.reduce_connection)  # type: ignore[attr-defined]


class _Process(SpawnProcess):
    room: walls.Room

    def start(self) -> None:
        """Start behind the walls."""
        resource_tracker.ensure_running()  # not by the thread behind the walls: it serves our own process as well
        walls.behind(super().start, self.room)
        if self.pid is not None:
            walls.bound(self.pid)


class Context(SpawnContext):
    """How processes are started and spoken to, as :mod:`multiprocessing` has it; for a pool.

    Args:
        room: what its workers may reach.
    """

    def __init__(self, room: walls.Room) -> None:
        super().__init__()
        self._room = room

    def Process(self, *arguments: Any, **named: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        """One that is not started yet."""
        process = _Process(*arguments, **named)
        process.room = self._room
        return process

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
        """A pipe whose reader takes plain data alone."""
        reader, writer = super().Pipe(duplex)
        if duplex:
            return reader, writer
        own = _Reader(os.dup(reader.fileno()), writable=False)
        reader.close()
        return own, writer
