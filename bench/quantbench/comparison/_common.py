"""Provide what comparing any measurement of a cell needs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from quantbench.comparison._types import Item, Outcome, Side, Timed, Truth
from quantbench.core.stats import Change
from quantbench.records import Cell

TAIL = 0.025  # on each side of a 95 % interval


@dataclass(frozen=True)
class Both:
    """Hold what all cells of a comparison share.

    Attributes:
        spreads: model -> (sd of one training's score, degrees of freedom), pooled over both runs' trained cells.
    """

    old: Side
    new: Side
    truth_of: Callable[[str], Truth | str]
    spreads: dict[str, tuple[float, int]]
    timed: Mapping[str, Timed]

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the two sides."""
        return self.old.called or "the old run", self.new.called or "the new run"


def beyond(change: float, tolerance: float) -> Outcome:
    """Classify a change larger than its tolerance as worse or better."""
    slack = 1e-9  # of rounding in stored values
    if abs(change) <= tolerance + slack:
        return Outcome.UNCHANGED
    return Outcome.WORSE if change > 0 else Outcome.BETTER


def lone(name: str, new: Cell, there: tuple[object, object], both: Both) -> Iterator[Item]:
    """Yield an item for what only one of the sides measured."""
    if (there[0] is None) != (there[1] is None):
        gone = there[1] is None
        outcome = Outcome.GONE if gone else Outcome.NEW
        yield Item(new.id, name, outcome, why=f"only {both.names[not gone]} measured it")


def with_interval(item: Item, change: Change) -> Item:
    """Complete the item of a relative change, in percent, with the ends of its interval."""
    middle, half = 100 * change.change, 100 * change.quantile(TAIL)
    return replace(item, low=middle - half, high=middle + half)
