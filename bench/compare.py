"""Two runs compared, measurement by measurement: (records, stored predictions) of both -> Comparison. Pure.

Nothing here knows of baselines: the older run is the reference. Rules, tolerances and tests are those of the judges,
with two sides: what is beyond its tolerance and, where chance can move it, beyond chance, is worse or better.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite, sqrt

import numpy as np

from bench import gate
from bench.baselines import stored_hashes
from bench.datasets import Array
from bench.environment import changed_between, memory_class, name_at, threads_in, with_threads
from bench.errors import Exit
from bench.gate._latency import BETWEEN_RUNS
from bench.metrics import Metric
from bench.records import Cell, FalseAlarms, Measurement, Report
from bench.stats import (
    Change,
    Location,
    bootstrap_drop_sd,
    change_of,
    normal_p,
    normal_quantile,
    p_above,
    pair,
    paired_interval,
    pooled_sd,
    t_quantile,
    trimmed_mean,
)

TAIL = 0.025  # of each side of a 95 % interval
MOST_DIFFERENCES = 4


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


def compare(
    old: Side,
    new: Side,
    truth_of: Callable[[str], Truth | str],
    budget: float = gate.DEFAULT_BUDGET,
    timed: Mapping[str, Timed] | None = None,
) -> Comparison:
    """Every cell of both runs.

    Args:
        truth_of: model -> what its predictions are scored by, or why that is not known; asked only where predictions
            differ.
        budget: the chance of any false "worse" or "better" in the whole comparison, were nothing changed.
        timed: cell -> what was timed in turns; two groups of processes at least.
    """
    before = {cell.id: cell for cell in old.report.cells}
    after = {cell.id: cell for cell in new.report.cells}
    both = _Both(old, new, truth_of, _spreads(old.report, new.report), timed or {})
    items: list[Item] = []
    for name in sorted({*before, *after}):
        items += _cell(before.get(name), after.get(name), both)
    items, false_alarms = _settled(items, budget)
    return Comparison(
        old.report,
        new.report,
        items,
        _cells(items),
        changed_between(old.report.environment, new.report.environment),
        _notes(old.report, new.report),
        false_alarms,
    )


@dataclass(frozen=True)
class _Both:
    """What all cells of a comparison share.

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
        """What the two sides are called."""
        return self.old.called or "the old run", self.new.called or "the new run"


def _spreads(*reports: Report) -> dict[str, tuple[float, int]]:
    """A cell that trained with few seeds borrows the spread of the model's others, as the judges let it."""
    samples: dict[str, list[list[float]]] = {}
    for cell in (cell for report in reports for cell in report.cells):
        score = cell.measurements.get("score")
        if score is not None and score.values and len(score.values) > 1:
            samples.setdefault(cell.model, []).append(score.values)
    return {model: pooled_sd(values) for model, values in samples.items()}


def _cells(items: list[Item]) -> dict[str, Outcome]:
    found: dict[str, set[Outcome]] = {}
    for item in items:
        found.setdefault(item.cell, set()).add(item.outcome)
    order = [Outcome.WORSE, Outcome.BETTER, Outcome.NOT_COMPARABLE, Outcome.UNCHANGED, Outcome.GONE, Outcome.NEW]
    return {cell: min(outcomes, key=order.index) for cell, outcomes in found.items()}


def _settled(items: list[Item], budget: float) -> tuple[list[Item], FalseAlarms]:
    """The outcome of what had to wait for the others: one false-alarm budget for all, by Holm's method."""
    p_values = {str(place): item.p_value for place, item in enumerate(items) if item.p_value is not None}
    red_at = gate.holm(p_values, budget, others=0)
    settled = [
        replace(item, red_at=red_at[str(place)], outcome=_by_chance(item, red_at[str(place)]))
        if str(place) in red_at
        else item
        for place, item in enumerate(items)
    ]
    return settled, gate.share(budget, len(p_values))


def _by_chance(item: Item, red_at: float) -> Outcome:
    unlikely = item.p_value is not None and item.p_value <= red_at
    return _beyond(item.change or 0.0, item.tolerance) if unlikely else Outcome.UNCHANGED


def _beyond(change: float, tolerance: float) -> Outcome:
    slack = 1e-9  # of rounding in stored values
    if abs(change) <= tolerance + slack:
        return Outcome.UNCHANGED
    return Outcome.WORSE if change > 0 else Outcome.BETTER


def _cell(old: Cell | None, new: Cell | None, both: _Both) -> list[Item]:
    """All items of one cell; at least one."""
    if new is None:
        assert old is not None
        return [Item(old.id, "cell", Outcome.GONE, why=f"only {both.names[0]} holds it")]
    if old is None:
        return [Item(new.id, "cell", Outcome.NEW, why=f"only {both.names[1]} holds it")]
    if old.failure or new.failure:
        return [_failures(old, new)]
    found = [*_scores(old, new, both), *_sizes(old, new, both), *_structures(old, new, both)]
    found += [*_memories(old, new, both), *_latencies(old, new, both), *_turns(new, both)]
    return found or [Item(new.id, "cell", Outcome.NOT_COMPARABLE, why="neither run finished it", moved=False)]


def _failures(old: Cell, new: Cell) -> Item:
    if old.failure and new.failure:
        outcome = Outcome.UNCHANGED
        if old.failure.what != new.failure.what:
            outcome = Outcome.WORSE if old.failure.what == "unsupported" else Outcome.NOT_COMPARABLE
        why = f"{old.failure.what} before; now {new.failure.what}: {new.failure.reason}"
        return Item(new.id, "cell", outcome, why=why, moved=outcome is not Outcome.UNCHANGED)
    failure, other = new.failure or old.failure, old if new.failure else new
    assert failure is not None
    if not other.measurements:
        return Item(new.id, "cell", Outcome.NOT_COMPARABLE, why=f"{failure.what} in one run, unfinished in the other")
    if new.failure:
        return Item(new.id, "cell", Outcome.WORSE, why=f"it worked; now {failure.what}: {failure.reason}")
    return Item(new.id, "cell", Outcome.BETTER, why=f"it works; before {failure.what}: {failure.reason}")


def _lone(name: str, new: Cell, there: tuple[object, object], both: _Both) -> Iterator[Item]:
    """An item of what only one of the sides measured."""
    if (there[0] is None) != (there[1] is None):
        gone = there[1] is None
        outcome = Outcome.GONE if gone else Outcome.NEW
        yield Item(new.id, name, outcome, why=f"only {both.names[not gone]} measured it")


def _scores(old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    broken = [_nonfinite(old), _nonfinite(new)]
    before, after = old.measurements.get("score"), new.measurements.get("score")
    if any(broken) and (before is None or after is None):
        change = broken[1] - broken[0]
        why = f"{broken[1]} examples with a NaN or infinite output, {broken[0]} before"
        item = Item(new.id, "score", _beyond(change, 0), why=why, moved=bool(change))
        yield replace(item, change=float(change), change_unit="examples")
    elif before is None or after is None:
        yield from _lone("score", new, (before, after), both)
    else:
        yield _score(old, new, before, after, both)


def _nonfinite(cell: Cell) -> int:
    found = cell.measurements.get("nonfinite")
    return 0 if found is None else int(found.value)


def _score(old: Cell, new: Cell, before: Measurement, after: Measurement, both: _Both) -> Item:
    item = Item(new.id, "score", Outcome.NOT_COMPARABLE, before.value, after.value, before.unit)
    why = _other_question(old, new, both)
    if why:
        return replace(item, why=why)
    difference = before.value - after.value if new.higher_is_better else after.value - before.value
    item = replace(item, change=difference * new.metric_scale, change_unit=new.metric_unit)
    if old.predictions_sha256 and old.predictions_sha256 == new.predictions_sha256 and _same_seeds(before, after):
        return replace(item, outcome=Outcome.UNCHANGED, why="identical predictions", moved=False)
    if old.seeds or new.seeds:
        return _by_seeds(item, before, after, both.spreads.get(new.model), new.metric_scale)
    if both.old.report.trained_from_scratch or both.new.report.trained_from_scratch:
        return replace(item, why="the float models were trained again (--train), which moves every score")
    return _by_predictions(item, old, new, both)


def _other_question(old: Cell, new: Cell, both: _Both) -> str:
    """Why two scores are not answers to one question; empty where they are."""
    if (old.metric, old.higher_is_better) != (new.metric, new.higher_is_better):
        return f"another metric: {old.metric} before, {new.metric} now"
    data = [side.report.data_sha256.get(new.model, "unknown")[:12] for side in (both.old, both.new)]
    return "" if data[0] == data[1] else f"other data: pack {data[0]}… before, {data[1]}… now"


def _same_seeds(before: Measurement, after: Measurement) -> bool:
    """Predictions are those of the first seed alone; the seeds that both runs have must repeat their scores too."""
    pairs = zip(before.values or [], after.values or [], strict=False)
    return all(abs(a - b) <= 1e-9 for a, b in pairs)


def _by_seeds(
    item: Item, before: Measurement, after: Measurement, spread: tuple[float, int] | None, scale: float
) -> Item:
    """What trained: the difference of two means against the spread of one training (Student's t)."""
    n_old, n_new = len(before.values or [0.0]), len(after.values or [0.0])
    if spread is None:
        why = f"trained with {n_old} and {n_new} seeds, and no cell of the model tells the spread: run with --seeds 5"
        return replace(item, why=why)
    repeats = gate.Repeats(scale * spread[0], spread[1], n_old, n_new, "")
    change = item.change or 0.0
    p_value = min(1.0, 2 * p_above(abs(change), repeats.error, repeats.degrees))
    half = t_quantile(TAIL, repeats.degrees) * repeats.error
    why = f"mean of {n_new} trainings against {n_old}, sd {repeats.sd:.2f} {item.change_unit}"
    return replace(item, outcome=Outcome.UNCHANGED, p_value=p_value, low=change - half, high=change + half, why=why)


def _by_predictions(item: Item, old: Cell, new: Cell, both: _Both) -> Item:
    """The same examples answered twice: exact McNemar, or a paired bootstrap where none is simply right or wrong."""
    answers = []
    for cell, side, name in zip((old, new), (both.old, both.new), both.names, strict=True):
        stored = side.predictions.get(cell.model, {}).get(cell.variant)
        if stored is None:
            return replace(item, why=f"{name}'s predictions are missing: give its whole folder")
        if cell.predictions_sha256 not in stored_hashes(stored):
            return replace(item, why=f"{name}'s predictions are not those of its report")
        answers.append(stored)
    truth = both.truth_of(new.model)
    if isinstance(truth, str):
        return replace(item, why=truth)
    if not len(answers[0]) == len(answers[1]) == len(truth.labels):
        return replace(item, why="not as many predictions as examples")
    if not all(truth.metric.fits(answer, truth.labels) for answer in answers):
        return replace(item, why=f"the predictions are not as {truth.metric.name} takes them")
    return _by_pairs(item, truth, answers) if truth.metric.correct else _by_bootstrap(item, truth, answers)


def _by_pairs(item: Item, truth: Truth, answers: list[Array]) -> Item:
    assert truth.metric.correct is not None
    was, now = (truth.metric.correct(answer, truth.labels) for answer in answers)
    pairs = pair(now, was)
    half = paired_interval(pairs) * truth.metric.scale
    change = pairs.drop * truth.metric.scale
    p_value = min(1.0, 2 * min(pairs.p_worse(), pairs.p_better()))
    why = f"{pairs.lost} examples lost, {pairs.gained} gained (exact McNemar)"
    return replace(
        item, outcome=Outcome.UNCHANGED, change=change, low=change - half, high=change + half, p_value=p_value, why=why
    )


def _by_bootstrap(item: Item, truth: Truth, answers: list[Array]) -> Item:
    metric = truth.metric

    def drop_of(new: Array, old: Array, of: Array) -> float:
        return metric.drop(metric.value(new, of), metric.value(old, of))

    change = drop_of(answers[1], answers[0], truth.labels)
    sd = bootstrap_drop_sd(answers[1], answers[0], truth.labels, drop_of)
    if not isfinite(sd):
        return replace(item, why="too few examples of one class to resample")
    half = normal_quantile(TAIL) * sd
    moved = int(np.count_nonzero(answers[0] != answers[1]))
    return replace(
        item,
        outcome=Outcome.UNCHANGED,
        change=change,
        low=change - half,
        high=change + half,
        p_value=min(1.0, 2 * normal_p(abs(change), sd)),
        why=f"{moved} predictions moved (paired bootstrap)",
    )


def _sizes(old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    for name, tolerance in gate.SIZE_TOLERANCES.items():
        yield from _relative(name, old, new, both, tolerance)


def _relative(name: str, old: Cell, new: Cell, both: _Both, tolerance: float, why: str = "") -> Iterator[Item]:
    """A measurement that is judged by a relative tolerance alone; an interval where both sides know their spread."""
    before, after = old.measurements.get(name), new.measurements.get(name)
    if before is None or after is None or not before.value:
        yield from _lone(name, new, (before, after), both)
        return
    change = 100 * (after.value / before.value - 1)
    item = Item(new.id, name, Outcome.UNCHANGED, before.value, after.value, before.unit, change, "%")
    if why:
        yield replace(item, outcome=Outcome.NOT_COMPARABLE, change=None, why=why)
        return
    outcome, moved = _beyond(change, 100 * tolerance), after.value != before.value
    item = replace(
        item, outcome=outcome, moved=moved, tolerance=100 * tolerance, why=f"tolerance {100 * tolerance:g} %"
    )
    places = [_location(measured) for measured in (after, before)]
    if places[0] and places[1] and (places[0].error or places[1].error):
        item = _with_interval(item, change_of(places[0], places[1], 0.0))
    yield item


def _location(measured: Measurement) -> Location | None:
    """A mean with its error, from one value a process or from their recorded spread; None where nothing repeats."""
    if measured.values and len(measured.values) > 1:
        return trimmed_mean(measured.values)
    if measured.spread is None or measured.n < 2:
        return None
    return Location(measured.value, measured.spread / sqrt(measured.n), measured.n - 1)


def _with_interval(item: Item, change: Change) -> Item:
    middle, half = 100 * change.change, 100 * change.quantile(TAIL)
    return replace(item, low=middle - half, high=middle + half)


def _structures(old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    """As for the judges, to be made of something else is no better: whoever meant it accepts it."""
    if old.census is None or new.census is None:
        yield from _lone("census", new, (old.census, new.census), both)
        return
    found = gate.differences(new.census, old.census, bool(old.seeds or new.seeds))
    more = f"; and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
    outcome = Outcome.WORSE if found else Outcome.UNCHANGED
    yield Item(new.id, "census", outcome, why="; ".join(found[:MOST_DIFFERENCES]) + more, moved=bool(found))


def _memories(old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    before, after = old.measurements.get("arena"), new.measurements.get("arena")
    if before is None or after is None:
        yield from _lone("arena", new, (before, after), both)
    else:
        change = after.value - before.value
        item = Item(new.id, "arena", _beyond(change, gate.ARENA_TOLERANCE), before.value, after.value, before.unit)
        why = f"tolerance {gate.ARENA_TOLERANCE:g} bytes"
        yield replace(
            item, change=change, change_unit="bytes", tolerance=gate.ARENA_TOLERANCE, why=why, moved=bool(change)
        )
    yield from _relative("memory_ratio", old, new, both, gate.RATIO_TOLERANCE)
    if new.variant == "float32":  # the others' peaks are told by their ratio to it
        classes = [memory_class(side.report.environment) for side in (both.old, both.new)]
        why = "" if classes[0] == classes[1] else f"another class of machine: {classes[0]} before, {classes[1]} now"
        yield from _relative("peak_memory", old, new, both, gate.PEAK_TOLERANCE, why)


def _latencies(old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    """The float control's ratio to the yardstick, and every variant's to its control, for each number of threads."""
    judged = "control_to_yardstick" if new.variant == "float32" else "latency_ratio"
    for name in sorted({*old.measurements, *new.measurements}):
        if name == name_at(judged, threads_in(name)):
            yield from _latency_item(name, old, new, both)


def _latency_item(name: str, old: Cell, new: Cell, both: _Both) -> Iterator[Item]:
    before, after = old.measurements.get(name), new.measurements.get(name)
    if before is None or after is None:
        yield from _lone(name, new, (before, after), both)
        return
    item = Item(new.id, name, Outcome.NOT_COMPARABLE, before.value, after.value, before.unit)
    classes = [with_threads(side.report.environment.machine_class, threads_in(name)) for side in (both.old, both.new)]
    if classes[0] != classes[1]:
        yield replace(item, why=f"another class of machine: {classes[0]} before, {classes[1]} now")
    elif (before.value, before.values) == (after.value, after.values):
        yield replace(item, outcome=Outcome.UNCHANGED, why="the same samples", moved=False)
    elif len(before.values or []) < 2 or len(after.values or []) < 2:
        yield replace(item, why="timed in one process only, which tells no spread")
    else:
        yield _latency(item, before, after)


def _latency(item: Item, before: Measurement, after: Measurement) -> Item:
    assert before.values is not None
    assert after.values is not None
    change = change_of(trimmed_mean(after.values), trimmed_mean(before.values), BETWEEN_RUNS)
    item = replace(
        item,
        outcome=Outcome.UNCHANGED,
        change=100 * change.change,
        change_unit="%",
        tolerance=100 * gate.LATENCY_TOLERANCE,
        p_value=min(1.0, 2 * min(change.p_above(), change.p_below())),
        why=f"{len(after.values)} processes against {len(before.values)} (Welch, trimmed means)",
    )
    return _with_interval(item, change)


def _turns(new: Cell, both: _Both) -> Iterator[Item]:
    """Both artifacts timed in turns: the mean of their ratios against 1, with what a run may be off besides."""
    timed = both.timed.get(new.id)
    if timed is None:
        return
    change = change_of(trimmed_mean(timed.ratios()), Location(1.0, 0.0, 1), BETWEEN_RUNS)
    item = Item(
        new.id,
        "latency",
        Outcome.UNCHANGED,
        1e6 * trimmed_mean(timed.old).mean,
        1e6 * trimmed_mean(timed.new).mean,
        "µs",
        100 * change.change,
        "%",
        tolerance=100 * gate.LATENCY_TOLERANCE,
        p_value=min(1.0, 2 * min(change.p_above(), change.p_below())),
        why=f"{len(timed.new)} pairs of fresh processes in turns (trimmed mean of their ratios)",
    )
    yield _with_interval(item, change)


def _notes(old: Report, new: Report) -> list[str]:
    found = ["both are one and the same run"] if (old.run, old.started) == (new.run, new.started) else []
    for name, report in (("old", old), ("new", new)):
        if report.state != "complete":
            found.append(f"the {name} run is {report.state}: what it did not finish is missing")
        if report.trained_from_scratch:
            found.append(f"the {name} run trained its own float models (--train)")
    if old.selection != new.selection:
        found.append(f"other selections: {old.selection or 'everything'} before, {new.selection or 'everything'} now")
    return found
