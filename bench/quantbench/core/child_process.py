"""Start a fresh interpreter for one job, and describe in words how it ended.

The job is JSON on standard input, the result is JSON on standard output.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from quantbench.core import walls
from quantbench.errors import DiskFull, disk_is_full

# One thread for NumPy too: what uses several cores depends on their load, and every helper thread has a stack.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
Done = subprocess.CompletedProcess[str]


class Interpreter(NamedTuple):
    """Name a Python interpreter, and the folder from which it imports this package."""

    executable: Path
    home: Path


HERE = Interpreter(Path(sys.executable), Path(__file__).parents[2])


class ChildFailed(Exception):
    """Say how a child ended without a result; the message continues its name: ``did not finish within 60 s``."""


def start(
    module: str,
    job: Mapping[str, Any],
    limit: float,
    environment: Mapping[str, str],
    python: Interpreter | None = None,
    room: walls.Room | None = None,
) -> Done:
    """Run ``python -m module`` on a job until it ends, in any way.

    Args:
        limit: timeout in seconds.
        environment: variables added to those of this process.
        python: an interpreter other than this process's own.
        room: what it may access, where its job concerns an untrusted model; plus its own temporary files.

    Raises:
        ChildFailed: it did not finish in time.
    """
    python = python or Interpreter(Path(sys.executable), HERE.home)
    command = [str(python.executable), "-m", module]
    if room is None:
        return _run(partial(_popen, command, os.environ | environment, python.home), job, limit)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as scratch:
        seen = {**walls.environment(), "TMPDIR": scratch, **environment}
        reached = replace(room, write=(*room.write, Path(scratch)), read=(*room.read, python.executable))
        return _run(partial(walls.behind, partial(_popen, command, seen, python.home), reached), job, limit, True)


def room(form: str, *read: Path) -> walls.Room | None:
    """Return what a child may access whose job concerns a model of that form; unrestricted for the user's own code.

    Args:
        read: what it needs besides Python.
    """
    return None if form == "code" else walls.Room(read=read)


def _popen(command: list[str], environment: Mapping[str, str], folder: Path) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder, errors="replace"
    )


def _run(
    start: Callable[[], "subprocess.Popen[str]"], job: Mapping[str, Any], limit: float, walled: bool = False
) -> Done:
    with start() as process:
        try:
            if walled:
                walls.bound(process.pid)
            output, errors = process.communicate(json.dumps(job), timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ChildFailed(f"did not finish within {limit:.0f} s") from None
        except BaseException:
            process.kill()
            raise
    return Done(process.args, process.returncode, output, errors)


def result(done: Done) -> Any:
    """Return what a child wrote.

    Raises:
        ChildFailed: it crashed, or wrote no JSON.
        DiskFull: it found no room for what it writes.
    """
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if disk_is_full(ChildFailed(last)):
            raise DiskFull(f"no space is left for a process of ours ({last[:200]}); free some and run again")
        raise ChildFailed(f"{ended(done.returncode)}: {last[:300]}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise ChildFailed(f"wrote no result but {done.stdout[:80]!r}") from None


def ended(status: int) -> str:
    """Describe how a process ended, with the name of the signal where one killed it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"
