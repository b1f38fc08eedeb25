"""The two sides of a comparison, and what is said of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.errors import Exit
from quantbench.records import FalseAlarms, Report
from quantbench.reference.metrics import Metric


class Outcome(StrEnum):
    """What became of a measurement, or of a cell. Ordered as they are told."""

    WORSE = "worse"
    BETTER = "better"
    NOT_COMPARABLE = "not comparable"
    GONE = "gone"
    NEW = "new"
    UNCHANGED = "unchanged"


COMPARED = (Outcome.WORSE, Outcome.BETTER, Outcome.UNCHANGED)


@dataclass(frozen=True)
class Side:
    """One of the two runs, or what baselines hold in the form of one.

    Attributes:
        predictions: model -> variant -> stored predictions of its first seed; may lack what does not differ.
        called: by which name reasons speak of it; empty: the old run, or the new one.
    """

    report: Report
    predictions: Mapping[str, Mapping[str, Array]]
    called: str = ""


@dataclass(frozen=True)
class Timed:
    """Both runs' artifacts of one cell, timed in turns; one value a group of fresh processes.

    Attributes:
        old, new: seconds of a call.
    """

    old: list[float]
    new: list[float]

    def ratios(self) -> list[float]:
        """New / old, one value a group."""
        return [b / a for a, b in zip(self.old, self.new, strict=True)]


@dataclass(frozen=True)
class Truth:
    """What predictions of a model are scored by."""

    metric: Metric
    labels: Array


@dataclass(frozen=True)
class Item:
    """One measurement of one cell in both runs.

    Attributes:
        change: positive is worse, in ``change_unit``; ``low`` and ``high`` are the ends of its 95 % interval, each
            item's own.
        tolerance: the largest change, in ``change_unit``, that is none.
        p_value: two-sided probability of so large a change by chance, where chance can move it.
        red_at: the p-value that is needed, by this comparison's false-alarm budget.
        why: one phrase.
        moved: whether the two runs hold different values, whatever is made of it.
    """

    cell: str
    measurement: str
    outcome: Outcome
    old: float | None = None
    new: float | None = None
    unit: str = ""
    change: float | None = None
    change_unit: str = ""
    low: float | None = None
    high: float | None = None
    tolerance: float = 0.0
    p_value: float | None = None
    red_at: float | None = None
    why: str = ""
    moved: bool = True


@dataclass(frozen=True)
class Comparison:
    """All that two runs say of each other.

    Attributes:
        cells: cell -> outcome: worse, else better, else not comparable where anything is not, else unchanged.
        environment: what the two runs were made with that is not the same, one phrase each.
        notes: what a reader should know of the two runs besides.
    """

    old: Report
    new: Report
    items: list[Item]
    cells: dict[str, Outcome]
    environment: list[str]
    notes: list[str] = field(default_factory=list)
    false_alarms: FalseAlarms = field(default_factory=lambda: gate.share(gate.DEFAULT_BUDGET, 0))

    def told(self) -> list[Item]:
        """What changed, or could not be compared, the worst first."""
        order = list(Outcome)
        found = [item for item in self.items if item.outcome is not Outcome.UNCHANGED]
        return sorted(found, key=lambda item: (order.index(item.outcome), item.p_value or 0.0, -_share(item)))

    def exit_status(self) -> Exit:
        """1 where something is worse, 3 where nothing at all could be compared, else 0."""
        found = {item.outcome for item in self.items}
        if Outcome.WORSE in found:
            return Exit.REGRESSED
        return Exit.GREEN if found & set(COMPARED) else Exit.NOT_MEASURED


def _share(item: Item) -> float:
    return abs(item.change or 0.0) / item.tolerance if item.tolerance else abs(item.change or 0.0)
