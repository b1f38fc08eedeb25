"""The one loop of a run: compute what a judgement needs, settle, judge, save."""

import errno

import pytest
from made_up_cells import FLOAT, FULL, HALF, baseline, outcome, run
from made_up_runs import answers
from quantbench.core import signals
from quantbench.engine.drive import until_stopped
from quantbench.engine.finish import HowEnded
from quantbench.errors import DiskFull
from quantbench.records import Kind, Verdict

SAME = baseline({"float32": answers(100), "ptq_float16": answers(100), "ptq_static_wi8_ai8": answers(100)})
THREE = {FLOAT: [outcome()], HALF: [outcome()], FULL: [outcome()]}


def test_a_step_computes_judges_and_saves_once() -> None:
    made = run(THREE, SAME, computed=[])
    first = made.drive.judge(HALF, Kind.SIZE)
    assert made.computing.waited == [HALF]
    assert len(made.written) == 1
    assert made.drive.judge(HALF, Kind.SIZE) is first
    assert len(made.written) == 1


def test_a_score_that_nothing_has_moved_waits_for_its_controls_alone() -> None:
    made = run(THREE, SAME, computed=[])
    made.drive.prepare(HALF, Kind.ACCURACY)
    assert made.computing.waited == [HALF, FLOAT]
    assert not made.budget.settled


def test_a_score_that_chance_has_moved_has_all_scores_settled_before_it_is_judged() -> None:
    made = run(THREE | {HALF: [outcome(103)]}, SAME, computed=[])
    made.drive.prepare(HALF, Kind.ACCURACY)
    assert set(made.computing.waited) == set(THREE)
    assert made.budget.settled
    waited = len(made.computing.waited)
    assert made.written == []
    made.drive.judge(HALF, Kind.ACCURACY)
    assert made.computing.waited[waited:] == [HALF, FLOAT]  # which are computed


def test_nothing_is_timed_before_the_workers_are_gone_and_the_budget_is_settled() -> None:
    made = run(THREE, SAME, [Kind.ACCURACY, Kind.LATENCY], computed=[])
    made.drive.judge(HALF, Kind.LATENCY)
    assert made.computing.calls == ["finish"]
    assert made.budget.settled
    assert made.alone.measured == [f"latency {HALF}"]


def test_controls_that_a_selection_brought_along_are_judged_at_the_end() -> None:
    made = run(THREE, SAME, wanted=[HALF])
    made.drive.judge_the_rest()
    assert set(made.judgements) == {FLOAT}
    assert set(made.judgements[FLOAT]) == {Kind.ACCURACY, Kind.SIZE}


def test_a_stopped_run_judges_what_is_computed_and_measures_nothing_more() -> None:
    made = run(THREE | {HALF: [outcome(103)]}, SAME, [Kind.ACCURACY, Kind.LATENCY], computed=[FLOAT, HALF])
    made.drive.close(partial=True)
    assert {cell: set(kinds) for cell, kinds in made.judgements.items()} == {
        FLOAT: {Kind.ACCURACY},
        HALF: {Kind.ACCURACY},
    }
    assert made.computing.calls == ["stop", "finish"]
    assert FULL not in made.computing.waited
    assert made.budget.holm_threshold(HALF) == pytest.approx(0.009 / 2)  # itself, and the one that is not finished


def test_in_a_whole_run_what_no_test_asked_for_is_an_error() -> None:
    made = run(THREE, SAME)
    made.drive.judge(HALF, Kind.SIZE)
    made.drive.close(partial=False)
    assert [one.verdict for one in made.judgements[HALF][Kind.ACCURACY]] == [Verdict.ERROR]
    assert made.judgements[HALF][Kind.SIZE][0].verdict is not Verdict.ERROR


def test_a_full_disk_is_named_whoever_meets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(THREE, SAME)

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(made.drive, "_saved", full)
    with pytest.raises(DiskFull, match="no space is left in /store"):
        made.drive.judge(HALF, Kind.SIZE)


# ---------------------------------------------------------------- what keeps a run from its end


@pytest.fixture(autouse=True)
def _no_signal_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_state", signals._State())


def raising(error: BaseException) -> None:
    raise error


def test_work_that_gets_to_its_end() -> None:
    assert until_stopped(lambda: None) == HowEnded()


def test_a_signal() -> None:
    assert until_stopped(lambda: raising(KeyboardInterrupt())) == HowEnded(interrupted=True)


def test_a_signal_that_came_before_the_work_began() -> None:
    signals._state.came = 1
    done: list[int] = []
    assert until_stopped(lambda: done.append(1)).interrupted
    assert done == []


def test_a_full_disk() -> None:
    how = until_stopped(lambda: raising(DiskFull("no space is left in /store")))
    assert (how.disk_full, how.where_full) == (True, "no space is left in /store")


def test_nothing_more_is_done_where_something_has_kept_it_from_its_end() -> None:
    done: list[int] = []
    assert until_stopped(lambda: done.append(1), HowEnded(cut_short=True)) == HowEnded(cut_short=True)
    assert done == []


def test_an_error_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        until_stopped(lambda: raising(RuntimeError()))
