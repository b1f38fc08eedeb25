"""Compute the statistics of the judges: pure functions of numbers.

Tails and quantiles come from ``scipy.special``, with which ``scipy.stats`` computes them too: 0.1 s to load instead of
0.4 s, and imported only where one is asked for. By hand is what scipy lacks: Yuen's error of a trimmed mean from which
only summaries are kept, and intervals of paired fractions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantbench.core.arrays import Array

_AT_ONCE = 256  # points that are compared with all others at once: a few MB for 10,000 of them


def _special() -> Any:
    from scipy import special

    return special


@dataclass(frozen=True)
class Paired:
    """Count two models' predictions of the same n examples by right and wrong.

    Attributes:
        lost: examples that only the reference predicts correctly (newly wrong).
        gained: examples that only the new model predicts correctly (newly right).
    """

    n: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Return the drop of the fraction right; negative means better."""
        return (self.lost - self.gained) / self.n

    def p_worse(self) -> float:
        """Return the one-sided exact McNemar p-value: at least ``lost`` of the discordant pairs, if both were equal.

        Source: McNemar 1947; the exact form is the binomial test of the discordant pairs.
        """
        return _binomial_tail(self.lost, self.lost + self.gained)

    def p_better(self) -> float:
        """Return the p-value in the other direction."""
        return _binomial_tail(self.gained, self.lost + self.gained)


def _binomial_tail(k: int, n: int) -> float:
    return binomial_tail(k, n, 0.5)


def binomial_tail(k: int, n: int, share: float) -> float:
    """Compute the probability of at least k of n, each with probability ``share``: the incomplete beta function."""
    return 1.0 if k == 0 else float(_special().betainc(k, n - k + 1, share))


def binomial_tail_with_own(k: int, n: int, share: float, own: float) -> float:
    """Compute the probability of at least k of n where some belong there by themselves, and the others fall there with
    probability ``share``.

    Args:
        own: expected number of those that do; theirs is a Poisson distribution.
    """
    if own <= 0:
        return binomial_tail(k, n, share)
    special, there = _special(), np.arange(k)
    mass = np.exp(there * math.log(own) - own - special.gammaln(there + 1))
    tails = special.betainc(k - there, n - k + 1, share)
    return float(min(1.0, mass @ tails + (special.gammainc(k, own) if k else 1.0)))


def binomial_below_with_own(k: int, n: int, share: float, own: float) -> float:
    """Compute the probability of at most k of n, where some belong there as in :func:`binomial_tail_with_own`."""
    special, there = _special(), np.arange(k + 1)
    mass = np.exp(special.xlogy(there, own) - own - special.gammaln(there + 1))
    return float(mass @ special.bdtr(k - there, n - there, share))


def paired_interval(pairs: Paired) -> float:
    """Return the half width of the 95 % interval of a paired difference (Wald; Agresti, Categorical Data Analysis).

    One discordant pair is added to each side, so that zero discordant pairs do not give zero width.
    """
    lost, gained = pairs.lost + 1, pairs.gained + 1
    return 1.96 * math.sqrt(lost + gained - (lost - gained) ** 2 / pairs.n) / pairs.n


def pair(new: Array, old: Array) -> Paired:
    """Count the discordant pairs of two boolean arrays of shape (n,)."""
    return Paired(len(new), int(np.count_nonzero(old & ~new)), int(np.count_nonzero(new & ~old)))


def bootstrap_drop_sd(drop: Callable[[Array], float], n: int, rounds: int = 200) -> float:
    """Return the standard deviation of the drop between two sets of predictions, by the paired bootstrap: examples are
    resampled, the same for both (Efron & Tibshirani 1993, chapter 10).

    Args:
        drop: indices of examples, some of them repeated -> drop on these, the same for both models, in any unit.
        n: number of examples.
    """
    random = np.random.default_rng(0)
    drops = [drop(random.integers(0, n, n)) for _ in range(rounds)]
    # A sample without one of the classes has no area under the curve; such rounds are ignored.
    finite = [drop for drop in drops if math.isfinite(drop)]
    return float(np.std(finite, ddof=1)) if len(finite) > rounds // 2 else math.inf


def pooled_sd(samples: list[list[float]]) -> tuple[float, int]:
    """Return (sd, degrees of freedom) of one repetition, pooled over groups with different means."""
    degrees = sum(len(values) - 1 for values in samples)
    if degrees == 0:
        return 0.0, 0
    squares = sum(float(np.var(values, ddof=1)) * (len(values) - 1) for values in samples if len(values) > 1)
    return math.sqrt(squares / degrees), degrees


@dataclass(frozen=True)
class Location:
    """Hold a robust mean with its standard error and degrees of freedom."""

    mean: float
    error: float
    degrees: int


def trimmed_mean(values: Sequence[float]) -> Location:
    """Return the 20 % trimmed mean, its error from the winsorized variance (Yuen 1974; Wilcox, Introduction to Robust
    Estimation, section 5.3). A process that was slow throughout neither counts nor widens the error.

    Args:
        values: at least two.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    cut = int(0.2 * n)
    kept = n - 2 * cut
    winsorized = np.clip(ordered, ordered[cut], ordered[n - 1 - cut])
    error = math.sqrt(float(np.var(winsorized, ddof=1)) * (n - 1) / (kept * (kept - 1))) if kept > 1 else math.inf
    return Location(float(ordered[cut : n - cut].mean()), error, kept - 1)


@dataclass(frozen=True)
class Change:
    """Hold a relative change with its standard error and degrees of freedom."""

    change: float
    error: float
    degrees: float

    def p_above(self) -> float:
        """Return the probability of a change this large by chance."""
        return p_above(self.change, self.error, self.degrees)

    def p_below(self) -> float:
        """Return the probability of a change this small by chance."""
        return p_above(-self.change, self.error, self.degrees)

    def quantile(self, share: float) -> float:
        """Return the change that chance exceeds with probability ``share``."""
        return t_quantile(share, self.degrees) * self.error


def change_of(new: Location, old: Location, between: float) -> Change:
    """Compare a robust mean with a recorded one (Welch's test of trimmed means; Yuen 1974).

    Args:
        between: standard deviation between runs beyond the two means' errors, as a fraction.
    """
    parts = [(new.error / old.mean, new.degrees), (old.error / old.mean, old.degrees)]
    errors = [abs(error) for error, _ in parts]
    largest, degrees = max(errors), math.inf
    if largest and math.isfinite(largest):  # relative to the largest, because fourth powers of large numbers overflow
        shares = [(error / largest, freedom) for error, (_, freedom) in zip(errors, parts, strict=True)]
        degrees = sum(share**2 for share, _ in shares) ** 2 / sum(share**4 / freedom for share, freedom in shares)
    return Change(new.mean / old.mean - 1, math.hypot(*errors, math.sqrt(2) * between), degrees)


def quantile_interval(values: Sequence[float], share: float, confidence: float = 0.95) -> tuple[float | None, ...]:
    """Return (low, high) for a quantile from order statistics, for any distribution (Hahn & Meeker 1991, section 5.2).
    None on a side with too few values.

    Args:
        share: fraction of values below the quantile.
    """
    from scipy.stats import quantile_test

    found = quantile_test(values, p=share).confidence_interval(confidence)
    return tuple(None if math.isnan(end) else float(end) for end in found)


def p_above(value: float, error: float, degrees: float) -> float:
    """Return the one-sided probability that an estimate of zero comes out at ``value`` or more (Student's t)."""
    if error == 0:
        return 0.0 if value > 0 else 1.0
    return float(_special().stdtr(degrees, -value / error))


def t_above(values: Array, degrees: float) -> Array:
    """Return the probability that Student's t is as large as each of some values or larger."""
    return np.asarray(_special().stdtr(degrees, -values))


def normal_p(value: float, sd: float) -> float:
    """Return the one-sided probability that a normal estimate of zero comes out at ``value`` or more."""
    if sd == 0:
        return 0.0 if value > 0 else 1.0
    return float(_special().ndtr(-value / sd))


def normal_quantile(share: float) -> float:
    """Return the upper quantile of the normal distribution."""
    return float(_special().ndtri(1 - share))


def t_quantile(share: float, degrees: float) -> float:
    """Return the upper quantile of Student's t."""
    return float(_special().stdtrit(degrees, 1 - share))


def half_width(spread: float, repeats: int) -> float:
    """Return half the width of the 95 % interval of a mean of at least two repetitions, by Student's t."""
    return t_quantile(0.025, repeats - 1) * spread / math.sqrt(repeats)


def f_above(ratio: float, new: int, old: int) -> float:
    """One-sided probability that the ratio of two equal variances comes out at ``ratio`` or more (Fisher's F)."""
    return float(_special().fdtrc(new, old, ratio))


def chi_squared_quantile(share: float, degrees: float) -> float:
    """Lower quantile of the chi-squared distribution."""
    return float(_special().chdtri(degrees, 1 - share))


def upper_bound(reds: int, runs: int) -> float:
    """Return the exact one-sided 95 % upper bound of a rate (Clopper & Pearson 1934)."""
    return 1.0 if reds >= runs else float(_special().betaincinv(reds + 1, runs - reds, 0.95))


def pareto_front(points: Sequence[Sequence[float | None]]) -> list[bool]:
    """Whether no other point is at least as good (small) in every value and better in one.

    Args:
        points: of shape (n, values); None is compared with nothing, and a NaN is neither better nor worse.
    """
    if not points:
        return []
    table, lacking = np.array(points, dtype=float), np.array([[one is None for one in point] for point in points])
    best: list[bool] = []
    for start in range(0, len(table), _AT_ONCE):
        these, left_out = table[start : start + _AT_ONCE, None], lacking[start : start + _AT_ONCE, None] | lacking
        as_good = ((table <= these) | left_out).all(axis=2)
        best += (~(as_good & (table < these).any(axis=2)).any(axis=1)).tolist()
    return best
