"""Tries hostile files out on the command line, one after the other in one process, and prints a line of JSON for each.

    python driver.py FOLDER < names

A process a file would take longer over importing TensorFlow than over all of the files.
"""

import contextlib
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "bench")]

from hostile import BY_NAME  # noqa: E402
from hostile.room import SECRET, Hostile, Room, changes, leaks, picture, size  # noqa: E402

MEMORY = 8 * 2**30  # bytes of memory that a file may claim before it is told that there is no more
FILE = 2**28  # bytes of a file that may be written


class Listener:
    """A server on this machine that says nothing, and remembers who called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(2)
                    self.calls.append(connection.recv(200).decode(errors="replace").partition("\r\n")[0])
                    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")


def cpu() -> float:
    """Seconds of this process and of those that it waited for."""
    known = os.times()
    return known.user + known.system + known.children_user + known.children_system


def peak(reset: bool = False) -> int:
    """Most bytes of memory that this process had since the last reset."""
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def command(arguments: list[str], output: Path) -> int:
    """Run the command line here, its output into a file, and return its exit status."""
    from quantbench.cli import app

    kept = os.dup(1), os.dup(2)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    before = sys.argv, sys.stdout, sys.stderr
    sys.argv = ["quantbench", *arguments]
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8", errors="replace") for number in (1, 2))
    try:
        app.main()
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # what a user would see as a traceback
        traceback.print_exc()
        return -1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.close()
            sys.stderr.close()
        sys.argv, sys.stdout, sys.stderr = before
        for number, one in zip((1, 2), kept, strict=True):
            os.dup2(one, number)
            os.close(one)


def attempt(hostile: Hostile, root: Path, listener: Listener) -> dict[str, Any]:
    """Build one file, give it to the command, and say what became of it."""
    room = Room(root, listener.port)
    room.furnish()
    os.environ |= {
        "QUANTBENCH_CACHE": str(room.store),
        "CANARY_RAN": str(room.ran),
        "TMPDIR": str(room.tmp),
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "bench"), str(room.outside / "code")]),
    }
    os.chdir(room.work)
    tempfile.tempdir = str(room.tmp)
    sys.modules.pop("canary_module", None)
    sys.path.append(str(room.outside / "code"))
    arguments = list(hostile.make(room))
    before, given = picture(room.outside), picture(room.root)
    calls = len(listener.calls)
    used, began, memory = cpu(), time.monotonic(), peak(reset=True)
    output = root / "output.txt"
    try:
        status = command(arguments, output)
    finally:
        sys.path.remove(str(room.outside / "code"))
    text = output.read_text(encoding="utf-8", errors="replace")
    output.unlink()
    found = {
        "name": hostile.name,
        "status": status,
        "output": text[:20_000],
        "cpu": cpu() - used,
        "wall": time.monotonic() - began,
        "memory": peak() - memory,
        "written": size(room.root),
        "outside": changes(before, picture(room.outside)),
        "leaks": leaks(room.root, given) + (["the output"] if SECRET in text else []),
        "calls": listener.calls[calls:],
        "mapped": mapped(room.root),
        "pages": pages(room.root, given, hostile.forbidden),
    }
    os.chdir(HERE)
    tempfile.tempdir = None
    shutil.rmtree(root, ignore_errors=True)
    return found


def mapped(root: Path) -> list[str]:
    """Files of a room whose code was loaded into this process."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/maps").read_text().splitlines()
        return sorted({line.split()[-1] for line in lines if f"{root}{os.sep}given" in line and " r-xp " in line})
    return []


def pages(root: Path, given: dict[str, str], forbidden: tuple[str, ...]) -> list[str]:
    """What is forbidden and turned up in a file that was written."""
    found = []
    for name in picture(root).keys() - given.keys():
        path = root / name
        if path.is_file() and not path.is_symlink() and path.suffix in (".md", ".html", ".csv", ".xml", ".svg"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {words!r}" for words in forbidden if words in text]
    return found


def main(folder: Path) -> None:
    """One line in, one line out."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    del sys.modules["__main__"].__file__  # what the command starts would import this file, which it may not read
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from quantbench.core import tensorflow

    tensorflow.tensorflow()  # so that its own time is not counted against the first file
    listener = Listener()
    for number, name in enumerate(line.strip() for line in sys.stdin if line.strip()):
        print(json.dumps({"begun": name}), file=answers, flush=True)
        try:
            found = attempt(BY_NAME[name], folder / f"{number}_{name[:40]}", listener)
        except Exception:  # of the harness, not of what is tested
            found = {"name": name, "broken": traceback.format_exc()}
        print(json.dumps(found), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # whatever threads a hostile model has left


if __name__ == "__main__":
    main(Path(sys.argv[1]))
