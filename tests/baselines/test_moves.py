"""When an update moves a value: by more than the standard error of the difference leaves to chance."""

import numpy as np
import pytest
from conftest import accepted
from quantbench.baselines.accepted_value import has_moved
from quantbench.gate import between_runs
from quantbench.records import BaselineValue

RUNS = 400


def latencies(random: np.random.Generator, ratio: float, processes: int = 15) -> BaselineValue:
    """An accepted ratio of one run: its processes lie 0.4 % apart, and runs as far as between_runs says."""
    centre = ratio * (1 + random.normal(0, between_runs(1)))
    values = [float(value) for value in centre * (1 + random.normal(0, 0.004, processes))]
    return accepted(float(np.mean(values)), 0.01, "ratio", n=processes, noise=0.004, values=values)


def moved(seed: int, change: float) -> float:
    """Share of updates that move a latency that has changed by so much."""
    random = np.random.default_rng(seed)
    pairs = ((latencies(random, 0.8), latencies(random, 0.8 * (1 + change))) for _ in range(RUNS))
    return sum(has_moved("latency_ratio", old, new) for old, new in pairs) / RUNS


def test_an_unchanged_latency_moves_in_one_of_twenty_updates() -> None:
    assert 0.02 < moved(1, 0.0) < 0.08  # 44 % by a third of one process's noise


def test_a_changed_latency_moves() -> None:
    assert moved(2, 0.01) > 0.9


def test_what_another_host_takes_moves_only_beyond_what_hosts_differ_by() -> None:
    random = np.random.default_rng(3)
    old, near, far = (latencies(random, ratio) for ratio in (0.8, 0.82, 1.0))
    for value, host in ((old, "a1"), (near, "b2"), (far, "b2")):
        value.accepted.host = host
    assert not has_moved("latency_ratio", old, near)
    assert has_moved("latency_ratio", old, far)
    near.accepted.host = "a1"
    assert has_moved("latency_ratio", old, near)


def seeds(random: np.random.Generator, mean: float, n: int) -> BaselineValue:
    values = [float(value) for value in random.normal(mean, 0.001, n)]
    return accepted(float(np.mean(values)), values=values, noise=0.001 if n == 1 else float(np.std(values, ddof=1)))


@pytest.mark.parametrize("n", [1, 5])
def test_an_unchanged_training_seldom_moves_and_a_changed_one_does(n: int) -> None:
    random = np.random.default_rng(3)
    still = [has_moved("score", seeds(random, 0.9, n), seeds(random, 0.9, n)) for _ in range(RUNS)]
    gone = [has_moved("score", seeds(random, 0.9, 5), seeds(random, 0.895, 5)) for _ in range(RUNS)]
    assert np.mean(still) < 0.09
    assert np.mean(gone) > 0.95


def test_what_repeats_exactly_moves_by_any_change() -> None:
    assert has_moved("size", accepted(1000.0, unit="bytes"), accepted(1001.0, unit="bytes"))
    assert not has_moved("score", accepted(0.9), accepted(0.9))
