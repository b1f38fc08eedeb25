"""The history as Markdown: one line per cell that changed, or one cell's trend; and its chart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.comparison.alarms import NEW, STAYS, Alarm, alarms
from quantbench.comparison.history import History
from quantbench.comparison.shifts import LEAST_RUNS, Step, cause_of, moved, of_unknown_spread, steps
from quantbench.comparison.slopes import SLOPE_RUNS, DriftSlope, drift_slope
from quantbench.comparison.summary import MEASUREMENTS, Summary
from quantbench.comparison.trends import ABSENT, Trend, trend, trends
from quantbench.core import environment
from quantbench.core.environment import changed_between
from quantbench.records.measurements import INSTRUCTIONS, shown
from quantbench.report.attribution import explained, operator_of
from quantbench.report.formatting import MARKS, Marked, code, document, escape, table
from quantbench.report.html.templating import picture
from quantbench.report.plots import Plot, sheet
from quantbench.report.plots import trend as plot

ROWS = 30  # of a trend's table
UNKNOWN_SPREAD = (
    "Trained cells whose score changed and is not judged, as the spread between seeds is unknown: {}. Run once with "
    "--seeds 5."
)
NEWEST = 100  # runs in which the overview looks for a drift; a cell's own trend is of all


def overview(history: History) -> str:
    """Every cell whose verdict, values or pace changed; what did not is counted."""
    found = [one for cell in history.cells for one in trends(history, cell)]
    rows = {(one.cell, one.machine): row for one in found if (row := _moved_row(history, one))}
    cells = len({cell for cell, _ in rows})
    parts = [
        f"# {_title(len(history.runs), cells, len(history.cells))}",
        _span(history),
        _skipped(history),
        _alarms(raised(history, found)),
    ]
    headers = ["cell", "verdict now", "since run", "what changed last", "slow drift"]
    several = len({one.machine for one in found}) > 1
    listed = [[*row, code(machine)] if several else row for (_, machine), row in rows.items()]
    listed.sort(key=lambda row: row[2], reverse=True)
    parts += [table(listed, [*headers, "machine"] if several else headers)] if rows else []
    unknown = len({one.cell for one in found if of_unknown_spread(one)})
    parts += [UNKNOWN_SPREAD.format(unknown)] if unknown else []
    apart = Counter(why for one in found for why in one.apart if why != ABSENT)
    told = "not comparable with the newest run: runs"
    parts += ["\n".join(f"- in {n} cells, {told} {escape(why)}" for why, n in apart.items())]
    return document(parts)


def _title(runs: int, changed: int, cells: int) -> str:
    held = f"{cells} cell{'s' * (cells != 1)}"
    told = f"{changed} of {held} changed" if changed else f"nothing changed ({held})"
    return f"{runs} run{'s' * (runs != 1)}, {told}"


def raised(history: History, found: Sequence[Trend] = ()) -> list[tuple[Trend, Alarm]]:
    """List the alarms of all cells, on each kind of machine."""
    found = found or [one for cell in history.cells for one in trends(history, cell)]
    return [(one, alarm) for one in found for alarm in alarms(one)]


def _alarms(found: list[tuple[Trend, Alarm]]) -> str:
    if not found:
        return ""
    rows = [
        [
            code(one.cell),
            _step(one, alarm.step),
            code(alarm.step.since.run),
            str(alarm.runs),
            alarm.how,
            _what(one, alarm.step),
        ]
        for one, alarm in found
    ]
    headers = ["cell", "worse", "since run", "runs since", "why it is not chance", "changed since the run before"]
    words = (
        f"Got worse within the newest {NEW} runs and has stayed worse for at least {STAYS}. Older changes are listed "
        "below; an alarm ends by itself once its change is older."
    )
    return f"## {len(rows)} alarm{'s' * (len(rows) > 1)}\n\n{words}\n\n{table(rows, headers)}"


def _what(found: Trend, shift: Step) -> str:
    """Say what changed together with a shift, and the operator that it comes from where a run found that."""
    changed = ", ".join(changed_between(shift.before.environment, shift.since.environment)) or "nothing recorded"
    told = cause_in_words(found, shift)
    return escape(f"{changed}; {told}" if told else changed)


def cause_in_words(found: Trend, shift: Step) -> str:
    """Name the operator that a shift of the score comes from; empty where no run found it."""
    known = cause_of(found, shift)
    if known is None:
        return ""
    run, place = known
    there = "" if run is shift.since else f" (found in run {run.run})"
    return f"cause: {operator_of(place)}{explained(place)}{there}"


def _moved_row(history: History, found: Trend) -> list[str] | None:
    told, drift = moved(found), drift_slope(found, NEWEST)
    if not told and drift is None and found.verdict_before is None:
        return None
    verdict = MARKS[found.verdict]
    if found.verdict_before is not None:
        verdict += f" (was {found.verdict_before})"
    if found.runs[-1] is not history.runs[-1]:
        verdict += f", last in {found.runs[-1].run}"
    last = "; ".join(_in_overview(found, shift) for shift in told)
    runs = [shift.since.run for shift in told] + ([] if found.verdict_before is None else [found.since.run])
    since = max(runs, default="")
    return [code(found.cell), verdict, since, last, "" if drift is None else _pace(drift)]


def _in_overview(found: Trend, shift: Step) -> str:
    told = cause_in_words(found, shift)
    return f"{_step(found, shift)} in {shift.since.run}{f', {told}' if told else ''}"


def _span(history: History) -> str:
    first, newest = history.runs[0], history.runs[-1]
    return f"Runs {code(first.run)} to {code(newest.run)}."


def _skipped(history: History) -> str:
    if not history.skipped:
        return ""
    lines = [f"- {code(one.name)}: {escape(one.why)}" for one in history.skipped]
    return f"{len(lines)} folder{'s' * (len(lines) > 1)} skipped:\n\n" + "\n".join(lines)


def of_cell(history: History, cell: str) -> str:
    """One cell's trend: a table per measurement, its shifts with what changed, and its pace towards the limit."""
    found = trend(history, cell)
    parts = [f"# {escape(cell)}: {MARKS[found.verdict]} since run {escape(found.since.run)}", _span(history)]
    if found.verdict_before is not None:
        parts[0] += f", {found.verdict_before} before"
    if found.runs[-1] is not history.runs[-1]:
        parts[0] += f"; last in run {escape(found.runs[-1].run)}"
    apart = [f"- runs {escape(why)}: {count}" for why, count in found.apart.items()]
    parts += [_skipped(history), "\n".join(apart), _floor(found)]
    every = trends(history, cell)
    parts.append(_alarms(raised(history, every)))
    parts += [UNKNOWN_SPREAD.format(1)] if any(map(of_unknown_spread, every)) else []
    parts += _measurements(found)
    for other in every[1:]:
        parts += [f"# On {escape(other.machine)}", f"{len(other.runs)} runs, the newest {code(other.runs[-1].run)}."]
        parts += _measurements(other)
    return document(parts)


def _measurements(found: Trend) -> list[str]:
    return [_measurement(found, name) for name in MEASUREMENTS if np.isfinite(found.values[name]).any()]


def _floor(found: Trend) -> str:
    limits = found.values["floor_limit"]
    if not np.isfinite(limits[-1]):
        return ""
    drop, unit = found.values["floor_drop"][-1], escape(found.scoring.unit)
    text = (
        f"{escape(found.scoring.metric)} drop vs float32: {drop:+.2f} {unit}; release limit {limits[-1]:g} {unit}, "
        f"{limits[-1] - drop:.2f} left."
    )
    drift = drift_slope(found)
    return text + (f" Slow drift: {escape(_pace(drift))}." if drift else " No clear slow drift.")


def _pace(drift: DriftSlope) -> str:
    what = "loses" if drift.slope > 0 else "gains"
    low, high = sorted((abs(drift.low), abs(drift.high)))
    text = f"{what} {abs(drift.slope):.2g} {drift.unit} in {SLOPE_RUNS} runs ({low:.2g} to {high:.2g})"
    return text if drift.runs_left is None else f"{text}; limit reached in about {drift.runs_left} runs at this pace"


def _measurement(found: Trend, name: str) -> str:
    told = steps(found, name)
    rows = list(_rows(found, name, {shift.since.run for shift in told}))
    parts = [f"## {name.replace('_', ' ')}", "\n".join(f"- {_shift(found, shift)}" for shift in told)]
    if len(rows) > ROWS:
        parts.append(f"The newest {ROWS} of {len(rows)} values.")
        rows = rows[-ROWS:]
    parts.append(table(rows, ["date", "run", "commit", "value", "change", ""]))
    measured = int(np.isfinite(found.values[name]).sum())
    if measured < LEAST_RUNS and not told and len(rows) > 1:
        parts.append(f"{measured} runs are too few to tell a shift from noise: {LEAST_RUNS} are needed.")
    return "\n\n".join(part for part in parts if part)


def _rows(found: Trend, name: str, at: set[str]) -> Iterator[list[str]]:
    """A row a value; equal values in a row are told once, with the run of the first and how many there are."""
    measured = [(run, float(v)) for run, v in zip(found.runs, found.values[name], strict=True) if np.isfinite(v)]
    last = None
    for value, group in groupby(measured, key=lambda pair: pair[1]):
        runs = [run for run, _ in group]
        first, change = runs[0], "" if last is None else _difference(found, name, last, value)
        times = f", {len(runs)} runs" if len(runs) > 1 else ""
        mark = "shift" if first.run in at else ""
        named, shown = Marked(f"{code(first.run)}{times}"), _value(found, name, value)
        yield [first.started[:10], named, _commit(first), shown, change, mark]
        last = value


def _shift(found: Trend, shift: Step) -> str:
    """What shifted, in which run first, and what had changed since the run before it."""
    told = _what(found, shift)
    return (
        f"{escape(_step(found, shift))} in run {code(shift.since.run)}, commit {escape(_commit(shift.since))}; changed "
        f"since the run before it ({code(shift.before.run)}): {told}"
    )


def _step(found: Trend, shift: Step) -> str:
    name = shift.measurement
    values = f"{_value(found, name, shift.old)} → {_value(found, name, shift.new)}"
    return f"{name.replace('_', ' ')} {values} ({_difference(found, name, shift.old, shift.new)})"


def step_in_words(found: Trend, shift: Step) -> str:
    """Return one line on a shift: what moved, from where to where, and by how much."""
    return _step(found, shift)


def value_in_words(found: Trend, name: str, value: float) -> str:
    """Return a measurement with its unit."""
    return _value(found, name, value)


def pace_in_words(drift: DriftSlope) -> str:
    """Return one line on a drift, with its interval."""
    return _pace(drift)


def commit_of(run: Summary) -> str:
    """Return a run's commit, shortened."""
    return _commit(run)


def _value(found: Trend, name: str, value: float) -> str:
    if name == "score":
        return f"{100 * value:.2f} %" if found.scoring.scale == 100 else f"{value:.5g}"
    if name.endswith(("ratio", "yardstick")):
        return f"{value:.4f}"
    return f"{value:,.0f} {INSTRUCTIONS if name == INSTRUCTIONS else 'bytes'}"


def _difference(found: Trend, name: str, old: float, new: float) -> str:
    if name == "score":
        return f"{found.scoring.scale * (new - old):+.2f} {found.scoring.unit}"
    return f"{100 * (new / old - 1):+.2f} %" if old else ""


def _commit(run: Summary) -> str:
    return environment.commit_of(run.environment)


def chart(history: History, cell: str, path: Path) -> None:
    """A panel a measurement, with its shifts as lines.

    Raises:
        BadInput: the file cannot be written.
    """
    found = trend(history, cell)
    panels = [_panel(found, name) for name in MEASUREMENTS if np.isfinite(found.values[name]).any()]
    files.write_named(path, picture(sheet(cell, panels)), "--chart")


def _panel(found: Trend, name: str) -> Plot:
    percent, style = name == "score" and found.scoring.scale == 100, ",.0f"
    if name not in ("size", "gzip_size", "arena"):
        style = ".2f" if percent else ".4g"
    scale = 100 if percent else 1
    measured = [(place, scale * float(v)) for place, v in enumerate(found.values[name], 1) if np.isfinite(v)]
    order = {run.run: place for place, run in enumerate(found.runs, 1)}
    marked = [(order[step.since.run], step.since.run) for step in steps(found, name)]
    title = f"{found.cell}: {shown(name)}{', %' if percent else ''}, by run (1 = {found.runs[0].run})"
    return plot(title, [place for place, _ in measured], [value for _, value in measured], style, marked)
