"""One frozen result a cell."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from made_up_cells import FLOAT, HALF, outcome, run
from made_up_runs import measured
from quantbench.engine.results import MeasuredAlone
from quantbench.engine.workers.task import Outcome
from quantbench.measure.memory import Memory
from quantbench.records import Failure

TWO = {FLOAT: [outcome()], HALF: [outcome(103)]}
TRAINED = {
    FLOAT: [outcome()],
    "m/float32_finetuned": [outcome()],
    "m/qat_wi8_ai8": [outcome(100, steps=7), outcome(110, seed=1, steps=5)],
}


def test_a_result_is_made_once_and_changes_no_more() -> None:
    results = run(TWO).results
    result = results.of(HALF)
    assert results.of(HALF) is result
    assert result.measurements is result.measurements
    with pytest.raises(FrozenInstanceError):
        result.failure = None  # type: ignore[misc]


def test_what_is_measured_of_a_cell() -> None:
    result = run(TWO).results.of(HALF)
    assert result.finished
    assert result.measurements["score"].value == pytest.approx(0.897)
    assert result.measurements["size"].value == 1000
    assert result.control_agreement == pytest.approx(0.997)
    assert result.evidence is not None
    assert result.evidence.flipped == [100, 101, 102]
    assert len(result.predictions_sha256 or "") == 64


def test_until_its_last_seed_is_in_nothing_counts_as_measured() -> None:
    from quantbench.core.options import RunOptions

    made = run(TRAINED, options=RunOptions(seeds=2))
    half = replace(TRAINED["m/qat_wi8_ai8"][1], seed=1)
    made.results._so_far = lambda cell: [None, half] if cell == "m/qat_wi8_ai8" else [*TRAINED[cell]]
    result = made.results.of("m/qat_wi8_ai8")
    assert not result.finished
    assert result.first is None
    assert dict(result.measurements) == {}
    made.results._so_far = lambda cell: [*TRAINED[cell]]
    result = made.results.of("m/qat_wi8_ai8")
    assert result.finished
    assert result.measurements["score"].values == [0.9, 0.89]
    assert result.measurements["training_steps"].value == 5


def test_a_control_that_comes_later_joins_once() -> None:
    made = run(TWO, computed=[HALF])
    before = made.results.of(HALF)
    assert before.control_agreement is None
    assert made.results.of(HALF) is before
    made.results.join(HALF, MeasuredAlone(seconds=3.0))
    made.computing.wait([made.plan.cells[FLOAT]])
    after = made.results.of(HALF)
    assert after.control_agreement == pytest.approx(0.997)
    assert after.alone.seconds == 3.0
    assert made.results.of(HALF) is after


def test_what_is_measured_alone_makes_a_new_result() -> None:
    results = run(TWO).results
    before = results.of(HALF)
    joined = results.join(HALF, MeasuredAlone(timed={"latency": measured(5.0, "µs")}, untimed={"x": "why"}))
    assert "latency" not in before.measurements
    assert joined.measurements["latency"].value == 5.0
    assert results.of(HALF) is joined


def test_memory_is_beside_that_of_the_float_control_and_never_beside_its_own() -> None:
    memory = Memory([200, 200], [300, 300], [100, 100], 50)
    outcomes = {FLOAT: [outcome(memory=memory)], HALF: [outcome(memory=Memory([100, 100], [9, 9], [5, 5], 40))]}
    results = run(outcomes).results
    assert results.of(HALF).measurements["memory_ratio"].value == 0.5
    assert "memory_ratio" not in results.of(FLOAT).measurements


def test_a_cell_that_failed_has_the_reason_and_no_score() -> None:
    failure = Failure(what="unsupported", reason="no such kernel")
    result = run({FLOAT: [outcome()], HALF: [Outcome(0, failure=failure)]}).results.of(HALF)
    assert result.failure == failure
    assert "score" not in result.measurements
    assert result.evidence is None


def test_predictions_and_evidence_are_by_model_and_variant() -> None:
    results = run(TWO).results
    assert set(results.predictions()["m"]) == {"float32", "ptq_float16"}
    assert results.evidence()["m"]["ptq_float16"].flipped == [100, 101, 102]
    of_head = replace(outcome(), heads={"colour": np.zeros(3)})
    assert set(run({FLOAT: [of_head]}).results.predictions()["m"]) == {"float32", "float32@colour"}
