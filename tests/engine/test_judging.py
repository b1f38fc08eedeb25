"""What the judges say of a made-up result; nothing is computed, waited for or written."""

import pytest
from made_up_cells import FLOAT, FULL, HALF, Run, baseline, outcome, run
from made_up_runs import answers
from quantbench.core.options import RunOptions
from quantbench.engine.workers.task import Outcome
from quantbench.measure.memory import Memory
from quantbench.records import Failure, Judgement, Kind, Verdict

SAME = baseline({"float32": answers(100), "ptq_float16": answers(100)})


def judged(made: Run, kind: Kind, cell: str = HALF) -> dict[tuple[str, str], Judgement]:
    """By measurement and by what it is judged against."""
    found = made.judging.judge(kind, *made.result(cell))
    return {(judgement.measurement, judgement.against or ""): judgement for judgement in found}


def test_a_score_that_is_the_baselines_passes_without_a_share_of_the_budget() -> None:
    made = run({FLOAT: [outcome()], HALF: [outcome()]}, SAME)
    score = judged(made, Kind.ACCURACY)["score", "baseline"]
    assert (score.verdict, score.p_value) == (Verdict.PASS, None)
    assert not made.budget.settled
    assert made.computing.waited == []


def test_a_score_that_chance_has_moved_is_red_at_what_was_settled() -> None:
    made = run({FLOAT: [outcome()], HALF: [outcome(140)]}, SAME)
    with pytest.raises(AssertionError, match="settled before"):
        judged(made, Kind.ACCURACY)
    made.budget.settle([made.results.of(cell) for cell in (FLOAT, HALF)])
    found = judged(made, Kind.ACCURACY)
    assert found["score", "baseline"].verdict is Verdict.REGRESSED
    assert "fails below 0.009" in found["score", "baseline"].message
    assert found["score", "floor"].verdict is Verdict.REGRESSED
    assert made.written == []


def accepting(judgements: list[Judgement]) -> list[list[str]]:
    """The suggested commands that accept something."""
    commands = [action.command for judgement in judgements for action in judgement.actions]
    return [command for command in commands if command[1:3] == ["baseline", "update"]]


@pytest.mark.parametrize(("wrong", "suggested"), [(140, False), (103, True)])
def test_accepting_is_suggested_only_where_it_would_turn_the_cell_green(wrong: int, suggested: bool) -> None:
    """Of 140 wrong examples the drop is beyond the release limit too, which no update moves."""
    lower = baseline({"float32": answers(100), "ptq_float16": answers(90 if suggested else 100)})
    made = run({FLOAT: [outcome()], HALF: [outcome(wrong)]}, lower)
    made.budget.settle([made.results.of(cell) for cell in (FLOAT, HALF)])
    raw = made.judging.judge(Kind.ACCURACY, *made.result(HALF))
    told = made.judging.with_exceptions(made.plan.cells[HALF], Kind.ACCURACY, raw)
    assert accepting(raw)
    assert bool(accepting(told)) is suggested


@pytest.mark.parametrize(("results_class", "elsewhere"), [("another_litert-1", True), (None, False)])
def test_a_change_is_accepted_beside_the_values_of_another_machine_profile(
    results_class: str | None, elsewhere: bool
) -> None:
    known = baseline({"float32": answers(100), "ptq_float16": answers(100)})
    assert known.file is not None
    score = known.file.cells["ptq_float16"].measurements["score"]
    score.accepted = score.accepted.model_copy(update={"results_class": results_class})
    made = run({FLOAT: [outcome()], HALF: [outcome(140)]}, known)
    made.budget.settle([made.results.of(cell) for cell in (FLOAT, HALF)])
    commands = accepting(made.judging.judge(Kind.ACCURACY, *made.result(HALF)))
    assert commands
    assert all(("--per-machine" in command) is elsewhere for command in commands)


def test_the_floor_is_from_this_runs_own_control() -> None:
    made = run({FLOAT: [outcome(140)], HALF: [outcome(140)]}, SAME)
    made.budget.settle([made.results.of(HALF)])
    assert judged(made, Kind.ACCURACY)["score", "floor"].verdict is Verdict.PASS


def test_a_floor_is_a_warning_where_the_examples_do_not_tell_and_pairs_seed_by_seed() -> None:
    """Of 1,000 examples, 8 lost may be a drop of less than 0.5 pp; the p-value is of its own part of the budget."""
    made = run({FLOAT: [outcome(100)], HALF: [outcome(108)]}, SAME)
    made.budget.settle([made.results.of(HALF)])
    found = judged(made, Kind.ACCURACY)["score", "floor"]
    assert found.verdict is Verdict.WARN
    assert made.budget.limit_alpha() == pytest.approx(0.001)  # one of the two cells has a limit
    trained = {
        FLOAT: [outcome()],
        "m/float32_finetuned": [outcome(100 + 20 * seed, seed=seed) for seed in range(3)],
        "m/qat_wi8_ai8": [outcome(100 + 20 * seed, seed=seed) for seed in range(3)],
    }
    seeds = run(trained, SAME, options=RunOptions(seeds=3))
    seen = seeds.judging.judge(Kind.ACCURACY, *seeds.result("m/qat_wi8_ai8", "m/float32_finetuned"))
    paired = next(one for one in seen if one.against == "floor")
    assert (paired.verdict, paired.change) == (Verdict.PASS, 0.0)
    assert "mean of 3 seeds" in paired.message


def test_the_float_control_has_no_floor() -> None:
    made = run({FLOAT: [outcome()]}, SAME)
    assert ("score", "floor") not in judged(made, Kind.ACCURACY, FLOAT)


def test_control_and_cell_train_equally_long() -> None:
    trained = {
        FLOAT: [outcome()],
        "m/float32_finetuned": [outcome(steps=9)],
        "m/qat_wi8_ai8": [outcome(steps=5)],
    }
    made = run(trained, SAME)
    found = made.judging.judge(Kind.ACCURACY, *made.result("m/qat_wi8_ai8", "m/float32_finetuned"))
    steps = next(judgement for judgement in found if judgement.measurement == "training_steps")
    assert steps.verdict is not Verdict.PASS


def test_a_cell_that_failed_is_judged_so_for_every_kind() -> None:
    failed = Outcome(0, failure=Failure(what="error", reason="why"))
    made = run({FLOAT: [outcome()], HALF: [failed]}, SAME)
    for kind in Kind:
        assert [judgement.verdict for judgement in made.judging.judge(kind, *made.result(HALF))] == [Verdict.ERROR]


@pytest.mark.parametrize("kind", [Kind.INSTRUCTIONS, Kind.GPU, Kind.LATENCY])
def test_what_is_measured_alone_is_judged_elsewhere(kind: Kind) -> None:
    made = run({FLOAT: [outcome()]})
    with pytest.raises(ValueError, match="is judged where it is measured"):
        made.judging.judge(kind, *made.result(FLOAT))


def test_sizes_and_structure_and_memory_of_what_has_no_baseline_are_missing() -> None:
    made = run({FLOAT: [outcome(memory=Memory([2, 2], [3, 3], [1, 1], 50))]})
    assert judged(made, Kind.SIZE, FLOAT)["size", "baseline"].verdict is Verdict.MISSING
    assert any(one.verdict is Verdict.MISSING for one in judged(made, Kind.STRUCTURE, FLOAT).values())
    assert judged(made, Kind.MEMORY, FLOAT)["arena", "baseline"].verdict is Verdict.MISSING


@pytest.mark.parametrize(
    ("wanted", "drift", "verdict"),
    [
        ([FLOAT, HALF], True, Verdict.MISSING),
        ([HALF], True, Verdict.UNJUDGED),  # float32 is a control that the selection brought along
        ([FLOAT, HALF], False, Verdict.UNJUDGED),  # a model that is tried once has no baselines
    ],
)
def test_nothing_is_missing_where_nothing_was_to_be_there(wanted: list[str], drift: bool, verdict: Verdict) -> None:
    made = run({FLOAT: [outcome()], HALF: [outcome()]}, wanted=wanted, drift=drift)
    cell = made.plan.cells[FLOAT]
    found = made.judging.judge(Kind.SIZE, *made.result(FLOAT))
    assert {one.verdict for one in made.judging.with_exceptions(cell, Kind.SIZE, found)} == {verdict}


def test_what_was_never_judged_is_an_error() -> None:
    made = run({FULL: [outcome()], FLOAT: [outcome()]})
    assert made.judging.never_judged(made.plan.cells[FULL], Kind.SIZE)[0].verdict is Verdict.ERROR
