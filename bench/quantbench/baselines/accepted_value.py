"""Make one accepted value from a run's measurement and the value accepted before it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from quantbench import gate
from quantbench.core.environment import NOT_RECORDED
from quantbench.core.stats import Change, change_of, t_quantile, trimmed_mean
from quantbench.records import Accepted, BaselineCell, BaselineValue, Cell, Measurement
from quantbench.records.measurements import (
    OF_YARDSTICK,
    OUTPUT_DISTANCE,
    RATIO,
    TO_YARDSTICK,
    threads_in,
    without_output,
)

# An update moves a value that changed by more than chance does in 1 of 20 comparisons of nothing with nothing: two
# standard errors of the difference, as far as the degrees of freedom are many.
MOVED_BY_CHANCE = 0.05
LEAST_DEGREES = (
    4  # of a noise that other cells lend: those of one cell with five seeds, the fewest that an update takes
)


class Distance(NamedTuple):
    """How far two values are apart, in standard errors of their difference, and how far chance takes them."""

    errors: float
    chance: float


@dataclass(frozen=True)
class Move:
    """Describe one measurement of one cell before and after.

    Attributes:
        old: accepted value; None where there was none.
        errors: change in standard errors of the difference of the two values; None where repeating changes nothing.
        moves: whether an update would accept the new value.
        first: the first value that was ever accepted; None where this is the first.
        between: what changed between the two measurements: commits and package versions.
    """

    cell: str
    measurement: str
    unit: str
    old: float | None
    new: float
    errors: float | None
    moves: bool
    first: float | None = None
    between: str = ""


def move_of(cell: Cell, name: str, old: BaselineValue | None, new: BaselineValue) -> Move:
    """Compare a measurement with its accepted value; it moves by the rule of :func:`has_moved`."""
    if old is None:
        return Move(cell.id, name, new.unit, None, new.value, None, moves=True)
    far = distance(name, old, new)
    came = between(old.accepted, new.accepted)
    first = gate.first_of(old).value
    errors = None if far is None else far.errors
    return Move(cell.id, name, new.unit, old.value, new.value, errors, has_moved(name, old, new), first, came)


def has_moved(name: str, old: BaselineValue, new: BaselineValue) -> bool:
    """Check whether a value changed by more than the standard error of the difference leaves to chance.

    What repeats exactly has moved if it changed at all.
    """
    far = distance(name, old, new)
    return new.value != old.value if far is None else far.errors > far.chance


def distance(name: str, old: BaselineValue, new: BaselineValue) -> Distance | None:
    """Measure how far two values are apart, each a mean of its own repetitions (Student 1908; Welch 1947).

    Ratios of latencies are compared as their judge does (:func:`quantbench.core.stats.change_of`, with the noise
    between runs, and between hosts where another one measured). None where repeating changes nothing.
    """
    bare = name.removesuffix(f"_{threads_in(name)}_threads")
    if bare in (RATIO, TO_YARDSTICK, OF_YARDSTICK, *gate.RULES) and _repeated(old) and _repeated(new):
        rule = gate.RULES.get(bare)
        between_runs = rule.between if rule is not None else gate.between_runs(threads_in(name))
        far = gate.elsewhere(old, new.accepted.host or "")
        between_hosts = gate.spread_of_hosts(old.hosts) if far else 0.0
        return _latency_distance(old, new, math.hypot(between_runs, between_hosts))
    noises = [value.noise for value in (old, new) if value.noise]
    if not noises:
        return None
    n_old, n_new = _repetitions(old), _repetitions(new)
    sd = math.sqrt(sum(noise**2 for noise in noises) / len(noises))
    error = sd * math.sqrt(1 / n_old + 1 / n_new)
    degrees = max(LEAST_DEGREES, n_old + n_new - 2)
    return Distance(abs(new.value - old.value) / error, t_quantile(MOVED_BY_CHANCE / 2, degrees))


def _latency_distance(old: BaselineValue, new: BaselineValue, between_runs: float) -> Distance:
    assert old.values is not None
    assert new.values is not None
    change: Change = change_of(trimmed_mean(new.values), trimmed_mean(old.values), between_runs)
    return Distance(abs(change.change) / change.error, t_quantile(MOVED_BY_CHANCE / 2, change.degrees))


def _repeated(value: BaselineValue) -> bool:
    return value.values is not None and len(value.values) > 1


def _repetitions(value: BaselineValue) -> int:
    """Count what a value is a mean of: seeds or processes; n of a score counts examples."""
    if value.values:
        return len(value.values)
    return value.n if value.noise_from.startswith("sd over fresh processes") else 1


def between(old: Accepted, new: Accepted) -> str:
    """List the commits and package versions that changed between two measurements, as far as both recorded them."""
    before, after = _facts(old), _facts(new)
    changed = [
        f"{name} {before.get(name, NOT_RECORDED)} → {after.get(name, NOT_RECORDED)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    commits = [
        (accepted.commit[:12] if accepted.commit else NOT_RECORDED) + ("+" if _dirty(accepted) else "")
        for accepted in (old, new)
    ]
    changed.append(f"commit {commits[0]}" if commits[0] == commits[1] else f"commits {commits[0]} → {commits[1]}")
    return ", ".join(changed)


def _dirty(accepted: Accepted) -> bool:
    return bool(accepted.commit and accepted.commit.endswith("-dirty"))


def _facts(accepted: Accepted) -> dict[str, str]:
    """Parse name -> version from the line that :func:`quantbench.core.environment.describe` makes."""
    processor, _, rest = accepted.environment.partition(", Python ")
    packages = [part.rpartition(" ") for part in f"Python {rest}".split(", ")]
    return {"CPU": processor} | {name: version for name, _, version in packages}


def value_of(name: str, cell: Cell, accepted: Accepted) -> BaselineValue:
    """Make the accepted value of a score, a size or the distance of the outputs."""
    measured = cell.measurements[name]
    if without_output(name) == "score":
        return BaselineValue(
            value=measured.value,
            unit=measured.unit,
            n=measured.n,
            noise=measured.spread or 0.0,
            noise_from="sd over seeds"
            if cell.seeds
            else "conversion and inference repeat exactly; any change is tested",
            values=measured.values,
            tolerance=0.0,
            tolerance_from="the spread of trainings and the run's false-alarm budget, worked out when it is judged"
            if cell.seeds
            else "none needed: changed predictions get a paired test",
            accepted=accepted,
        )
    if without_output(name) == OUTPUT_DISTANCE:
        return BaselineValue(
            value=measured.value,
            unit=measured.unit,
            n=measured.n,
            noise=measured.spread or 0.0,
            noise_from="sd over seeds" if cell.seeds else "conversion and inference repeat exactly",
            values=measured.values,
            tolerance=gate.SMALLEST_EFFECT,
            tolerance_from=gate.FIDELITY_REASON,
            accepted=accepted,
        )
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=1,
        noise=0.0,
        noise_from="a file has one size",
        tolerance=gate.SIZE_TOLERANCES[name],
        tolerance_from=gate.SIZE_TOLERANCE_REASONS[name],
        accepted=accepted,
    )


def latency_of(measured: Measurement, accepted: Accepted) -> BaselineValue:
    """Make the accepted value of a latency from one value per process."""
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=measured.n,
        noise=measured.spread or 0.0,
        noise_from="sd over fresh processes of one run",
        values=measured.values,
        tolerance=gate.LATENCY_TOLERANCE,
        tolerance_from=gate.LATENCY_TOLERANCE_REASON,
        accepted=accepted,
        stalls=measured.stalls,
    )


def following(value: BaselineValue, old: BaselineValue | None) -> BaselineValue:
    """Carry the first accepted value, and a loosened tolerance if still wider, over to a new value."""
    loosened = old.loosened if old and not outgrown_by(old, value.tolerance) else None
    return value.model_copy(update={"first": gate.first_of(old or value), "loosened": loosened})


def outgrown_by(value: BaselineValue, derived: float) -> bool:
    """Check whether a computed tolerance is now as wide as the loosened one."""
    return value.loosened is not None and value.loosened.tolerance <= derived


def without_outgrown(cell: BaselineCell) -> BaselineCell:
    """Remove loosened tolerances that are no wider than the computed ones."""

    def kept(values: dict[str, BaselineValue]) -> dict[str, BaselineValue]:
        return {
            name: value.model_copy(update={"loosened": None}) if outgrown_by(value, value.tolerance) else value
            for name, value in values.items()
        }

    update = {
        "measurements": kept(cell.measurements),
        "latency": kept(cell.latency),
        "peak_memory": kept(cell.peak_memory),
        "by_machine": {name: kept(values) for name, values in cell.by_machine.items()},
    }
    return cell.model_copy(update=update)


def outgrown(old: BaselineCell, new: BaselineCell) -> list[str]:
    """List the tolerances that were loosened in the old cell and are not in the new one, which has the value still."""
    pairs = [(name, value, new.measurements.get(name)) for name, value in old.measurements.items()]
    pairs += [(f"latency of {name}", value, new.latency.get(name)) for name, value in old.latency.items()]
    pairs += [(f"peak memory of {name}", value, new.peak_memory.get(name)) for name, value in old.peak_memory.items()]
    for name, values in old.by_machine.items():
        now = new.by_machine.get(name, {})
        pairs += [(f"{name} of {machine}", value, now.get(machine)) for machine, value in values.items()]
    return [name for name, before, now in pairs if before.loosened and now is not None and now.loosened is None]
