"""Find slow drifts of a cell towards its release limit, or away from it."""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from quantbench.comparison.change_points import best_step
from quantbench.comparison.noise import autocorrelation
from quantbench.comparison.shifts import LEAST_RUNS
from quantbench.comparison.trends import Trend

CLEAR = 0.99  # confidence of a slope
SLOPE_RUNS = 30  # runs that a slope is given per


@dataclass(frozen=True)
class DriftSlope:
    """Describe a slow drift towards the floor, or away from it.

    Attributes:
        slope: of the drop from the control, in ``unit`` per 30 runs; ``low`` and ``high`` are its 99 % interval.
        left: how much more may be lost, in ``unit``.
        runs_left: runs until the floor is reached at this slope; None where it moves away from the floor.
    """

    slope: float
    low: float
    high: float
    unit: str
    left: float
    runs_left: int | None


def drift_slope(trend: Trend, newest: int = 0) -> DriftSlope | None:
    """Estimate how fast the drop from the control grows; None unless the slope is clear: the interval of the Theil-Sen
    slope excludes 0, and a line fits the drops better than any single step.

    Sources: Sen 1968; the interval is that of Kendall's tau for independent runs, widened for noise that remembers as
    by Hamed & Rao 1998, "A modified Mann-Kendall trend test for autocorrelated data", with an AR(1).
    """
    limits = trend.values["floor_limit"]
    places = np.flatnonzero(np.isfinite(trend.values["floor_drop"]) & np.isfinite(limits))[-newest:]
    y = trend.values["floor_drop"][places]
    if len(y) < LEAST_RUNS or float(y.min()) == float(y.max()):
        return None
    from scipy.stats import theilslopes

    x = np.arange(len(y), dtype=float)
    slope, intercept, low, high = (float(value) for value in theilslopes(y, x, CLEAR))
    residuals = y - slope * x - intercept
    correlation = autocorrelation(residuals)
    wider = sqrt((1 + correlation) / (1 - correlation))
    low, high = slope - wider * (slope - low), slope + wider * (high - slope)
    line = float(np.sum(residuals**2))
    if low <= 0 <= high or line >= best_step(y):
        return None
    left = float(limits[places[-1]]) - float(np.median(y[-5:]))
    runs_left = max(0, ceil(left / slope)) if slope > 0 else None
    return DriftSlope(SLOPE_RUNS * slope, SLOPE_RUNS * low, SLOPE_RUNS * high, trend.scoring.unit, left, runs_left)
