"""Provide what comparing any measurement of a cell needs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from quantbench.comparison._types import Item, Outcome, Side, Timed, Truth
from quantbench.comparison.spread import Spreads
from quantbench.core.stats import Change
from quantbench.records import Cell
from quantbench.records.measurements import entry

TAIL = 0.025  # on each side of a 95 % interval


@dataclass(frozen=True)
class Both:
    """Hold what all cells of a comparison share.

    Attributes:
        spreads: how far apart the scores of trainings with different seeds are.
        lost_is_worse: whether what only the old run has is worse: the new run was asked for the same, and is complete.
    """

    old: Side
    new: Side
    truth_of: Callable[[str], Truth | str]
    spreads: Spreads
    timed: Mapping[str, Timed]
    lost_is_worse: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the two sides."""
        return self.old.called or "the old run", self.new.called or "the new run"

    def lost(self, measurement: str) -> bool:
        """Return whether a measurement that a cell of the new run lacks is worse.

        A noisy one that no cell of the new run has was switched off, as latency is by ``--benchmark-skip``.
        """
        if not self.lost_is_worse:
            return False
        return not entry(measurement).noisy or any(measurement in cell.measurements for cell in self.new.report.cells)


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
        why = f"only {both.names[not gone]} measured it"
        if gone and both.lost(name):
            more = new.untimed.get(name, "the new run was asked for it too")
            yield Item(new.id, name, Outcome.WORSE, why=f"missing: {why}; {more}")
        else:
            yield Item(new.id, name, Outcome.GONE if gone else Outcome.NEW, why=why)


def with_interval(item: Item, change: Change) -> Item:
    """Complete the item of a relative change, in percent, with the ends of its interval."""
    middle, half = 100 * change.change, 100 * change.quantile(TAIL)
    return replace(item, low=middle - half, high=middle + half)
