"""Compare all cells of two runs, then settle what shares the false-alarm budget."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from quantbench import gate
from quantbench.comparison._common import Both, beyond
from quantbench.comparison._costs import instructions, latencies, memories, sizes, structures, turns
from quantbench.comparison._scores import scores
from quantbench.comparison._types import Comparison, Item, Outcome, Side, Timed, Truth
from quantbench.comparison.spread import Spreads
from quantbench.core.environment import changed_between
from quantbench.core.seed_spread import Sample, sample
from quantbench.records import Cell, FalseAlarms, Report
from quantbench.records.measurements import of_output


def compare(
    old: Side,
    new: Side,
    truth_of: Callable[[str], Truth | str],
    budget: float = gate.DEFAULT_BUDGET,
    timed: Mapping[str, Timed] | None = None,
    accepted: Mapping[str, Sequence[Sample]] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare every cell of both runs.

    Args:
        truth_of: model -> what its predictions are scored by, or why that is unknown; called only where predictions
            differ.
        budget: probability of any false "worse" or "better" in the whole comparison, if nothing changed.
        timed: cell -> interleaved timings of both artifacts; at least two groups of processes.
        accepted: cell -> spread of its trainings in the baseline, for runs with one seed.
        left_out: cell -> why one of the runs says nothing about it, one phrase.
    """
    before = {cell.id: cell for cell in old.report.cells}
    after = {cell.id: cell for cell in new.report.cells}
    spreads = Spreads(_samples(old.report, new.report), accepted or {})
    both = Both(old, new, truth_of, spreads, timed or {}, _same_question(old, new))
    items: list[Item] = []
    for name in sorted({*before, *after}):
        if left_out and name in left_out:
            items.append(Item(name, "cell", Outcome.NOT_COMPARABLE, why=left_out[name]))
        else:
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


def _samples(*reports: Report) -> dict[str, list[Sample]]:
    """Collect the spread of each trained cell over its seeds."""
    samples: dict[str, list[Sample]] = {}
    for cell in (cell for report in reports for cell in report.cells):
        for output in ("", *cell.outputs):
            score = cell.measurements.get(of_output("score", output))
            if score is not None and score.values and len(score.values) > 1:
                samples.setdefault(of_output(cell.id, output), []).append(sample(score.values))
    return samples


def _same_question(old: Side, new: Side) -> bool:
    """Return whether the new run should hold all that the old one holds; a baseline holds more than any run asks."""
    return not old.called and old.report.selection == new.report.selection and new.report.state == "complete"


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
        if both.lost_is_worse and old.failure is None:
            why = f"missing: only in {both.names[0]}, although the new run was asked for it too"
            return [Item(old.id, "cell", Outcome.WORSE, why=why)]
        return [Item(old.id, "cell", Outcome.GONE, why=f"only in {both.names[0]}")]
    if old is None:
        return [Item(new.id, "cell", Outcome.NEW, why=f"only in {both.names[1]}")]
    if old.failure or new.failure:
        return [_failures(old, new)]
    items = [*scores(old, new, both), *sizes(old, new, both), *structures(old, new, both)]
    items += [*memories(old, new, both), *instructions(old, new, both), *latencies(old, new, both), *turns(new, both)]
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
        return Item(new.id, "cell", Outcome.WORSE, why=f"worked before; now {failure.what}: {failure.reason}")
    return Item(new.id, "cell", Outcome.BETTER, why=f"works now; before {failure.what}: {failure.reason}")


def _notes(old: Report, new: Report) -> list[str]:
    notes = ["both are the same run"] if (old.run, old.started) == (new.run, new.started) else []
    for name, report in (("old", old), ("new", new)):
        if report.state != "complete":
            notes.append(f"the {name} run is {report.state}: unfinished cells are missing")
        if report.trained_from_scratch:
            notes.append(f"the {name} run trained its own float models (--train)")
    if old.selection != new.selection:
        notes.append(
            f"different selections: {old.selection or 'everything'} before, {new.selection or 'everything'} now"
        )
    return notes
