"""Timing in stages: the levels of all looks add up, what is clear stops, and 1 % is caught."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.stats import Location
from quantbench.gate import _sequential
from quantbench.records import BaselineCell, Judgement, Measurement, Verdict

SUBJECT, MACHINE = gate.Subject("m", "v", "reports/r"), "here"
# Of the typical call, in a run of 21 timed cells.
ALPHA = 0.01 / 2 / 2 / 21
FIRST = 12
PROCESS = 0.005  # spread of one process, as recorded under load


def split(values: Array, stages: int = len(gate.STAGES)) -> list[list[float]]:
    ends = [0, *(FIRST * stage for stage in gate.STAGES[:stages])]
    return [[float(value) for value in values[a:b]] for a, b in pairwise(ends)]


def timed(values: Array, base: gate.Base, alpha: float) -> tuple[gate.Step, int]:
    """Time stage by stage until it is clear; return what it is, and the number of processes."""
    for count, stage in enumerate(gate.STAGES, 1):
        found = gate.look(split(values, count), base, alpha)
        if found.step is not gate.Step.MORE:
            return found.step, FIRST * stage
    raise AssertionError


def many(slower: float, trials: int, alpha: float, base: gate.Base = gate.IN_TURNS) -> tuple[float, float]:
    """Return (share that is red, processes on average)."""
    random = np.random.default_rng(7)
    shape = (trials, FIRST * gate.STAGES[-1])
    found = [timed(values, base, alpha) for values in 1 + slower + PROCESS * random.standard_normal(shape)]
    return float(np.mean([step is gate.Step.SLOW for step, _ in found])), float(np.mean([n for _, n in found]))


def test_the_levels_of_all_looks_add_up_and_the_first_look_is_never_red() -> None:
    levels = _sequential.spent(0.01)
    assert levels[0] == 0
    assert sum(levels) == pytest.approx(0.01)
    assert levels[-1] > 0.8 * 0.01
    hopeless = gate.look([[2.0, 2.0001] * 6], gate.IN_TURNS, 0.05)
    assert (hopeless.step, hopeless.alpha) == (gate.Step.MORE, 0.0)


def test_what_is_just_no_regression_is_red_as_often_as_the_level_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case that is still no regression; with the whole level at each look, more of them are red."""
    red, _ = many(gate.MARGIN, 3000, 0.05)
    assert red <= 0.05
    monkeypatch.setattr(_sequential, "spent", lambda alpha: (alpha, alpha, alpha))
    monkeypatch.setattr(_sequential, "HOPELESS", 0.0)
    assert many(gate.MARGIN, 3000, 0.05)[0] > 0.06


def test_one_percent_in_turns_is_caught_and_what_is_healthy_costs_no_more() -> None:
    caught, processes = many(0.01, 300, ALPHA)
    assert caught >= 0.95
    assert processes > FIRST
    red, processes = many(0.0, 300, ALPHA)
    assert red == 0
    assert processes < 1.02 * FIRST


def test_no_cell_is_timed_longer_where_more_processes_cannot_decide_it() -> None:
    """What all processes of a run share does not get smaller: the same data go on without it."""
    values = 1 + 0.004 + PROCESS * np.random.default_rng(0).standard_normal(FIRST)
    assert gate.look(split(values, 1), gate.IN_TURNS, ALPHA).step is gate.Step.MORE
    assert gate.look(split(values, 1), gate.Base(Location(1.0, 0.0, 1), 0.0015), ALPHA).step is gate.Step.FINE


def test_a_first_stage_that_is_not_confirmed_is_fine() -> None:
    """All processes together would be red: the first twelve were slow, and those that followed were not."""
    wiggle = 0.0005 * np.array([-1.0, 1.0] * 6)
    found = gate.look([list(1.02 + wiggle), list(1.002 + wiggle)], gate.IN_TURNS, 0.05)
    assert found.p_value < found.alpha
    assert found.step is gate.Step.FINE


def _ratio(values: Array) -> Measurement:
    return Measurement(value=float(np.mean(values)), unit="ratio to float32", n=len(values), values=list(values))


WIGGLE = 0.002 * np.array([-1.0, 1.0] * 6)


def _known(tolerance: float = 0.01) -> BaselineCell:
    values = list(0.8 + WIGGLE)
    return BaselineCell(latency={MACHINE: accepted(0.8, tolerance, "ratio to float32", n=12, values=values)})


def judged(*ratios: float, tolerance: float = 0.01, threads: int = 1) -> tuple[Judgement, bool]:
    stages = [_ratio(ratio + WIGGLE) for ratio in ratios]
    return gate.latency_in_stages(SUBJECT, "latency_ratio", stages, _known(tolerance), MACHINE, ALPHA, threads)


@pytest.mark.parametrize(
    ("ratios", "verdict", "more"),
    [
        ([0.80], Verdict.PASS, False),
        ([0.72], Verdict.IMPROVED, False),
        ([0.83], Verdict.WARN, True),  # never red by a first measurement
        ([0.83, 0.83], Verdict.REGRESSED, False),
        ([0.83, 0.80], Verdict.PASS, False),
        ([0.810, 0.810], Verdict.WARN, True),
    ],
)
def test_verdicts_by_what_was_measured_so_far(ratios: list[float], verdict: Verdict, more: bool) -> None:
    found, unclear = judged(*ratios)
    assert (found.verdict, unclear, found.measured) == (verdict, more, len(ratios))


def test_a_slowdown_says_how_often_it_was_measured() -> None:
    found, _ = judged(0.84, 0.84)
    assert "latency ratio 0.840, baseline 0.800 (+5.0 % ±" in found.message
    assert "for more than 0.25 %, fails below 1.5e-05; measured 2 times, 24 processes)" in found.message
    assert found.detectable is not None
    assert 0.01 < found.detectable < 0.03


def test_a_tolerance_that_was_loosened_passes_what_lies_within() -> None:
    assert judged(0.83, 0.83, tolerance=0.05)[0].verdict is Verdict.PASS
    assert judged(0.85, 0.85, tolerance=0.05)[0].verdict is not Verdict.PASS


def test_several_threads_are_confirmed_once_and_no_more() -> None:
    assert judged(1.4, threads=2)[1]
    assert judged(1.4, 1.4, threads=2)[0].verdict is Verdict.REGRESSED
    assert not judged(1.4, 1.4, threads=2)[1]


def test_a_report_s_processes_are_divided_into_the_stages_that_measured_them() -> None:
    measured = _ratio(np.arange(48.0))
    assert [len(stage.values or []) for stage in gate.stages_of(measured, 3)] == [12, 12, 24]
    assert gate.stages_of(measured, 3)[2].values == list(range(24, 48))
    assert [len(stage.values or []) for stage in gate.stages_of(_ratio(np.arange(12.0)), 1)] == [12]
    assert gate.after_the_first([{"a": measured}]) is None
    later = gate.after_the_first([{"a": measured}] * 3)
    assert later is not None
    assert later["a"].n == 96
