"""How long cells took before, and so how long the rest will take."""

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
