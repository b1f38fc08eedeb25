"""Made-up runs whose outputs moved: what is stored of them, what shares the budget, and what the judges say."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import accepted, baseline_cell
from made_up_cells import FLOAT, HALF, Run, baseline, outcome, run
from made_up_runs import LABELS, answers, clustered
from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.core import distances
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.engine import unrecorded
from quantbench.engine.false_alarms import of_outputs
from quantbench.errors import Exit
from quantbench.records import BaselineCell, Judgement, Kind, Verdict

N = len(LABELS)
LOGITS = np.random.default_rng(1).normal(0, 3, (N, 10))
QAT, FINETUNED = "m/qat_wi8_ai8", "m/float32_finetuned"


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


FLOATS = softmax(LOGITS)
NEAR = softmax(LOGITS + np.random.default_rng(2).normal(0, 0.1, LOGITS.shape))
MOVED = softmax(LOGITS + np.random.default_rng(3).normal(0, 0.5, LOGITS.shape))
ELSEWHERE = softmax(LOGITS + np.random.default_rng(4).normal(0, 0.5, LOGITS.shape))


def made(floats: Array = FLOATS, half: Array = NEAR, standing: EffectiveBaseline | None = None, **rules: bool) -> Run:
    return run({FLOAT: [outcome(outputs=floats)], HALF: [outcome(outputs=half)]}, standing, **rules)


def standing(floats: Array = FLOATS, half: Array = NEAR) -> EffectiveBaseline:
    """What an update takes of a run with these outputs."""
    of = made(floats, half)
    of.recording.save("complete", Exit.GREEN)
    stored = of.results.predictions()["m"]
    cells = {}
    for name in ("float32", "ptq_float16"):
        distance = of.results.of(f"m/{name}").measurements["output_distance"]
        score = accepted(float(np.mean(stored[name] == LABELS)))
        cells[name] = baseline_cell(
            score=score, output_distance=accepted(distance.value, gate.SMALLEST_EFFECT, distance.unit)
        )
    of_predictions = baseline({name: stored[name] for name in cells}, **cells)
    return replace(of_predictions, predictions=stored)


def judged(of: Run, cell: str = HALF) -> Judgement:
    [found] = [one for one in of.drive.judge(cell, Kind.ACCURACY) if one.measurement == "output_distance"]
    return found


def test_a_run_stores_a_byte_an_example_and_the_outputs_of_float32() -> None:
    stored = standing().predictions
    assert set(stored) == {"float32", "ptq_float16", "float32#outputs", "ptq_float16#outputs"}
    assert (stored["ptq_float16#outputs"].dtype, stored["ptq_float16#outputs"].shape) == (np.uint8, (N,))
    assert stored["float32#outputs"].shape == (N, 10)


def test_a_run_like_the_accepted_one_passes_and_nothing_shares_the_budget() -> None:
    of = made(standing=standing())
    for cell in (FLOAT, HALF):
        assert (judged(of, cell).verdict, judged(of, cell).p_value) == (Verdict.PASS, None)
    assert not of.budget.settled


def test_a_lost_softmax_is_red_where_every_answer_is_as_it_was() -> None:
    of = made(half=LOGITS.astype(np.float32), standing=standing())
    assert judged(of).verdict is Verdict.REGRESSED
    assert of.budget.settled  # by the p-value of the outputs alone
    assert of.budget.false_alarms().judgements == 1
    assert of.budget.holm_threshold(of_outputs(HALF)) == pytest.approx(gate.beside_limits(0.01))
    score = next(one for one in of.drive.judge(HALF, Kind.ACCURACY) if one.measurement == "score")
    assert score.verdict is Verdict.PASS
    everywhere = made(LOGITS.astype(np.float32), LOGITS.astype(np.float32), standing())
    assert judged(everywhere, FLOAT).verdict is Verdict.REGRESSED


def test_outputs_share_the_budget_with_scores() -> None:
    of = run({FLOAT: [outcome(outputs=FLOATS)], HALF: [outcome(140, outputs=LOGITS.astype(np.float32))]}, standing())
    assert judged(of).verdict is Verdict.REGRESSED
    assert of.budget.false_alarms().judgements == 2
    before = made(standing=baseline({"float32": answers(100), "ptq_float16": answers(100)})).budget.even().judgements
    assert of.budget.even().judgements == before + 2


def test_what_only_changed_is_told_and_green_unless_strict() -> None:
    before = standing(half=MOVED)
    of = made(half=ELSEWHERE, standing=before)
    assert judged(of).verdict is Verdict.CHANGED
    of.recording.save("complete", Exit.GREEN)
    [_, cell] = of.written[-1].cells
    assert cell.verdict is Verdict.CHANGED
    assert gate.exit_status([cell.verdict]) is Exit.GREEN
    assert judged(made(half=ELSEWHERE, standing=before, strict_change=True)).verdict is Verdict.REGRESSED


def test_nothing_is_judged_where_the_float_model_is_another() -> None:
    of = made(half=LOGITS.astype(np.float32), standing=standing(), train=True)
    assert of.budget.outputs_at_even_share(of.results.of(HALF)) is None


def test_a_baseline_of_before_1_5_is_a_note_and_no_verdict() -> None:
    of = made(half=LOGITS.astype(np.float32), standing=baseline({"float32": answers(100), "ptq_float16": answers(100)}))
    assert {one.measurement for one in of.drive.judge(HALF, Kind.ACCURACY)} == {"score"}
    [note] = unrecorded.notes([of.results.of(cell) for cell in (FLOAT, HALF)], of.rules)
    assert "the outputs themselves (2 cells)" in note
    assert "baseline update runs/r" in note
    held = made(standing=standing())
    assert unrecorded.notes([held.results.of(cell) for cell in (FLOAT, HALF)], held.rules) == []


def test_each_seed_is_compared_with_its_controls_seed() -> None:
    def noise(seed: int) -> Array:
        return np.random.default_rng(20 + seed).normal(0, 0.5, LOGITS.shape)

    both = [outcome(seed=seed, outputs=softmax(LOGITS + noise(seed))) for seed in (0, 1)]
    of = run({FLOAT: [outcome(outputs=FLOATS)], FINETUNED: both, QAT: both}, options=RunOptions(seeds=2))
    assert of.results.of(QAT).measurements["output_distance"].values == [0.0, 0.0]
    assert min(of.results.of(FINETUNED).measurements["output_distance"].values or []) > 0.01


def test_outputs_of_another_shape_are_stored_nowhere() -> None:
    of = made(half=NEAR[:, :9])
    assert of.results.of(HALF).to_store == {}
    assert "output_distance" not in of.results.of(HALF).measurements
    assert judged(made(half=NEAR[:, :9], standing=standing())).verdict is Verdict.ERROR


def test_a_cell_without_a_baseline_is_told_missing_once() -> None:
    found = made(standing=EffectiveBaseline()).drive.judge(HALF, Kind.ACCURACY)
    assert [one.measurement for one in found if one.verdict is Verdict.MISSING] == ["score"]
    assert BaselineCell().measurements == {}
    assert distances.owner("v#outputs") == "v"
    assert distances.owner("v") is None


def test_a_baseline_without_an_interface_or_facts_of_the_training_is_a_note() -> None:
    whole = clustered().model_copy(update={"signatures": {}})
    facts = [{"steps": "1"}]
    interface, training_facts = "ranges of weights (1 cell)", "facts of the training (1 cell)"
    for census, training, expected in (
        (clustered(), facts, [True, False]),
        (whole, [], [False, True]),
        (clustered(), [], [True, True]),
        (whole, facts, [False, False]),
    ):
        before = baseline({"float32": answers(100)}, ptq_float16=BaselineCell(census=census, training=training))
        kinds = [Kind.STRUCTURE, Kind.ACCURACY]
        of = run({FLOAT: [outcome()], HALF: [outcome(training=facts)]}, before, kinds)
        [note] = unrecorded.notes([of.results.of(cell) for cell in (FLOAT, HALF)], of.rules)
        assert [words in note for words in (interface, training_facts)] == expected, note


def test_latencies_of_another_host_are_said_once() -> None:
    value = accepted(0.8, 0.01, "ratio", values=[0.8, 0.8])
    there = value.model_copy(update={"accepted": value.accepted.model_copy(update={"host": "there"})})
    cells = {name: BaselineCell(latency={"A_2-core": there}) for name in ("float32", "ptq_float16")}
    of = run({FLOAT: [outcome()], HALF: [outcome()]}, baseline({}, **cells))
    results = [of.results.of(cell) for cell in (FLOAT, HALF)]
    assert unrecorded.notes(results, of.rules) == []  # it is not known where this is
    of.rules.environment.host = "here"
    [note] = unrecorded.notes(results, of.rules)
    assert note.startswith(
        "the latency baselines of 2 cells were accepted on another host of this machine profile, so 1.5 %"
    )


def test_memory_of_models_accepted_for_other_machines_is_not_said_to_be_missing() -> None:
    held = accepted(9000.0, 1.0, "bytes")
    for there, words in (({"elsewhere": held}, "on other machine profiles alone"), ({}, "older and hold no values")):
        before = BaselineCell(measurements={"arena": held}, by_machine={"model_memory": there})
        of = run({FLOAT: [outcome()], HALF: [outcome()]}, baseline({}, ptq_float16=before))
        result = of.results.of(HALF)
        result.measurements["model_memory"] = of.results.of(FLOAT).measurements["size"].model_copy()
        [note] = unrecorded.notes([result], of.rules)
        assert words in note
        assert "(1 cell)" in note
