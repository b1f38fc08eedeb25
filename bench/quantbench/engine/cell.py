"""One cell of a run as it is planned: what is asked of it. What came of it is :mod:`quantbench.engine.results`."""

from collections.abc import Iterable
from dataclasses import dataclass

from quantbench.engine.workers.task import Outcome
from quantbench.records import Failure, Kind, cell_key
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant

CellId = str


def controls(variant: Variant) -> set[str]:
    """What a variant is compared with, what that is compared with, and so on; the float control always."""
    if variant.control is None:
        return {FLOAT_CONTROL}
    return {variant.control} | controls(VARIANTS[variant.control])


@dataclass(frozen=True)
class Planned:
    """What is asked of a cell.

    Attributes:
        selected: the user's selection names it; otherwise it is a control of one that is selected.
    """

    model: ReferenceModel
    variant: Variant
    kinds: frozenset[Kind]
    selected: bool
    seeds: tuple[int, ...]

    @property
    def id(self) -> CellId:
        """The cell's key."""
        return cell_key(self.model.name, self.variant.name)

    @property
    def control(self) -> CellId | None:
        """What it is compared with; None of the float control."""
        return None if self.variant.control is None else cell_key(self.model.name, self.variant.control)

    @property
    def float_control(self) -> CellId:
        """The float control of its model, which may be itself."""
        return cell_key(self.model.name, FLOAT_CONTROL)

    @property
    def reference(self) -> CellId | None:
        """Whose outputs its own are measured from: its control, or the float control; None of that one itself."""
        return None if self.id == self.float_control else self.control or self.float_control

    @property
    def needs(self) -> frozenset[CellId]:
        """Its controls, besides itself."""
        return frozenset(cell_key(self.model.name, name) for name in controls(self.variant) - {self.variant.name})


def failure_of(outcomes: Iterable[Outcome]) -> Failure | None:
    """Why a cell has no result: what the first of its seeds that failed says."""
    return next((outcome.failure for outcome in outcomes if outcome.failure), None)
