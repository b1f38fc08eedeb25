"""Compare all cells of two runs, then settle what shares the false-alarm budget."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from quantbench import gate
from quantbench.comparison._common import Both, beyond
from quantbench.comparison._costs import latencies, memories, sizes, structures, turns
from quantbench.comparison._scores import scores
from quantbench.comparison._types import Comparison, Item, Outcome, Side, Timed, Truth
from quantbench.core.environment import changed_between
from quantbench.core.stats import pooled_sd
from quantbench.records import Cell, FalseAlarms, Report


def compare(
    old: Side,
    new: Side,
    truth_of: Callable[[str], Truth | str],
    budget: float = gate.DEFAULT_BUDGET,
    timed: Mapping[str, Timed] | None = None,
) -> Comparison:
    """Compare every cell of both runs.

    Args:
        truth_of: model -> what its predictions are scored by, or why that is unknown; called only where predictions
            differ.
        budget: probability of any false "worse" or "better" in the whole comparison, if nothing changed.
        timed: cell -> interleaved timings of both artifacts; at least two groups of processes.
    """
    before = {cell.id: cell for cell in old.report.cells}
    after = {cell.id: cell for cell in new.report.cells}
    both = Both(old, new, truth_of, _spreads(old.report, new.report), timed or {})
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


def _spreads(*reports: Report) -> dict[str, tuple[float, int]]:
    """Pool the spread of each model's trainings, which cells with few seeds borrow, as the judges allow it."""
    samples: dict[str, list[list[float]]] = {}
    for cell in (cell for report in reports for cell in report.cells):
        score = cell.measurements.get("score")
        if score is not None and score.values and len(score.values) > 1:
            samples.setdefault(cell.model, []).append(score.values)
    return {model: pooled_sd(values) for model, values in samples.items()}


def _cells(items: list[Item]) -> dict[str, Outcome]:
    outcomes_of: dict[str, set[Outcome]] = {}
    for item in items:
        outcomes_of.setdefault(item.cell, set()).add(item.outcome)
    order = [Outcome.WORSE, Outcome.BETTER, Outcome.NOT_COMPARABLE, Outcome.UNCHANGED, Outcome.GONE, Outcome.NEW]
    return {cell: min(outcomes, key=order.index) for cell, outcomes in outcomes_of.items()}


def _settled(items: list[Item], budget: float) -> tuple[list[Item], FalseAlarms]:
    """Settle the outcomes that share one false-alarm budget, by Holm's method."""
    p_values = {str(place): item.p_value for place, item in enumerate(items) if item.p_value is not None}
    holm_threshold = gate.holm(p_values, budget, others=0)
    settled = [
        replace(item, holm_threshold=holm_threshold[str(place)], outcome=_by_chance(item, holm_threshold[str(place)]))
        if str(place) in holm_threshold
        else item
        for place, item in enumerate(items)
    ]
    return settled, gate.share(budget, len(p_values))


def _by_chance(item: Item, holm_threshold: float) -> Outcome:
    unlikely = item.p_value is not None and item.p_value <= holm_threshold
    return beyond(item.change or 0.0, item.tolerance) if unlikely else Outcome.UNCHANGED


def _cell(old: Cell | None, new: Cell | None, both: Both) -> list[Item]:
    """Compare one cell; at least one item."""
    if new is None:
        assert old is not None
        return [Item(old.id, "cell", Outcome.GONE, why=f"only {both.names[0]} holds it")]
    if old is None:
        return [Item(new.id, "cell", Outcome.NEW, why=f"only {both.names[1]} holds it")]
    if old.failure or new.failure:
        return [_failures(old, new)]
    items = [*scores(old, new, both), *sizes(old, new, both), *structures(old, new, both)]
    items += [*memories(old, new, both), *latencies(old, new, both), *turns(new, both)]
    return items or [Item(new.id, "cell", Outcome.NOT_COMPARABLE, why="neither run finished it", moved=False)]


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


def _notes(old: Report, new: Report) -> list[str]:
    notes = ["both are one and the same run"] if (old.run, old.started) == (new.run, new.started) else []
    for name, report in (("old", old), ("new", new)):
        if report.state != "complete":
            notes.append(f"the {name} run is {report.state}: what it did not finish is missing")
        if report.trained_from_scratch:
            notes.append(f"the {name} run trained its own float models (--train)")
    if old.selection != new.selection:
        notes.append(f"other selections: {old.selection or 'everything'} before, {new.selection or 'everything'} now")
    return notes
