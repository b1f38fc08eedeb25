"""The statistics against what scipy says, and against themselves."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantbench.core import stats
from scipy import stats as reference

COUNTS = st.integers(0, 200)


@given(lost=COUNTS, gained=COUNTS)
def test_mcnemar_is_the_binomial_test(lost: int, gained: int) -> None:
    pairs = stats.Paired(10_000, lost, gained)
    if lost + gained == 0:
        assert pairs.p_worse() == 1.0
        return
    expected = reference.binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue
    assert pairs.p_worse() == pytest.approx(expected, rel=1e-9)


def test_thirty_net_flips_of_forty_discordant_are_far_beyond_chance() -> None:
    assert stats.Paired(10_000, 35, 5).p_worse() < 1e-5


def test_pair_counts_what_only_one_side_has_right() -> None:
    new, old = np.array([True, False, True, False]), np.array([True, True, False, False])
    assert stats.pair(new, old) == stats.Paired(4, lost=1, gained=1)


def test_pooled_sd_takes_the_means_out() -> None:
    sd, degrees = stats.pooled_sd([[1.0, 2.0, 3.0], [101.0, 102.0, 103.0]])
    assert (sd, degrees) == (pytest.approx(1.0), 4)
    assert stats.pooled_sd([[1.0]]) == (0.0, 0)


def test_bootstrap_rounds_without_a_value_say_nothing() -> None:
    labels, values = np.array([1] + [0] * 19), np.arange(20.0)

    def drop(chosen: np.ndarray) -> float:
        return float(np.mean(values[chosen])) if labels[chosen].any() else float("nan")

    assert math.isfinite(stats.bootstrap_drop_sd(drop, 20))
    assert stats.bootstrap_drop_sd(lambda _: float("nan"), 20) == math.inf


def test_trimmed_mean_is_that_of_scipy_with_yuens_error() -> None:
    values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.01, 0.99, 5.0]
    found = stats.trimmed_mean(values)
    assert found.mean == pytest.approx(reference.trim_mean(values, 0.2))
    test = reference.ttest_ind(values, [0.0] * 10, equal_var=False, trim=0.2)
    assert found.mean / found.error == pytest.approx(test.statistic)
    assert found.degrees == 5


def test_change_of_two_means_holds_its_false_alarm_rate() -> None:
    random = np.random.default_rng(0)
    samples = 1 + 0.01 * random.standard_t(4, size=(4000, 24))  # heavier tails than normal
    below = [
        stats.change_of(stats.trimmed_mean(row[:12]), stats.trimmed_mean(row[12:]), 0.0).p_above() <= 0.01
        for row in samples
    ]
    assert np.mean(below) == pytest.approx(0.01, abs=0.006)
    assert stats.p_above(0.1, 0.0, 4) == 0.0
    assert math.isclose(stats.p_above(0.0, 0.01, 4), 0.5)


@given(lost=COUNTS, gained=COUNTS, degrees=st.floats(1, 1e6) | st.just(math.inf), share=st.floats(1e-9, 0.999))
def test_tails_and_quantiles_are_those_of_scipy_to_the_last_digit(
    lost: int, gained: int, degrees: float, share: float
) -> None:
    n = lost + gained
    tail = reference.binom.sf(lost - 1, n, 0.5) if n else 1.0
    assert stats.Paired(10_000, lost, gained).p_worse() == tail
    assert stats.t_quantile(share, degrees) == reference.t.ppf(1 - share, degrees)
    assert stats.p_above(share, 0.1, degrees) == reference.t.sf(share / 0.1, degrees)
    assert stats.normal_quantile(share) == reference.norm.ppf(1 - share)
    assert stats.normal_p(share, 0.1) == reference.norm.sf(share / 0.1)
    if lost < n:
        exact = reference.binomtest(lost, n, alternative="less").proportion_ci(0.95, "exact").high
        assert stats.upper_bound(lost, n) == pytest.approx(exact, rel=1e-12)


def test_tails_and_quantiles_load_no_more_than_they_need() -> None:
    script = (
        "import sys; from quantbench.core import stats\n"
        "stats.t_quantile(0.025, 4), stats.normal_quantile(0.025), stats.Paired(9, 3, 1).p_worse()\n"
        "print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40))
def test_the_front_is_what_nothing_else_beats(points: list[tuple[int, int]]) -> None:
    def beaten(x: int, y: int) -> bool:
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)

    assert stats.pareto_front(points) == [not beaten(*point) for point in points]


def test_a_front_leaves_out_what_is_not_known_and_is_not_led_by_nan() -> None:
    assert stats.pareto_front([(1, 5, None), (2, 6, 1.0), (0, 9, 3.0)]) == [True, False, True]
    assert stats.pareto_front([(math.nan, 1), (2.0, 2)]) == [True, True]
    many = [(float(i), float(i % 7)) for i in range(600)]
    assert [point for point, best in zip(many, stats.pareto_front(many), strict=True) if best] == [(0.0, 0.0)]
