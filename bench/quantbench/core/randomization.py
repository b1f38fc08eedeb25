"""Randomization tests of paired differences by sign flips, and the power of such tests. Pure functions of numbers.

Two answers to one example are exchangeable where nothing changed, so the sign of each difference is a fair coin
(Fisher 1935, section 21; Pitman 1937). Several artifacts that answer the same examples are summed example by example
first: then the sum has one coin, and the test is valid however the artifacts are correlated (Romano 1990). With one
artifact and differences of -1, 0 and 1 this is the exact McNemar test.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import binomial_tail

_ENUMERATED = 10  # largest differences whose 2**10 signs are all tried; the sum of the others is approximated
_BELOW_ROUNDING = 1e-11  # tails under this are lost in the rounding of the Fourier transform
_GRID = np.geomspace(1e-3, 60.0, 400)  # of the saddlepoint, in units of one over the standard deviation


def _special() -> Any:
    """Return the functions of which scipy.stats, which takes .4 s longer to load, makes the same tails."""
    from scipy import special

    return special


def by_group(differences: Array, groups: Array | None) -> Array:
    """Sum differences within groups of examples that belong together, as only whole groups are exchangeable.

    Args:
        differences: one for each example, shape (n,).
        groups: integers, shape (n,); None where each example stands alone.
    """
    if groups is None:
        return differences
    _, places = np.unique(groups, return_inverse=True)
    sums = np.bincount(places, weights=differences)
    return np.rint(sums).astype(np.int64) if differences.dtype.kind in "iu" else np.asarray(sums)


def sign_flip_p(differences: Array) -> float:
    """Probability that random signs give at least the sum of these differences.

    Exact for integers (all signs, by convolution); for other numbers exact in the signs of the largest differences,
    and a saddlepoint approximation for the sum of the others (Robinson 1982; Barndorff-Nielsen 1986).
    """
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    if moved.dtype.kind in "iu":
        found = _exact(moved.astype(np.int64))
        if found > _BELOW_ROUNDING:
            return found
    return _by_saddlepoint(moved.astype(np.float64))


def smallest_p(differences: Array) -> float:
    """Smallest p-value that these differences could have given with other signs."""
    return 0.5 ** int(np.count_nonzero(differences))


def _exact(moved: Array) -> float:
    """Convolve the distributions of v * Binomial(m, 1/2), one for each size v that occurs m times."""
    sizes, counts = np.unique(np.abs(moved), return_counts=True)
    step = int(np.gcd.reduce(sizes))
    sizes = sizes // step
    observed = int(moved[moved > 0].sum()) // step
    if len(sizes) == 1:
        return binomial_tail(observed, int(counts[0]), 0.5)
    whole = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        part = np.zeros(size * count + 1)
        part[::size] = _coins(count)
        whole = np.clip(_convolved(whole, part), 0, None)
    return float(min(1.0, whole[observed:].sum()))


def _coins(count: int) -> Array:
    """Return the probabilities of 0 to ``count`` heads of as many coins."""
    logs = _special().gammaln(np.arange(count + 1) + 1.0)
    return np.asarray(np.exp(logs[-1] - logs - logs[::-1] - count * math.log(2)))


def _convolved(one: Array, other: Array) -> Array:
    """Convolve by the Fourier transform; scipy.signal, which has this too, takes .4 s to load."""
    length = len(one) + len(other) - 1
    points = 1 << (length - 1).bit_length()
    return np.asarray(np.fft.irfft(np.fft.rfft(one, points) * np.fft.rfft(other, points), points)[:length])


def _by_saddlepoint(moved: Array) -> float:
    sizes = np.sort(np.abs(moved))[::-1]
    total = float(moved.sum())
    largest, others = sizes[:_ENUMERATED], sizes[_ENUMERATED:]
    sums = np.zeros(1)
    for size in largest:
        sums = np.concatenate([sums + size, sums - size])
    needed = total - sums
    if not others.size:
        slack = 1e-9 * float(sizes.sum())  # of rounding: the observed signs are among those tried
        return float(np.mean(needed <= slack))
    return float(np.mean(_tail(others, needed)))


def _tail(sizes: Array, needed: Array) -> Array:
    """P(sum of randomly signed sizes >= needed), for many values of ``needed``."""
    sd = math.sqrt(float(np.sum(sizes**2)))
    scaled, counts = np.unique(sizes / sd, return_counts=True)  # flips of one artifact are all of one size
    exponents = _GRID[:, None] * scaled[None, :]
    generating = (np.logaddexp(exponents, -exponents) - math.log(2)) @ counts
    slopes = np.tanh(exponents)
    places = slopes @ (counts * scaled)
    curvature = (1 - slopes**2) @ (counts * scaled**2)
    w = np.sqrt(2 * np.clip(_GRID * places - generating, 1e-300, None))
    u = _GRID * np.sqrt(np.clip(curvature, 1e-300, None))
    known = (w > 1e-3) & (curvature > 1e-12)
    corrected = w[known] + np.log(u[known] / w[known]) / w[known]
    log_tails = np.minimum.accumulate(_special().log_ndtr(-corrected))
    places = places[known]
    distance = np.abs(needed) / sd
    upper = np.exp(np.interp(distance, np.r_[0.0, places], np.r_[math.log(0.5), log_tails]))
    upper = np.where(distance > counts @ scaled * (1 + 1e-9), 0.0, upper)
    return np.where(needed >= 0, upper, 1 - upper)


def mcnemar_power(each_way: float, lost: float, threshold: float) -> float:
    """Power of the one-sided exact McNemar test.

    The number of discordant pairs is Poisson, and of those the lost ones are binomial (Lachin 2011, section 5.4).

    Args:
        each_way: expected examples that flip in each direction where nothing is lost.
        lost: expected examples that are lost besides.
        threshold: p-value at which the test rejects.
    """
    special = _special()
    mean = 2 * each_way + lost
    if mean <= 0:
        return 0.0
    reach = 6 * math.sqrt(mean) + 6
    pairs = np.arange(max(0, int(mean - reach)), int(mean + reach) + 1)
    power = special.bdtrc(_most_green(pairs, threshold), pairs, (each_way + lost) / mean)
    occurs = np.exp(special.xlogy(pairs, mean) - mean - special.gammaln(pairs + 1))
    return float(np.sum(occurs * power))


def _most_green(pairs: Array, threshold: float) -> Array:
    """Return the largest number of lost examples, of so many pairs, that is not red: P(X > k) > threshold below it."""
    below, found = np.full(len(pairs), -1), pairs.astype(int)  # P(X > -1) is 1, and P(X > n) is 0
    while np.any(found - below > 1):
        middle = (below + found) // 2
        green = _special().bdtrc(middle, pairs, 0.5) > threshold
        below, found = np.where(green, middle, below), np.where(green, found, middle)
    return found


@lru_cache(maxsize=4096)
def detectable_loss(each_way: int, threshold: float, power: float = 0.8, most: int = 10**7) -> int:
    """Smallest expected number of lost examples that :func:`mcnemar_power` finds with at least this power."""
    low, high = 0, 8
    while mcnemar_power(each_way, high, threshold) < power and high < most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if mcnemar_power(each_way, middle, threshold) < power:
            low = middle
        else:
            high = middle
    return high
