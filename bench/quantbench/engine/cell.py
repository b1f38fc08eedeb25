"""Describe one planned cell of a run; its result is in :mod:`quantbench.engine.results`."""

from collections.abc import Iterable
from dataclasses import dataclass

from quantbench.engine.workers.task import Outcome
from quantbench.records import Failure, Kind, cell_key
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant

CellId = str
# What is judged of an artifact that is compiled for an accelerator: nothing here runs it.
OF_COMPILED = frozenset({Kind.SIZE, Kind.STRUCTURE})


def controls(variant: Variant) -> set[str]:
    """Return what a variant is compared with, directly or through another one; always includes the float control."""
    if variant.control is None:
        return {FLOAT_CONTROL}
    return {variant.control} | controls(VARIANTS[variant.control])


@dataclass(frozen=True)
class Planned:
    """Describe a planned cell: what is to be computed and judged.

    Attributes:
        selected: whether the user's selection includes it; otherwise it is a control of a selected cell.
    """

    model: ReferenceModel
    variant: Variant
    kinds: frozenset[Kind]
    selected: bool
    seeds: tuple[int, ...]

    @property
    def id(self) -> CellId:
        """Return the cell's key."""
        return cell_key(self.model.name, self.variant.name)

    @property
    def control(self) -> CellId | None:
        """Return the cell that it is compared with; None for the float control."""
        return None if self.variant.control is None else cell_key(self.model.name, self.variant.control)

    @property
    def float_control(self) -> CellId:
        """Return the float control of its model, which may be the cell itself."""
        return cell_key(self.model.name, FLOAT_CONTROL)

    @property
    def reference(self) -> CellId | None:
        """Whose outputs its own are measured from: its control, or the float control; None of that one itself."""
        return None if self.id == self.float_control else self.control or self.float_control

    @property
    def needs(self) -> frozenset[CellId]:
        """Return its controls, without itself."""
        return frozenset(cell_key(self.model.name, name) for name in controls(self.variant) - {self.variant.name})


def failure_of(outcomes: Iterable[Outcome]) -> Failure | None:
    """Return the failure of the first failed seed; None where all seeds succeeded."""
    return next((outcome.failure for outcome in outcomes if outcome.failure), None)
