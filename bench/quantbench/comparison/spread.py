"""Estimate how far apart the scores of trainings with different seeds are, from runs and baselines."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from quantbench.core.stats import pooled_sd
from quantbench.records import parts
from quantbench.records.measurements import output_in

Sample = tuple[float, int]  # sd over seeds of one cell, and its degrees of freedom
ENOUGH = 4  # degrees of freedom for a cell's own spread, as five seeds give; with fewer it borrows


@dataclass(frozen=True)
class Spread:
    """Hold the spread of one training's score.

    Attributes:
        sd: in the unit of the score.
        degrees: degrees of freedom of ``sd``.
        source: where it comes from, in words.
    """

    sd: float
    degrees: int
    source: str

    def error(self, old: int, new: int) -> float:
        """Return the standard error of the difference of two means over so many seeds."""
        return self.sd * math.sqrt(1 / old + 1 / new)


def sample(values: Sequence[float]) -> Sample:
    """Return the spread of at least two scores that differ in the seed alone."""
    return pooled_sd([list(values)])


class Spreads:
    """Find the spread of any trained cell.

    A cell's own spread counts where it has ``ENOUGH`` degrees of freedom. Otherwise it borrows the widest spread of
    its model's cells, for cells of one model differ up to threefold in it (the shipped baselines: ds_cnn .053 to
    .155 pp), and the widest is rarely too small.

    Args:
        samples: any number of mappings from a cell to its samples; one that is repeated counts once.
    """

    def __init__(self, *samples: Mapping[str, Collection[Sample]]) -> None:
        distinct: dict[str, set[Sample]] = {}
        for mapping in samples:
            for cell, found in mapping.items():
                distinct.setdefault(cell, set()).update((round(sd, 8), degrees) for sd, degrees in found)
        self._of_cell = {cell: _pooled(found) for cell, found in distinct.items()}

    def of(self, cell: str) -> Spread | None:
        """Return the spread of a cell; None where no training of its model was repeated."""
        own = self._of_cell.get(cell)
        if own is not None and own[1] >= ENOUGH:
            return Spread(*own, "its own seeds")
        model = [found for other, found in self._of_cell.items() if _scored(other) == _scored(cell) and found[1]]
        if not model:
            return None
        enough = [found for found in model if found[1] >= ENOUGH]
        if enough:
            return Spread(*max(enough), "the widest of the model's cells")
        return Spread(*_pooled(set(model)), "all of the model's cells")


def _scored(cell: str) -> tuple[str, str]:
    """Return the model of a cell, and the further output that a series is of; empty where it is of the main one."""
    model, variant = parts(cell)
    return model, output_in(variant)


def _pooled(found: set[Sample]) -> Sample:
    degrees = sum(freedom for _, freedom in found)
    squares = sum(sd**2 * freedom for sd, freedom in found)
    return (math.sqrt(squares / degrees) if degrees else 0.0), degrees
