"""Turn a comparison and a history into the records that ``--json`` prints."""

import math
from collections.abc import Sequence

from quantbench.comparison import Comparison, Item
from quantbench.comparison.alarms import Alarm, alarms
from quantbench.comparison.history import History
from quantbench.comparison.shifts import Step, cause_of, moved, steps
from quantbench.comparison.slopes import DriftSlope, drift_slope
from quantbench.comparison.summary import MEASUREMENTS
from quantbench.comparison.trends import Trend, trends
from quantbench.core.environment import changed_between
from quantbench.records import (
    CellTrend,
    ComparedValue,
    ComparisonAnswer,
    HistoryAnswer,
    LevelShift,
    NamedRun,
    PaceOfDrop,
    RaisedAlarm,
    Report,
    SkippedFolder,
)


def of_comparison(found: Comparison) -> ComparisonAnswer:
    """Return all of a comparison."""
    return ComparisonAnswer(
        old=_named(found.old),
        new=_named(found.new),
        exit_status=int(found.exit_status()),
        cells={cell: outcome.value for cell, outcome in found.cells.items()},
        environment=found.environment,
        notes=found.notes,
        false_alarms=found.false_alarms,
        values=[_value(item) for item in found.items],
    )


def _named(report: Report) -> NamedRun:
    return NamedRun(run=report.run, started=report.started, state=report.state)


def _value(item: Item) -> ComparedValue:
    return ComparedValue(
        cell=item.cell,
        measurement=item.measurement,
        outcome=item.outcome.value,
        old=_finite(item.old),
        new=_finite(item.new),
        unit=item.unit,
        change=_finite(item.change),
        change_unit=item.change_unit,
        low=_finite(item.low),
        high=_finite(item.high),
        tolerance=item.tolerance,
        p_value=item.p_value,
        holm_threshold=item.holm_threshold,
        why=item.why,
        differs=item.moved,
    )


def _finite(value: float | None) -> float | None:
    """Return a value that JSON can hold; an end of an interval that has none is None."""
    return value if value is not None and math.isfinite(value) else None


def of_history(history: History, cell: str = "") -> HistoryAnswer:
    """Return the trends of all cells, or of one cell with its values.

    Raises:
        BadInput: no run has the cell.
    """
    names = [cell] if cell else history.cells
    return HistoryAnswer(
        runs=[NamedRun(run=run.run, started=run.started, state=run.state) for run in history.runs],
        skipped=[SkippedFolder(name=one.name, why=one.why) for one in history.skipped],
        trends=[_trend(one, with_values=bool(cell)) for name in names for one in trends(history, name)],
    )


def _trend(found: Trend, with_values: bool) -> CellTrend:
    measured = {name: found.values[name] for name in MEASUREMENTS} if with_values else {}
    shifts = [step for name in measured for step in steps(found, name)] if with_values else moved(found)
    return CellTrend(
        cell=found.cell,
        machine=found.machine,
        verdict=found.verdict,
        since=found.since.run,
        verdict_before=found.verdict_before,
        runs=len(found.runs),
        names=[run.run for run in found.runs] if with_values else [],
        values={
            name: [_finite(float(value)) for value in values]
            for name, values in measured.items()
            if any(math.isfinite(value) for value in values)
        },
        shifts=_shifts(found, shifts),
        alarms=[_alarm(found, alarm) for alarm in alarms(found)],
        pace=_pace(drift_slope(found)),
        apart=found.apart,
    )


def _shifts(trend: Trend, found: Sequence[Step]) -> list[LevelShift]:
    return [
        LevelShift(
            measurement=one.measurement,
            before=one.before.run,
            since=one.since.run,
            old=one.old,
            new=one.new,
            changed=changed_between(one.before.environment, one.since.environment),
            cause=known[1] if (known := cause_of(trend, one)) else None,
        )
        for one in found
    ]


def _alarm(trend: Trend, alarm: Alarm) -> RaisedAlarm:
    (shift,) = _shifts(trend, [alarm.step])
    return RaisedAlarm(**shift.model_dump(), runs=alarm.runs, how=alarm.how)


def _pace(drift: DriftSlope | None) -> PaceOfDrop | None:
    if drift is None:
        return None
    return PaceOfDrop(slope=drift.slope, low=drift.low, high=drift.high, unit=drift.unit, runs_left=drift.runs_left)
