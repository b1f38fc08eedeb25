"""Define errors that a person can act on, and the exit statuses of a run."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """List the exit statuses of all commands; the worst one wins, see :func:`quantbench.gate.exit_status`."""

    GREEN = 0
    REGRESSED = 1
    INTERRUPTED = 2
    NOT_MEASURED = 3
    BAD_INPUT = 4
    NOTHING_SELECTED = 5
    DISK_FULL = 6
    NOT_DELIVERED = 7  # a comment, an issue or a message; no run ends with it


class BadInput(Exception):
    """Raised when something that the user gave is wrong.

    The message is one sentence: which file, which field, what was expected, what to do. It is shown without a
    traceback, and the exit status is 4.
    """


class NothingSelected(Exception):
    """Raised when a selection contains no cell; the exit status is 5."""


class Unsupported(Exception):
    """Raised when the tools cannot make this artifact; the message is the tool's reason."""


class DiskFull(Exception):
    """Raised when the disk is full; finished work is kept, and the exit status is 6."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a file may take no more, by a limit or the file system


def disk_is_full(error: BaseException) -> bool:
    """Check whether an error says that the disk is full; native code only gives the error number's text."""
    if isinstance(error, OSError) and error.errno is not None:  # shutil's, of several files, has none
        return error.errno in _FULL
    return isinstance(error, DiskFull) or any(os.strerror(number) in str(error) for number in _FULL)


_NO_TEMPORARY = "No usable temporary directory"  # what :mod:`tempfile` says, also where each of them is full


@contextmanager
def full_disk_named(where: Path | None = None) -> Iterator[None]:
    """Let an error that says the disk is full become DiskFull, with where that is, or else the file that it names."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _NO_TEMPORARY in str(error):
            raise DiskFull(
                "there is no folder for temporary files with room in it; free some space in it, or name one in TMPDIR"
            ) from None
        if not disk_is_full(error):
            raise
        if error.errno is None:
            error = _by_words(error)
        raise DiskFull(full_disk_sentence(error, where)) from error
    except (BadInput, DiskFull):
        raise
    except Exception as error:
        if not disk_is_full(error):
            raise
        raise DiskFull(full_disk_sentence(_by_words(error), where)) from error


def _by_words(error: Exception) -> OSError:
    """The system's error, of one that has its words alone: native code's, and that on several files."""
    return OSError(errno.EFBIG if os.strerror(errno.EFBIG) in str(error) else errno.ENOSPC, "")


def full_disk_sentence(error: OSError, where: Path | None = None) -> str:
    """One sentence on what is full; many a write does not name its file."""
    at = f" in {where}" if where else _at(error)
    if error.errno == errno.EFBIG:
        return f"a file would be larger than it may be here{at}; raise the limit (ulimit -f), or use another disk"
    at = at or f" in {tempfile.gettempdir()}, or in a folder that the command writes to"
    return f"no space is left{at}; free some and run again"


def _at(error: OSError) -> str:
    return f" at {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""


SHORT = (errno.EAGAIN, errno.ENOMEM)


def ran_short(error: BaseException) -> bool:
    """Check whether the machine ran out of memory or threads, so that the model is not at fault."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    if isinstance(error, OSError):
        return error.errno in SHORT
    words = ("can't start new thread", *(os.strerror(number) for number in SHORT))
    return any(text in str(error) for text in words)
