"""Agreements of an artifact with the model that it came from: few examples, and what chance makes of them."""

import numpy as np
import pytest
from quantbench import gate
from quantbench.records import Judgement, Measurement, Verdict


def share(differing: int, n: int) -> Measurement:
    return Measurement(value=1 - differing / n, unit="fraction", n=n)


@pytest.mark.parametrize("n", [20, 100, 999])
def test_one_near_tie_of_few_examples_is_not_red(n: int) -> None:
    found = gate.agreement(share(1, n))
    assert found.verdict is Verdict.PASS
    assert f"of {n} examples" in found.message
    assert "(1 differ, p = " in found.message


@pytest.mark.parametrize(("differing", "n"), [(4, 100), (6, 1_000), (22, 10_000)])
def test_more_than_chance_is_red(differing: int, n: int) -> None:
    assert gate.agreement(share(differing, n)).verdict is Verdict.REGRESSED
    assert gate.agreement(share(differing - 2, n)).verdict is Verdict.PASS


def reds(truth: float, n: int, runs: int = 4_000) -> float:
    """Simulate which fraction of runs is red where the models truly disagree on a share of the examples."""
    differing = np.random.default_rng(24).binomial(n, truth, runs)
    counts = {int(k): gate.agreement(share(int(k), n)).verdict is Verdict.REGRESSED for k in set(differing.tolist())}
    return float(np.mean([counts[int(k)] for k in differing]))


@pytest.mark.parametrize("n", [50, 300, 2_000, 10_000])
def test_a_model_that_keeps_the_limit_is_red_in_a_thousandth_and_a_broken_one_nearly_always(n: int) -> None:
    assert reds(0.001, n) <= 0.002
    assert reds(0.15, n) >= 0.95  # a lost weight or a stale state flips far more
    if n >= 2_000:
        assert reds(0.005, n) >= (0.95 if n == 10_000 else 0.5)


def judged(differing: int, n: int, with_control: float | None = None) -> Judgement:
    return gate.conversion(share(differing, n), "", with_control)


def test_a_conversion_of_few_examples_is_neither_warned_of_nor_called_a_stranger_for_one_near_tie() -> None:
    assert judged(1, 50).verdict is Verdict.PASS
    assert judged(1, 50, 0.98).verdict is Verdict.PASS  # as far from its control, by one example
    assert judged(2, 50).verdict is Verdict.WARN
    assert judged(5, 50, 0.9).verdict is Verdict.REGRESSED


def test_the_lowest_of_several_seeds_is_judged_by_its_part() -> None:
    """Five conversions that agree on 99.5 % in truth are warned of in a twentieth of runs, not in a quarter."""
    random, n, warned = np.random.default_rng(5), 10_000, 0
    for counts in random.binomial(n, 0.005, (800, 5)):
        values = [1 - int(k) / n for k in counts]
        lowest = Measurement(value=min(values), unit="fraction", n=n, values=values)
        warned += gate.conversion(lowest, "").verdict is Verdict.WARN
    assert warned / 800 <= 0.065


def against(differing: int, accepted: int, n: int = 10_000) -> Verdict:
    return gate.conversion(share(differing, n), "", accepted=1 - accepted / n).verdict


def test_an_accepted_disagreement_is_not_warned_of_again_and_a_larger_one_is() -> None:
    assert judged(203, 10_000).verdict is Verdict.WARN
    assert against(203, 203) is Verdict.PASS
    assert against(215, 203) is Verdict.PASS
    assert against(260, 203) is Verdict.WARN
    assert against(203, 0) is Verdict.WARN  # an accepted agreement above the limit loosens nothing
    assert against(20, 0) is Verdict.PASS


def test_a_stranger_is_red_whatever_was_accepted() -> None:
    found = gate.conversion(share(500, 10_000), "", 0.95, accepted=0.95)
    assert found.verdict is Verdict.REGRESSED


def test_two_runs_of_one_truth_are_warned_of_in_a_twentieth_at_most() -> None:
    counts = np.random.default_rng(8).binomial(10_000, 0.02, (600, 2))
    assert np.mean([against(int(now), int(before)) is Verdict.WARN for now, before in counts]) <= 0.06
    worse = np.random.default_rng(9).binomial(10_000, [0.03, 0.02], (200, 2))
    assert np.mean([against(int(now), int(before)) is Verdict.WARN for now, before in worse]) >= 0.95
