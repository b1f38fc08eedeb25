"""Define errors that a person can act on, and the exit statuses of a run."""

import errno
import os
from enum import IntEnum


class Exit(IntEnum):
    """List the exit statuses of all commands; the worst one wins, see :func:`quantbench.gate.exit_status`."""

    GREEN = 0
    REGRESSED = 1
    INTERRUPTED = 2
    NOT_MEASURED = 3
    BAD_INPUT = 4
    NOTHING_SELECTED = 5
    DISK_FULL = 6


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


_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_is_full(error: BaseException) -> bool:
    """Check whether an error says that the disk is full; native code only gives the error number's text."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, DiskFull) or any(os.strerror(number) in str(error) for number in _FULL)


SHORT = (errno.EAGAIN, errno.ENOMEM)


def ran_short(error: BaseException) -> bool:
    """Check whether the machine ran out of memory or threads, so that the model is not at fault."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    if isinstance(error, OSError):
        return error.errno in SHORT
    words = ("can't start new thread", *(os.strerror(number) for number in SHORT))
    return any(text in str(error) for text in words)
