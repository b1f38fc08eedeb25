"""Redirect the output of native libraries to a log."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from quantbench.core.echo import guarded
from quantbench.core.streams import lenient


def send_output_to(log: Path) -> None:
    """Append everything that this process prints from now on, including native code, to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Append everything that this process prints within the block, including native code, to a file."""
    saved = os.dup(1), os.dup(2)
    send_output_to(log)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, target in zip(saved, (1, 2), strict=True):
            os.dup2(descriptor, target)
            os.close(descriptor)


@contextmanager
def native_output_to(log: Path) -> Iterator[None]:
    """Append what native code prints to a file; Python's output is not redirected."""
    before = sys.stdout, sys.stderr
    with (
        lenient(os.dup(1), stands_for=1) as out,
        lenient(os.dup(2), stands_for=2) as err,
        output_to(log),
    ):
        # Where output is captured, Python's streams are redirected already.
        sys.stdout = guarded(out) if _leads_to(before[0], 1) else before[0]
        sys.stderr = guarded(err) if _leads_to(before[1], 2) else before[1]
        try:
            yield
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before


def _leads_to(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False
