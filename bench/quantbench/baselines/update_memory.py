"""What a baseline takes of a cell's memory: arena, ratio to float32, and float32's own peak by machine class."""

from quantbench import gate
from quantbench.records import Accepted, BaselineValue, Cell

FRESH = "sd over fresh processes of one run"


def values(cell: Cell, accepted: Accepted) -> dict[str, BaselineValue]:
    """``arena`` and ``memory_ratio``, as far as the cell has them."""
    found = {}
    if "arena" in cell.measurements:
        found["arena"] = _value(
            cell, "arena", gate.ARENA_TOLERANCE, gate.ARENA_TOLERANCE_REASON, "a plan repeats exactly", accepted
        )
    if "memory_ratio" in cell.measurements:
        found["memory_ratio"] = _value(
            cell, "memory_ratio", gate.RATIO_TOLERANCE, gate.RATIO_TOLERANCE_REASON, FRESH, accepted
        )
    return found


def peak(cell: Cell, accepted: Accepted) -> BaselineValue | None:
    """The float control's own peak; None of any other cell, or where it was not measured."""
    if cell.variant != "float32" or "peak_memory" not in cell.measurements:
        return None
    return _value(cell, "peak_memory", gate.PEAK_TOLERANCE, gate.PEAK_TOLERANCE_REASON, FRESH, accepted)


def stays(old: BaselineValue | None, new: BaselineValue) -> bool:
    """Whether a peak or ratio moved by less than half its tolerance: three sd at least, so reruns move no baseline."""
    return old is not None and old.noise > 0 and abs(new.value - old.value) <= old.tolerance * old.value / 2


def _value(
    cell: Cell, name: str, tolerance: float, tolerance_from: str, noise_from: str, accepted: Accepted
) -> BaselineValue:
    measured = cell.measurements[name]
    return BaselineValue(
        value=measured.value,
        unit=measured.unit,
        n=measured.n,
        noise=measured.spread or 0.0,
        noise_from=noise_from,
        tolerance=tolerance,
        tolerance_from=tolerance_from,
        accepted=accepted,
    )
