"""What came of a cell on a target, as a run holds it."""

from dataclasses import dataclass

from quantbench.core.arrays import Array
from quantbench.records import OnTarget


@dataclass(frozen=True)
class There:
    """Hold what came of a cell on a target, with its predictions and the results class that they belong to."""

    record: OnTarget
    predictions: Array | None = None
    results_class: str = ""
