"""Errors that a person can act on, and the exit statuses of a run."""

import errno
import os
from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every command. The worst one wins, see :func:`quantbench.gate.exit_status`."""

    GREEN = 0
    REGRESSED = 1
    INTERRUPTED = 2
    NOT_MEASURED = 3
    BAD_INPUT = 4
    NOTHING_SELECTED = 5
    DISK_FULL = 6


class BadInput(Exception):
    """Something that the user gave is wrong. The message is one sentence: which file, which field,
    what was expected, what to do. It is shown without a traceback, and the exit status is 4.
    """


class NothingSelected(Exception):
    """A selection that leaves no cell. The exit status is 5."""


class Unsupported(Exception):
    """The tools cannot make this artifact; the message is the tool's own reason."""


class DiskFull(Exception):
    """No space is left to write to. What was finished is kept; the exit status is 6."""


_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says so; native code tells the number's words only."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, DiskFull) or any(os.strerror(number) in str(error) for number in _FULL)


SHORT = (errno.EAGAIN, errno.ENOMEM)


def ran_short(error: BaseException) -> bool:
    """Whether it was the machine that had too little memory, or too few threads, and not the model that is at fault."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    if isinstance(error, OSError):
        return error.errno in SHORT
    words = ("can't start new thread", *(os.strerror(number) for number in SHORT))
    return any(one in str(error) for one in words)
