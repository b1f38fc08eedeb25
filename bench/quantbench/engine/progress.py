"""How far a run is: one line that redraws itself on a terminal, plain lines where there is none."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from quantbench.core.echo import line as one_line
from quantbench.core.streams import lenient

QUIET_SECONDS = 60.0


@dataclass(frozen=True)
class Counts:
    """How far a run is.

    Attributes:
        doing: what is counted, in one word: ``cells`` while they are computed, ``timed`` while they are timed.
        seconds_left: None where nothing is known of it yet.
    """

    doing: str
    done: int
    total: int
    running: int = 0
    failed: int = 0
    seconds_left: float | None = None

    def words(self) -> str:
        """Behind the bar, and in a line of its own where nothing was finished for long."""
        parts = [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [left(self.seconds_left)] if self.seconds_left is not None else []
        return ", ".join(parts)


def left(seconds: float) -> str:
    """Time left in words, no more precise than it is known."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


class Progress(Protocol):
    """Where a run tells how far it is."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """A cell is finished; the line says which, and how it went."""

    def show(self, counts: Counts) -> None:
        """How far it is now; called some times a second while there is nothing else to do."""

    def close(self) -> None:
        """Nothing more comes, and others may print again."""


class Lines:
    """Plain lines, one a cell, and one a minute while nothing is finished.

    Args:
        say: takes a line.
        quiet: seconds without a line after which one says how far it is.
    """

    def __init__(self, say: Callable[[str], None], quiet: float = QUIET_SECONDS) -> None:
        self._say = say
        self._quiet = quiet
        self._last = time.monotonic()

    def say(self, line: str) -> None:
        """See :class:`Progress`."""
        self._last = time.monotonic()
        self._say(one_line(line))

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""
        del failed  # the line says so
        rest = f" ({left(counts.seconds_left)})" if counts.seconds_left else ""
        self.say(f"[{counts.done}/{counts.total}] {line}{rest}")

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""
        if time.monotonic() - self._last > self._quiet:
            words = counts.words()
            self.say(f"{counts.doing}: {counts.done} of {counts.total} done{', ' if words else ''}{words}")

    def close(self) -> None:
        """See :class:`Progress`."""


class Bar:
    """A bar at the end of the screen, gone when the run is over; only cells that failed leave a line.

    It draws when it is told to and has no thread of its own, which would disturb what is timed. It keeps a descriptor
    of its own, for the usual one leads elsewhere while output is captured or native code is silenced.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._file = lenient(os.dup(terminal.fileno()), stands_for=1)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
        self._bar = RichProgress(
            *columns,
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
            console=Console(file=self._file, force_terminal=True, width=_width(self._file)),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("cells", total=0, words="")
        self._drawn: Counts | None = None
        self._at = 0.0

    def say(self, line: str) -> None:
        """See :class:`Progress`."""
        self._bar.console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""
        if failed:
            self.say(line)
        self.show(counts)

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""
        now = time.monotonic()
        if counts == self._drawn and now - self._at < 1.0:
            return
        self._drawn, self._at = counts, now
        self._bar.update(
            self._task, description=counts.doing, completed=counts.done, total=counts.total, words=counts.words()
        )
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.refresh()

    def close(self) -> None:
        """See :class:`Progress`."""
        if not self._file.closed:
            self._bar.stop()
            self._file.close()


def _width(terminal: TextIO) -> int:
    """Where output is captured, rich would ask a file for it; some terminals (those of CI) say 0."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80
    except OSError:  # it has just been closed
        return 80


def is_terminal(file: TextIO) -> bool:
    """Whether a bar can be drawn there: a terminal that moves its cursor."""
    try:
        return os.isatty(file.fileno()) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    except (OSError, ValueError):
        return False


def on_terminal(say: Callable[[str], None]) -> Progress:
    """A bar where standard output is a terminal, else lines.

    Args:
        say: takes a line.
    """
    return Bar(sys.stdout) if is_terminal(sys.stdout) else Lines(say)
