"""Noise of a series of runs that remember: how strongly neighbours resemble each other, and what a new level weighs.

Noise from run to run is modelled as an AR(1) process: what differs in one night (load, clock rate, temperature) partly
differs in the next one too. Then a mean over k runs is noisier than k independent ones would make it, and a search for
level shifts that assumes independence finds many that are none.

Sources: long-run variance with an AR(1) plug-in: Andrews 1991, "Heteroskedasticity and autocorrelation consistent
covariance matrix estimation", Econometrica 59; estimating the AR(1) where levels shift, from differences: Chakar,
Lebarbier, Levy-Leduc & Robin 2017, "A robust approach for estimating change-points in the mean of an AR(1) process",
Bernoulli 23; a level shift in prewhitened noise: Tsay 1988, "Outliers, level shifts, and variance changes in time
series", Journal of Forecasting 7; an autocorrelation that is not known: Zellner & Tiao 1964, "Bayesian analysis of the
regression model with autocorrelated errors", Journal of the American Statistical Association 59; bias of an
autocorrelation around an estimated mean: Kendall 1954, Biometrika 41.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import t_above

LARGEST = 0.9  # autocorrelation; above it, a series of some hundred runs cannot be told from one that wanders
CORRELATIONS = np.linspace(0.0, LARGEST, 46)  # steps of .02: a quarter of the error of one from 150 runs
UNTRIMMED = 0.8  # of the squared differences: every shift adds one large one, or two


@dataclass(frozen=True)
class LevelChange:
    """Describe how far the newest values lie from those before them.

    Attributes:
        before: level before.
        size: of the step.
        p_above, p_below: one-sided probabilities of so large a rise, and of so large a fall, by chance.
    """

    before: float
    size: float
    p_above: float
    p_below: float


def long_run_variance(x: Array, correlation: float) -> float:
    """Estimate k times the variance of a mean over k runs, for large k, from differences of neighbours.

    Differences do not see the levels that ``x`` of shape (n,) shifts to (von Neumann 1941, for independent noise).
    """
    return float(np.mean(np.diff(x) ** 2)) / 2 * (1 + correlation) / (1 - correlation) ** 2


def across_shifts(x: Array) -> float:
    """Estimate the correlation of neighbours in ``x`` of shape (n,), whatever levels it shifts to.

    It follows from the squared differences of runs that are one and two apart. One standard error is added, because a
    correlation that is too small finds shifts that are none.
    """
    once, twice = _trimmed(np.diff(x) ** 2), _trimmed((x[2:] - x[:-2]) ** 2)
    return _bounded(twice / once - 1 + 1 / sqrt(len(x))) if once else 0.0


def _trimmed(squares: Array) -> float:
    kept = np.sort(squares)[: max(1, int(UNTRIMMED * len(squares)))]
    return float(kept.mean())


def within_levels(x: Array, starts: Sequence[int]) -> float:
    """Estimate the same around the mean of each level, where a new one begins at each of ``starts``."""
    edges = [0, *starts, len(x)]
    residuals = np.concatenate([x[a:b] - x[a:b].mean() for a, b in pairwise(edges)])
    return _bounded(_autocorrelation(residuals, len(edges) - 1) + 1 / sqrt(len(x)))


def autocorrelation(x: Array) -> float:
    """Estimate the correlation of neighbours in ``x`` of shape (n,) without shifts."""
    return _bounded(_autocorrelation(x - x.mean(), 1))


def _autocorrelation(residuals: Array, levels: int) -> float:
    """Compute it from deviations from the means of so many levels, with the bias that each mean adds removed."""
    square = float(np.sum(residuals**2))
    raw = float(np.sum(residuals[1:] * residuals[:-1])) / square if square else 0.0
    return raw + levels * (1 + 3 * raw) / len(residuals)


def _bounded(correlation: float) -> float:
    return min(max(correlation, 0.0), LARGEST)


def level_change(before: Array, after: Array) -> LevelChange:
    """Test the newest values against those before, over all autocorrelations that the values leave possible.

    From few runs the autocorrelation is known badly, and one that is estimated too small makes chance look like a step.
    So each value on a grid is weighted by how well it explains the runs (its posterior from flat priors, with level and
    step integrated out, which removes the bias of an estimated mean), and the p-values of generalized least squares are
    averaged with these weights.

    Args:
        before: shape (n,), 10 at least, of one level.
        after: shape (m,).
    """
    n, y = len(before), np.concatenate([before, after])
    steps = (np.arange(len(y)) >= n).astype(float)
    one, rise, data = (_whitened(v) for v in (np.ones(len(y)), steps, y))
    a, b, c = (np.sum(u * v, axis=1) for u, v in ((one, one), (one, rise), (rise, rise)))
    of_level, of_step = np.sum(one * data, axis=1), np.sum(rise * data, axis=1)
    determinant = a * c - b * b
    sizes, levels = (a * of_step - b * of_level) / determinant, (c * of_level - b * of_step) / determinant
    squares = np.sum((data - levels[:, None] * one - sizes[:, None] * rise) ** 2, axis=1)
    if not squares.min():
        return LevelChange(float(levels[0]), float(sizes[0]), *((0.0, 1.0) if sizes[0] > 0 else (1.0, 0.0)))
    degrees = len(y) - 2
    likelihood = (np.log1p(-(CORRELATIONS**2)) - np.log(determinant) - degrees * np.log(squares)) / 2
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    errors = np.sqrt(squares / degrees * a / determinant)
    above, below = (float(weights @ t_above(sign * sizes / errors, degrees)) for sign in (1, -1))
    return LevelChange(float(weights @ levels), float(weights @ sizes), above, below)


def _whitened(y: Array) -> Array:
    """Remove the memory of each autocorrelation on the grid from ``y`` of shape (n,); shape (grid, n)."""
    memory = CORRELATIONS[:, None]
    return np.hstack([y[:1] * np.sqrt(1 - memory**2), y[1:] - memory * y[:-1]])
