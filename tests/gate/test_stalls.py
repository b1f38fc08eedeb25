"""Stalls: one call in a thousand that lasts 30 ms longer, by simulation, on an idle machine and on a loaded one."""

from collections.abc import Sequence

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.core.stats import binomial_below_with_own, binomial_tail, binomial_tail_with_own
from quantbench.engine import measurements
from quantbench.measure.latency import Latency
from quantbench.records import BaselineCell, InTurns, Judgement, Measurement, Stalls, Verdict
from quantbench.records.measurements import RATIO, STALLS
from studies.stalls import simulated as process

SUBJECT = gate.Subject("m", "v", "reports/r")
PROCESSES, HERE = 12, "here"
ALPHA = gate.beside_share(gate.DEFAULT_BUDGET / 2 / 21)[1]


def stage(
    random: np.random.Generator, of: Sequence[float], n: int = PROCESSES, longer: int = 1
) -> dict[str, Measurement]:
    timed = Latency([process(random, *of, longer=longer) for _ in range(n)])
    return measurements.latency(timed) | measurements.beside(timed, "v")


def known(stalled: Measurement | None = None) -> gate.AcceptedLatency:
    typical = accepted(1.0, 0.01, "ratio", n=12, values=[1.0, 1.001] * 6)
    cell = BaselineCell(latency={HERE: typical})
    if stalled is not None:
        value = accepted(stalled.value, gate.STALL_TOLERANCE, stalled.unit, n=stalled.n, values=stalled.values)
        value = value.model_copy(update={"stalls": stalled.stalls})
        cell = cell.model_copy(update={"by_machine": {STALLS: {HERE: value}}})
    return gate.accepted_beside(cell, HERE)


def judged(
    random: np.random.Generator, of: Sequence[float], by: gate.AcceptedLatency | None = None
) -> tuple[Judgement | None, int]:
    """Judge a run as the engine does; return what is said of stalls, and the stages that it took."""
    by = known() if by is None else by
    stages: list[dict[str, Measurement]] = []
    longer = 1
    while not stages or gate.unclear_beside(stages, RATIO, by, ALPHA):
        stages.append(stage(random, of, PROCESSES * gate.next_stage(len(stages)), longer))
        longer = gate.longer_processes(stages[0], RATIO, by)
    found = [one for one in gate.latency_beside(SUBJECT, stages, RATIO, by, ALPHA) if one.measurement == STALLS]
    return (found[0] if found else None), len(stages)


def is_red(found: Judgement | None) -> bool:
    return found is not None and found.verdict is Verdict.REGRESSED


@pytest.mark.parametrize(("micro", "load"), [(15, 0.0), (15, 0.05), (100, 0.0), (100, 0.05), (300, 0.0)])
def test_30_ms_in_one_of_1000_calls_are_red(micro: float, load: float) -> None:
    random = np.random.default_rng(34)
    assert sum(is_red(judged(random, (micro, 1000, load))[0]) for _ in range(10)) >= 9


def test_only_where_stalls_are_suspected_or_accepted_do_later_processes_time_longer() -> None:
    random = np.random.default_rng(3)
    stalling, healthy = (stage(random, (300, every, 0.0)) for every in (1000, 0))
    assert gate.longer_processes(stalling, RATIO, known()) == gate.longer_in_turns(stalling) == gate.LONGER_PROCESSES
    assert gate.longer_processes(healthy, RATIO, known()) == gate.longer_in_turns(healthy) == 1
    assert gate.longer_processes(healthy, RATIO, known(stalling[STALLS])) == gate.LONGER_PROCESSES
    assert gate.longer_processes(stalling, RATIO, gate.AcceptedLatency(None, {})) == 1  # nothing is judged here


def test_two_stalls_where_nothing_beside_stalls_are_worth_a_second_look() -> None:
    def seen(own: int, beside: int) -> dict[str, Measurement]:
        sides = [
            {"stalls": count, "lost": 0.03 * count, "usual": usual / 2, "calls": 3000}
            for count, usual in ((own, 1.5), (beside, 2.2))
        ]
        both = Stalls.model_validate({"longer": 1e-3, "artifact": sides[0], "beside": sides[1]})
        calm = Stalls.model_validate(
            both.model_dump()
            | {side: {**of, "stalls": 0, "lost": 0.0} for side, of in zip(("artifact", "beside"), sides, strict=True)}
        )
        return measurements.stalls([[both], [calm]])

    asked = [gate.unclear_beside([seen(*counts)], RATIO, known(), ALPHA) for counts in ((1, 0), (2, 0), (2, 1), (3, 1))]
    assert asked == [False, True, False, False]


@pytest.mark.parametrize("load", [0.0, 0.05])
@pytest.mark.parametrize("micro", [15, 100, 300])
def test_interruptions_by_other_programs_are_no_stalls(micro: float, load: float) -> None:
    random = np.random.default_rng(2026)
    found = [judged(random, (micro, 0, load)) for _ in range(25)]
    assert not any(is_red(one) for one, _ in found)
    assert (
        sum(one is not None for one, _ in found) <= 1
    )  # a warning is for chance to give, in less than 1 % of the runs
    assert sum(stages > 1 for _, stages in found) <= 5  # which only costs time


def test_a_judgement_tells_how_many_how_long_and_how_often() -> None:
    found, stages = judged(np.random.default_rng(1), (50, 1000, 0.0))
    assert found is not None
    assert (found.verdict, found.against, found.measured) == (Verdict.REGRESSED, "control", stages)
    assert "stalls of 1 ms and longer in 24 processes, about 30 ms each, one in " in found.message
    assert "against 0 of what was timed in turns with it (0.0 in the same time)" in found.message
    assert found.change == found.value == pytest.approx(0.6, abs=0.25)
    assert found.tolerance == gate.STALL_TOLERANCE


def test_stalls_that_were_accepted_are_not_red_again_and_more_of_them_are() -> None:
    random = np.random.default_rng(5)
    before = stage(random, (50, 1000, 0.0), 48)[STALLS]
    assert gate.stalls_to_accept(before, RATIO)
    by = known(before)
    assert not any(is_red(judged(random, (50, 1000, 0.0), by)[0]) for _ in range(20))
    assert all(is_red(judged(random, (50, 250, 0.0), by)[0]) for _ in range(5))
    assert not gate.stalls_to_accept(stage(random, (50, 0, 0.05), 48)[STALLS], RATIO)


def test_accepted_stalls_end_only_where_a_run_shows_that_they_are_gone() -> None:
    """A tenth of them still takes 3 % of its time: a run that sees few or none of those leaves what was accepted."""
    random = np.random.default_rng(11)
    before = known(stage(random, (100, 1000, 0.0), 48)[STALLS]).beside[STALLS]
    fewer = [stage(random, (100, 10_000, 0.0))[STALLS] for _ in range(40)]
    unseen = [one for one in fewer if not gate.stalls_to_accept(one, RATIO)]
    assert len(unseen) > 10
    assert not any(gate.stalls_ended(one, RATIO, before) for one in unseen)
    longer = {"n": 36, "longer": gate.LONGER_PROCESSES}
    assert not any(
        gate.stalls_ended(stage(random, (100, 10_000, 0.0), **longer)[STALLS], RATIO, before) for _ in range(10)
    )
    assert all(gate.stalls_ended(stage(random, (100, 0, 0.0), **longer)[STALLS], RATIO, before) for _ in range(5))
    assert not gate.stalls_ended(stage(random, (100, 0, 0.0))[STALLS], RATIO, before)  # too few calls to tell


def test_accepted_stalls_without_counts_end_too() -> None:
    """As baselines of earlier versions hold them."""
    random = np.random.default_rng(12)
    before = known(stage(random, (100, 1000, 0.0), 48)[STALLS]).beside[STALLS].model_copy(update={"stalls": None})
    longer = {"n": 36, "longer": gate.LONGER_PROCESSES}
    assert gate.stalls_ended(stage(random, (100, 0, 0.0), **longer)[STALLS], RATIO, before)
    assert not gate.stalls_ended(stage(random, (100, 10_000, 0.0), **longer)[STALLS], RATIO, before)
    assert not gate.stalls_ended(stage(random, (100, 0, 0.0), n=4)[STALLS], RATIO, before)  # too few calls to tell


def test_less_than_the_smallest_effect_is_not_red_however_often_it_is_seen() -> None:
    """Stalls of 2 ms in one of 10,000 calls of 50 µs: .4 % of its time, and surely its own."""
    random = np.random.default_rng(6)
    assert not any(is_red(judged(random, (50, 10_000, 0.0, 2e-3))[0]) for _ in range(10))


def test_in_turns_with_the_accepted_artifact_stalls_are_red_too() -> None:
    random = np.random.default_rng(7)
    turns = InTurns(artifact="changed")
    stages: list[dict[str, Measurement]] = []
    share = gate.DEFAULT_BUDGET / 2 / 21
    longer = 1
    while not stages or gate.unclear_in_turns(turns, stages, share):
        count = PROCESSES * gate.next_stage(len(stages))
        made = [process(random, 300, 1000, 0.0, longer=longer) for _ in range(count)]
        stages.append(measurements.in_turns(Latency(made)))
        longer = gate.longer_in_turns(stages[0])
    found = gate.judged_in_turns(SUBJECT, RATIO, stages[0][RATIO], HERE, turns, stages, share)
    assert [(one.measurement, one.against) for one in found if one.verdict is Verdict.REGRESSED] == [
        (STALLS, "accepted artifact")
    ]


def test_long_blocks_are_not_counted() -> None:
    """Where other programs interrupt most blocks, a block holds several stalls, and counts tell nothing."""
    random = np.random.default_rng(8)
    timed = Latency([process(random, 3000, 0, 0.0) for _ in range(4)])
    assert STALLS not in measurements.beside(timed, "v")


def test_own_stalls_add_to_those_that_fall_in_proportion() -> None:
    random = np.random.default_rng(9)
    assert binomial_tail_with_own(7, 10, 0.4, 0.0) == binomial_tail(7, 10, 0.4)
    own, n, share = 3.0, 12, 0.3
    drawn = random.poisson(own, 200_000)
    others = random.binomial(np.maximum(n - drawn, 0), share)
    assert binomial_tail_with_own(8, n, share, own) == pytest.approx(np.mean(drawn + others >= 8), abs=0.005)
    assert binomial_tail_with_own(0, n, share, own) == 1.0
    assert binomial_below_with_own(7, n, share, own) == pytest.approx(1 - binomial_tail_with_own(8, n, share, own))
    assert binomial_below_with_own(7, 10, 0.4, 0.0) == pytest.approx(1 - binomial_tail(8, 10, 0.4))
    assert binomial_below_with_own(0, 0, share, own) == pytest.approx(np.exp(-own))
