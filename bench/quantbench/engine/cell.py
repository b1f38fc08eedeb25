"""One cell of a run: what is planned, and what came of it so far."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from quantbench.engine.workers.task import Outcome
from quantbench.records import Failure, Kind
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, VARIANTS, Variant

CellId = str


def controls(variant: Variant) -> set[str]:
    """What a variant is compared with, what that is compared with, and so on; the float control always."""
    if variant.control is None:
        return {FLOAT_CONTROL}
    return {variant.control} | controls(VARIANTS[variant.control])


@dataclass
class Planned:
    """A cell of a run: what is asked of it, and what came of it."""

    model: ReferenceModel
    variant: Variant
    kinds: set[Kind]
    selected: bool
    seeds: list[int]
    futures: list["Future[Outcome]"] = field(default_factory=list)

    @property
    def id(self) -> CellId:
        """The cell's key."""
        return f"{self.model.name}/{self.variant.name}"

    @property
    def needs(self) -> frozenset[CellId]:
        """Its controls, besides itself."""
        return frozenset(f"{self.model.name}/{name}" for name in controls(self.variant) - {self.variant.name})

    @property
    def finished(self) -> bool:
        """Whether all its seeds are computed."""
        return len(self.futures) == len(self.seeds) and all(future.done() for future in self.futures)

    @property
    def first(self) -> Outcome | None:
        """What its first seed came to, once that is known."""
        return self.futures[0].result() if self.futures and self.futures[0].done() else None

    @property
    def so_far(self) -> list[Outcome]:
        """Of the seeds that are computed."""
        return [future.result() for future in self.futures if future.done()]

    @property
    def retried(self) -> list[str]:
        """Why it was computed again, one sentence each time; empty for nearly every cell."""
        return [reason for outcome in self.so_far for reason in outcome.retried]


def failure_of(outcomes: Iterable[Outcome]) -> Failure | None:
    """Why a cell has no result: what the first of its seeds that failed says."""
    return next((outcome.failure for outcome in outcomes if outcome.failure), None)
