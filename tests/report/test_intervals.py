"""Intervals of measurements against those of scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_pages import cell
from quantbench.records import Measurement
from quantbench.report.intervals import interval
from scipy import stats as reference


@given(st.integers(2, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_of_examples_has_wilsons_interval(counted: tuple[int, int]) -> None:
    right, n = counted
    score = Measurement(value=right / n, unit="fraction", n=n)
    found = interval(cell("m", "v", 0.9, 1000), "score", score)
    assert found == pytest.approx(tuple(reference.binomtest(right, n).proportion_ci(0.95, "wilson")), abs=1e-12)


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=30))
def test_what_repeats_has_students(values: list[float]) -> None:
    mean, sd = sum(values) / len(values), float(np.std(values, ddof=1))
    timed = Measurement(value=mean, unit="µs", n=1, spread=sd, values=values)
    found = interval(cell("m", "v", 0.9, 1000), "latency", timed)
    half = reference.t.ppf(0.975, len(values) - 1) * sd / math.sqrt(len(values))
    assert found == pytest.approx((mean - half, mean + half), rel=1e-9, abs=1e-9)


def test_one_value_without_a_spread_has_none() -> None:
    assert interval(cell("m", "v", 0.9, 1000), "size", Measurement(value=1000, unit="bytes", n=1)) is None
    assert interval(cell("m", "v", 0.9, 1000), "score", Measurement(value=1.5, unit="fraction", n=9)) is None
