"""Intervals and tests of a drop: against published numbers, and exact rates of error over all outcomes."""

import numpy as np
import pytest
from quantbench.core.drops import (
    FractionDrop,
    MeanDrop,
    _poisson_difference_tail,
    bootstrap_drop,
    crossed_mean,
    satterthwaite,
    with_trainings,
)
from quantbench.core.stats import Paired
from scipy import optimize, stats
from scipy.special import xlogy


def drop(n: int, lost: int, gained: int) -> FractionDrop:
    return FractionDrop(Paired(n, lost, gained))


@pytest.mark.parametrize(("n", "lost", "gained"), [(50, 12, 2), (50, 14, 0), (500, 3, 9), (10_000, 130, 120)])
@pytest.mark.parametrize("limit", [-0.02, 0.0, 0.005, 0.1])
def test_the_fraction_gained_is_the_likeliest_under_the_limit(n: int, lost: int, gained: int, limit: float) -> None:
    """The closed form is Tango's; here the likelihood itself is maximized."""

    def unlikely(fraction: float) -> float:
        both = 1 - 2 * fraction - limit
        return float(-xlogy(lost, fraction + limit) - xlogy(gained, fraction) - xlogy(n - lost - gained, both))

    bounds = (max(0.0, -limit), (1 - limit) / 2)
    likeliest = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    _, fraction = drop(n, lost, gained)._tango(limit)
    assert fraction == pytest.approx(likeliest, abs=1e-6)


def test_the_upper_bound_is_the_published_one() -> None:
    """14 pairs of 50 lost and none gained: up to .4167 by Tango's method (Newcombe 1998, Statistics in Medicine 17)."""
    assert drop(50, 14, 0).upper(0.025) == pytest.approx(0.4167, abs=1e-4)


def outcomes(n: int, lost: float, gained: float) -> list[tuple[Paired, float]]:
    """List every outcome of n pairs that is not wholly unlikely, with its probability."""
    found = []
    for a in range(stats.binom.ppf(1e-7, n, lost).astype(int), int(stats.binom.isf(1e-7, n, lost)) + 1):
        of_a = stats.binom.pmf(a, n, lost)
        top = int(stats.binom.isf(1e-7, n - a, gained / (1 - lost))) if gained else 0
        likely = of_a * stats.binom.pmf(np.arange(top + 1), n - a, gained / (1 - lost))
        found += [(Paired(n, a, b), float(p)) for b, p in enumerate(likely)]
    return found


@pytest.mark.parametrize(("n", "gained"), [(200, 0.0), (500, 0.002), (2000, 0.0), (2000, 0.0005)])
@pytest.mark.parametrize("alpha", [0.025, 0.0025])
def test_at_the_limit_itself_neither_answer_is_given_too_often(n: int, gained: float, alpha: float) -> None:
    """Over all outcomes where the true drop is the limit, both errors are at most alpha.

    Tango's test alone calls the limit broken 2.8 times as often at n = 2,000, a limit of .5 % and alpha .0025.
    """
    limit = 0.005 if n > 500 else 0.02
    beyond = within = 0.0
    for pairs, likely in outcomes(n, limit + gained, gained):
        one = FractionDrop(pairs)
        beyond += likely * (one.p_above(limit) <= alpha)
        within += likely * (one.p_below(limit) <= alpha)
    assert beyond <= 1.02 * alpha
    assert within <= 1.02 * alpha


def test_ninety_five_percent_intervals_cover_the_truth() -> None:
    random = np.random.default_rng(0)
    n, lost, gained = 500, 0.03, 0.02
    counts = random.multinomial(n, [lost, gained, 1 - lost - gained], 300)
    inside = [
        one.lower(0.025) <= lost - gained <= one.upper(0.025) for one in (drop(n, int(a), int(b)) for a, b, _ in counts)
    ]
    assert 0.93 <= np.mean(inside) <= 0.99


def test_bounds_and_p_values_are_the_same_question() -> None:
    for one in (drop(2000, 30, 12), drop(500, 4, 0), drop(500, 0, 4), MeanDrop(0.01, 0.004, 8, 100)):
        for alpha in (0.025, 1e-4):
            assert one.p_above(one.lower(alpha)) == pytest.approx(alpha, rel=1e-2)
            assert one.p_below(one.upper(alpha)) == pytest.approx(alpha, rel=1e-2)


def test_no_difference_is_no_proof_of_none() -> None:
    """Of 500 equal answers the bound is that of the rule of three, and not zero."""
    assert drop(500, 0, 0).upper(0.05) == pytest.approx(stats.norm.isf(0.05) ** 2 / 500, rel=0.01)
    assert drop(500, 0, 0).p_below(0.0) == pytest.approx(0.5)


def test_the_number_of_examples_needed_tells_in_four_of_five_studies() -> None:
    random = np.random.default_rng(5)
    lost, gained, limit, alpha = 0.012, 0.010, 0.005, 0.0025
    needed = FractionDrop(Paired(5000, 60, 50)).needed(limit, alpha)
    assert needed is not None
    counts = random.multinomial(needed, [lost, gained, 1 - lost - gained], 400)
    told = np.mean([drop(needed, int(a), int(b)).p_below(limit) <= alpha for a, b, _ in counts])
    assert 0.72 <= told <= 0.88
    assert drop(1000, 5, 0).needed(0.005, alpha) is None
    assert MeanDrop(1.0, 0.0, 5, 100).needed(0.5, alpha) is None


def test_the_error_of_a_mean_is_that_of_theory_whatever_part_is_drawn() -> None:
    random = np.random.default_rng(6)
    for n in (300, 6000):
        losses = random.normal(0.3, 1, n)
        found = bootstrap_drop(lambda chosen, losses=losses: float(losses[chosen].mean()), n)
        assert found.error == pytest.approx(losses.std(ddof=1) / np.sqrt(n), rel=0.2)
        assert found.estimate == pytest.approx(losses.mean())
    assert bootstrap_drop(lambda chosen: 0.0, 1).error == np.inf


def test_a_skewed_loss_is_bounded_more_closely_from_below() -> None:
    """Of exponential losses the mean is held against its own truth: neither side errs in more than twice its 2.5 %."""
    random, runs, n = np.random.default_rng(8), 200, 300
    above = below = 0
    for _ in range(runs):
        losses = random.exponential(size=n)
        found = bootstrap_drop(lambda chosen, losses=losses: float(losses[chosen].mean()), n)
        above += found.p_above(1.0) <= 0.025
        below += found.p_below(1.0) <= 0.025
    assert above / runs <= 0.05
    assert below / runs <= 0.065
    heavy = np.exp(2 * random.normal(size=n))
    skewed = bootstrap_drop(lambda chosen: float(heavy[chosen].mean()), n)
    assert skewed.below < skewed.error
    assert skewed.lower(0.025) > skewed.estimate - (skewed.upper(0.025) - skewed.estimate)


def test_trainings_and_examples_are_both_samples() -> None:
    """The error covers a new training on new examples: 95 % intervals hold the truth, those of one source do not."""
    random = np.random.default_rng(7)
    rows, columns, runs = 5, 400, 200
    both = trainings_alone = 0
    for _ in range(runs):
        values = (
            0.5
            + random.normal(0, 0.03, (rows, 1))
            + random.normal(0, 1.0, (1, columns))
            + random.normal(0, 1.0, (rows, columns))
        )
        found = crossed_mean(values)
        both += found.lower(0.025) <= 0.5 <= found.upper(0.025)
        alone = MeanDrop(
            float(values.mean()), float(values.mean(axis=1).std(ddof=1)) / np.sqrt(rows), rows - 1, columns
        )
        trainings_alone += alone.lower(0.025) <= 0.5 <= alone.upper(0.025)
    assert both / runs >= 0.92
    assert trainings_alone / runs < 0.9


def test_the_spread_of_one_training_widens_by_its_own_degrees_of_freedom() -> None:
    one = with_trainings(drop(10_000, 60, 40), 0.003, 4, 1, 10_000)
    assert one.error == pytest.approx(np.hypot(0.001, 0.003), rel=0.02)
    assert 4 < one.degrees < 6
    assert satterthwaite([(0.0, 3), (0.0, 7)]) == 3
    assert satterthwaite([(1.0, 5), (1.0, 5)]) == pytest.approx(10)


@pytest.mark.parametrize("least", [-9, 0, 1, 7, 60])
@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (3.0, 0.0), (4.5, 2.5), (900.0, 870.0)])
def test_the_difference_of_two_counts_has_the_tail_that_skellam_gives(least: int, first: float, second: float) -> None:
    if first * second:
        expected = float(stats.skellam.sf(least - 1, first, second))
    else:
        expected = float(stats.poisson.sf(least - 1, first))
    assert _poisson_difference_tail(least, first, second) == pytest.approx(expected, rel=1e-7, abs=1e-15)
