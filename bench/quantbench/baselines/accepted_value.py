"""Make one accepted value from a run's measurement and the value accepted before it."""

from dataclasses import dataclass

from quantbench import gate
from quantbench.records import FLOAT_CONTROL, Accepted, BaselineCell, BaselineValue, Cell, Measurement
from quantbench.records.measurements import OUTPUT_DISTANCE


@dataclass(frozen=True)
class Move:
    """Describe one measurement of one cell before and after.

    Attributes:
        old: accepted value; None where there was none.
        noise_units: change in standard deviations of one repetition; None where nothing repeats.
        moves: whether an update would accept the new value.
        first: the first value that was ever accepted; None where this is the first.
        between: what changed between the two measurements: commits and package versions.
    """

    cell: str
    measurement: str
    unit: str
    old: float | None
    new: float
    noise_units: float | None
    moves: bool
    first: float | None = None
    between: str = ""


def move_of(cell: Cell, name: str, old: BaselineValue | None, new: BaselineValue) -> Move:
    """Compare a measurement with its accepted value; it moves if it changed by more than a third of its noise."""
    if old is None:
        return Move(cell.id, name, new.unit, None, new.value, None, moves=True)
    change = new.value - old.value
    units = abs(change) / old.noise if old.noise else None
    moves = change != 0 if units is None else units > 1 / 3
    came = between(old.accepted, new.accepted)
    first = gate.first_of(old).value
    return Move(cell.id, name, new.unit, old.value, new.value, units, moves, first, came)


def between(old: Accepted, new: Accepted) -> str:
    """List the commits and package versions that changed between two measurements, as far as both recorded them."""
    before, after = _facts(old), _facts(new)
    changed = [
        f"{name} {before.get(name, 'absent')} → {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    commits = [(accepted.commit or "unknown")[:12] + ("+" if _dirty(accepted) else "") for accepted in (old, new)]
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
    if name == "score":
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
    if name == OUTPUT_DISTANCE:
        of_reference = cell.variant == FLOAT_CONTROL
        return BaselineValue(
            value=measured.value,
            unit=measured.unit,
            n=measured.n,
            noise=measured.spread or 0.0,
            noise_from="sd over seeds" if cell.seeds else "conversion and inference repeat exactly",
            values=measured.values,
            tolerance=gate.FLOAT_EFFECT if of_reference else gate.SMALLEST_EFFECT,
            tolerance_from=gate.FLOAT_FIDELITY_REASON if of_reference else gate.FIDELITY_REASON,
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
    }
    return cell.model_copy(update=update)


def outgrown(old: BaselineCell, new: BaselineCell) -> list[str]:
    """List the tolerances that were loosened in the old cell and are not in the new one, which has the value still."""
    pairs = [(name, value, new.measurements.get(name)) for name, value in old.measurements.items()]
    pairs += [(f"latency of {name}", value, new.latency.get(name)) for name, value in old.latency.items()]
    pairs += [(f"peak memory of {name}", value, new.peak_memory.get(name)) for name, value in old.peak_memory.items()]
    return [name for name, before, now in pairs if before.loosened and now is not None and now.loosened is None]
