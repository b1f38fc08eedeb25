"""One budget over cells, classes and pools: its size and its power, by simulation."""

import numpy as np
import pytest
from quantbench.gate.score.hypotheses import Hypothesis, alarms, even_thresholds, split, thresholds
from scipy import stats


def _all(p_values: list[float], smallest: float = 0.0) -> list[Hypothesis]:
    return [Hypothesis(str(i), p, smallest) for i, p in enumerate(p_values)]


def test_holm_gives_each_red_the_share_of_those_before_it() -> None:
    found = thresholds(_all([0.5, 1e-6, 0.004]), 0.01, others=1)
    assert (found.of("1"), found.of("2"), found.of("0")) == pytest.approx((0.01 / 4, 0.01 / 3, 0.01 / 3))
    assert thresholds([], 0.01).share == 0.01


def test_what_cannot_be_rejected_takes_no_share_and_is_not_rejected() -> None:
    small = [Hypothesis(f"few {i}", 0.25, 0.25) for i in range(1000)]
    found = thresholds([*small, Hypothesis("many", 0.009, 1e-9)], 0.01)
    assert (found.of("many"), found.examined, found.left_out) == (0.01, 1, 1000)
    assert all(found.of(one.key) < one.smallest for one in small)
    assert thresholds([*_all([0.009]), *_all([0.5] * 9)[1:]], 0.01).of("0") < 0.009  # those that can do


def test_equal_evidence_counts_once() -> None:
    copies = [Hypothesis(f"copy {i}", 0.004, 0.0, "the same") for i in range(50)]
    found = thresholds([*copies, Hypothesis("other", 0.5)], 0.01)
    assert found.examined == 2
    assert {found.of(one.key) for one in copies} == {0.005}


def test_the_budget_holds_where_cells_flip_alike() -> None:
    """30 cells show the first 0 to 40 of the same 40 coins: no more than 5 % of the runs are red at 5 %."""
    random = np.random.default_rng(0)
    sizes = np.arange(30) * 40 // 29
    runs, reds, by_holm = 2000, 0, 0
    for _ in range(runs):
        coins = np.r_[0, np.cumsum(random.integers(0, 2, 40))]
        p_values = stats.binom.sf(coins[sizes] - 1, sizes, 0.5)
        given = [Hypothesis(str(i), p, 0.5 ** int(m)) for i, (p, m) in enumerate(zip(p_values, sizes, strict=True))]
        found = thresholds(given, 0.05)
        reds += any(one.p_value <= found.of(one.key) for one in given)
        by_holm += min(p_values) <= 0.05 / len(given)
    assert by_holm <= reds <= 0.06 * runs


def test_few_flips_in_many_classes_cost_a_collapse_nothing() -> None:
    quiet = _all([0.5] * 300, 0.5**4)
    loud = Hypothesis("loud", 2e-5, 1e-20)
    assert thresholds([*quiet, loud], 0.01).of("loud") == 0.01
    assert loud.p_value > thresholds(_all([0.5] * 600), 0.01).share  # where they share, it is missed


def test_latency_has_a_budget_of_its_own() -> None:
    assert split(0.01, 0) == (0.01, 0.0)
    assert split(0.01, 21) == (0.005, 0.005)
    assert split(0.01, 21, scored=False) == (0.0, 0.01)
    found = alarms(0.01, thresholds(_all([0.1] * 350), split(0.01, 21)[0]), 21)
    assert found.latency is not None
    assert found.latency.share == pytest.approx(0.005 / 21)  # whatever the scores do
    assert found.judgements == 350


def test_a_shard_gives_all_the_same() -> None:
    assert set(even_thresholds(_all([0.1, 0.2]), 1e-5, 1000).holm_threshold.values()) == {1e-5}


def test_a_weight_takes_so_many_shares() -> None:
    heavy = Hypothesis("heavy", 0.02, weight=6)
    found = thresholds([*_all([0.5, 0.004, 0.6, 0.7]), heavy], 0.05)
    assert found.of("heavy") == pytest.approx(0.05 * 6 / 10)
    assert found.of("1") == pytest.approx(0.05 / 4)  # once the heavy one is rejected, its shares are free
    assert found.share == pytest.approx(0.05 / 10)


def test_weights_keep_the_budget_and_find_more() -> None:
    """Twenty t-tests with 12 degrees of freedom share with 340 others: where nothing changed no more than the budget
    is red, and at five standard errors the weighted one is found twice as often."""
    random, budget, runs = np.random.default_rng(1), 0.05, 600

    def red(p_values: np.ndarray, weight: float) -> bool:
        given = [Hypothesis(f"t{i}", p, weight=weight) for i, p in enumerate(p_values[:20])]
        given += [Hypothesis(f"o{i}", p) for i, p in enumerate(p_values[20:60])]
        found = thresholds(given, budget, others=300)
        return any(one.p_value <= found.of(one.key) for one in given)

    null = sum(red(random.random(60), 50.0) for _ in range(runs))
    assert null <= stats.binom.ppf(0.999, runs, budget)
    worse = [np.r_[stats.t.sf(5 + random.standard_t(12), 12), 0.5 * np.ones(59)] for _ in range(200)]
    weighted, even = (sum(red(one, weight) for one in worse) for weight in (50.0, 1.0))
    assert weighted > 1.5 * even
