"""Latencies judged in turns with the accepted artifact: without a baseline, and after one that says slower."""

from collections.abc import Mapping
from itertools import pairwise
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


def judged(turns: InTurns, *stages: Mapping[str, Measurement]) -> list[Judgement]:
    shown = measured([0.8] * 12, "ratio to float32")
    return gate.judged_in_turns(SUBJECT, RATIO, shown, MACHINE, turns, stages, ALPHA)


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
    ("ratios", "verdict"),
    [
        ([1.0], Verdict.PASS),
        ([1.002], Verdict.PASS),
        ([0.9], Verdict.IMPROVED),
        ([1.01, 1.01], Verdict.REGRESSED),
        ([1.05, 1.05], Verdict.REGRESSED),
        ([1.05, 1.0], Verdict.PASS),
    ],
)
def test_the_accepted_artifact_tells_what_a_baseline_would(ratios: list[float], verdict: Verdict) -> None:
    stages = [times(ratio) for ratio in ratios]
    unclear = [gate.unclear_in_turns(CHANGED, stages[:done], ALPHA) for done in range(1, len(stages) + 1)]
    assert unclear == [True] * (len(ratios) - 1) + [False]
    [found] = judged(CHANGED, *stages)
    assert found.verdict is verdict
    assert found.turns is not None
    assert found.turns.change == pytest.approx(np.mean(ratios) - 1, abs=1e-3)
    assert (found.low, found.high, found.measured) == (found.turns.low, found.turns.high, len(ratios))
    assert found.turns.low is not None
    assert found.turns.high is not None
    assert found.turns.low < found.turns.change < found.turns.high
    assert (len(found.turns.values or []), found.turns.measured) == (12 * len(ratios), len(ratios))


def test_red_says_both_numbers_and_against_what() -> None:
    other = CHANGED.model_copy(update={"accepted_runtime": "2.2.0 bbbbbbbbbbbb", "artifact": "same"})
    [found] = judged(other, times(1.05), times(1.05))
    assert "in turns with the accepted artifact on LiteRT 2.2.0 on this machine: +5.0 % (95 %: +4." in found.message
    assert "for more than 0.25 %, fails below" in found.message
    assert "measured 2 times, 24 processes" in found.message
    assert [action.what for action in found.actions] == ["measure again", "accept"]


def test_between_two_runtimes_what_two_runs_differ_by_counts() -> None:
    stages = [times(1.008, spread=0.001), times(1.008, spread=0.001)]
    assert judged(CHANGED, *stages)[0].verdict is Verdict.REGRESSED
    other = CHANGED.model_copy(update={"accepted_runtime": "2.2.0 bbbbbbbbbbbb"})
    assert judged(other, *stages)[0].verdict is Verdict.PASS


def test_calls_that_wait_are_red_although_the_typical_one_is_not_slower() -> None:
    slow = times(1.0, mean=1.3)
    assert gate.unclear_in_turns(CHANGED, [slow], ALPHA)
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


def confirmed(one: Judgement, turns: InTurns, *stages: Any) -> Judgement:
    return gate.confirmed([one], turns, stages, ALPHA / 2)[0]


@pytest.mark.parametrize("name", [RATIO, TO_YARDSTICK, name_at(RATIO, 2)])
def test_what_is_slower_in_turns_too_stays_red_with_both_numbers(name: str) -> None:
    assert gate.unconfirmed([red(name)], CHANGED, [times(1.8)], ALPHA / 2)
    found = confirmed(red(name), CHANGED, times(1.8), times(1.8))
    assert found.verdict is Verdict.REGRESSED
    assert found.message.startswith("slower; in turns with the accepted artifact on this machine: +80.0 %")
    assert (found.change, found.turns and found.turns.slower) == (0.06, True)


def test_what_is_not_slower_in_turns_is_the_machine_and_a_warning() -> None:
    assert not gate.unconfirmed([red()], CHANGED, [times(1.0)], ALPHA / 2)
    found = confirmed(red(), CHANGED, times(1.0))
    assert found.verdict is Verdict.WARN
    assert "so the machine got slower, not the artifact" in found.message
    assert found.turns is not None
    assert found.turns.slower is False


@pytest.mark.parametrize("stages", [1, 3])
def test_what_turns_leave_open_stays_red(stages: int) -> None:
    """Where the time was used up after the first stage, and where the last one looks slower and does not prove it."""
    late = CHANGED.model_copy(update={"lacking": "time"}) if stages == 1 else CHANGED
    found = confirmed(red(), late, *[times(1.02, spread=0.04)] * stages)
    assert (found.verdict, found.turns and found.turns.slower) == (Verdict.REGRESSED, None)
    assert "which does not decide it" in found.message
    assert ("--turns-budget" in found.message) is (stages == 1)


def test_what_is_fine_but_known_too_badly_is_timed_on_and_stays_red() -> None:
    coarse = times(1.0, spread=0.1)
    assert not gate.unclear_in_turns(CHANGED, [coarse], ALPHA)
    assert gate.unconfirmed([red(change=0.02)], CHANGED, [coarse], ALPHA / 2)
    assert confirmed(red(change=0.02), CHANGED, coarse).verdict is Verdict.REGRESSED
    assert confirmed(red(change=0.2), CHANGED, coarse).verdict is Verdict.WARN


def test_a_tolerance_that_was_loosened_holds_in_turns_too() -> None:
    loose = red(change=0.2).model_copy(update={"tolerance": 0.05})
    assert confirmed(loose, CHANGED, times(1.03), times(1.03)).verdict is Verdict.WARN
    assert confirmed(red(), CHANGED, times(1.03), times(1.03)).verdict is Verdict.REGRESSED


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
    assert gate.confirmed(kept, CHANGED, [times(1.0)], ALPHA) == kept
    assert gate.red_by_baseline([red()])


# ---------------------------------------------------------------- how often it is wrong


PROCESSES = 12 * gate.STAGES[-1]


def processes(random: np.random.Generator, runs: int, ratio: float, of_run: float = 0.0) -> Array:
    """Ratios of runs of all stages, shape (runs, 48), as on a loaded machine: 0.5 % from process to process, every
    tenth one held up by 3 % on average.

    Args:
        of_run: by which a run differs from another (sd, as a fraction); in turns, both artifacts do alike.
    """
    shape = (runs, PROCESSES)
    held_up = np.where(random.random(shape) < 0.1, random.exponential(0.03, shape), 0.0)
    shifts = 1 + of_run * random.standard_normal((runs, 1))
    return np.asarray(ratio * shifts * (1 + 0.005 * random.standard_normal(shape)) * (1 + held_up))


def in_stages(values: Array, unclear: Any) -> list[dict[str, Measurement]]:
    """Take stages of one run until it is decided."""
    taken: list[dict[str, Measurement]] = []
    ends = [0, *(12 * stage for stage in gate.STAGES)]
    for start, end in pairwise(ends):
        taken.append({RATIO: measured(values[start:end])})
        if not unclear(taken):
            break
    return taken


def count_red(ratio: float, runs: int, seed: int) -> tuple[int, float]:
    """Count red among cells without a baseline whose artifacts take so much of the accepted one's time.

    Returns:
        how many, and how many processes each took on average.
    """
    reds = taken = 0
    for values in processes(np.random.default_rng(seed), runs, ratio):
        stages = in_stages(values, lambda stages: gate.unclear_in_turns(CHANGED, stages, ALPHA))
        reds += any(found.verdict is Verdict.REGRESSED for found in judged(CHANGED, *stages))
        taken += sum(len(stage[RATIO].values or []) for stage in stages)
    return reds, taken / runs


def test_without_a_baseline_a_healthy_run_is_seldom_red_and_a_slower_artifact_nearly_always() -> None:
    reds, taken = count_red(1.0, 50 * CELLS, 0)
    assert (reds, taken < 13) == (0, True)
    assert count_red(1 + gate.MARGIN, 20 * CELLS, 1)[0] <= 1  # nobody would act on it
    assert count_red(1.01, 200, 2)[0] >= 190
    assert count_red(1.02, 100, 3)[0] == 100


def count_confirmed(artifact: float, machine: float, runs: int, seed: int) -> tuple[int, int]:
    """Count red by a baseline, and what of it is red once it was timed in turns."""
    random, reds, kept = np.random.default_rng(seed), 0, 0
    of_typical = gate.beside_share(ALPHA)[0]
    for _ in range(runs):
        stored = measured(processes(random, 1, 1.0, 0.0013)[0][:12])
        cell = BaselineCell(latency={MACHINE: accepted(stored.value, 0.01, "ratio", n=12, values=stored.values)})

        def judged_by(stages: list[dict[str, Measurement]], cell: BaselineCell = cell) -> tuple[Judgement, bool]:
            taken = [stage[RATIO] for stage in stages]
            return gate.latency_in_stages(SUBJECT, RATIO, taken, cell, MACHINE, of_typical)

        now = in_stages(processes(random, 1, artifact * (1 + machine), 0.0013)[0], lambda stages: judged_by(stages)[1])
        found = [judged_by(now)[0]]
        if found[0].verdict is Verdict.REGRESSED:
            reds += 1
            stages = in_stages(
                processes(random, 1, artifact)[0],
                lambda stages, found=found: gate.unconfirmed(found, CHANGED, stages, of_typical),  # type: ignore[misc]
            )
            kept += gate.confirmed(found, CHANGED, stages, of_typical)[0].verdict is Verdict.REGRESSED
    return reds, kept


def test_confirming_takes_away_what_the_machine_does_and_nothing_of_what_the_artifact_does() -> None:
    reds, kept = count_confirmed(1.0, 0.05, 100, 4)  # another host, 5 % slower for this artifact
    assert (reds > 90, kept) == (True, 0)
    reds, kept = count_confirmed(1.03, 0.0, 100, 5)
    assert reds > 20
    assert kept == reds
