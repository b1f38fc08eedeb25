"""The judges, with made-up evidence: every gate goes red, and stays green where nothing changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import accepted, baseline_cell, steps
from hypothesis import given
from hypothesis import strategies as st
from quantbench import gate
from quantbench.baselines import update, update_cell
from quantbench.errors import BadInput, Exit
from quantbench.records import BaselineCell, Cell, Census, Failure, Judgement, Kind, Measurement, Report, Verdict, worst
from quantbench.reference import metrics
from quantbench.reference.metrics import ACCURACY

SUBJECT = gate.Subject("m", "v", "reports/r")
SHARE = 1e-3
LABELS = np.zeros(1000, dtype=np.uint8)


def answers(wrong: int, nonfinite: int = 0, shift: int = 0) -> gate.Answers:
    """Predictions with ``wrong`` wrong ones, starting at example ``shift``."""
    predictions = LABELS.copy()
    predictions[shift : shift + wrong] = 1
    score = Measurement(value=1 - wrong / 1000, unit="fraction", n=1000)
    return gate.Answers(None if nonfinite else score, predictions, nonfinite)


FIVE_SEEDS = [0.9, 0.899, 0.901, 0.9, 0.9]


def judge(new: gate.Answers, old: gate.Answers, cell: BaselineCell | None = None, trained: bool = False) -> Judgement:
    assert old.score is not None
    cell = cell or baseline_cell(score=accepted(old.score.value))
    repeats = gate.repeats(ACCURACY, [FIVE_SEEDS], 5, 1, "it trained") if trained else None
    return gate.accuracy(SUBJECT, ACCURACY, new, LABELS, cell, old.predictions, SHARE, trained, repeats)


def test_identical_predictions_pass() -> None:
    found = judge(answers(100), answers(100))
    assert found.verdict is Verdict.PASS
    assert found.p_value is None  # chance had no say, so it takes no share of the budget
    # At 2 flips each way: 18 expected losses are red at 1e-3 in four of five runs (the bare line is at 10).
    assert (found.churn, found.detectable) == (2, pytest.approx(1.8))


def test_a_drop_beyond_chance_is_red_and_says_what_to_do() -> None:
    found = judge(answers(130), answers(100))
    assert found.verdict is Verdict.REGRESSED
    assert "87.00 %, baseline 90.00 % (3.00 pp worse)" in found.message
    assert "30 newly wrong, 0 newly right of 1,000 (exact McNemar p = " in found.message
    assert "quantbench baseline update reports/r --only m/v --reason 'why this is right'" in steps(found)


def test_a_drop_that_chance_explains_passes_and_is_told() -> None:
    found = judge(answers(104), answers(100))
    assert found.verdict is Verdict.PASS  # p = 0.0625
    assert "4 newly wrong, 0 newly right of 1,000, consistent with chance" in found.message


def test_a_drop_that_chance_hardly_explains_is_a_warning() -> None:
    assert judge(answers(105), answers(100)).verdict is Verdict.WARN  # p = 0.031


def test_as_many_gained_as_lost_passes() -> None:
    assert judge(answers(100, shift=5), answers(100)).verdict is Verdict.PASS


def test_a_gain_beyond_chance_is_improved() -> None:
    assert judge(answers(80), answers(100)).verdict is Verdict.IMPROVED


def test_an_implausible_gain_is_a_warning() -> None:
    found = judge(answers(60), answers(100))
    assert found.verdict is Verdict.WARN
    assert "test examples were used for training" in found.message


@pytest.mark.parametrize(
    ("noise", "rounded", "verdict"),
    [
        (0.0, 0.0, Verdict.PASS),
        (0.0, 4e-9, Verdict.PASS),
        (0.0, -4e-9, Verdict.PASS),
        (1e-4, 0.0, Verdict.PASS),
        (0.5, 0.0, Verdict.REGRESSED),
    ],
)
def test_a_score_without_right_and_wrong_is_resampled(noise: float, rounded: float, verdict: Verdict) -> None:
    """Files keep nine digits of a score: that rounding is no drop, though no spread of examples explains it."""
    random = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    old = labels + random.normal(0, 0.5, 2000)
    new = old * (1 + 1e-9) + random.normal(0, 1, 2000) * noise  # the same order of examples where there is no noise
    scores = [float(metrics.AUC.value(values, labels)) for values in (new, old)]
    score = Measurement(value=scores[0], unit="fraction", n=2000)
    cell = baseline_cell(score=accepted(scores[1] + rounded))
    found = gate.accuracy(SUBJECT, metrics.AUC, gate.Answers(score, new, 0), labels, cell, old, SHARE, trained=False)
    assert (found.verdict, "edited" in found.message) == (verdict, False), found.message


def test_nan_output_is_red() -> None:
    found = judge(answers(0, nonfinite=3), answers(0))
    assert found.verdict is Verdict.REGRESSED
    assert "3 of 1000 examples have a NaN or infinite output" in found.message


def test_no_baseline_is_missing() -> None:
    found = gate.accuracy(SUBJECT, ACCURACY, answers(0), LABELS, None, None, SHARE, trained=False)
    assert found.verdict is Verdict.MISSING
    assert "quantbench baseline update" in steps(found)


def test_a_value_edited_by_hand_is_judged_and_named() -> None:
    found = judge(answers(100), answers(100), baseline_cell(score=accepted(0.905)))
    assert found.verdict is Verdict.REGRESSED
    assert "edited by hand" in found.message


def test_a_lower_value_edited_by_hand_is_an_error_not_an_improvement() -> None:
    found = judge(answers(100), answers(100), baseline_cell(score=accepted(0.85)))
    assert found.verdict is Verdict.ERROR
    assert "edited by hand" in found.message
    trained = baseline_cell(score=accepted(0.85, tolerance=1.0, values=[0.9, 0.9, 0.9, 0.9, 0.9], noise=0.0007))
    assert judge(answers(100), answers(100), trained, trained=True).verdict is Verdict.ERROR


def test_a_value_without_its_stored_predictions_is_an_error() -> None:
    cell = baseline_cell(score=accepted(0.9))
    found = gate.accuracy(SUBJECT, ACCURACY, answers(100), LABELS, cell, None, SHARE, trained=False)
    assert found.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("wrong", "verdict"), [(101, Verdict.PASS), (104, Verdict.WARN), (120, Verdict.REGRESSED), (80, Verdict.WARN)]
)
def test_trained_cells_are_judged_by_their_spread(wrong: int, verdict: Verdict) -> None:
    cell = baseline_cell(score=accepted(0.9, values=FIVE_SEEDS, noise=0.0007))
    found = judge(answers(wrong), answers(100), cell, trained=True)
    assert found.verdict is verdict
    assert found.tolerance == pytest.approx(0.556, abs=0.001)  # t(4 df) 7.17 x .0707 x sqrt(6/5)
    assert found.detectable == pytest.approx(0.629, abs=0.001)  # and once more the 80 % quantile, .94
    assert "sd 0.07 pp, 4 degrees of freedom; mean of 1 against mean of 5" in found.message


def test_the_spread_of_trainings_holds_its_false_alarm_rate() -> None:
    random = np.random.default_rng(0)
    samples = 0.9 + 0.01 * random.standard_normal((5000, 6))
    reds = 0
    for *old, new in samples:
        spread = gate.repeats(ACCURACY, [old], 5, 1, "it trained")
        assert spread is not None
        reds += ACCURACY.drop(new, float(np.mean(old))) > spread.tolerance(0.02)
    assert reds / 5000 == pytest.approx(0.02, abs=0.006)


def test_a_loosened_tolerance_may_only_widen_the_spread() -> None:
    cell = baseline_cell(score=accepted(0.9, tolerance=2.5, values=FIVE_SEEDS, noise=0.0007))
    assert judge(answers(120), answers(100), cell, trained=True).verdict is Verdict.PASS


def test_a_trained_cell_without_repeats_cannot_be_judged() -> None:
    assert gate.repeats(ACCURACY, [[0.9], [0.8]], 1, 1, "it trained") is None
    cell = baseline_cell(score=accepted(0.9, values=[0.9]))
    found = gate.accuracy(SUBJECT, ACCURACY, answers(101), LABELS, cell, answers(100).predictions, SHARE, trained=True)
    assert found.verdict is Verdict.ERROR
    assert "too few trainings" in found.message


def test_other_seeds_must_repeat_their_scores_too() -> None:
    cell = baseline_cell(score=accepted(0.9, values=[0.9, 0.9, 0.9, 0.9, 0.9], noise=0.0007))
    collapsed = Measurement(value=0.26, unit="fraction", n=1000, values=[0.9, 0.1, 0.1, 0.1, 0.1])
    new = gate.Answers(collapsed, answers(100).predictions, 0)
    assert judge(new, answers(100), cell, trained=True).verdict is Verdict.REGRESSED


def test_a_model_trained_again_is_judged_by_its_seeds() -> None:
    spread = gate.repeats(ACCURACY, [[0.90, 0.89, 0.91, 0.90, 0.90]], 1, 1, "trained again")
    cell, old = baseline_cell(score=accepted(0.9)), answers(100).predictions

    def verdict(wrong: int) -> Verdict:
        return gate.accuracy(SUBJECT, ACCURACY, answers(wrong), LABELS, cell, old, SHARE, False, spread).verdict

    assert verdict(110) is Verdict.PASS
    assert verdict(130) is Verdict.WARN
    assert verdict(300) is Verdict.REGRESSED


@given(flips=st.lists(st.integers(0, 999), unique=True, max_size=8))
def test_fewer_than_ten_flips_are_never_red(flips: list[int]) -> None:
    new = answers(0)
    new.predictions[flips] = 1
    score = Measurement(value=1 - len(flips) / 1000, unit="fraction", n=1000)
    found = judge(gate.Answers(score, new.predictions, 0), answers(0))
    assert found.verdict in (Verdict.PASS, Verdict.WARN)


def test_holm_gives_each_red_the_share_of_those_before_it() -> None:
    assert gate.holm({}, 0.01, 3) == {}
    holm_threshold = gate.holm({"a": 0.5, "b": 1e-6, "c": 0.004}, 0.01, others=1)
    assert holm_threshold == {"b": pytest.approx(0.01 / 4), "c": pytest.approx(0.01 / 3), "a": pytest.approx(0.01 / 3)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_never_stricter_than_an_even_share(p_values: list[float]) -> None:
    named = {str(i): p for i, p in enumerate(p_values)}
    holm_threshold = gate.holm(named, 0.01, others=2)
    assert all(0.01 / (len(named) + 2) <= limit <= 0.01 / 3 for limit in holm_threshold.values())


def test_holm_holds_the_budget_of_the_whole_run() -> None:
    random = np.random.default_rng(0)
    runs = random.random((20_000, 20))
    reds = sum(
        any(run[int(k)] <= v for k, v in gate.holm({str(i): p for i, p in enumerate(run)}, 0.05, 0).items())
        for run in runs[:4000]
    )
    assert reds / 4000 == pytest.approx(0.05, abs=0.012)


def test_a_cell_that_starts_to_work_is_announced() -> None:
    declared = BaselineCell(unsupported="no LSTM")
    found = gate.accuracy(SUBJECT, ACCURACY, answers(0), LABELS, declared, None, SHARE, trained=False)
    assert found.verdict is Verdict.MISSING
    assert "recorded as unsupported and works now" in found.message


def _score(value: float) -> Measurement:
    return Measurement(value=value, unit="fraction", n=1000)


@pytest.mark.parametrize(
    ("agreeing", "verdict"), [(0.999, Verdict.PASS), (0.995, Verdict.PASS), (0.994, Verdict.REGRESSED)]
)
def test_a_conversion_that_answers_differently_is_red(agreeing: float, verdict: Verdict) -> None:
    assert gate.agreement(_score(agreeing)).verdict is verdict


@pytest.mark.parametrize(
    ("own", "control", "verdict"),
    [
        (0.999, 0.97, Verdict.PASS),
        (0.98, 0.97, Verdict.WARN),
        (0.975, 0.97, Verdict.REGRESSED),
        (0.96, 0.97, Verdict.REGRESSED),
    ],
)
def test_an_artifact_made_from_another_model_is_red(own: float, control: float, verdict: Verdict) -> None:
    assert gate.conversion(_score(own), "", control).verdict is verdict


@pytest.mark.parametrize(
    ("steps", "verdict"), [(1252, Verdict.PASS), (0, Verdict.REGRESSED), (2504, Verdict.REGRESSED)]
)
def test_a_cell_trained_longer_or_shorter_than_its_control_is_red(steps: int, verdict: Verdict) -> None:
    counted = [Measurement(value=n, unit="steps", n=1) for n in (steps, 1252)]
    assert gate.as_long(counted[0], counted[1]).verdict is verdict


def _sizes(size: float) -> dict[str, Measurement]:
    return {name: Measurement(value=size, unit="bytes", n=1) for name in ("size", "gzip_size")}


@pytest.mark.parametrize(
    ("size", "verdict"),
    [(1_000_000, Verdict.PASS), (1_001_000, Verdict.PASS), (1_001_001, Verdict.REGRESSED), (990_000, Verdict.IMPROVED)],
)
def test_size(size: int, verdict: Verdict) -> None:
    cell = baseline_cell(size=accepted(1_000_000, 0.001, "bytes"), gzip_size=accepted(1_000_000, 0.01, "bytes"))
    found = gate.sizes(SUBJECT, _sizes(size), cell)
    assert found[0].verdict is verdict
    assert [judgement.measurement for judgement in found] == ["size", "gzip_size"]


@pytest.mark.parametrize(
    ("size", "verdict"), [(57_480, Verdict.PASS), (57_656, Verdict.PASS), (57_657, Verdict.REGRESSED)]
)
def test_a_stamp_of_80_bytes_is_no_finding_in_a_small_file(size: int, verdict: Verdict) -> None:
    cell = baseline_cell(size=accepted(57_400, 0.001, "bytes"))
    found = gate.sizes(SUBJECT, _sizes(size), cell)[0]
    assert found.verdict is verdict
    assert "tolerance 256 bytes" in found.message


def test_a_file_is_never_improved_by_what_disappeared_from_it() -> None:
    cell = baseline_cell(size=accepted(100_000, 0.001, "bytes"))
    assert gate.sizes(SUBJECT, _sizes(99_000), cell)[0].verdict is Verdict.IMPROVED
    found = gate.sizes(SUBJECT, _sizes(99_000), cell, gone=["no signature 'serving_default'"])[0]
    assert found.verdict is Verdict.WARN
    assert "no signature 'serving_default'" in found.message


@pytest.mark.parametrize(("recorded", "verdict"), [(100_000, Verdict.PASS), (110_000, Verdict.ERROR)])
def test_the_very_artifact_of_the_baseline_has_its_size(recorded: int, verdict: Verdict) -> None:
    cell = baseline_cell(size=accepted(recorded, 0.001, "bytes"), gzip_size=accepted(100_000, 0.01, "bytes"))
    cell = cell.model_copy(update={"artifact_sha256": "a"})
    assert gate.sizes(SUBJECT, _sizes(100_000), cell, "a")[0].verdict is verdict
    assert gate.sizes(SUBJECT, _sizes(100_000), cell, "b")[0].verdict in (Verdict.PASS, Verdict.IMPROVED)


def test_size_without_a_baseline_is_missing() -> None:
    assert {found.verdict for found in gate.sizes(SUBJECT, _sizes(1), None)} == {Verdict.MISSING}


def _ratio(centre: float) -> Measurement:
    values = list(centre + 0.002 * np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]))
    return Measurement(value=centre, unit="ratio to float32", n=6, values=values)


LATENCY = BaselineCell(latency={"here": accepted(0.8, 0.01, "ratio to float32", n=6, values=_ratio(0.8).values)})


@pytest.mark.parametrize(
    ("ratio", "again", "verdict"),
    [
        (0.80, None, Verdict.PASS),
        (0.83, None, Verdict.WARN),  # a suspicion, not yet confirmed
        (0.83, 0.83, Verdict.REGRESSED),
        (0.83, 0.80, Verdict.PASS),
        (0.806, None, Verdict.PASS),  # less than anybody would act on
        (0.72, None, Verdict.IMPROVED),
    ],
)
def test_latency(ratio: float, again: float | None, verdict: Verdict) -> None:
    second = None if again is None else _ratio(again)
    found = gate.latency(SUBJECT, "latency_ratio", _ratio(ratio), LATENCY, "here", SHARE, second)
    assert found.verdict is verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, Verdict.PASS), (1.4, Verdict.REGRESSED)])
def test_with_several_threads_runs_lie_further_apart(ratio: float, verdict: Verdict) -> None:
    again = _ratio(ratio)
    found = gate.latency(SUBJECT, "latency_ratio_2_threads", again, LATENCY, "here", SHARE, again, threads=2)
    assert found.verdict is verdict
    assert found.detectable is not None
    assert 0.2 < found.detectable < 0.5


def test_a_slowdown_says_how_much_and_how_sure() -> None:
    found = gate.latency(SUBJECT, "latency_ratio", _ratio(0.84), LATENCY, "here", SHARE, _ratio(0.84))
    assert "latency ratio 0.840, baseline 0.800 (+5.0 % ± 0.3 % standard error" in found.message
    assert "measured twice" in found.message
    assert found.detectable == pytest.approx(0.0261, abs=0.001)


def test_one_process_that_was_held_up_does_not_count() -> None:
    held_up = _ratio(0.80)
    assert held_up.values is not None
    held_up.values[3] = 1.7
    assert gate.latency(SUBJECT, "latency_ratio", held_up, LATENCY, "here", SHARE).verdict is Verdict.PASS


def test_latency_of_another_machine_is_unjudged_and_says_so() -> None:
    cell = BaselineCell(latency={"elsewhere": accepted(0.8, 0.05, "ratio to float32", values=[0.8, 0.801])})
    found = gate.latency(SUBJECT, "latency_ratio", _ratio(9.0), cell, "here", SHARE)
    assert found.verdict is Verdict.UNJUDGED
    assert "no latency baseline for this machine profile (here)" in found.message


@pytest.mark.parametrize(
    ("what", "baseline", "verdict"),
    [
        ("unsupported", BaselineCell(unsupported="why"), Verdict.UNSUPPORTED),
        ("unsupported", BaselineCell(unsupported="for another reason"), Verdict.ERROR),
        ("unsupported", None, Verdict.MISSING),
        ("unsupported", baseline_cell(score=accepted(0.9)), Verdict.ERROR),
        ("crash", BaselineCell(unsupported="no LSTM"), Verdict.ERROR),
        ("timeout", None, Verdict.ERROR),
    ],
)
def test_a_cell_without_a_result(what: str, baseline: BaselineCell | None, verdict: Verdict) -> None:
    failure = Failure.model_validate({"what": what, "reason": "why"})
    found = gate.failed(SUBJECT, Kind.ACCURACY, failure, baseline)
    assert found.verdict is verdict
    assert "why" in found.message


def test_a_refusal_declared_in_the_tools_own_words_is_known_by_its_log() -> None:
    baseline = BaselineCell(unsupported="tfmot: Layer a:<class 'b.A'> is not supported. You can")
    failure = Failure(
        what="unsupported", reason="tfmot cannot quantize the layer a (A)", log=baseline.unsupported or ""
    )
    assert gate.failed(SUBJECT, Kind.ACCURACY, failure, baseline).verdict is Verdict.UNSUPPORTED
    other = failure.model_copy(update={"log": "tfmot: something else"})
    assert gate.failed(SUBJECT, Kind.ACCURACY, other, baseline).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("verdicts", "interrupted", "status"),
    [
        ([Verdict.PASS, Verdict.IMPROVED, Verdict.WARN, Verdict.UNJUDGED], False, Exit.GREEN),
        ([Verdict.PASS, Verdict.REGRESSED, Verdict.ERROR], False, Exit.REGRESSED),
        ([Verdict.PASS, Verdict.MISSING], False, Exit.NOT_MEASURED),
        ([Verdict.ERROR], False, Exit.NOT_MEASURED),
        ([Verdict.PASS], True, Exit.INTERRUPTED),
        ([Verdict.REGRESSED], True, Exit.REGRESSED),
    ],
)
def test_exit_status(verdicts: list[Verdict], interrupted: bool, status: Exit) -> None:
    assert gate.exit_status(verdicts, interrupted) is status


@given(st.lists(st.sampled_from(Verdict)))
def test_nothing_absent_is_a_pass(verdicts: list[Verdict]) -> None:
    decided = worst(verdicts)
    assert (decided is Verdict.PASS) == (bool(verdicts) and set(verdicts) == {Verdict.PASS})


def test_the_budget_is_shared() -> None:
    assert gate.share(0.01, 20).share == pytest.approx(0.0005)
    assert gate.share(0.01, 0).share == 0.01


def test_accepting_a_run_that_did_not_judge_structure_keeps_what_was_declared() -> None:
    census = Census(constants={}, scales=0, activations={}, operators={}, inputs=[], outputs=[], compute=[])
    old = BaselineCell(census=census, broken_promise="declared before")
    stamp = accepted(1.0).accepted
    fields: dict[str, Any] = {
        "id": "m/v",
        "model": "m",
        "variant": "v",
        "family": "ptq",
        "metric": "accuracy",
        "metric_unit": "pp",
    }
    other = census.model_copy(update={"scales": 3})
    report = Report.model_construct()
    for verdicts, kept in (({Kind.ACCURACY: Verdict.PASS}, old), ({Kind.STRUCTURE: Verdict.PASS}, None)):
        cell = Cell.model_validate(fields | {"verdicts": verdicts, "census": other})
        entry, _ = update_cell.taken(cell, old, stamp, report, 0)
        assert entry.broken_promise == (kept.broken_promise if kept else None)
        assert entry.census == (kept.census if kept else other)


def test_a_cell_that_the_tools_refuse_now_can_be_accepted_and_a_crash_cannot(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "id": "m/v",
        "model": "m",
        "variant": "v",
        "family": "ptq",
        "metric": "accuracy",
        "metric_unit": "pp",
    }
    cells = {
        what: Cell.model_validate(
            fields | {"verdict": Verdict.ERROR, "failure": Failure(what=what, reason="r")}  # type: ignore[arg-type]
        )
        for what in ("unsupported", "crash")
    }
    common: dict[str, Any] = {"state": "complete", "trained_from_scratch": False}
    update.check_report(Report.model_construct(**common, cells=[cells["unsupported"]]), tmp_path)
    crashed = Report.model_construct(**common, cells=[cells["crash"]])
    with pytest.raises(BadInput, match="could not be measured"):
        update.check_report(crashed, tmp_path)
    update.check_report(crashed, tmp_path, only={"m/other"})


def test_the_tolerance_of_a_trained_cell_is_in_the_unit_of_its_metric() -> None:
    values = [[1.0, 2.0, 3.0, 2.0, 2.0], [5.0, 6.0, 7.0, 6.0, 6.0]]
    in_own_unit = gate.repeats(metrics.MEAN_ABSOLUTE_ERROR, values, 5, 1, "it trained")
    in_pp = gate.repeats(ACCURACY, values, 5, 1, "it trained")
    assert in_own_unit is not None
    assert in_pp is not None
    assert in_pp.tolerance(0.001) == pytest.approx(100 * in_own_unit.tolerance(0.001))
