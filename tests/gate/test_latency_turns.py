"""Latencies judged in turns with the accepted artifact: without a baseline, and after one that says slower."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.records import BaselineCell, InTurns, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import MEAN, RATIO, SLOW_PROCESSES, TO_YARDSTICK, name_at

SUBJECT = gate.Subject("m", "v", "reports/r")
CELLS = 21
ALPHA = gate.split(gate.beside_limits(gate.DEFAULT_BUDGET), CELLS)[1] / CELLS
MACHINE = "here"
RUNTIME = "2.3.0 aaaaaaaaaaaa"
CHANGED = InTurns(artifact="changed", accepted_runtime=RUNTIME, runtime=RUNTIME)


def measured(values: Any, unit: str = "ratio") -> Measurement:
    kept = [float(value) for value in values]
    return Measurement(value=float(np.mean(kept)), unit=unit, n=len(kept), values=kept)


def times(ratio: float, mean: float | None = None, spread: float = 0.003) -> dict[str, Measurement]:
    """Twelve processes around a ratio, two thirds of them within its spread."""
    steps = np.linspace(-1.5, 1.5, 12)
    typical, every = (value * (1 + spread * steps) for value in (ratio, mean or ratio))
    return {RATIO: measured(typical), MEAN: measured(every)}


def judged(
    turns: InTurns, first: Mapping[str, Measurement] | None = None, again: Mapping[str, Measurement] | None = None
) -> list[Judgement]:
    shown = measured([0.8] * 12, "ratio to float32")
    return gate.judged_in_turns(SUBJECT, RATIO, shown, MACHINE, turns, first, again, ALPHA)


# ---------------------------------------------------------------- without a baseline


@pytest.mark.parametrize("artifact", ["same", "stamp"])
def test_where_artifact_and_runtime_are_the_accepted_ones_nothing_has_to_be_timed(artifact: Any) -> None:
    [found] = judged(CHANGED.model_copy(update={"artifact": artifact}))
    assert (found.verdict, found.against) == (Verdict.PASS, "accepted artifact")
    assert found.message == (
        "latency ratio 0.800; no latency baseline for this machine profile (here): same artifact, same runtime as "
        "accepted"
    )


@pytest.mark.parametrize(
    ("ratio", "again", "verdict"),
    [
        (1.0, None, Verdict.PASS),
        (1.008, None, Verdict.PASS),
        (0.9, None, Verdict.IMPROVED),
        (1.05, 1.05, Verdict.REGRESSED),
        (1.05, 1.0, Verdict.PASS),
    ],
)
def test_the_accepted_artifact_tells_what_a_baseline_would(ratio: float, again: float | None, verdict: Verdict) -> None:
    first = times(ratio)
    assert gate.suspicious_in_turns(first) is (again is not None)
    [found] = judged(CHANGED, first, None if again is None else times(again))
    assert found.verdict is verdict
    assert found.turns is not None
    assert found.turns.change == pytest.approx((ratio + (again or ratio)) / 2 - 1, abs=1e-3)
    assert found.turns.low is not None
    assert found.turns.high is not None
    assert found.turns.low < found.turns.change < found.turns.high
    assert len(found.turns.values or []) == (12 if again is None else 24)


def test_red_says_both_numbers_and_against_what() -> None:
    other = CHANGED.model_copy(update={"accepted_runtime": "2.2.0 bbbbbbbbbbbb", "artifact": "same"})
    [found] = judged(other, times(1.05), times(1.05))
    assert "in turns with the accepted artifact on LiteRT 2.2.0 on this machine: +5.0 % (95 %: +4." in found.message
    assert "for more than 1 %, fails below" in found.message
    assert "measured twice" in found.message
    assert [action.what for action in found.actions] == ["measure again", "accept"]


def test_calls_that_wait_are_red_although_the_typical_one_is_not_slower() -> None:
    slow = times(1.0, mean=1.3)
    found = judged(CHANGED, slow, slow)
    assert [(one.measurement, one.verdict) for one in found] == [(RATIO, Verdict.PASS), (MEAN, Verdict.REGRESSED)]
    assert "in turns with the accepted artifact: latency mean ratio +30.0 %" in found[1].message


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("artifact", "the accepted artifact is neither in the cache nor in the folder of the accepted run"),
        ("runtime", "the accepted one (LiteRT 2.3.0) cannot be used here: no network"),
        ("time", "--turns-budget"),
        ("failed", "failed: no network"),
    ],
)
def test_what_could_not_be_timed_stays_not_gated_and_says_why(lacking: Any, words: str) -> None:
    [found] = judged(CHANGED.model_copy(update={"lacking": lacking, "detail": "no network"}))
    assert (found.verdict, found.against) == (Verdict.UNJUDGED, "nothing")
    assert f"not gated: {words}" in found.message or words in found.message


# ---------------------------------------------------------------- red by a baseline


def red(name: str = RATIO, change: float = 0.06) -> Judgement:
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="baseline",
        verdict=Verdict.REGRESSED,
        change=change,
        tolerance=0.01,
        message="slower",
    )


def confirmed(one: Judgement, turns: InTurns, first: Any = None, again: Any = None) -> Judgement:
    return gate.confirmed([one], turns, first, again, ALPHA / 2)[0]


@pytest.mark.parametrize("name", [RATIO, TO_YARDSTICK, name_at(RATIO, 2)])
def test_what_is_slower_in_turns_too_stays_red_with_both_numbers(name: str) -> None:
    found = confirmed(red(name), CHANGED, times(1.8))
    assert found.verdict is Verdict.REGRESSED
    assert found.message.startswith("slower; in turns with the accepted artifact on this machine: +80.0 %")
    assert (found.change, found.turns and found.turns.slower) == (0.06, True)


def test_what_is_not_slower_in_turns_is_the_machine_and_a_warning() -> None:
    found = confirmed(red(), CHANGED, times(1.0))
    assert found.verdict is Verdict.WARN
    assert "so the machine got slower, not the artifact" in found.message
    assert found.turns is not None
    assert found.turns.slower is False


def test_what_turns_leave_open_is_timed_once_more_and_is_no_red() -> None:
    open_ = times(1.012, spread=0.02)
    assert not gate.is_decided(open_, ALPHA)
    assert gate.is_decided(times(1.0), ALPHA)
    assert gate.is_decided(times(1.05), ALPHA)
    found = confirmed(red(), CHANGED, open_, open_)
    assert found.verdict is Verdict.WARN
    assert "which does not confirm it" in found.message


@pytest.mark.parametrize(("code", "verdict"), [("same", Verdict.WARN), ("changed", Verdict.REGRESSED)])
def test_the_accepted_artifact_on_the_accepted_runtime_cannot_have_become_slower(code: Any, verdict: Verdict) -> None:
    found = confirmed(red(), CHANGED.model_copy(update={"artifact": "same", "code": code}))
    assert found.verdict is verdict
    assert "artifact and runtime are the accepted ones" in found.message
    assert ("our own code, which changed" in found.message) is (code == "changed")


def test_red_that_could_not_be_timed_in_turns_stays_red_and_says_so() -> None:
    found = confirmed(red(), CHANGED.model_copy(update={"lacking": "artifact"}))
    assert found.verdict is Verdict.REGRESSED
    assert "not confirmed in turns: the accepted artifact is neither in the cache" in found.message


@pytest.mark.parametrize(("mean", "verdict"), [(1.0, Verdict.WARN), (1.3, Verdict.REGRESSED)])
def test_the_mean_of_all_calls_is_confirmed_by_the_mean_in_turns(mean: float, verdict: Verdict) -> None:
    assert confirmed(red(MEAN, 0.3), CHANGED, times(1.0, mean)).verdict is verdict


def test_slow_processes_are_confirmed_by_slow_processes_in_turns() -> None:
    some = times(1.0)
    some[RATIO] = measured([1.3, 1.3, 1.3, 1.3, 1.3, *[1.0] * 7])
    assert confirmed(red(SLOW_PROCESSES, 0.4), CHANGED, some).verdict is Verdict.REGRESSED
    assert confirmed(red(SLOW_PROCESSES, 0.4), CHANGED, times(1.0)).verdict is Verdict.WARN


def test_what_two_runtimes_are_not_compared_in_stays_red() -> None:
    found = confirmed(red("first_call_ratio", 0.5), CHANGED, times(1.0))
    assert found.verdict is Verdict.REGRESSED
    assert "this is not measured between two runtimes" in found.message


def test_only_what_is_red_by_a_baseline_is_asked_about() -> None:
    kept = [red().model_copy(update={"verdict": Verdict.WARN}), red().model_copy(update={"against": "control"})]
    assert not gate.red_by_baseline(kept)
    assert gate.confirmed(kept, CHANGED, times(1.0), None, ALPHA) == kept
    assert gate.red_by_baseline([red()])


# ---------------------------------------------------------------- how often it is wrong


def processes(random: np.random.Generator, runs: int, ratio: float, machine: float = 0.0) -> Array:
    """Ratios of runs of 12 processes, shape (runs, 12), as on a loaded machine: 0.5 % from process to process, every
    tenth one held up by 3 % on average, and 0.13 % from run to run.
    """
    values = ratio * (1 + machine) * (1 + 0.005 * random.standard_normal((runs, 12)))
    held_up = np.where(random.random((runs, 12)) < 0.1, random.exponential(0.03, (runs, 12)), 0.0)
    return np.asarray(values * (1 + held_up) * (1 + 0.0013 * random.standard_normal((runs, 1))))


def in_turns(random: np.random.Generator, runs: int, ratio: float) -> Array:
    return processes(random, runs, ratio)


def count_red(ratio: float, runs: int, seed: int) -> int:
    """Count red among cells without a baseline whose artifacts take so much of the accepted one's time."""
    random, reds = np.random.default_rng(seed), 0
    for first, again in zip(in_turns(random, runs, ratio), in_turns(random, runs, ratio), strict=True):
        one = {RATIO: measured(first)}
        second = {RATIO: measured(again)} if gate.suspicious_in_turns(one) else None
        reds += any(found.verdict is Verdict.REGRESSED for found in judged(CHANGED, one, second))
    return reds


def test_without_a_baseline_a_healthy_run_is_seldom_red_and_a_slower_artifact_nearly_always() -> None:
    assert count_red(1.0, 100 * CELLS, 0) == 0
    assert count_red(1.0075, 20 * CELLS, 1) <= 1  # nobody would act on it
    assert count_red(1.03, 200, 2) >= 198
    assert count_red(1.05, 100, 3) == 100


def count_confirmed(artifact: float, machine: float, runs: int, seed: int) -> tuple[int, int]:
    """Count red by a baseline, and what of it is red once it was timed in turns."""
    random, reds, kept = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        stored = measured(processes(random, 1, 1.0)[0])
        cell = BaselineCell(latency={MACHINE: accepted(stored.value, 0.01, "ratio", n=12, values=stored.values)})
        now = [measured(processes(random, 1, artifact, machine)[0]) for _ in range(2)]
        of_typical = gate.beside_share(ALPHA)[0]
        found = gate.latency(SUBJECT, RATIO, now[0], cell, MACHINE, of_typical, now[1])
        if found.verdict is not Verdict.REGRESSED:
            continue
        reds += 1
        first, again = ({RATIO: measured(values)} for values in in_turns(random, 2, artifact))
        second = None if gate.is_decided(first, of_typical) else again
        kept += gate.confirmed([found], CHANGED, first, second, of_typical)[0].verdict is Verdict.REGRESSED
    return reds, kept


def test_confirming_takes_away_what_the_machine_does_and_nothing_of_what_the_artifact_does() -> None:
    reds, kept = count_confirmed(1.0, 0.05, 100, 4)  # another host, 5 % slower for this artifact
    assert (reds > 90, kept) == (True, 0)
    reds, kept = count_confirmed(1.03, 0.0, 200, 5)
    assert reds > 20
    assert kept >= reds - 1
