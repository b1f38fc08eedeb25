"""Start a fresh interpreter for one job, and describe in words how it ended.

The job is JSON on standard input, the result is JSON on standard output.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from quantbench.core import walls
from quantbench.errors import DiskFull, disk_is_full

# One thread for NumPy too: what uses several cores depends on their load, and every helper thread has a stack.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
Done = subprocess.CompletedProcess[str]
_LONGEST_ANSWER = 2**20  # characters; that about a model with ten thousand inputs takes a third
_ENDING_SECONDS = 5.0
_ERRORS = "errors.log"


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
    under: Sequence[str] = (),
    started: Callable[["subprocess.Popen[str]"], object] = lambda _: None,
) -> Done:
    """Run ``python -m module`` on a job until it ends, in any way.

    Args:
        limit: timeout in seconds.
        environment: variables added to those of this process.
        python: an interpreter other than this process's own.
        room: what it may access, where its job concerns an untrusted model; plus its own temporary files.
        under: the command that runs the interpreter, such as valgrind's.
        started: called with the process, for a caller that may have to end it from another thread.

    Raises:
        ChildFailed: it did not finish in time.
    """
    python = python or Interpreter(Path(sys.executable), HERE.home)
    command = [*under, str(python.executable), "-m", module]
    if room is None:
        return _run(partial(_popen, command, os.environ | environment, python.home), job, limit, started)
    with tempfile.TemporaryDirectory(prefix="quantbench-") as scratch:
        seen = {**walls.environment(), "TMPDIR": scratch, **environment}
        reached = replace(room, write=(*room.write, Path(scratch)), read=(*room.read, python.executable))
        start_walled = partial(walls.behind, partial(_popen, command, seen, python.home), reached)
        return _run(start_walled, job, limit, started, walled=True)


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
    start: Callable[[], "subprocess.Popen[str]"],
    job: Mapping[str, Any],
    limit: float,
    started: Callable[["subprocess.Popen[str]"], object],
    walled: bool = False,
) -> Done:
    with start() as process:
        try:
            started(process)
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
        raise failed(done.returncode, done.stderr.strip().splitlines())
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise ChildFailed(f"wrote no result but {done.stdout[:80]!r}") from None


def failed(status: int, lines: list[str]) -> Exception:
    """Return the exception for a child that ended so, having printed these lines: ChildFailed, or DiskFull."""
    last = (lines or ["no output"])[-1]
    if disk_is_full(ChildFailed(last)):
        return DiskFull(f"no space is left for a process of ours ({last[:200]}); free some and run again")
    return ChildFailed(f"{ended(status)}: {last[:300]}")


def ended(status: int) -> str:
    """Describe how a process ended, with the name of the signal where one killed it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"


def exchanged(process: "subprocess.Popen[str]", question: Mapping[str, Any], limit: float) -> tuple[str, bool]:
    """Write a question to a child as a line of JSON, and wait for the line that answers it.

    Args:
        limit: seconds after which the child is killed.

    Returns:
        The line, empty where the child died, and whether it was killed for its time.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(limit, give_up)
    timer.daemon = True
    timer.start()
    try:
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        line = process.stdout.readline(_LONGEST_ANSWER)
    except OSError:
        line = ""
    finally:
        timer.cancel()
    return line, late.is_set()


def parsed(line: str) -> Any:
    """Read a child's answer; None where it is no JSON, or too deep to be read."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class Standing:
    """Keep a child that answers one job after another; one that died is replaced at the next job.

    Its module answers lines, see :func:`quantbench.core.worker.answer_lines`. It ends with this process.

    Args:
        module: run with ``python -m``.
        read: what it may read besides Python, where its jobs concern untrusted models; None: it is not confined.

    Attributes:
        folder: where jobs and answers leave their files; None before the first job.
    """

    def __init__(self, module: str, read: Path | None = None) -> None:
        self._module = module
        self._read = read
        self._process: subprocess.Popen[str] | None = None
        self._kept: tempfile.TemporaryDirectory[str] | None = None
        self.folder: Path | None = None

    def scratch(self) -> Path:
        """Return a folder that the child may write to, which is removed with this object."""
        if self.folder is None or not self.folder.is_dir():
            if self._kept is not None:  # it was removed with the folder around it, where the child may still write
                self.end()
            self._kept = tempfile.TemporaryDirectory(prefix="quantbench-", ignore_cleanup_errors=True)
            self.folder = Path(self._kept.name).resolve()
        return self.folder

    def ask(self, job: Mapping[str, Any], limit: float) -> Any:
        """Return the child's answer to a job.

        Args:
            limit: timeout in seconds, including the start of a new child.

        Raises:
            ChildFailed: it died, did not answer in time, or answered with something else than JSON.
            DiskFull: it found no room for what it writes.
        """
        line, late = exchanged(self._process or self._started(), job, limit)
        if not line:
            status = self.close()
            raise ChildFailed(f"did not finish within {limit:.0f} s") if late else self._death(status)
        answer = parsed(line)
        if answer is None:
            self.close()
            raise ChildFailed(f"wrote no result but {line[:80]!r}")
        return answer

    def close(self) -> int:
        """End the child, and return its status; 0 where there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            return process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def end(self) -> None:
        """End the child, and remove its folder."""
        self.close()
        kept, self._kept, self.folder = self._kept, None, None
        if kept is not None:
            kept.cleanup()

    def _death(self, status: int) -> Exception:
        errors = self.scratch() / _ERRORS
        with suppress(OSError), errors.open("rb") as file:
            file.seek(max(0, errors.stat().st_size - 20_000))
            lines = file.read().decode(errors="replace").strip().splitlines()
            return failed(status, lines)
        return failed(status, [])

    def _started(self) -> "subprocess.Popen[str]":
        scratch, pipe = self.scratch(), subprocess.PIPE
        command = [sys.executable, "-m", self._module]
        seen = {**(os.environ if self._read is None else walls.environment()), "TMPDIR": str(scratch), **ONE_THREAD}
        with (scratch / _ERRORS).open("wb") as errors:
            start = partial(subprocess.Popen, command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
            start = partial(start, env=seen, cwd=HERE.home, errors="replace")
            if self._read is None:
                self._process = process = start()
            else:
                room = walls.Room(write=(scratch,), read=(self._read, Path(sys.executable)))
                self._process = process = walls.behind(start, room)
                walls.bound(process.pid)
        assert process.stdin is not None
        with suppress(OSError):  # one that died is noticed at its answer
            process.stdin.write("{}\n")  # its first line is what it has to know before all jobs: nothing
        return process
