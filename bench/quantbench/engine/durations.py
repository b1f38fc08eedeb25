"""Estimate how long cells take from their last computation, and so the remaining time of a run."""

import json
import statistics
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records import json_text

_DURATIONS = ".durations.json"


class Durations:
    """Keep the time that each cell last took, in a file beside the run folders.

    Args:
        folder: the folder that contains the runs.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _DURATIONS
        self._known: dict[str, float] = {}
        try:
            saved = json.loads(files.read_text(self._file, "durations", files.LARGEST_RECORD))
            self._known = {str(name): float(seconds) for name, seconds in saved.items()}
        except (BadInput, ValueError, TypeError, AttributeError, RecursionError):
            pass  # no more than a guess depends on it

    def note(self, cell: str, seconds: float) -> None:
        """Record how long a cell took."""
        self._known[cell] = round(seconds, 2)

    def expected(self, cell: str, usual: float | None) -> float | None:
        """Return the expected seconds of a cell; ``usual`` where it has not been recorded."""
        return self._known.get(cell, usual)

    def usual(self, cells: Iterable[str]) -> float | None:
        """Return the median of the recorded cells; None where none is recorded."""
        recorded = [self._known[cell] for cell in cells if cell in self._known]
        return statistics.median(recorded) if recorded else None

    def save(self) -> None:
        """Write the times for the next run; ignores a full disk."""
        with suppress(OSError):
            files.replace(self._file, json_text(dict(sorted(self._known.items()))))


def seconds_left(expected: Mapping[str, float | None], running: Mapping[str, float], workers: int) -> float | None:
    """Return the time until everything is done if all workers stay busy.

    Args:
        expected: unfinished cell -> its expected seconds; None where unknown.
        running: cell being computed -> seconds since it began.
    """
    rests = [max(0.0, seconds - running.get(cell, 0.0)) for cell, seconds in expected.items() if seconds is not None]
    if len(rests) < len(expected) or not rests:
        return None
    return max(sum(rests) / workers, *rests)
