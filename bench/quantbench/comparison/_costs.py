"""Compare what an artifact consists of and costs: structure, bytes, memory and time."""

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt

from quantbench import gate
from quantbench.comparison._common import Both, beyond, lone, with_interval
from quantbench.comparison._types import Item, Outcome
from quantbench.core.environment import memory_class, with_threads
from quantbench.core.stats import Location, change_of, trimmed_mean
from quantbench.records import Cell, Measurement
from quantbench.records.measurements import INSTRUCTIONS, STALLS, judged_latency, name_at, threads_in

MOST_DIFFERENCES = 4


def sizes(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare the file size and the gzip size."""
    for name, tolerance in gate.SIZE_TOLERANCES.items():
        yield from _relative(name, old, new, both, tolerance)


def _relative(name: str, old: Cell, new: Cell, both: Both, tolerance: float, why: str = "") -> Iterator[Item]:
    """Compare by a relative tolerance alone; with an interval where both sides know their spread."""
    before, after = old.measurements.get(name), new.measurements.get(name)
    if before is None or after is None:
        yield from lone(name, new, (before, after), both)
        return
    if not before.value:
        yield _from_nothing(name, new, before, after, why)
        return
    change = 100 * (after.value / before.value - 1)
    item = Item(new.id, name, Outcome.UNCHANGED, before.value, after.value, before.unit, change, "%")
    if why:
        yield replace(item, outcome=Outcome.NOT_COMPARABLE, change=None, why=why)
        return
    outcome, moved = beyond(change, 100 * tolerance), after.value != before.value
    item = replace(
        item, outcome=outcome, moved=moved, tolerance=100 * tolerance, why=f"tolerance {100 * tolerance:g} %"
    )
    places = [_location(measured) for measured in (after, before)]
    if places[0] and places[1] and (places[0].error or places[1].error):
        item = with_interval(item, change_of(places[0], places[1], 0.0))
    yield item


def _from_nothing(name: str, new: Cell, before: Measurement, after: Measurement, why: str) -> Item:
    """Compare with 0, of which there are no percent: whatever is more is worse."""
    item = Item(new.id, name, Outcome.UNCHANGED, before.value, after.value, before.unit, moved=bool(after.value))
    if why:
        return replace(item, outcome=Outcome.NOT_COMPARABLE, why=why)
    outcome = beyond(after.value, 0.0)
    return replace(item, outcome=outcome, change=after.value, change_unit=before.unit, tolerance=0.0, why="0 before")


def _location(measured: Measurement) -> Location | None:
    """Estimate a mean with its error, from one value per process or the recorded spread; None where nothing repeats."""
    if measured.values and len(measured.values) > 1:
        return trimmed_mean(measured.values)
    if measured.spread is None or measured.n < 2:
        return None
    return Location(measured.value, measured.spread / sqrt(measured.n), measured.n - 1)


def structures(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare the census; a difference counts as worse, as for the judges, until somebody accepts it."""
    if old.census is None or new.census is None:
        yield from lone("census", new, (old.census, new.census), both)
        return
    differences = gate.differences(new.census, old.census, bool(old.seeds or new.seeds))
    sentences = gate.summed_up(differences, len(new.census.compute))
    more = f"; and {len(sentences) - MOST_DIFFERENCES} more" if len(sentences) > MOST_DIFFERENCES else ""
    outcome = Outcome.WORSE if differences else Outcome.UNCHANGED
    yield Item(new.id, "census", outcome, why="; ".join(sentences[:MOST_DIFFERENCES]) + more, moved=bool(differences))


def memories(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare the planned arena, the peak's ratio to the float control's, and the control's own peak."""
    before, after = old.measurements.get("arena"), new.measurements.get("arena")
    if before is None or after is None:
        yield from lone("arena", new, (before, after), both)
    else:
        change = after.value - before.value
        item = Item(new.id, "arena", beyond(change, gate.ARENA_TOLERANCE), before.value, after.value, before.unit)
        why = f"tolerance {gate.ARENA_TOLERANCE:g} bytes"
        yield replace(
            item, change=change, change_unit="bytes", tolerance=gate.ARENA_TOLERANCE, why=why, moved=bool(change)
        )
    same_kernels = both.old.report.environment.isa == both.new.report.environment.isa
    tolerance = gate.RATIO_TOLERANCE if same_kernels else gate.OTHER_KERNELS_TOLERANCE
    yield from _relative("memory_ratio", old, new, both, tolerance)
    if new.variant == "float32":  # the others' peaks are compared by their ratio to it
        classes = [memory_class(side.report.environment) for side in (both.old, both.new)]
        why = "" if classes[0] == classes[1] else f"different machine profiles: {classes[0]} before, {classes[1]} now"
        yield from _relative("peak_memory", old, new, both, gate.PEAK_TOLERANCE, why)


def instructions(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare the instructions of a call, and name the operator that grew most; counts of one profile only."""
    if INSTRUCTIONS not in old.measurements and INSTRUCTIONS not in new.measurements:
        return
    profiles = [cell.counted.profile if cell.counted is not None else "" for cell in (old, new)]
    differ = profiles[0] != profiles[1] and all(profiles)
    why = f"counted on different processors: {profiles[0]} before, {profiles[1]} now" if differ else ""
    for item in _relative(INSTRUCTIONS, old, new, both, gate.INSTRUCTIONS_TOLERANCE, why):
        if item.outcome is Outcome.WORSE and not differ and old.counted is not None and new.counted is not None:
            told = gate.grown_most(old.counted, new.counted)
            item = replace(item, why=f"{item.why}; {told}") if told else item
        yield item


def latencies(old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    """Compare latency ratios for each number of threads: the control to the yardstick, variants to the control."""
    judged = judged_latency(new.variant)
    for name in sorted({*old.measurements, *new.measurements}):
        if name == name_at(judged, threads_in(name)):
            yield from _latency_item(name, old, new, both)


def _latency_item(name: str, old: Cell, new: Cell, both: Both) -> Iterator[Item]:
    before, after = old.measurements.get(name), new.measurements.get(name)
    if before is None or after is None:
        yield from lone(name, new, (before, after), both)
        return
    item = Item(new.id, name, Outcome.NOT_COMPARABLE, before.value, after.value, before.unit)
    classes = [with_threads(side.report.environment.machine_class, threads_in(name)) for side in (both.old, both.new)]
    if classes[0] != classes[1]:
        yield replace(item, why=f"different machine profiles: {classes[0]} before, {classes[1]} now")
    elif (before.value, before.values) == (after.value, after.values):
        yield replace(item, outcome=Outcome.UNCHANGED, why="the same samples", moved=False)
    elif len(before.values or []) < 2 or len(after.values or []) < 2:
        yield replace(item, why="timed in one process only, so its spread is unknown")
    else:
        yield _latency(item, before, after)


def _latency(item: Item, before: Measurement, after: Measurement) -> Item:
    assert before.values is not None
    assert after.values is not None
    change = change_of(
        trimmed_mean(after.values), trimmed_mean(before.values), gate.between_runs(threads_in(item.measurement))
    )
    item = replace(
        item,
        outcome=Outcome.UNCHANGED,
        change=100 * change.change,
        change_unit="%",
        tolerance=100 * gate.LATENCY_TOLERANCE,
        p_value=min(1.0, 2 * min(change.p_above(), change.p_below())),
        why=f"{len(after.values)} processes vs {len(before.values)} (Welch test of trimmed means)",
    )
    return with_interval(item, change)


def turns(new: Cell, both: Both) -> Iterator[Item]:
    """Compare interleaved timings: the mean ratio against 1, allowing for the variation between runs."""
    timed = both.timed.get(new.id)
    if timed is None:
        return
    change = change_of(trimmed_mean(timed.ratios()), Location(1.0, 0.0, 1), gate.between_runs(1))
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
        why=f"{len(timed.new)} interleaved pairs of fresh processes (trimmed mean of their ratios)",
    )
    yield with_interval(item, change)
    yield from _stalls(new, timed.stalls)


def _stalls(new: Cell, measured: Measurement | None) -> Iterator[Item]:
    """Compare the stalls of both artifacts: those of each in proportion to the time that it took."""
    tested = None if measured is None else gate.stalls_either_way(measured)
    if measured is None or tested is None:
        return
    p_value, stalls = tested
    sides = stalls.beside, stalls.artifact
    old, now = (100 * side.lost / side.usual if side.usual else 0.0 for side in sides)
    yield Item(
        new.id,
        STALLS,
        Outcome.UNCHANGED,
        old,
        now,
        "%",
        now - old,
        "%",
        tolerance=100 * gate.STALL_TOLERANCE,
        p_value=p_value,
        why=f"{sides[1].stalls} stalls of {1e3 * stalls.longer:g} ms and longer, {sides[0].stalls} of the old one, in "
        f"{measured.n} interleaved pairs of fresh processes (exact binomial test)",
    )
