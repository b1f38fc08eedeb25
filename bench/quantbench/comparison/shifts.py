"""Find where the level of a measurement changed.

Shifts of noisy measurements are change points found by ruptures (:mod:`quantbench.comparison.change_points`), with the
noise's long-run variance (:mod:`quantbench.comparison.noise`). For measurements that repeat exactly, each difference is
a shift; of a trained cell's score, each one that is beyond the spread of its trainings, as an upgrade trains anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log, sqrt

import numpy as np

from quantbench.comparison import change_points
from quantbench.comparison.change_points import best_step
from quantbench.comparison.noise import across_shifts, long_run_variance, within_levels
from quantbench.comparison.summary import EXACT, MEASUREMENTS, Summary
from quantbench.comparison.trends import Trend
from quantbench.core.arrays import Array
from quantbench.core.stats import t_quantile
from quantbench.records import Located

# Times the long-run variance and the logarithm of the number of runs. Measured on 1,500 simulated series each, a false
# shift in at most 0.1 % of series of 20 to 200 independent runs. Where neighbours are correlated by .5: in 1.5 % of
# 20 runs, 0.5 % of 30, 0.1 % of 100; by .8: in 3 % of 20, 1.8 % of 30, 0.2 % of 100.
PENALTY = 4.0
LEAST_RUNS = 20  # of a noisy measurement: with fewer, the noise is not known well enough
TRAINED = 5e-4  # one-sided probability that two trainings lie so far apart by chance, for a shift
SMALLEST_SHIFT = 0.01  # of a noisy measurement, as a fraction: the judges' tolerance of a ratio
SEARCHED = 1000  # values that are searched at once where it must be quick: the time grows with their number squared


@dataclass(frozen=True)
class Step:
    """Describe a lasting level shift: ``since`` is the first run at the new level, ``before`` the last at the old one.

    Attributes:
        old, new: mean from the previous shift to this one, and from this one to the next.
    """

    measurement: str
    before: Summary
    since: Summary
    old: float
    new: float


def steps(trend: Trend, name: str, quick: bool = False) -> list[Step]:
    """Find where a measurement's level changed, oldest first.

    Args:
        quick: search noisy measurements only where a single step explains enough of the variance; a hundred times
            faster, but it misses a temporary shift. Of a long series see :func:`_long`.
    """
    places, x = values_of(trend, name)
    if len(x) < 2 or float(x.min()) == float(x.max()):
        return []
    if repeats(name, x, trend):
        at = [int(i) + 1 for i in np.flatnonzero(np.diff(x))]
        if name == "score" and trend.trained:
            at = [start for start in at if abs(x[start] - x[start - 1]) > training_tolerance(trend, places, start)]
        return _steps_at(trend, name, places, at)
    if quick and len(x) > SEARCHED:
        places, at = _long(places, x)
    else:
        at = starts(x, quick) if len(x) >= LEAST_RUNS else []
    steps_found = _steps_at(trend, name, places, at)
    return (
        steps_found
        if name == "score"
        else [step for step in steps_found if abs(step.new / step.old - 1) > SMALLEST_SHIFT]
    )


def moved(trend: Trend) -> Sequence[Step]:
    """Return the last shift of each measurement, by the quick search."""
    return [found[-1] for name in MEASUREMENTS if (found := steps(trend, name, quick=True))]


def values_of(trend: Trend, name: str) -> tuple[Array, Array]:
    """Return the places, among the runs of a trend, where a measurement has a value, and these values."""
    places = np.flatnonzero(np.isfinite(trend.values[name]))
    return places, trend.values[name][places]


def training_tolerance(trend: Trend, places: Array, start: int) -> float:
    """Return how far the scores of two trainings lie apart by chance; infinite where their spread is not known.

    Args:
        places: of the measured runs; ``start`` is the place among them of the later training.
    """
    if trend.spread is None:
        return inf
    seeds = [trend.runs[int(places[at])].seeds.get(trend.cell, 1) for at in (start - 1, start)]
    return t_quantile(TRAINED, trend.spread.degrees) * trend.spread.error(*seeds)


def of_unknown_spread(trend: Trend) -> bool:
    """Return whether a trained cell's score changed, and nothing says how much chance does to it."""
    _, x = values_of(trend, "score")
    return trend.trained and trend.spread is None and len(x) > 1 and float(x.min()) < float(x.max())


def repeats(name: str, x: Array, trend: Trend) -> bool:
    """Check whether a series mostly repeats exactly; for few runs, whether the measurement is exact and untrained."""
    if len(x) < LEAST_RUNS and name in EXACT and (name != "score" or not trend.trained):
        return True
    return int(np.count_nonzero(np.diff(x) == 0)) >= (len(x) - 1) / 2


def starts(x: Array, quick: bool) -> list[int]:
    """Find where a new level starts in noisy values of shape (n,), whose neighbours may resemble each other.

    The noise is first estimated across all shifts, then within the levels that were found. Where that makes the noise
    larger, the search is repeated.
    """
    correlation, found = across_shifts(x), list[int]()
    for _ in range(3):  # a second repetition changed nothing in nearly all simulated series
        noise, penalty = sqrt(long_run_variance(x, correlation)), PENALTY * log(len(x))
        if not noise:
            return []
        scaled = (x - np.median(x)) / noise
        if quick and float(np.sum((scaled - scaled.mean()) ** 2)) - best_step(scaled) <= penalty:
            return []
        found = change_points.starts(scaled, penalty)
        again = within_levels(x, found)
        if not found or again <= correlation:
            break
        correlation = again
    return found


def _long(places: Array, x: Array) -> tuple[Array, list[int]]:
    """Find where new levels start in more than ``SEARCHED`` noisy values: among the newest ones, else in all.

    In all, means of neighbouring values are searched, and each start is then placed where it leaves the least squares.

    Returns:
        The places that were searched, and the starts among them.
    """
    found = starts(x[-SEARCHED:], quick=True)
    if found:
        return places[-SEARCHED:], found
    width = ceil(len(x) / SEARCHED)
    places, x = places[len(x) % width :], x[len(x) % width :]
    coarse = [width * start for start in starts(x.reshape(-1, width).mean(axis=1), quick=True)]
    edges = [0, *coarse, len(x)]
    return places, [
        _placed(x[before:after], before, start, width)
        for before, start, after in zip(edges, coarse, edges[2:], strict=False)
    ]


def _placed(x: Array, first: int, start: int, width: int) -> int:
    """Return where in ``x``, whose first value has the place ``first``, the level changes, near ``start``."""
    n = np.arange(start - first - width + 1, start - first + width)
    sums = np.cumsum(x - x.mean())[n - 1]
    return first + int(n[np.argmax(sums**2 * (1 / n + 1 / (len(x) - n)))])


def _steps_at(trend: Trend, name: str, places: Array, at: list[int]) -> list[Step]:
    """Build the shifts from the positions, among the measured values, where a new level starts."""
    x = trend.values[name][places]
    edges = [0, *at, len(x)]
    return [
        Step(
            name,
            trend.runs[int(places[start - 1])],
            trend.runs[int(places[start])],
            float(x[edges[i] : start].mean()),
            float(x[start : edges[i + 2]].mean()),
        )
        for i, start in enumerate(at)
    ]


def cause_of(trend: Trend, step: Step) -> tuple[Summary, Located] | None:
    """Return the operator that a shift of the score comes from, with the run that found it; None where none did.

    It is the run in which the shift was first seen, or a later one at the same level: a run looks for causes only where
    the score is red, and of many red cells only those of some.
    """
    if step.measurement != "score":
        return None
    begins = next(place for place, run in enumerate(trend.runs) if run is step.since)
    later = [other.since for other in steps(trend, "score", quick=True) if other.since is not step.since]
    for run in trend.runs[begins:]:
        if any(run is other for other in later):
            break
        if trend.cell in run.causes:
            return run, run.causes[trend.cell]
    return None
