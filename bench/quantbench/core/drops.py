"""Bound how much worse one model is than another on the same examples, and test that against a limit.

A drop is positive where the new model is worse. Two questions are asked, each with a p-value of its own: is the true
drop above the limit (a release limit is broken), and is it below (the model may be shipped)? Between them the answer is
that the examples do not tell.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import Paired, normal_quantile, p_above, pair, t_quantile

BOOTSTRAP_ROUNDS = 200
# Examples drawn in a round; the error of a mean falls with the root of their number, so that of all examples follows.
# An area under the curve of 10,000 examples takes 2.4 ms, 400 of them for each of 34 cells half a minute.
BOOTSTRAP_EXAMPLES = 2000
# Share of repeated studies that shall give an answer where the true drop is the one seen now.
POWER = 0.8


class Drop(Protocol):
    """A drop as estimated from paired examples, in any unit."""

    @property
    def estimate(self) -> float:
        """Return the drop that was seen."""
        ...

    @property
    def n(self) -> int:
        """Return the number of examples."""
        ...

    def p_above(self, limit: float) -> float:
        """Return the p-value of "the true drop is at most ``limit``": small where the limit is surely broken."""
        ...

    def p_below(self, limit: float) -> float:
        """Return the p-value of "the true drop is at least ``limit``": small where the limit is surely kept."""
        ...

    def lower(self, alpha: float) -> float:
        """Return the one-sided lower bound: the limit that would just be broken at ``alpha``."""
        ...

    def upper(self, alpha: float) -> float:
        """Return the one-sided upper bound: the limit that would just be kept at ``alpha``."""
        ...

    def needed(self, limit: float, alpha: float) -> int | None:
        """Return how many examples would tell on which side of ``limit`` the drop is; None where none would."""
        ...


@dataclass(frozen=True)
class FractionDrop:
    """A drop of the fraction of right predictions, by Tango's score test of a paired difference.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17; as a test of non-inferiority, Liu, Hsueh, Hsieh & Chen 2002,
    Statistics in Medicine 21. Newcombe 1998 (method 10) is the other interval in use; it has no test of its own.

    Attributes:
        pairs: examples that only one of the two models predicts correctly.
        scale: factor from a fraction to the unit of the drop.
    """

    pairs: Paired
    scale: float = 1.0

    @property
    def estimate(self) -> float:
        """Return the drop that was seen."""
        return self.scale * self.pairs.drop

    @property
    def n(self) -> int:
        """Return the number of examples."""
        return self.pairs.n

    def p_above(self, limit: float) -> float:
        """Return the p-value of "the true drop is at most ``limit``".

        Where few predictions differ, Tango's test alone is red up to five times too often (n = 2,000, limit 2 %,
        alpha 1e-5), so its p-value is never below the probability of so large a difference of two Poisson counts
        whose means are the estimates under the limit (an estimated p-value: Lloyd & Moldovan 2008, Statistics in
        Medicine 27; Skellam 1946). The size is then at most ``alpha`` for every n from 200 to 10,000.
        """
        statistic, gained = self._tango(limit / self.scale)
        tango = _normal_tail(statistic)
        if tango > 0.05:
            return tango
        n, seen = self.pairs.n, self.pairs.lost - self.pairs.gained
        return max(tango, _poisson_difference_tail(seen, n * (gained + limit / self.scale), n * gained))

    def p_below(self, limit: float) -> float:
        """Return the p-value of "the true drop is at least ``limit``"; Tango's test alone errs on the safe side."""
        statistic, _ = self._tango(limit / self.scale)
        return _normal_tail(-statistic)

    def lower(self, alpha: float) -> float:
        """Return the one-sided lower bound."""
        return _crossing(lambda limit: self.p_above(limit) - alpha, -self.scale, self.estimate)

    def upper(self, alpha: float) -> float:
        """Return the one-sided upper bound."""
        return _crossing(lambda limit: alpha - self.p_below(limit), self.estimate, self.scale)

    def needed(self, limit: float, alpha: float) -> int | None:
        """Return how many examples would tell, if as many of a hundred went each way as now."""
        statistic, _ = self._tango(limit / self.scale)
        return _needed(self.pairs.n, statistic, normal_quantile(alpha))

    def _tango(self, limit: float) -> tuple[float, float]:
        """Return Tango's statistic (normal if the true drop is ``limit``) and the estimate of the fraction gained."""
        n, lost, gained = self.pairs.n, self.pairs.lost, self.pairs.gained
        limit = min(max(limit, -1.0), 1.0)
        b = -lost - gained + (2 * n - lost + gained) * limit
        c = -gained * limit * (1 - limit)
        fraction = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        fraction = max(fraction, 0.0, -limit)
        variance = n * (2 * fraction + limit * (1 - limit))
        excess = lost - gained - n * limit
        if variance <= 1e-12 * n:
            return (0.0 if abs(excess) < 1e-9 * n else math.copysign(math.inf, excess)), fraction
        return excess / math.sqrt(variance), fraction


@dataclass(frozen=True)
class MeanDrop:
    """A drop with its standard error, by Student's t.

    Attributes:
        estimate: in any unit.
        error: its standard error, in the same unit; upwards, where it is another downwards.
        degrees: degrees of freedom of ``error``.
        n: number of examples.
        error_below: standard error downwards; None where it is the same.
    """

    estimate: float
    error: float
    degrees: float
    n: int
    error_below: float | None = None

    @property
    def below(self) -> float:
        """Return the standard error downwards, on which lower bounds depend."""
        return self.error if self.error_below is None else self.error_below

    def p_above(self, limit: float) -> float:
        """Return the p-value of "the true drop is at most ``limit``"."""
        return p_above(self.estimate - limit, self.below, self.degrees)

    def p_below(self, limit: float) -> float:
        """Return the p-value of "the true drop is at least ``limit``"."""
        return p_above(limit - self.estimate, self.error, self.degrees)

    def lower(self, alpha: float) -> float:
        """Return the one-sided lower bound."""
        return self.estimate - self._half(alpha, self.below)

    def upper(self, alpha: float) -> float:
        """Return the one-sided upper bound."""
        return self.estimate + self._half(alpha, self.error)

    def needed(self, limit: float, alpha: float) -> int | None:
        """Return how many examples would tell, if the error falls with the root of their number."""
        error = self.below if self.estimate > limit else self.error
        if not error or not math.isfinite(error):
            return None
        return _needed(self.n, (self.estimate - limit) / error, t_quantile(alpha, self.degrees))

    def _half(self, alpha: float, error: float) -> float:
        return t_quantile(alpha, self.degrees) * error if error else 0.0


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _poisson_difference_tail(least: int, first: float, second: float) -> float:
    """Return the probability that one Poisson count exceeds another by ``least`` or more (Skellam 1946).

    Args:
        first, second: means of the two counts.
    """
    from scipy import special  # of which scipy.stats, slower to load, makes the same

    width = 10 * math.sqrt(second) + 20  # beyond it lies less than 1e-20
    counts = np.arange(max(0, int(second - width)), int(second + width) + 1)
    occurs = np.exp(special.xlogy(counts, second) - second - special.gammaln(counts + 1))
    needed = counts + least - 1  # P(X > needed), which is 1 where it is negative
    exceeds = np.where(needed < 0, 1.0, special.pdtrc(np.maximum(needed, 0), first))
    return min(1.0, float(np.sum(occurs * exceeds)))


def _needed(n: int, statistic: float, quantile: float) -> int | None:
    """Scale n until the statistic, which grows with its root, reaches the quantile with probability ``POWER``."""
    if abs(statistic) < 1e-6 or not math.isfinite(statistic):
        return None
    return math.ceil(n * ((quantile + normal_quantile(1 - POWER)) / abs(statistic)) ** 2)


def _crossing(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return where an increasing function crosses zero; an end of the range where it does not."""
    from scipy.optimize import brentq  # slow to load

    if rising(low) >= 0:
        return low
    return high if rising(high) <= 0 else float(brentq(rising, low, high, xtol=1e-7))


def fraction_drop(new: Array, old: Array, scale: float = 1.0) -> FractionDrop:
    """Compare two models that are right or wrong on the same examples, boolean arrays of shape (n,)."""
    return FractionDrop(pair(new, old), scale)


def bootstrap_drop(drop: Callable[[Array], float], n: int) -> MeanDrop:
    """Estimate a drop of any metric, with its error by the paired bootstrap of m out of n examples (Efron & Tibshirani
    1993, chapter 10; Bickel, Goetze & van Zwet 1997, Statistica Sinica 7), for scores that are smooth in the examples.

    The spread is taken upwards and downwards apart, as percentile intervals do (chapter 13): an error of which a few
    examples have most may easily be larger, and not much smaller.

    Args:
        drop: indices of examples, some of them repeated -> drop on these, the same for both models.
        n: number of examples.
    """
    random, drawn = np.random.default_rng(0), min(n, BOOTSTRAP_EXAMPLES)
    drops = [drop(random.integers(0, n, drawn)) for _ in range(BOOTSTRAP_ROUNDS)] if n > 1 else []
    # A sample without one of the classes has no area under the curve; such rounds are ignored.
    finite = np.array([one for one in drops if math.isfinite(one)])
    estimate = drop(np.arange(n))
    if len(finite) <= BOOTSTRAP_ROUNDS // 2 or not math.isfinite(estimate):
        return MeanDrop(estimate, math.inf, 1, n)
    # Resampling n examples spreads as if the variance were divided by n, not n - 1.
    scale = math.sqrt(drawn / (n - 1))
    off = finite - np.median(finite)
    above, below = (scale * math.sqrt(float(np.mean(half**2))) for half in (off[off >= 0], off[off <= 0]))
    # Each half of the spread is itself estimated, from half of the rounds.
    return MeanDrop(estimate, above, max(1, min(n, len(finite) // 2) - 1), n, below)


def crossed_mean(differences: Array, scale: float = 1.0) -> MeanDrop:
    """Estimate a mean drop over trainings and examples, both of which are samples.

    The error is that of a two-way layout with random rows and columns and one value for each pair (Searle, Casella &
    McCulloch 1992, "Variance Components", chapter 4; degrees of freedom by Satterthwaite 1946).

    Args:
        differences: (trainings, examples), at least two of each: 1 where only the reference is right, -1 where only
            the new model is, else 0.
    """
    trainings, examples = differences.shape
    by_training, by_example = differences.mean(axis=1), differences.mean(axis=0)
    mean = float(differences.mean())
    of_trainings = float(np.var(by_training, ddof=1)) / trainings
    of_examples = float(np.var(by_example, ddof=1)) / examples
    left = differences - by_training[:, None] - by_example[None, :] + mean
    # What neither explains is in both of the above, and is taken off once.
    twice = float((left**2).sum()) / ((trainings - 1) * (examples - 1) * trainings * examples)
    variance = max(of_trainings + of_examples - twice, of_trainings, of_examples)
    degrees = satterthwaite([(of_trainings, trainings - 1), (of_examples, examples - 1)])
    return MeanDrop(scale * mean, scale * math.sqrt(variance), degrees, examples)


def with_trainings(drop: Drop, sd: float, degrees: float, trainings: int, n: int) -> MeanDrop:
    """Widen a drop on examples by the spread between trainings.

    Args:
        sd: standard deviation of the drop from one training to the next, in the drop's unit.
        degrees: degrees of freedom of ``sd``.
        trainings: number of trainings that the drop is the mean of.
        n: number of examples.
    """
    of_trainings = sd**2 / trainings
    above, below = standard_errors(drop)
    spread = satterthwaite([(of_trainings, degrees), (max(above, below) ** 2, max(1, n - 1))])
    errors = [math.sqrt(of_trainings + error**2) for error in (above, below)]
    return MeanDrop(drop.estimate, errors[0], spread, n, errors[1])


def standard_errors(drop: Drop) -> tuple[float, float]:
    """Return the standard errors of a drop upwards and downwards; of fractions, as far as one normal deviation goes."""
    if isinstance(drop, MeanDrop):
        return drop.error, drop.below
    one_deviation = _normal_tail(1.0)
    return drop.upper(one_deviation) - drop.estimate, drop.estimate - drop.lower(one_deviation)


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of variances, each given with its own (Satterthwaite 1946)."""
    largest = max(variance for variance, _ in parts)
    if not largest or not math.isfinite(largest):
        return min(degrees for _, degrees in parts)
    shares = [(variance / largest, degrees) for variance, degrees in parts]
    return sum(share for share, _ in shares) ** 2 / sum(share**2 / degrees for share, degrees in shares)
