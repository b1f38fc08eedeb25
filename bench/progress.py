"""How far a run is: one line that redraws itself on a terminal, plain lines where there is none."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from bench import files
from bench.echo import line as one_line
from bench.errors import BadInput
from bench.output import lenient
from bench.records import json_text

QUIET_SECONDS = 60.0
_DURATIONS = ".durations.json"


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


class Durations:
    """What each cell took when it was last computed, in a file beside the runs.

    Args:
        folder: of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _DURATIONS
        self._known: dict[str, float] = {}
        try:
            found = json.loads(files.read_text(self._file, "durations", files.LARGEST_RECORD))
            self._known = {str(name): float(seconds) for name, seconds in found.items()}
        except (BadInput, ValueError, TypeError, AttributeError, RecursionError):
            pass  # no more than a guess depends on it

    def note(self, cell: str, seconds: float) -> None:
        """What a cell has taken now."""
        self._known[cell] = round(seconds, 2)

    def expected(self, cell: str, usual: float | None) -> float | None:
        """Seconds of a cell; those usual for its kind where it is not known itself."""
        return self._known.get(cell, usual)

    def usual(self, cells: Iterable[str]) -> float | None:
        """The median of those that are known; None where none is."""
        known = [self._known[cell] for cell in cells if cell in self._known]
        return statistics.median(known) if known else None

    def save(self) -> None:
        """Write them for the next run; a disk that is full costs the guess alone."""
        with suppress(OSError):
            files.replace(self._file, json_text(dict(sorted(self._known.items()))))


def seconds_left(expected: Mapping[str, float | None], running: Mapping[str, float], workers: int) -> float | None:
    """Time until all is done, if the workers are kept busy.

    Args:
        expected: cell that is not finished -> seconds it is expected to take; None where that is unknown.
        running: cell that is being computed -> seconds since it began.
    """
    rests = [max(0.0, seconds - running.get(cell, 0.0)) for cell, seconds in expected.items() if seconds is not None]
    if len(rests) < len(expected) or not rests:
        return None
    return max(sum(rests) / workers, *rests)
