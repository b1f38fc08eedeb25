"""Drop output that cannot be written: a reader that left, a closed terminal, a full disk.

Nothing depends on whether output is read. So what cannot be written is dropped; that a disk was full is remembered,
because it changes the exit status.
"""

import errno
import io
import os
import sys
from typing import Any, TextIO

from quantbench.errors import disk_is_full

# A reader that left; a terminal that hung up; a descriptor that was closed, or not open for writing.
_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF, errno.ECONNRESET, errno.ESHUTDOWN)
_NAMES = {1: "standard output", 2: "standard error"}
_full: set[int] = set()
_streams: list[TextIO] = []


class _Lenient(io.FileIO):
    """Write to a descriptor, and drop what cannot be written."""

    def __init__(self, descriptor: int, stands_for: int, closes: bool) -> None:
        super().__init__(descriptor, "w", closefd=closes)
        self._stands_for = stands_for

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        try:
            return super().write(content) or 0
        except BlockingIOError:
            raise
        except OSError as error:
            if disk_is_full(error):
                _full.add(self._stands_for)
            elif error.errno not in _GONE:
                raise
            return size


def lenient(descriptor: int, stands_for: int | None = None) -> TextIO:
    """Return a stream that writes to a descriptor, drops what cannot be written, and closes the descriptor with itself.

    Args:
        stands_for: 1 or 2, where the descriptor is a copy of that one.
    """
    raw = _Lenient(descriptor, descriptor if stands_for is None else stands_for, closes=True)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace", line_buffering=True)


def make_lenient() -> None:
    """Make standard output and error of this process drop what they cannot write; closed ones are discarded.

    Call it first: where one of them is closed, the next file that is opened would get its number. A second call does
    nothing, so that what was put around the streams since stays.
    """
    if _streams:
        return
    _open_closed()
    sys.stdout = _in_place_of(sys.stdout, 1)
    sys.stderr = _in_place_of(sys.stderr, 2)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc, assignment]
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.__stdin__ = sys.stdin  # type: ignore[misc]


def _open_closed() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)


def _in_place_of(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None:
        try:
            stream.flush()
            if stream.fileno() != number:  # output is captured
                return stream
        except io.UnsupportedOperation:  # in memory
            return stream
        except (OSError, ValueError):
            pass
    raw = _Lenient(number, number, closes=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    errors = getattr(stream, "errors", None) or ("backslashreplace" if number == 2 else "strict")
    by_line = number == 2 or raw.isatty()
    made = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=by_line)
    _streams.append(made)
    return made


def flush() -> None:
    """Write what is buffered, to find out whether there is space for it."""
    for stream in _streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def lost_for_want_of_space() -> str:
    """Return one sentence where standard output was lost because the disk is full; else empty."""
    flush()
    if 1 not in _full:
        return ""
    return f"{_NAMES[1]} is full: no space is left where it goes; free some, or send it elsewhere"
