"""Define the two sides of a comparison, and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.errors import Exit
from quantbench.records import FalseAlarms, Measurement, Report

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric


class Outcome(StrEnum):
    """Classify the change of a measurement or cell, in the order in which reports list them."""

    WORSE = "worse"
    BETTER = "better"
    NOT_COMPARABLE = "not comparable"
    GONE = "gone"
    NEW = "new"
    UNCHANGED = "unchanged"


COMPARED = (Outcome.WORSE, Outcome.BETTER, Outcome.UNCHANGED)


@dataclass(frozen=True)
class Side:
    """Hold one of the two runs, or baselines in the form of a run.

    Attributes:
        predictions: model -> variant -> stored predictions of its first seed; may lack those that do not differ.
        called: name in the sentences of a reason; empty: the old run, or the new one.
    """

    report: Report
    predictions: Mapping[str, Mapping[str, Array]]
    called: str = ""


@dataclass(frozen=True)
class Timed:
    """Hold interleaved timings of both runs' artifacts of one cell, one value per group of fresh processes.

    Attributes:
        old, new: seconds per call.
        stalls: time that the new one loses in stalls beyond the old one; None where none were counted.
    """

    old: list[float]
    new: list[float]
    stalls: Measurement | None = None

    def ratios(self) -> list[float]:
        """Return new / old, one value per group."""
        return [b / a for a, b in zip(self.old, self.new, strict=True)]


@dataclass(frozen=True)
class Truth:
    """Hold what the predictions of a model are scored by: labels and metric."""

    metric: Metric
    labels: Array


@dataclass(frozen=True)
class Item:
    """Hold one measurement of one cell in both runs.

    Attributes:
        change: positive is worse, in ``change_unit``; ``low`` and ``high`` are the ends of its own 95 % interval.
        tolerance: the largest change, in ``change_unit``, that counts as unchanged.
        p_value: two-sided probability of so large a change by chance, where chance can move it.
        holm_threshold: threshold of the p-value in this comparison's false-alarm budget.
        why: one phrase.
        moved: whether the two runs hold different values, regardless of the outcome.
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
    holm_threshold: float | None = None
    why: str = ""
    moved: bool = True


@dataclass(frozen=True)
class Comparison:
    """Hold the result of comparing two runs.

    Attributes:
        cells: cell -> outcome: worse, else better, else not comparable where any item is not, else unchanged.
        environment: differences between the environments of the runs, one phrase each.
        notes: other facts about the two runs that a reader should know.
    """

    old: Report
    new: Report
    items: list[Item]
    cells: dict[str, Outcome]
    environment: list[str]
    notes: list[str] = field(default_factory=list)
    false_alarms: FalseAlarms = field(default_factory=lambda: gate.share(gate.DEFAULT_BUDGET, 0))

    def told(self) -> list[Item]:
        """List what changed or could not be compared, the worst first."""
        order = list(Outcome)
        changed = [item for item in self.items if item.outcome is not Outcome.UNCHANGED]
        return sorted(changed, key=lambda item: (order.index(item.outcome), item.p_value or 0.0, -_share(item)))

    def exit_status(self) -> Exit:
        """Return 1 where something is worse, 3 where nothing was compared or the new run is not complete, else 0."""
        outcomes = {item.outcome for item in self.items}
        if Outcome.WORSE in outcomes:
            return Exit.REGRESSED
        if Outcome.GONE in outcomes and self.new.state != "complete":
            return Exit.NOT_MEASURED
        return Exit.GREEN if outcomes & set(COMPARED) else Exit.NOT_MEASURED


def _share(item: Item) -> float:
    return abs(item.change or 0.0) / item.tolerance if item.tolerance else abs(item.change or 0.0)
