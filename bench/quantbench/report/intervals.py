"""95 % intervals of measurements."""

import math

from quantbench.core.stats import normal_quantile, t_quantile
from quantbench.records import Cell, Measurement


def interval(cell: Cell, name: str, one: Measurement) -> tuple[float, float] | None:
    """Over repetitions by Student's t; a share of examples by Wilson's score interval."""
    repeats = len(one.values) if one.values and len(one.values) > 1 else one.n
    if one.spread is not None and repeats > 1:
        half = t_quantile(0.025, repeats - 1) * one.spread / math.sqrt(repeats)
        return one.value - half, one.value + half
    counted = name.endswith("agreement") or (name == "score" and "accuracy" in cell.metric)
    if counted and one.unit == "fraction" and one.n > 1 and 0 <= one.value <= 1:
        return _wilson(one.value, one.n)
    return None


def _wilson(share: float, n: int) -> tuple[float, float]:
    """By hand: scipy's (of ``binomtest``) tests as well, 0.2 ms each, and takes no mean of shares over seeds."""
    z = normal_quantile(0.025)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
