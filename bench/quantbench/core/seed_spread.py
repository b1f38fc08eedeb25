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
# In some models one kind spreads about this many times as far as the other (studies.training_kinds). Where a kind has
# too few seeds, its spread is taken to be this multiple of that of all the model's trained cells.
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
        alike: whether cells that train alike tell it; otherwise these have too few seeds, and all of the model's do.
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
    is_alike = enough or not any(one.degrees for one in others)
    chosen = [*alike] if is_alike else [*alike, *others]
    return [one for one in chosen if one.degrees], is_alike


def of_cell(own: Sample | None, alike: Sequence[Sample], others: Sequence[Sample] = ()) -> SeedSpread | None:
    """Return the spread of a cell; None where no cell of its model has two seeds.

    Cells of one kind do not spread quite alike either, so a cell is judged by its own spread where that is the larger.
    The degrees of freedom are those of the pooled spread: a quantile of t with few of them allows for few seeds, and
    the larger of two spreads is no smaller than the pooled one. A cell without a spread of its own borrows the upper
    confidence limit of the pooled one, and the largest of the single ones at least. Where cells of the other kind help
    a kind with too few seeds, what is pooled is taken ``KINDS_APART`` times.

    Args:
        own: of the cell itself, which is in ``alike`` too; None where ``alike`` is of nothing else.
    """
    chosen, is_alike = lenders(alike, others)
    sd, degrees = pooled(chosen)
    if not degrees:
        return None
    apart = 1.0 if is_alike else KINDS_APART
    if own is None or own.degrees:
        return SeedSpread(max(apart * sd, own.sd if own else 0.0), degrees, is_alike, borrowed=False)
    limit = sd * math.sqrt(degrees / chi_squared_quantile(1 - BORROWED_CONFIDENCE, degrees))
    return SeedSpread(apart * max(limit, *(one.sd for one in chosen)), degrees, is_alike, borrowed=True)
