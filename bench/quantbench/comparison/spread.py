"""Find how far apart the scores of trainings with different seeds are, from runs and baselines, as the judge does."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from quantbench.core import seed_spread
from quantbench.core.seed_spread import Sample
from quantbench.records import parts
from quantbench.records.measurements import output_in, without_output


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


class Spreads:
    """Find the spread of any trained cell by :func:`quantbench.core.seed_spread.of_cell`.

    Args:
        samples: any number of mappings from a cell to its samples; one that is repeated counts once.
    """

    def __init__(self, *samples: Mapping[str, Collection[Sample]]) -> None:
        distinct: dict[str, set[Sample]] = {}
        for mapping in samples:
            for cell, found in mapping.items():
                distinct.setdefault(cell, set()).update(Sample(round(sd, 8), degrees) for sd, degrees in found)
        self._of_cell = {cell: seed_spread.pooled(found) for cell, found in distinct.items()}

    def of(self, cell: str) -> Spread | None:
        """Return the spread of a cell; None where no training of its model was repeated."""
        variant = _variant(cell)
        of_model = {_variant(one): found for one, found in self._of_cell.items() if _scored(one) == _scored(cell)}
        if not of_model:
            return None
        from quantbench.variants import by_training  # with all models' metrics, which need long to load

        alike, others = by_training(variant, of_model)
        found = seed_spread.of_cell(of_model.get(variant, Sample(0.0, 0)), alike, others)
        return None if found is None else Spread(found.sd, found.degrees, _source(found))


def _source(found: seed_spread.SeedSpread) -> str:
    cells = "the model's cells that train alike" if found.alike else "all trained cells of the model"
    return f"{cells} (upper limit)" if found.borrowed else cells


def _scored(cell: str) -> tuple[str, str]:
    """Return the model of a cell, and the further output that a series is of; empty where it is of the main one."""
    model, variant = parts(cell)
    return model, output_in(variant)


def _variant(cell: str) -> str:
    return without_output(parts(cell)[1])
