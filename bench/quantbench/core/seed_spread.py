"""Say how far scores lie apart whose trainings differ in the seed alone: of a cell, from the cells that train alike.

Whether the weights are restricted to few values while they train is what the spread depends on
(:attr:`quantbench.variants.declare.Variant.training`), so that a cell is pooled with those of its kind.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quantbench.core.stats import chi_squared_quantile, pooled_sd

ENOUGH = 4  # degrees of freedom of a kind, or of a cell, to be judged by: one cell with five seeds has them
# Kinds of one model spread up to 2.4 times as far as each other (studies.training_kinds): where one has too few seeds,
# what all cells tell is taken so many times.
KINDS_APART = 2.0
BORROWED_CONFIDENCE = 0.9  # of the upper limit of a spread that other cells lend


class Sample(NamedTuple):
    """Hold the standard deviation of scores over seeds, and its degrees of freedom."""

    sd: float
    degrees: int


@dataclass(frozen=True)
class SeedSpread:
    """Hold the spread of one training of a cell.

    Attributes:
        sd: standard deviation, in the unit of the scores.
        degrees: degrees of freedom of ``sd``.
        alike: whether cells that train alike tell it; otherwise they have too few seeds, and all of the model's do.
        borrowed: whether it is an upper limit of what other cells tell.
    """

    sd: float
    degrees: int
    alike: bool
    borrowed: bool


def sample(values: Sequence[float]) -> Sample:
    """Return the spread of the scores of one cell; of a single score, one without degrees of freedom."""
    return Sample(*pooled_sd([list(values)]))


def pooled(samples: Iterable[Sample]) -> Sample:
    """Return one spread of several cells."""
    several = list(samples)
    degrees = sum(one.degrees for one in several)
    squares = sum(one.sd**2 * one.degrees for one in several)
    return Sample(math.sqrt(squares / degrees) if degrees else 0.0, degrees)


def lenders(alike: Sequence[Sample], others: Sequence[Sample]) -> tuple[list[Sample], bool]:
    """Return the samples that a cell is pooled with, and whether these are of cells that train as it does.

    Args:
        alike: of the cells of its kind, itself among them; ``others``: of the model's other trained cells.
    """
    enough = sum(one.degrees for one in alike) >= ENOUGH
    chosen = [*alike] if enough else [*alike, *others]
    return [one for one in chosen if one.degrees], enough


def of_cell(own: Sample | None, alike: Sequence[Sample], others: Sequence[Sample] = ()) -> SeedSpread | None:
    """Return the spread of a cell; None where no cell of its model has two seeds.

    Cells of one kind do not spread quite alike either, so a cell is judged by its own spread where that is the larger.
    A cell without one borrows the upper confidence limit of the pooled spread, and the largest of the single ones at
    least; where its kind has too few seeds, ``KINDS_APART`` times that of all cells.

    Args:
        own: of the cell itself, which is in ``alike`` too; None where ``alike`` is of nothing else.
    """
    chosen, is_alike = lenders(alike, others)
    sd, degrees = pooled(chosen)
    if not degrees:
        return None
    if own is None:
        return SeedSpread(sd, degrees, is_alike, borrowed=False)
    if own.degrees and is_alike:
        return SeedSpread(max(sd, own.sd), degrees, is_alike, borrowed=False)
    limit = sd * math.sqrt(degrees / chi_squared_quantile(1 - BORROWED_CONFIDENCE, degrees))
    borrowed = max(limit, *(one.sd for one in chosen))
    return SeedSpread(borrowed if is_alike else KINDS_APART * borrowed, degrees, is_alike, borrowed=True)
