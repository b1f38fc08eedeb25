"""Describe what ``--json`` of a command prints where no file holds it: a comparison of two runs, and a history."""

from typing import Literal

from pydantic import Field

from quantbench.records._common import SCHEMA_VERSION, Record, Verdict
from quantbench.records._reds import Located
from quantbench.records._report import FalseAlarms

ComparedOutcome = Literal["worse", "better", "not comparable", "gone", "new", "unchanged"]


class NamedRun(Record):
    """A run, by its name and start."""

    run: str
    started: str
    state: str


class ComparedValue(Record):
    """One measurement of one cell in both runs.

    Attributes:
        change: positive is worse, in ``change_unit``; ``low`` and ``high`` are the ends of its 95 % interval.
        tolerance: largest change that counts as unchanged, in ``change_unit``.
        p_value: two-sided probability of so large a change by chance; None where chance cannot move it.
        holm_threshold: p-value from which on it counts as changed.
        why: one phrase.
        differs: whether the two runs hold different values, regardless of the outcome.
    """

    cell: str
    measurement: str
    outcome: ComparedOutcome
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
    differs: bool


class ComparisonAnswer(Record):
    """What ``compare --json`` prints.

    Attributes:
        cells: cell -> worse, else better, else not comparable where any value is not, else unchanged.
        environment: differences between the environments of the runs, one phrase each.
        values: every measurement that either run holds.
    """

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.comparison"] = "quantbench.comparison"
    old: NamedRun
    new: NamedRun
    exit_status: int
    cells: dict[str, ComparedOutcome]
    environment: list[str]
    notes: list[str]
    false_alarms: FalseAlarms
    values: list[ComparedValue]


class LevelShift(Record):
    """A lasting change of a measurement's level.

    Attributes:
        before, since: last run at the old level, first run at the new one.
        old, new: mean of each level.
        changed: what differs between the environments of the two runs, one phrase each.
        cause: the operator that a shift of the score comes from; None where no run found it.
    """

    measurement: str
    before: str
    since: str
    old: float
    new: float
    changed: list[str] = Field(default_factory=list)
    cause: Located | None = None


class RaisedAlarm(LevelShift):
    """A shift for the worse that is new and stayed.

    Attributes:
        runs: how many runs it has stayed.
        how: how it was told from chance, one phrase.
    """

    runs: int
    how: str


class PaceOfDrop(Record):
    """A slow drift of the drop from float32.

    Attributes:
        slope: in ``unit`` per 30 runs, positive is worse; ``low`` and ``high`` are its 99 % interval.
        runs_left: runs until the largest allowed drop is reached; None where the drop shrinks.
    """

    slope: float
    low: float
    high: float
    unit: str
    runs_left: int | None = None


class CellTrend(Record):
    """One cell on one kind of machine.

    Attributes:
        verdict, since: of the newest run, and the first run of the unbroken series with this verdict.
        verdict_before: of the run before that series; None where there is none.
        runs: how many are comparable; with their names where one cell was asked for.
        values: measurement -> one value a run of ``names``; None where it was not measured.
        apart: why other runs are not comparable -> number of runs.
    """

    cell: str
    machine: str
    verdict: Verdict
    since: str
    verdict_before: Verdict | None = None
    runs: int
    names: list[str] = Field(default_factory=list)
    values: dict[str, list[float | None]] = Field(default_factory=dict)
    shifts: list[LevelShift] = Field(default_factory=list)
    alarms: list[RaisedAlarm] = Field(default_factory=list)
    pace: PaceOfDrop | None = None
    apart: dict[str, int] = Field(default_factory=dict)


class SkippedFolder(Record):
    """A folder that was left out, and why."""

    name: str
    why: str


class HistoryAnswer(Record):
    """What ``history --json`` prints: every cell without its values, or one cell with them."""

    schema_version: str = SCHEMA_VERSION
    kind: Literal["quantbench.history"] = "quantbench.history"
    runs: list[NamedRun]
    skipped: list[SkippedFolder]
    trends: list[CellTrend]
