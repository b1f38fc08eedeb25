"""Statistics of the judges: pure functions of numbers.

``scipy.stats`` takes longer to load than most commands take, so it is imported where a distribution is asked for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantbench.core.arrays import Array


def _scipy_stats() -> Any:
    from scipy import stats

    return stats


@dataclass(frozen=True)
class Paired:
    """Two answers to the same n examples, where each is right or wrong.

    Attributes:
        lost: examples that only the reference has right.
        gained: examples that only the new one has right.
    """

    n: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Drop of the fraction right; negative means better."""
        return (self.lost - self.gained) / self.n

    def p_worse(self) -> float:
        """Exact McNemar test, one-sided: probability of at least ``lost`` among the discordant, were both equal.

        Source: McNemar 1947; the exact form is the binomial test of the discordant pairs.
        """
        return _binomial_tail(self.lost, self.lost + self.gained)

    def p_better(self) -> float:
        """The same in the other direction."""
        return _binomial_tail(self.gained, self.lost + self.gained)

    def smallest_detectable(self, share: float) -> float:
        """Smallest further drop (a fraction) that the test calls significant at ``share``, where all of it is lost
        examples on top of the discordant pairs seen now.
        """
        discordant_each_way = min(self.lost, self.gained)
        lost = discordant_each_way
        while _binomial_tail(lost, lost + discordant_each_way) > share:
            lost += 1
        return (lost - discordant_each_way) / self.n


def _binomial_tail(k: int, n: int) -> float:
    return 1.0 if n == 0 else float(_scipy_stats().binom.sf(k - 1, n, 0.5))


def binomial_tail(k: int, n: int, share: float) -> float:
    """Probability of at least ``k`` successes in ``n`` trials that each succeed with probability ``share``."""
    return float(_scipy_stats().binom.sf(k - 1, n, share))


def paired_interval(pairs: Paired) -> float:
    """Half width of the 95 % interval of a paired difference of fractions (Wald; Agresti, Categorical Data Analysis).

    One discordant pair is added to each side, so that no discordant pairs do not mean no uncertainty.
    """
    lost, gained = pairs.lost + 1, pairs.gained + 1
    return 1.96 * math.sqrt(lost + gained - (lost - gained) ** 2 / pairs.n) / pairs.n


def pair(new: Array, old: Array) -> Paired:
    """Count the discordant pairs of two boolean arrays of shape (n,)."""
    return Paired(len(new), int(np.count_nonzero(old & ~new)), int(np.count_nonzero(new & ~old)))


def bootstrap_drop_sd(
    new: Array, old: Array, labels: Array, drop: Callable[[Array, Array, Array], float], rounds: int = 200
) -> float:
    """Standard deviation of the drop between two sets of predictions over resampled examples, always the same examples
    for both: the paired bootstrap (Efron & Tibshirani 1993, chapter 10).

    Args:
        drop: (new predictions, old predictions, labels) -> drop, in any unit.
    """
    random = np.random.default_rng(0)
    n = len(labels)
    drops = []
    for _ in range(rounds):
        chosen = random.integers(0, n, n)
        drops.append(drop(new[chosen], old[chosen], labels[chosen]))
    # A sample without one of the classes has no area under the curve; such rounds say nothing.
    known = [drop for drop in drops if math.isfinite(drop)]
    return float(np.std(known, ddof=1)) if len(known) > rounds // 2 else math.inf


def pooled_sd(samples: list[list[float]]) -> tuple[float, int]:
    """(sd, degrees of freedom) of one repetition, pooled over groups with means of their own."""
    degrees = sum(len(values) - 1 for values in samples)
    if degrees == 0:
        return 0.0, 0
    squares = sum(float(np.var(values, ddof=1)) * (len(values) - 1) for values in samples if len(values) > 1)
    return math.sqrt(squares / degrees), degrees


@dataclass(frozen=True)
class Location:
    """A robust mean with its standard error and degrees of freedom."""

    mean: float
    error: float
    degrees: int


def trimmed_mean(values: Sequence[float]) -> Location:
    """The 20 % trimmed mean, its error from the winsorized variance (Yuen 1974; Wilcox, Introduction to Robust
    Estimation, section 5.3). A process that something held up for its whole life does not count, nor does it widen.

    Args:
        values: two at least.
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
    """A relative change with its standard error and degrees of freedom."""

    change: float
    error: float
    degrees: float

    def p_above(self) -> float:
        """Probability of so large a change by chance."""
        return p_above(self.change, self.error, self.degrees)

    def p_below(self) -> float:
        """Probability of so small a change by chance."""
        return p_above(-self.change, self.error, self.degrees)

    def quantile(self, share: float) -> float:
        """The change that chance exceeds with probability ``share``."""
        return t_quantile(share, self.degrees) * self.error


def change_of(new: Location, old: Location, between: float) -> Change:
    """A robust mean against a recorded one (Welch's test of trimmed means; Yuen 1974).

    Args:
        between: standard deviation from run to run besides what the two means' errors show, as a fraction.
    """
    parts = [(new.error / old.mean, new.degrees), (old.error / old.mean, old.degrees)]
    errors = [abs(error) for error, _ in parts]
    largest, degrees = max(errors), math.inf
    if largest and math.isfinite(largest):  # as shares of the largest, for fourth powers of large numbers overflow
        shares = [(error / largest, freedom) for error, (_, freedom) in zip(errors, parts, strict=True)]
        degrees = sum(share**2 for share, _ in shares) ** 2 / sum(share**4 / freedom for share, freedom in shares)
    return Change(new.mean / old.mean - 1, math.hypot(*errors, math.sqrt(2) * between), degrees)


def quantile_interval(values: Sequence[float], share: float, confidence: float = 0.95) -> tuple[float | None, ...]:
    """(low, high) between which a quantile lies: order statistics, whatever the distribution is (Hahn & Meeker 1991,
    section 5.2). None where there are too few values for that side.

    Args:
        share: of the values that lie below the quantile.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n, tail = len(ordered), (1 - confidence) / 2
    low, high = int(_scipy_stats().binom.ppf(tail, n, share)), int(_scipy_stats().binom.ppf(1 - tail, n, share)) + 1
    return (float(ordered[low - 1]) if low > 0 else None, float(ordered[high - 1]) if high <= n else None)


def p_above(value: float, error: float, degrees: float) -> float:
    """One-sided probability that an estimate of zero comes out at ``value`` or more (Student's t)."""
    if error == 0:
        return 0.0 if value > 0 else 1.0
    return float(_scipy_stats().t.sf(value / error, degrees))


def normal_p(value: float, sd: float) -> float:
    """One-sided probability that a normal estimate of zero comes out at ``value`` or more."""
    if sd == 0:
        return 0.0 if value > 0 else 1.0
    return float(_scipy_stats().norm.sf(value / sd))


def normal_quantile(share: float) -> float:
    """Upper quantile of the normal distribution."""
    return float(_scipy_stats().norm.ppf(1 - share))


def t_quantile(share: float, degrees: float) -> float:
    """Upper quantile of Student's t."""
    return float(_scipy_stats().t.ppf(1 - share, degrees))


def upper_bound(reds: int, runs: int) -> float:
    """Exact one-sided 95 % upper bound of a rate (Clopper & Pearson 1934)."""
    return 1.0 if reds >= runs else float(_scipy_stats().beta.ppf(0.95, reds + 1, runs - reds))
