"""Read the history of cells from a folder of run folders, and search it for level shifts.

Each kind of machine has a series of its own, because another processor rounds differently. An upgrade of the runtime
does not begin a new series: it is what a history is to date.

Shifts of noisy measurements are change points found by ruptures (:mod:`quantbench.comparison.change_points`), with the
noise's long-run variance (:mod:`quantbench.comparison.noise`). For measurements that repeat exactly, each difference is
a shift; of a trained cell's score, each one that is beyond the spread of its trainings, as an upgrade trains anew.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import ceil, inf, log, sqrt
from pathlib import Path
from typing import Literal

import numpy as np

from quantbench.comparison import change_points
from quantbench.comparison.nights import Found, LocalNights, Nights
from quantbench.comparison.noise import across_shifts, autocorrelation, long_run_variance, within_levels
from quantbench.comparison.spread import Sample, Spread, Spreads
from quantbench.comparison.summary import EXACT, NOISY, VALUES, Scoring, Summary
from quantbench.core.arrays import Array
from quantbench.core.stats import t_quantile
from quantbench.errors import BadInput
from quantbench.records import Located, Verdict, parts
from quantbench.records.measurements import RATIO, TO_YARDSTICK

MEASUREMENTS = (*EXACT, *NOISY)
ABSENT = "without this cell"
OTHER_PROCESSOR = "on another kind of processor, shown as a series of its own"
_NAMES = list(Verdict)
_VERDICTS = {verdict: place for place, verdict in enumerate(_NAMES)}
# Times the long-run variance and the logarithm of the number of runs. Measured on 1,500 simulated series each, a false
# shift in at most 0.1 % of series of 20 to 200 independent runs. Where neighbours are correlated by .5: in 1.5 % of
# 20 runs, 0.5 % of 30, 0.1 % of 100; by .8: in 3 % of 20, 1.8 % of 30, 0.2 % of 100.
PENALTY = 4.0
LEAST_RUNS = 20  # of a noisy measurement: with fewer, the noise is not known well enough
TRAINED = 5e-4  # one-sided probability that two trainings lie so far apart by chance, for a shift
RECENT = 30  # newest runs in which a kind of machine must have run, to be shown
SMALLEST_SHIFT = 0.01  # of a noisy measurement, as a fraction: the judges' tolerance of a ratio
SEARCHED = 1000  # values that are searched at once where it must be quick: the time grows with their number squared
CLEAR = 0.99  # confidence of a slope
SLOPE_RUNS = 30  # runs that a slope is given per
_RUN_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T")
_RUNTIME = re.compile(r"_litert-[^_]+")


@dataclass(frozen=True)
class Skipped:
    """Name a folder that was left out of the history, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class History:
    """Hold the runs of a folder by start time, oldest first.

    Attributes:
        cells: every cell of any run.
        verdicts: shape (runs, cells), places in ``Verdict``; -1 where a run lacks a cell.
        values: measurement -> shape (runs, cells), NaN where a run lacks it.
        machines: machine class of each run, without the version of its runtime.
        isas: instruction set of each run's processor, as a hash.
        spreads: of the trained cells' scores over seeds, as the runs have them.
        folders: name of each run's folder, where the runs were read from one.
        errors, accepted: measurement -> shape (runs, cells), as in a summary.
    """

    runs: list[Summary]
    skipped: list[Skipped]
    cells: list[str]
    verdicts: Array
    values: dict[str, Array]
    machines: Array
    isas: Array
    spreads: Spreads = field(default_factory=Spreads)
    folders: list[str] = field(default_factory=list)
    errors: dict[str, Array] = field(default_factory=dict)
    accepted: dict[str, Array] = field(default_factory=dict)
    _questions: dict[str, tuple[list[tuple[object, ...]], Array]] = field(default_factory=dict)
    _on: dict[tuple[str, str], Array] = field(default_factory=dict)

    def on(self, what: Literal["isas", "machines"], name: str) -> Array:
        """Return which runs were made with this instruction set, or on this machine, shape (runs,)."""
        if (what, name) not in self._on:
            self._on[what, name] = getattr(self, what) == name
        return self._on[what, name]

    def questions(self, model: str) -> tuple[list[tuple[object, ...]], Array]:
        """Return a model's distinct questions (data, metric, weights), and the one of each run, shape (runs,)."""
        if model not in self._questions:
            asked = [_question(run, model) for run in self.runs]
            distinct = list(dict.fromkeys(asked))
            place = {question: number for number, question in enumerate(distinct)}
            self._questions[model] = distinct, np.array([place[question] for question in asked])
        return self._questions[model]


def _question(run: Summary, model: str) -> tuple[object, ...]:
    scoring = run.scoring.get(model)
    rule = scoring and (scoring.metric, scoring.unit, scoring.scale, scoring.higher_is_better)
    return run.data_sha256.get(model), rule, run.trained_from_scratch


@dataclass(frozen=True)
class Step:
    """Describe a lasting level shift: ``since`` is the first run at the new level, ``before`` the last at the old one.

    Attributes:
        old, new: mean from the previous shift to this one, and from this one to the next.
    """

    measurement: str
    before: Summary
    since: Summary
    old: float
    new: float


@dataclass(frozen=True)
class DriftSlope:
    """Describe a slow drift towards the floor, or away from it.

    Attributes:
        slope: of the drop from the control, in ``unit`` per 30 runs; ``low`` and ``high`` are its 99 % interval.
        left: how much more may be lost, in ``unit``.
        runs_left: runs until the floor is reached at this slope; None where it moves away from the floor.
    """

    slope: float
    low: float
    high: float
    unit: str
    left: float
    runs_left: int | None


@dataclass(frozen=True)
class Trend:
    """Describe one cell over the runs.

    Attributes:
        runs: those with this cell that measured the newest run's data with the same metric.
        values: measurement -> one value per run; NaN where it was not measured, or on another machine class.
        machine: on which these runs were made.
        spread: of a trained cell's score over seeds; None where that is not known.
        verdict, since: of the newest run, and the first run of the unbroken series with this verdict.
        apart: why other runs are not comparable -> number of runs.
    """

    cell: str
    scoring: Scoring
    runs: list[Summary]
    values: dict[str, Array]
    verdict: Verdict
    since: Summary
    verdict_before: Verdict | None
    apart: dict[str, int]
    machine: str = ""
    spread: Spread | None = None

    @property
    def trained(self) -> bool:
        """Return whether the cell's score comes from training."""
        return self.cell in self.runs[-1].trained


def read_history(folder: Path | Nights, last: int = 0) -> History:
    """Read all runs of a report folder; unreadable ones are skipped and listed.

    Args:
        folder: also a folder at an address, see :func:`quantbench.comparison.nights.at_address`.
        last: number of newest runs to read; all where 0.

    Raises:
        BadInput: the folder does not exist, or has no readable run.
    """
    nights = LocalNights(folder) if isinstance(folder, Path) else folder
    read, skipped = chosen(nights, nights.summaries(), last)
    return replace(gathered([run for run, _ in read], skipped), folders=[name for _, name in read])


def chosen(
    nights: Nights, found_in: Iterable[tuple[str, Found]], last: int
) -> tuple[list[tuple[Summary, str]], list[Skipped]]:
    """Sort what was found in the folders by start time, and list what is left out.

    Args:
        found_in: each folder's name, with what was found.
        last: number of newest runs to keep; all where 0.

    Raises:
        BadInput: there is no readable run.
    """
    read: list[tuple[Summary, str]] = []
    skipped: list[Skipped] = []
    seen: dict[tuple[str, str], str] = {}
    for name, found in found_in:
        if found is None:
            # Other folders may be here too; only those named like a run are reported.
            skipped += [Skipped(name, "holds no report.json")] if _RUN_NAME.match(name) else []
        elif isinstance(found, str):
            skipped.append(Skipped(name, found))
        elif found.shard:
            skipped.append(Skipped(name, f"shard {found.shard} of a run, not the whole of it"))
        elif (key := (found.run, found.started)) in seen:
            skipped.append(Skipped(name, f"the same run as {seen[key]}"))
        else:
            seen[key] = name
            read.append((found, name))
    if not read:
        first_reason = f"; {skipped[0].name}: {skipped[0].why}" if skipped else ""
        raise BadInput(f"{nights.option}: {nights.where} holds no run that can be read{first_reason}")
    read.sort(key=lambda one: (one[0].started, one[0].run))
    read = read[-last:] if last else read
    return read, skipped


def gathered(runs: list[Summary], skipped: list[Skipped]) -> History:
    """Arrange runs, in order, as tables with one column per cell."""
    cells = sorted({cell for run in runs for cell in run.cells})
    place = {cell: i for i, cell in enumerate(cells)}
    verdicts = np.full((len(runs), len(cells)), -1, order="F")
    values = {name: np.full((len(runs), len(cells)), np.nan, order="F") for name in VALUES}
    errors, accepted = ({name: np.full_like(values[name], np.nan) for name in MEASUREMENTS} for _ in range(2))
    for names, alike in groupby(
        range(len(runs)), key=lambda row: runs[row].cells
    ):  # most runs have the previous one's cells
        rows, columns = list(alike), [place[cell] for cell in names]
        at = np.ix_(rows, columns)
        verdicts[at] = [[_VERDICTS[verdict] for verdict in runs[row].verdicts] for row in rows]
        lacking = [None] * len(columns)
        for name, table in values.items():
            table[at] = np.array([runs[row].values.get(name, lacking) for row in rows], dtype=float)
        for name in MEASUREMENTS:
            for tables, stored in ((errors, "errors"), (accepted, "accepted")):
                if any(name in getattr(runs[row], stored) for row in rows):
                    lists = [getattr(runs[row], stored).get(name, lacking) for row in rows]
                    tables[name][at] = np.array(lists, dtype=float)
    return replace(arranged(runs, skipped, cells, verdicts, values, []), errors=errors, accepted=accepted)


def arranged(
    runs: list[Summary],
    skipped: list[Skipped],
    cells: list[str],
    verdicts: Array,
    values: dict[str, Array],
    folders: list[str],
) -> History:
    """Return a history without errors and accepted values; for the arguments see :class:`History`."""
    machines = np.array([_RUNTIME.sub("", run.environment.machine_class) for run in runs])
    isas = np.array([run.environment.isa for run in runs])
    return History(runs, skipped, cells, verdicts, values, machines, isas, Spreads(_samples(runs)), folders)


def _samples(runs: list[Summary]) -> dict[str, set[Sample]]:
    samples: dict[str, set[Sample]] = {}
    distinct = {(id(run.spread), id(run.seeds)): run for run in runs if run.spread}  # runs of an index share them
    for run in distinct.values():
        for cell, sd in run.spread.items():
            samples.setdefault(cell, set()).add((sd, run.seeds[cell] - 1))
    return samples


def retrained(history: History) -> list[str]:
    """List the trained cells whose score ever changed, as only these are judged by the spread of trainings."""
    trained = {cell for cells in {id(run.trained): run.trained for run in history.runs}.values() for cell in cells}
    scores = history.values["score"]
    changed = np.fmin.reduce(scores, axis=0) < np.fmax.reduce(scores, axis=0)
    return [cell for cell, once in zip(history.cells, changed, strict=True) if once and cell in trained]


def with_accepted(history: History, accepted: Mapping[str, Collection[Sample]]) -> History:
    """Add the spread of trainings that the baselines know: cell -> samples."""
    return replace(history, spreads=Spreads(_samples(history.runs), accepted))


def trends(history: History, cell: str) -> list[Trend]:
    """Extract one cell on each kind of machine of the newest runs, the newest run's first.

    Machines with one kind of processor share all but latency, which is then in the first one alone.

    Raises:
        BadInput: no run has the cell.
    """
    first = trend(history, cell)
    column = history.cells.index(cell)
    holding = np.flatnonzero(history.verdicts[:, column] >= 0)
    recent = holding[holding >= len(history.runs) - RECENT].tolist() or [holding[-1]]
    found, seen = [first], {(str(history.isas[holding[-1]]), first.machine)}
    for place in reversed(recent):
        isa, machine = str(history.isas[place]), str(history.machines[place])
        if (isa, machine) in seen or history.questions(parts(cell)[0])[1][place] != history.questions(parts(cell)[0])[
            1
        ][holding[-1]]:
            continue
        more = trend(history, cell, int(place))
        if any(isa == other for other, _ in seen):
            for name in set(more.values) - {RATIO, TO_YARDSTICK}:
                more.values[name][:] = np.nan
        found.append(more)
        seen.add((isa, machine))
    return found


def trend(history: History, cell: str, newest_run: int | None = None) -> Trend:
    """Extract one cell as of its newest run, on that run's kind of machine.

    Args:
        newest_run: place of another run to take for the newest.

    Raises:
        BadInput: no run has the cell.
    """
    if cell not in history.cells:
        raise BadInput(f"history: no run holds cell {cell!r}; they hold {', '.join(history.cells[:5])}, …")
    column, model = history.cells.index(cell), parts(cell)[0]
    holding = np.flatnonzero(history.verdicts[:, column] >= 0)
    if newest_run is not None:
        holding = holding[holding <= newest_run]
    questions, asked = history.questions(model)
    newest = asked[holding[-1]]
    rows = holding[asked[holding] == newest]
    others = holding[asked[holding] != newest]
    apart = Counter(_why_apart(questions[asked[row]], questions[newest]) for row in others)
    here = rows[history.on("isas", str(history.isas[rows[-1]]))[rows]]
    if len(here) < len(rows):
        apart[OTHER_PROCESSOR] = len(rows) - len(here)
    rows = here
    if newest_run is None and len(holding) < len(history.runs):
        apart[ABSENT] = len(history.runs) - len(holding)
    values = {name: table[:, column][rows] for name, table in history.values.items()}
    runs = history.runs if len(rows) == len(history.runs) else [history.runs[row] for row in rows]
    machine = str(history.machines[rows[-1]])
    timed = [values[name] for name in (RATIO, TO_YARDSTICK)]
    why = "timed on another machine profile, whose latency is left out"
    _leave_out(~history.on("machines", machine)[rows], timed, why, apart)
    verdicts = history.verdicts[rows, column]
    differing = np.flatnonzero(verdicts != verdicts[-1])
    since = int(differing[-1]) + 1 if len(differing) else 0
    before = _NAMES[verdicts[since - 1]] if since else None
    scoring, verdict = runs[-1].scoring[model], _NAMES[verdicts[-1]]
    spread = history.spreads.of(cell)
    return Trend(cell, scoring, runs, values, verdict, runs[since], before, dict(apart), machine, spread)


def _why_apart(question: tuple[object, ...], newest: tuple[object, ...]) -> str:
    reasons = (
        "measured on different data",
        "scored by a different metric",
        "made from different float weights (--train)",
    )
    return next(why for why, before, after in zip(reasons, question, newest, strict=True) if before != after)


def _leave_out(elsewhere: Array, columns: list[Array], why: str, apart: Counter[str]) -> None:
    """Set values of runs on machines unlike the newest run's to NaN in place, where they do not compare."""
    if not elsewhere.any():
        return
    lost = int(np.count_nonzero(elsewhere & np.isfinite(columns).any(axis=0)))
    if lost:
        apart[why] = lost
    for column in columns:
        column[elsewhere] = np.nan


def steps(trend: Trend, name: str, quick: bool = False) -> list[Step]:
    """Find where a measurement's level changed, oldest first.

    Args:
        quick: search noisy measurements only where a single step explains enough of the variance; a hundred times
            faster, but it misses a temporary shift. Of a long series see :func:`_long`.
    """
    places, x = values_of(trend, name)
    if len(x) < 2 or float(x.min()) == float(x.max()):
        return []
    if repeats(name, x, trend):
        at = [int(i) + 1 for i in np.flatnonzero(np.diff(x))]
        if name == "score" and trend.trained:
            at = [start for start in at if abs(x[start] - x[start - 1]) > training_tolerance(trend, places, start)]
        return _steps_at(trend, name, places, at)
    if quick and len(x) > SEARCHED:
        places, at = _long(places, x)
    else:
        at = starts(x, quick) if len(x) >= LEAST_RUNS else []
    steps_found = _steps_at(trend, name, places, at)
    return (
        steps_found
        if name == "score"
        else [step for step in steps_found if abs(step.new / step.old - 1) > SMALLEST_SHIFT]
    )


def values_of(trend: Trend, name: str) -> tuple[Array, Array]:
    """Return the places, among the runs of a trend, where a measurement has a value, and these values."""
    places = np.flatnonzero(np.isfinite(trend.values[name]))
    return places, trend.values[name][places]


def training_tolerance(trend: Trend, places: Array, start: int) -> float:
    """Return how far the scores of two trainings lie apart by chance; infinite where their spread is not known.

    Args:
        places: of the measured runs; ``start`` is the place among them of the later training.
    """
    if trend.spread is None:
        return inf
    seeds = [trend.runs[int(places[at])].seeds.get(trend.cell, 1) for at in (start - 1, start)]
    return t_quantile(TRAINED, trend.spread.degrees) * trend.spread.error(*seeds)


def of_unknown_spread(trend: Trend) -> bool:
    """Return whether a trained cell's score changed, and nothing says how much chance does to it."""
    _, x = values_of(trend, "score")
    return trend.trained and trend.spread is None and len(x) > 1 and float(x.min()) < float(x.max())


def repeats(name: str, x: Array, trend: Trend) -> bool:
    """Check whether a series mostly repeats exactly; for few runs, whether the measurement is exact and untrained."""
    if len(x) < LEAST_RUNS and name in EXACT and (name != "score" or not trend.trained):
        return True
    return int(np.count_nonzero(np.diff(x) == 0)) >= (len(x) - 1) / 2


def starts(x: Array, quick: bool) -> list[int]:
    """Find where a new level starts in noisy values of shape (n,), whose neighbours may resemble each other.

    The noise is first estimated across all shifts, then within the levels that were found. Where that makes the noise
    larger, the search is repeated.
    """
    correlation, found = across_shifts(x), list[int]()
    for _ in range(3):  # a second repetition changed nothing in nearly all simulated series
        noise, penalty = sqrt(long_run_variance(x, correlation)), PENALTY * log(len(x))
        if not noise:
            return []
        scaled = (x - np.median(x)) / noise
        if quick and float(np.sum((scaled - scaled.mean()) ** 2)) - _best_step(scaled) <= penalty:
            return []
        found = change_points.starts(scaled, penalty)
        again = within_levels(x, found)
        if not found or again <= correlation:
            break
        correlation = again
    return found


def _long(places: Array, x: Array) -> tuple[Array, list[int]]:
    """Find where new levels start in more than ``SEARCHED`` noisy values: among the newest ones, else in all.

    In all, means of neighbouring values are searched, and each start is then placed where it leaves the least squares.

    Returns:
        The places that were searched, and the starts among them.
    """
    found = starts(x[-SEARCHED:], quick=True)
    if found:
        return places[-SEARCHED:], found
    width = ceil(len(x) / SEARCHED)
    places, x = places[len(x) % width :], x[len(x) % width :]
    coarse = [width * start for start in starts(x.reshape(-1, width).mean(axis=1), quick=True)]
    edges = [0, *coarse, len(x)]
    return places, [
        _placed(x[before:after], before, start, width)
        for before, start, after in zip(edges, coarse, edges[2:], strict=False)
    ]


def _placed(x: Array, first: int, start: int, width: int) -> int:
    """Return where in ``x``, whose first value has the place ``first``, the level changes, near ``start``."""
    n = np.arange(start - first - width + 1, start - first + width)
    sums = np.cumsum(x - x.mean())[n - 1]
    return first + int(n[np.argmax(sums**2 * (1 / n + 1 / (len(x) - n)))])


def _steps_at(trend: Trend, name: str, places: Array, at: list[int]) -> list[Step]:
    """Build the shifts from the positions, among the measured values, where a new level starts."""
    x = trend.values[name][places]
    edges = [0, *at, len(x)]
    return [
        Step(
            name,
            trend.runs[int(places[start - 1])],
            trend.runs[int(places[start])],
            float(x[edges[i] : start].mean()),
            float(x[start : edges[i + 2]].mean()),
        )
        for i, start in enumerate(at)
    ]


def drift_slope(trend: Trend, newest: int = 0) -> DriftSlope | None:
    """Estimate how fast the drop from the control grows; None unless the slope is clear: the interval of the Theil-Sen
    slope excludes 0, and a line fits the drops better than any single step.

    Sources: Sen 1968; the interval is that of Kendall's tau for independent runs, widened for noise that remembers as
    by Hamed & Rao 1998, "A modified Mann-Kendall trend test for autocorrelated data", with an AR(1).
    """
    limits = trend.values["floor_limit"]
    places = np.flatnonzero(np.isfinite(trend.values["floor_drop"]) & np.isfinite(limits))[-newest:]
    y = trend.values["floor_drop"][places]
    if len(y) < LEAST_RUNS or float(y.min()) == float(y.max()):
        return None
    from scipy.stats import theilslopes

    x = np.arange(len(y), dtype=float)
    slope, intercept, low, high = (float(value) for value in theilslopes(y, x, CLEAR))
    residuals = y - slope * x - intercept
    correlation = autocorrelation(residuals)
    wider = sqrt((1 + correlation) / (1 - correlation))
    low, high = slope - wider * (slope - low), slope + wider * (high - slope)
    line = float(np.sum(residuals**2))
    if low <= 0 <= high or line >= _best_step(y):
        return None
    left = float(limits[places[-1]]) - float(np.median(y[-5:]))
    runs_left = max(0, ceil(left / slope)) if slope > 0 else None
    return DriftSlope(SLOPE_RUNS * slope, SLOPE_RUNS * low, SLOPE_RUNS * high, trend.scoring.unit, left, runs_left)


def _best_step(y: Array) -> float:
    """Compute the residual sum of squares of the best single step."""
    n = np.arange(1, len(y))
    sums, squares = np.cumsum(y), float(np.sum(y**2))
    before, after = sums[:-1], sums[-1] - sums[:-1]
    return float(np.min(squares - before**2 / n - after**2 / (len(y) - n)))


def cause_of(trend: Trend, step: Step) -> tuple[Summary, Located] | None:
    """Return the operator that a shift of the score comes from, with the run that found it; None where none did.

    It is the run in which the shift was first seen, or a later one at the same level: a run looks for causes only where
    the score is red, and of many red cells only those of some.
    """
    if step.measurement != "score":
        return None
    begins = next(place for place, run in enumerate(trend.runs) if run is step.since)
    later = [other.since for other in steps(trend, "score", quick=True) if other.since is not step.since]
    for run in trend.runs[begins:]:
        if any(run is other for other in later):
            break
        if trend.cell in run.causes:
            return run, run.causes[trend.cell]
    return None


def moved(trend: Trend) -> Sequence[Step]:
    """Return the last shift of each measurement, by the quick search."""
    return [found[-1] for name in MEASUREMENTS if (found := steps(trend, name, quick=True))]
