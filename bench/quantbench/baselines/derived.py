"""Recompute what an accepted value follows from: its tolerance by the rule in code, its spread from its repetitions.

What a file says of these fields decides nothing alone: a run judges by the narrower of the file's tolerance and the
rule's, and by the recomputed noise.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from quantbench import gate
from quantbench.baselines.files import scores_over_seeds
from quantbench.core import seed_spread
from quantbench.core.stats import trimmed_mean
from quantbench.records import BaselineCell, BaselineValue
from quantbench.records.measurements import (
    INSTRUCTIONS,
    MICRO_ARENA,
    OF_YARDSTICK,
    OUTPUT_DISTANCE,
    STALLS,
    without_output,
)
from quantbench.variants import by_training

LATENCY, PEAK = "latency", "peak_memory"
# The tolerance of each measurement: the rule by which an update writes it.
TOLERANCES: Mapping[str, float] = {
    "score": 0.0,
    OUTPUT_DISTANCE: gate.SMALLEST_EFFECT,
    **gate.SIZE_TOLERANCES,
    "arena": gate.ARENA_TOLERANCE,
    "memory_ratio": gate.RATIO_TOLERANCE,
    PEAK: gate.PEAK_TOLERANCE,
    "model_memory": gate.MODEL_TOLERANCE,
    INSTRUCTIONS: gate.INSTRUCTIONS_TOLERANCE,
    MICRO_ARENA: gate.MICRO_ARENA_TOLERANCE,
    OF_YARDSTICK: gate.LATENCY_TOLERANCE,
    **{name: rule.tolerance for name, rule in gate.RULES.items()},
    STALLS: gate.STALL_TOLERANCE,
    LATENCY: gate.LATENCY_TOLERANCE,
}
_CLOSE = 1e-6  # files keep nine digits


def _tolerance(what: str, otherwise: float) -> float:
    """Return the tolerance by its rule; of a further output, that of any score."""
    return TOLERANCES.get(without_output(what), otherwise)


class Mismatch(NamedTuple):
    """A field that does not follow from what it is derived from."""

    field: str
    found: float
    expected: float

    def __str__(self) -> str:
        return f"field '{self.field}' is {self.found:.6g}, and {self.expected:.6g} follows from its rule"


def by_rule(cell: BaselineCell, pooled: float | None = None) -> BaselineCell:
    """Return the cell with tolerances no wider than their rules', and with recomputed noise.

    Args:
        pooled: spread of one training, as other cells tell it, for a trained cell with one seed; None where unknown.
    """

    def bounded(what: str, value: BaselineValue) -> BaselineValue:
        update: dict[str, float] = {"tolerance": min(value.tolerance, _tolerance(what, value.tolerance))}
        noise = _noise(what, value, pooled)
        if noise is not None and not _equal(noise, value.noise):
            update["noise"] = noise
        return value.model_copy(update=update)

    return cell.model_copy(
        update={
            "measurements": {name: bounded(name, value) for name, value in cell.measurements.items()},
            "latency": {machine: bounded(LATENCY, value) for machine, value in cell.latency.items()},
            "peak_memory": {machine: bounded(PEAK, value) for machine, value in cell.peak_memory.items()},
            "by_machine": {
                name: {machine: bounded(name, value) for machine, value in values.items()}
                for name, values in cell.by_machine.items()
            },
        }
    )


def pooled_noise(cells: Mapping[str, BaselineCell], measurement: str = "score") -> dict[str, float]:
    """Map each trained variant to the spread of one training that is pooled for it; empty where none has two seeds."""
    samples = {name: seed_spread.sample(values) for name, values in scores_over_seeds(cells, measurement).items()}
    found = {name: seed_spread.pooled(seed_spread.lenders(*by_training(name, samples))[0]) for name in samples}
    return {name: one.sd for name, one in found.items() if one.degrees}


def mismatches(cell: BaselineCell, pooled: float | None, examples: int | None = None) -> Iterator[Mismatch]:
    """List the fields of a cell that do not follow from their rule.

    Args:
        examples: number of stored predictions; None where there are none.
    """
    values = [("measurements", name, name, value) for name, value in cell.measurements.items()]
    values += [("latency", machine, LATENCY, value) for machine, value in cell.latency.items()]
    values += [("peak_memory", machine, PEAK, value) for machine, value in cell.peak_memory.items()]
    for name, by_class in cell.by_machine.items():
        values += [(f"by_machine.{name}", machine, name, value) for machine, value in by_class.items()]
    for overlay_class, overlay in cell.overlays.items():
        where = f"overlays.{overlay_class}.measurements"
        values += [(where, name, name, value) for name, value in overlay.measurements.items()]
    for where, key, what, value in values:
        for field, found, expected in _expected(what, value, pooled, examples):
            if expected is not None and not _equal(found, expected):
                yield Mismatch(f"{where}.{key}.{field}", found, expected)


def _expected(
    what: str, value: BaselineValue, pooled: float | None, examples: int | None
) -> Iterator[tuple[str, float, float | None]]:
    yield "tolerance", value.tolerance, TOLERANCES.get(without_output(what))
    yield "noise", value.noise, _noise(what, value, pooled)
    if without_output(what) in ("score", OUTPUT_DISTANCE) and value.values:
        yield "value", value.value, float(np.mean(value.values))
    if without_output(what) == "score":
        yield "n", value.n, examples
    if what == LATENCY and value.values and len(value.values) > 1:
        yield "value", value.value, trimmed_mean(value.values).mean
        yield "n", value.n, len(value.values)
    if what in gate.SIZE_TOLERANCES or what in ("arena", MICRO_ARENA):
        yield "n", value.n, 1


def _noise(what: str, value: BaselineValue, pooled: float | None) -> float | None:
    """Return the noise that a value's repetitions show; None where only its seal protects it."""
    if (
        what in gate.SIZE_TOLERANCES
        or what in ("arena", MICRO_ARENA, INSTRUCTIONS)
        or (without_output(what) in ("score", OUTPUT_DISTANCE) and not value.values)
    ):
        return 0.0
    if value.values and len(value.values) > 1:
        return float(np.std(value.values, ddof=1))
    return pooled if what == "score" else None


def _equal(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=_CLOSE, abs_tol=1e-9)
