"""Stalls: one call in a thousand that lasts 30 ms longer, by simulation, on an idle machine and on a loaded one."""

from collections.abc import Sequence

import numpy as np
import pytest
from conftest import accepted
from quantbench import gate
from quantbench.core.stats import binomial_tail, binomial_tail_with_own
from quantbench.engine import measurements
from quantbench.measure.latency import Latency
from quantbench.records import BaselineCell, InTurns, Judgement, Measurement, Verdict
from quantbench.records.measurements import RATIO, STALLS
from studies.stalls import simulated as process

SUBJECT = gate.Subject("m", "v", "reports/r")
PROCESSES, HERE = 12, "here"
ALPHA = gate.beside_share(gate.DEFAULT_BUDGET / 2 / 21)[1]


def stage(random: np.random.Generator, of: Sequence[float], n: int = PROCESSES) -> dict[str, Measurement]:
    timed = Latency([process(random, *of) for _ in range(n)])
    return measurements.latency(timed) | measurements.beside(timed, "v")


def known(stalled: Measurement | None = None) -> gate.AcceptedLatency:
    typical = accepted(1.0, 0.01, "ratio", n=12, values=[1.0, 1.001] * 6)
    cell = BaselineCell(latency={HERE: typical})
    if stalled is not None:
        value = accepted(stalled.value, gate.STALL_TOLERANCE, stalled.unit, n=stalled.n, values=stalled.values)
        cell = cell.model_copy(update={"by_machine": {STALLS: {HERE: value}}})
    return gate.accepted_beside(cell, HERE)


def judged(
    random: np.random.Generator, of: Sequence[float], by: gate.AcceptedLatency | None = None
) -> tuple[Judgement | None, int]:
    """Judge a run as the engine does; return what is said of stalls, and the stages that it took."""
    by = known() if by is None else by
    stages: list[dict[str, Measurement]] = []
    while not stages or gate.unclear_beside(stages, RATIO, by, ALPHA):
        stages.append(stage(random, of, PROCESSES * gate.next_stage(len(stages))))
    found = [one for one in gate.latency_beside(SUBJECT, stages, RATIO, by, ALPHA) if one.measurement == STALLS]
    return (found[0] if found else None), len(stages)


def is_red(found: Judgement | None) -> bool:
    return found is not None and found.verdict is Verdict.REGRESSED


@pytest.mark.parametrize(("micro", "load"), [(15, 0.0), (15, 0.05), (50, 0.0), (50, 0.05), (100, 0.0), (100, 0.05)])
def test_30_ms_in_one_of_1000_calls_are_red(micro: float, load: float) -> None:
    random = np.random.default_rng(34)
    assert sum(is_red(judged(random, (micro, 1000, load))[0]) for _ in range(10)) >= 9


@pytest.mark.parametrize("load", [0.0, 0.05])
@pytest.mark.parametrize("micro", [15, 100, 300])
def test_interruptions_by_other_programs_are_no_stalls(micro: float, load: float) -> None:
    random = np.random.default_rng(2026)
    found = [judged(random, (micro, 0, load)) for _ in range(25)]
    assert [one for one, _ in found if one is not None] == []
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
    assert gate.stalls_to_accept(before)
    by = known(before)
    assert not any(is_red(judged(random, (50, 1000, 0.0), by)[0]) for _ in range(20))
    assert all(is_red(judged(random, (50, 250, 0.0), by)[0]) for _ in range(5))
    assert not gate.stalls_to_accept(stage(random, (50, 0, 0.05), 48)[STALLS])


def test_accepted_stalls_end_only_where_a_run_tells() -> None:
    """One stall in two processes: those of an ordinary run, a quarter of an update's, often are too few to see it."""
    random = np.random.default_rng(11)
    before = known(stage(random, (100, 2000, 0.0), 48)[STALLS]).beside[STALLS]
    ordinary = [stage(random, (100, 2000, 0.0))[STALLS] for _ in range(40)]
    unseen = [one for one in ordinary if not gate.stalls_to_accept(one)]
    assert len(unseen) > 10
    assert not any(gate.stalls_ended(one, before) for one in unseen)
    assert all(gate.stalls_ended(stage(random, (100, 0, 0.0))[STALLS], before) for _ in range(5))
    assert not gate.stalls_ended(stage(random, (100, 0, 0.0), 2)[STALLS], before)


def test_less_than_the_smallest_effect_is_not_red_however_often_it_is_seen() -> None:
    """Stalls of 2 ms in one of 10,000 calls of 50 µs: .4 % of its time, and surely its own."""
    random = np.random.default_rng(6)
    assert not any(is_red(judged(random, (50, 10_000, 0.0, 2e-3))[0]) for _ in range(10))


def test_in_turns_with_the_accepted_artifact_stalls_are_red_too() -> None:
    random = np.random.default_rng(7)
    turns = InTurns(artifact="changed")
    stages: list[dict[str, Measurement]] = []
    share = gate.DEFAULT_BUDGET / 2 / 21
    while not stages or gate.unclear_in_turns(turns, stages, share):
        count = PROCESSES * gate.next_stage(len(stages))
        stages.append(measurements.in_turns(Latency([process(random, 50, 1000, 0.0) for _ in range(count)])))
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
