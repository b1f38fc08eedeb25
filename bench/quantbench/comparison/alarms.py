"""Tell what somebody should look at today: a measurement that got worse, only lately, and that stayed so.

An alarm needs three things: the level changed for the worse by more than the judges' tolerance and than chance; it did
so within the newest ``NEW`` runs of its series, so that an alarm ends by itself; and it stays, over ``STAYS`` runs.

Error rates are kept by the night: :data:`ALPHA` and :data:`ALPHA_EXACT` are such that 200 healthy cells raise less than
one alarm in 30 nightly runs. ``studies/history_alarms.py`` measures that over a year.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np

from quantbench import gate
from quantbench.comparison.noise import level_change
from quantbench.comparison.shifts import LEAST_RUNS, TRAINED, Step, repeats, starts, training_tolerance, values_of
from quantbench.comparison.summary import MEASUREMENTS
from quantbench.comparison.trends import Trend
from quantbench.core.arrays import Array
from quantbench.records.measurements import INSTRUCTIONS

STAYS = 3  # runs at the new level: one or two that stand out are gone again in most cases
NEW = 7  # runs
BEFORE = 100  # newest runs of the old level that the noise is estimated from
# One-sided, of one noisy series in one night. Chosen by simulation with noise that is correlated by .8 from night to
# night: 400 series raised no alarm in 16 times 60 nights, and at twice this level one in 57 nights of a year.
ALPHA = 5e-6
CHANCE = 3.0  # standard errors of a mean if no night resembled the last one: a smaller step is none
ALPHA_EXACT = TRAINED  # one-sided, of one cell's score where it changed: at an upgrade, about once a month
# Share of the examples whose answer a healthy upgrade turns from right to wrong, and as many the other way round: 20 of
# 10,000 each way. An assumption: between the kinds of processor seen so far no shipped cell changed as much.
CHURN = 0.002
FEW_EXAMPLES = 1000  # assumed for summaries of runs that did not store the number of examples
RELATIVE = {
    "memory_ratio": gate.RATIO_TOLERANCE,
    INSTRUCTIONS: gate.INSTRUCTIONS_TOLERANCE,
    **gate.SIZE_TOLERANCES,
}
SMALLEST_DROP = 0.1  # in the unit of a metric that counts right and wrong, pp


@dataclass(frozen=True)
class Alarm:
    """Describe a measurement that lately got worse and stayed so.

    Attributes:
        step: ``old`` is the level before, ``new`` the mean of the runs since.
        runs: how many runs it has stayed so.
        how: how it was told from chance, one phrase.
    """

    step: Step
    runs: int
    how: str


def alarms(trend: Trend) -> Iterator[Alarm]:
    """Yield the alarms of one cell on one kind of machine, as of its newest run."""
    for name in MEASUREMENTS:
        places, x = values_of(trend, name)
        if len(x) <= STAYS or float(x.min()) == float(x.max()):
            continue
        worse = -x if name == "score" and trend.scoring.higher_is_better else x
        if repeats(name, x, trend):
            found = _exact(trend, name, worse)
        else:
            found = _noisy(name, worse) if len(x) >= LEAST_RUNS else None
        if found is not None:
            start, old, how = found
            at = trend.runs[int(places[start - 1])], trend.runs[int(places[start])]
            old = -old if worse is not x else old
            yield Alarm(Step(name, *at, old, float(x[start:].mean())), len(x) - start, how)


def _exact(trend: Trend, name: str, x: Array) -> tuple[int, float, str] | None:
    """Find the first run of a new level that every run since has kept, in a series that mostly repeats exactly."""
    for runs in range(min(NEW, len(x) - 2), STAYS - 1, -1):
        start = len(x) - runs
        old = float(x[start - 1])
        if old != x[start - 2] or old == x[start]:
            continue  # the level before must itself have stayed
        tolerance, how = _tolerance(trend, name, start, abs(old))
        if float((x[start:] - old).min()) > tolerance:
            return start, old, how
    return None


def _tolerance(trend: Trend, name: str, start: int, old: float) -> tuple[float, str]:
    """Return how much worse a value that repeats may be, in its unit, and why."""
    if name != "score":
        if name == "arena":
            return gate.ARENA_TOLERANCE, f"tolerance {gate.ARENA_TOLERANCE:g} bytes"
        relative = RELATIVE.get(name, gate.LATENCY_TOLERANCE)
        return relative * old, f"tolerance {100 * relative:g} %"
    places, _ = values_of(trend, name)
    if trend.trained:
        sd = f"{trend.scoring.scale * trend.spread.sd:.2f} {trend.scoring.unit}" if trend.spread else "not known"
        return training_tolerance(trend, places, start), f"beyond the spread between trainings (sd {sd})"
    if trend.scoring.scale != 100:
        return gate.LATENCY_TOLERANCE * old, f"tolerance {100 * gate.LATENCY_TOLERANCE:g} % of the score"
    counted = trend.values["examples"][places[start]]
    n = int(counted) if np.isfinite(counted) else FEW_EXAMPLES
    lost = max(flips(n), SMALLEST_DROP / 100 * n)
    return (lost - 0.5) / n, f"more than an upgrade changes by chance ({lost:.0f} of {n:,} examples)"


@lru_cache
def flips(n: int) -> int:
    """Return the fewest net lost examples of ``n`` that a healthy upgrade explains with at most ``ALPHA_EXACT``.

    Lost and gained examples are two Poisson counts; their difference has Skellam's distribution (Skellam 1946).
    """
    from scipy.stats import skellam

    mean = CHURN * n
    return int(skellam.isf(ALPHA_EXACT, mean, mean)) + 1


def _noisy(name: str, x: Array) -> tuple[int, float, str] | None:
    """Find a step up among the newest runs that is beyond noise, beyond the tolerance, and stays."""
    relative = RELATIVE.get(name, gate.LATENCY_TOLERANCE) if name != "score" else 0.0
    for runs in range(NEW, STAYS - 1, -1):
        start = len(x) - runs
        if start < LEAST_RUNS - STAYS:
            continue
        old = _one_level(x[max(0, start - BEFORE) : start])
        after = x[start:]
        if float(after[-STAYS:].min()) <= float(np.median(old)):
            continue
        error = float(old.std(ddof=1)) * sqrt(1 / len(after) + 1 / len(old))
        if float(after.mean() - old.mean()) < CHANCE * error:  # which saves the better test for a few cells
            continue
        found = level_change(old, after)
        lasting = bool(np.all(after[-STAYS:] - found.before > found.size / 3))
        if lasting and found.size > relative * abs(found.before) and found.p_above <= ALPHA:
            return start, found.before, f"p = {found.p_above:.1g} (accounts for correlated noise)"
    return None


def _one_level(before: Array) -> Array:
    """Keep what came after the last shift, where that is enough to estimate noise from."""
    at = starts(before, quick=True) if len(before) >= LEAST_RUNS else []
    return before[at[-1] :] if at and len(before) - at[-1] >= LEAST_RUNS else before
