"""Compute 95 % intervals of measurements."""

import math

from quantbench.core.stats import half_width, normal_quantile
from quantbench.records import Cell, Measurement


def interval(cell: Cell, name: str, measurement: Measurement) -> tuple[float, float] | None:
    """Compute an interval: over repetitions by Student's t, of a fraction of examples by Wilson's score interval."""
    repeats = len(measurement.values) if measurement.values and len(measurement.values) > 1 else measurement.n
    if measurement.spread is not None and repeats > 1:
        half = half_width(measurement.spread, repeats)
        return measurement.value - half, measurement.value + half
    counted = name.endswith("agreement") or (name == "score" and "accuracy" in cell.metric)
    if counted and measurement.unit == "fraction" and measurement.n > 1 and 0 <= measurement.value <= 1:
        return _wilson(measurement.value, measurement.n)
    return None


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Compute it by hand: scipy's (of ``binomtest``) tests as well, 0.2 ms each, and takes no mean over seeds."""
    z = normal_quantile(0.025)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
