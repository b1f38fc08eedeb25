"""Show the progress of a run: one line redrawn on a terminal, plain lines elsewhere."""

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
WITHIN_SECONDS = 15.0  # between lines on how far a cell is
MOST_REMARKS = 3


@dataclass(frozen=True)
class Counts:
    """Hold the progress of a run.

    Attributes:
        doing: what is counted, in one word: ``cells`` while they are computed, ``timed`` while they are timed.
        seconds_left: None while unknown.
        within: how far cells are that are being computed, in words.
    """

    doing: str
    done: int
    total: int
    running: int = 0
    failed: int = 0
    seconds_left: float | None = None
    within: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the text beside the bar, also printed as a line where nothing has finished for a while."""
        parts = [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [left(self.seconds_left)] if self.seconds_left is not None else []
        return ", ".join([*parts, *self.within])


def left(seconds: float) -> str:
    """Return the remaining time in words, rounded to its accuracy."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


class Progress(Protocol):
    """Declare how a run shows its progress."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def detail(self, line: str) -> None:
        """Print a line that only those want who asked for details."""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """Report a computed cell; the line names it and its result."""

    def judged(self, line: str, done: int, total: int) -> None:
        """Report a judged cell; the line names it, its verdict and its seconds."""

    def show(self, counts: Counts) -> None:
        """Show the current progress; called several times a second while waiting."""

    def close(self) -> None:
        """End the display, so that others may print again."""


class Lines:
    """Print plain lines: one as soon as a cell is being computed, one per cell, and one per minute, or more often
    within a long cell, while nothing finishes.

    Args:
        say: prints a line.
        quiet: seconds without a line before the progress is printed.
        verbose: whether details are printed.
    """

    def __init__(self, say: Callable[[str], None], quiet: float = QUIET_SECONDS, verbose: bool = False) -> None:
        self._say = say
        self._verbose = verbose
        self._quiet = quiet
        self._last = time.monotonic()
        self._began = False

    def say(self, line: str) -> None:
        """See :class:`Progress`."""
        self._last = time.monotonic()
        self._say(one_line(line))

    def detail(self, line: str) -> None:
        """See :class:`Progress`."""
        if self._verbose:
            self.say(line)

    def judged(self, line: str, done: int, total: int) -> None:
        """See :class:`Progress`; the cell has had its line when it was computed."""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""
        del failed  # the line says so
        rest = f" ({left(counts.seconds_left)})" if counts.seconds_left else ""
        self.say(f"[{counts.done}/{counts.total}] {line}{rest}")

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""
        silent = time.monotonic() - self._last
        first = not self._began and counts.running > 0
        if first or silent > (min(self._quiet, WITHIN_SECONDS) if counts.within else self._quiet):
            self._began = True
            self.say(_progress_line(counts))

    def close(self) -> None:
        """See :class:`Progress`."""


def _progress_line(counts: Counts) -> str:
    words = counts.words()
    return f"{counts.doing}: {counts.done} of {counts.total} done{', ' if words else ''}{words}"


class JudgedLines(Lines):
    """Print one line a cell, once its verdict is known, for a log that people read from top to bottom.

    A cell that failed has its line as soon as it is computed too, for a run may take hours more; others that are
    computed and wait for their verdict are named by the line that follows a silence.
    """

    def __init__(self, say: Callable[[str], None], quiet: float = QUIET_SECONDS, verbose: bool = False) -> None:
        super().__init__(say, quiet, verbose)
        self._computed: dict[str, str] = {}  # cell -> its line

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""
        if failed:
            self.say(f"failed: {line}")
        elif self._verbose:
            super().finished(line, counts, failed)
        else:
            self._computed[line.partition(" ")[0]] = line

    def judged(self, line: str, done: int, total: int) -> None:
        """See :class:`Progress`."""
        self._computed.pop(line.partition(": ")[0], None)
        self.say(f"[{done}/{total}] {line}")

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""
        if self._computed and time.monotonic() - self._last > min(self._quiet, WITHIN_SECONDS):
            self.say(f"computed: {', '.join(self._computed.values())}; {counts.done} of {counts.total} done")
            self._computed.clear()
        else:
            super().show(counts)


class Few(Lines):
    """Print few lines: at the start, after 15 s, after 30 s more, and so on, each time after twice as long.

    What failed is not named, for the answer that follows does so. Of many remarks the first are printed at once, and
    the last one at the end, with how many were left out.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say, WITHIN_SECONDS)
        self._remarks = 0
        self._last_remark = ""

    def say(self, line: str) -> None:
        """See :class:`Progress`."""
        self._remarks += 1
        if self._remarks <= MOST_REMARKS:
            super().say(line)
        else:
            self._last_remark = line

    def close(self) -> None:
        """See :class:`Progress`."""
        left_out = self._remarks - MOST_REMARKS - 1
        if self._last_remark:
            more = f" ({left_out} other remark{'s' * (left_out > 1)} left out before it)" if left_out else ""
            super().say(f"{self._last_remark}{more}")
        self._remarks, self._last_remark = min(self._remarks, MOST_REMARKS), ""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""
        silent = time.monotonic() - self._last
        begins = not self._began and counts.running > 0
        if begins or silent > self._quiet:
            if self._began:
                self._quiet *= 2
            self._began = True
            super().say(_progress_line(counts))


class Silent:
    """Show nothing."""

    def say(self, line: str) -> None:
        """See :class:`Progress`."""

    def detail(self, line: str) -> None:
        """See :class:`Progress`."""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""

    def judged(self, line: str, done: int, total: int) -> None:
        """See :class:`Progress`."""

    def show(self, counts: Counts) -> None:
        """See :class:`Progress`."""

    def close(self) -> None:
        """See :class:`Progress`."""


class Bar:
    """Draw a bar at the bottom of the screen, removed when the run is over; at most failed cells leave a line.

    It draws only when called and starts no thread, which would disturb timing. It keeps its own file descriptor,
    because the usual one is redirected while output is captured or native code is silenced.

    Args:
        failures: whether failed cells leave a line.
    """

    def __init__(self, terminal: TextIO, failures: bool = True) -> None:
        self._failures = failures
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

    def detail(self, line: str) -> None:
        """See :class:`Progress`; there is no bar where details are wanted."""

    def judged(self, line: str, done: int, total: int) -> None:
        """See :class:`Progress`; the summary follows at once."""

    def finished(self, line: str, counts: Counts, failed: bool) -> None:
        """See :class:`Progress`."""
        if failed and self._failures:
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
    """Return the terminal's width in columns; where it is unknown, or 0 as in CI, 80."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80
    except OSError:  # it has just been closed
        return 80


def is_terminal(file: TextIO) -> bool:
    """Return whether a bar can be drawn there: a terminal that can move its cursor."""
    try:
        return os.isatty(file.fileno()) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    except (OSError, ValueError):
        return False


def on_terminal(say: Callable[[str], None]) -> Progress:
    """Return a bar where standard output is a terminal, else lines.

    Args:
        say: prints a line.
    """
    return Bar(sys.stdout) if is_terminal(sys.stdout) else Lines(say)


def before_an_answer(say: Callable[[str], None]) -> Progress:
    """Return a bar where standard output is a terminal, else few lines; the answer that follows names what failed."""
    return Bar(sys.stdout, failures=False) if is_terminal(sys.stdout) else Few(say)
