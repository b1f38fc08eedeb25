"""How one run shares its false-alarm budget."""

import pytest
from made_up_cells import FLOAT, FULL, HALF, baseline, outcome, run
from made_up_runs import answers
from quantbench.core.options import RunOptions
from quantbench.engine.workers.task import Outcome
from quantbench.records import BaselineCell, Failure, Kind

OUTCOMES = {FLOAT: [outcome()], HALF: [outcome(101)], FULL: [outcome(130)]}
SAME = baseline({"float32": answers(100), "ptq_float16": answers(100), "ptq_static_wi8_ai8": answers(100)})


def test_until_it_is_settled_every_score_may_have_been_moved_by_chance() -> None:
    budget = run(OUTCOMES, SAME).budget
    assert not budget.settled
    # Three cells with ten classes each, one pool of the model and two of families.
    assert (budget.false_alarms().judgements, budget.false_alarms().share) == (36, pytest.approx(0.009 / 36))


def test_scores_that_chance_has_moved_share_it() -> None:
    made = run(OUTCOMES, SAME)
    made.budget.settle([made.results.of(cell) for cell in OUTCOMES])
    # 30 flips can be red, and those of ten classes, three each, cannot; nor can the one flip of the other cell. What
    # moved in all cells together is a test of its own.
    assert (made.budget.false_alarms().judgements, made.budget.false_alarms().left_out) == (2, 11)
    assert made.budget.holm_threshold(FULL) == pytest.approx(
        0.009
    )  # the smaller p-value is of the pool, whose share is free
    assert made.budget.holm_threshold(HALF) == pytest.approx(0.0045)  # p = .5 is its smallest
    with pytest.raises(KeyError):
        made.budget.holm_threshold(FLOAT)


def test_a_cell_of_a_stopped_run_that_is_not_finished_may_have_been_moved() -> None:
    made = run(OUTCOMES, SAME)
    made.budget.settle([made.results.of(FULL)], unfinished=2)
    assert made.budget.holm_threshold(FULL) == pytest.approx(0.009 / 3)


def test_a_cell_that_failed_takes_no_share() -> None:
    failed = Outcome(0, failure=Failure(what="crash", reason="why"))
    made = run(OUTCOMES | {HALF: [failed]}, SAME)
    assert made.budget.at_even_share(made.results.of(HALF)).p_value is None


def test_a_shard_judges_by_the_even_share_of_the_whole_run() -> None:
    made = run(OUTCOMES, SAME, options=RunOptions(shard="1/2"))
    made.budget.settle([made.results.of(cell) for cell in OUTCOMES])
    assert made.budget.holm_threshold(FULL) == made.budget.holm_threshold(HALF) == pytest.approx(0.009 / 36)
    assert made.budget.pooled == []


def test_several_runs_spend_one_budget_together_whichever_cells_each_has() -> None:
    """The tests of a pytest session ask for cells one by one, and no run sees them all."""
    alone = {cell: {Kind.ACCURACY} for cell in OUTCOMES}
    for cell in (FULL, HALF):
        made = run({name: OUTCOMES[name] for name in (FLOAT, cell)}, SAME, [Kind.ACCURACY], wanted=[cell], within=alone)
        made.budget.settle([made.results.of(cell)])
        assert made.budget.holm_threshold(cell) == pytest.approx(0.009 / 36)
        assert made.budget.false_alarms().share == pytest.approx(0.009 / 36)
        assert made.budget.limit_alpha() == pytest.approx(0.001 / 2)


def test_latencies_with_a_baseline_of_this_machine_class_have_half_of_it() -> None:
    from conftest import accepted

    timed = BaselineCell(
        measurements={}, latency={"A_2-core": accepted(0.5, unit="ratio to float32", values=[0.5, 0.5])}
    )
    made = run(OUTCOMES, baseline({}, ptq_float16=timed), [Kind.ACCURACY, Kind.LATENCY])
    latency = made.budget.even().latency
    assert latency is not None
    assert (latency.judgements, latency.share, made.budget.latency_share()) == (
        1,
        pytest.approx(0.0045),
        pytest.approx(0.0045),
    )
    assert made.budget.even().share == pytest.approx(0.0045 / made.budget.even().judgements)


def test_where_nothing_had_to_be_settled_no_score_was_moved() -> None:
    budget = run(OUTCOMES, SAME).budget
    budget.close()
    assert budget.settled
    assert budget.false_alarms().judgements == 0


def test_a_limit_is_red_at_the_same_in_a_shard_as_in_the_whole_run() -> None:
    """Every cell but the control has a limit, whether its predictions changed or not; their part is told beside."""
    whole, shard = run(OUTCOMES, SAME), run(OUTCOMES, SAME, options=RunOptions(shard="1/2"))
    assert whole.budget.limit_alpha() == shard.budget.limit_alpha() == pytest.approx(0.001 / 2)
    told = whole.budget.even()
    assert told.limits == pytest.approx(0.001)
    assert told.budget + (told.limits or 0) == pytest.approx(0.01)


def test_a_trained_score_with_several_accepted_seeds_takes_more_of_it() -> None:
    from conftest import accepted
    from quantbench import gate

    qat = "m/qat_wi8_ai8"
    outcomes = {FLOAT: [outcome()], qat: [outcome(130)], "m/float32_finetuned": [outcome(100)]}
    known = BaselineCell(measurements={"score": accepted(0.9, values=[0.9, 0.899, 0.901])})
    several = baseline({"float32": answers(100)}, qat_wi8_ai8=known)
    one = baseline({"float32": answers(100)}, qat_wi8_ai8=BaselineCell(measurements={"score": accepted(0.9)}))
    more, less = (run(outcomes, accepted_ones).budget.even().judgements for accepted_ones in (several, one))
    assert more - less == gate.weight_of(known.measurements["score"]) - 1 > 0
    # Alone it has the whole budget, and in a shard the share of one: what is red there is red in the whole run.
    made = run(outcomes, several)
    made.budget.settle([made.results.of(cell) for cell in outcomes])
    assert made.budget.holm_threshold(qat) >= made.budget.even().share
