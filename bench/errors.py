"""Errors that a person can act on, and the exit statuses of a run."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every command. The worst one wins, see :func:`bench.gate.exit_status`."""

    GREEN = 0
    REGRESSED = 1
    INTERRUPTED = 2
    NOT_MEASURED = 3
    BAD_INPUT = 4
    NOTHING_SELECTED = 5


class BadInput(Exception):
    """Something that the user gave is wrong. The message is one sentence: which file, which field,
    what was expected, what to do. It is shown without a traceback, and the exit status is 4.
    """


class NothingSelected(Exception):
    """A selection that leaves no cell. The exit status is 5."""


class Unsupported(Exception):
    """The tools cannot make this artifact; the message is the tool's own reason."""
