"""Decide what a command shows: with ``-q`` the verdict or the answer alone, with ``-v`` details too."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from quantbench.errors import BadInput

if TYPE_CHECKING:
    from quantbench.records import Record

_NOT_ASCII = re.compile(r"[^\n\x20-\x7e]+")


class Level(IntEnum):
    """How much a command shows."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1


_level = Level.NORMAL


def set_level(quiet: bool, verbose: bool) -> None:
    """Choose how much this process shows from now on.

    Raises:
        BadInput: less and more are asked for at once.
    """
    global _level
    if quiet and verbose:
        raise BadInput("-q shows less and -v shows more; give one of them")
    _level = Level.QUIET if quiet else Level.VERBOSE if verbose else Level.NORMAL


def level() -> Level:
    """Return how much to show."""
    return _level


def quiet() -> bool:
    """Return whether only the verdict or the answer is wanted."""
    return _level is Level.QUIET


def verbose() -> bool:
    """Return whether details are wanted."""
    return _level is Level.VERBOSE


def say(text: str) -> None:
    """Print a line of progress to standard error, unless the user wants quiet."""
    if not quiet():
        typer.echo(text, err=True)


def progress(text: str) -> None:
    """Print a line of progress to standard output, unless the user wants quiet."""
    if not quiet():
        typer.echo(text)


def document(text: str) -> None:
    """Print a document; of it only its first line, without the mark of a heading, where the user wants quiet."""
    if quiet():
        typer.echo(text.partition("\n")[0].lstrip("# "))
    else:
        typer.echo(text, nl=False)


def last(text: str) -> str:
    """Return a text of several lines; of it only the last one, which holds the verdict, where the user wants quiet."""
    return text.rstrip("\n").rpartition("\n")[2] if quiet() else text


@contextmanager
def answer_alone(alone: bool) -> Iterator[Callable[[str], None]]:
    """Send everything that is printed meanwhile to standard error, where the answer shall stand alone.

    Yields:
        What prints the answer to standard output.
    """
    if not alone:
        yield typer.echo
        return
    from quantbench.core.echo import guarded

    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def answer(text: str) -> None:
        sys.stdout.flush()
        os.dup2(kept, 1)
        typer.echo(text, file=guarded(sys.stdout))
        sys.stdout.flush()
        os.dup2(2, 1)

    try:
        yield answer
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def json_of(record: "Record") -> str:
    """Return a record as the JSON text of its files, in ASCII: what guards a terminal leaves it as it is."""
    from quantbench.records import json_text, rounded

    text = json_text(rounded(record.model_dump(mode="json", exclude_none=True)))
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text)
