"""The report of a run that goes on."""

import pytest
from made_up_cells import FLOAT, HALF, baseline, outcome, run
from made_up_runs import answers, measured
from quantbench.engine import interim_report
from quantbench.engine.results import MeasuredAlone
from quantbench.engine.workers.task import Outcome
from quantbench.errors import Exit
from quantbench.measure.gpu import OnGpu
from quantbench.records import Failure, Kind, Verdict

TWO = {FLOAT: [outcome(cached=True)], HALF: [outcome(retried=("a worker was killed",))]}
SAME = baseline({"float32": answers(100), "ptq_float16": answers(100)})


def test_a_row_copies_the_result_and_its_judgements() -> None:
    made = run(TWO, SAME)
    made.drive.judge(HALF, Kind.ACCURACY)
    made.results.join(HALF, MeasuredAlone({"": OnGpu(left_why=[("CONV_2D", "why")])}, {}, {"keras_latency": "no"}, 4.0))
    row = made.recording.cells()[1]
    result = made.results.of(HALF)
    assert (row.id, row.verdict, row.seconds, row.alone_seconds) == (HALF, Verdict.PASS, 2.0, 4.0)
    assert row.measurements == dict(result.measurements)
    assert row.judgements == made.judgements[HALF][Kind.ACCURACY]
    assert row.verdicts == {Kind.ACCURACY: Verdict.PASS}
    assert row.predictions_sha256 == result.predictions_sha256
    assert row.retried == ["a worker was killed"]
    assert row.untimed == {"keras_latency": "no"}
    assert [left.operator for left in row.gpu_left] == ["CONV_2D"]


def test_a_cell_that_is_not_computed_has_an_empty_row() -> None:
    made = run(TWO, SAME, computed=[FLOAT])
    float32, half = made.recording.cells()
    assert (float32.cached, half.cached) == (True, False)
    assert (half.measurements, half.artifact_sha256, half.verdict) == ({}, None, Verdict.UNJUDGED)


def test_a_cell_that_failed_says_why() -> None:
    failed = Outcome(0, failure=Failure(what="timeout", reason="why"))
    row = run(TWO | {HALF: [failed]}, SAME).recording.cells()[1]
    assert row.failure is not None
    assert row.failure.reason == "why"


def test_a_report_says_how_the_run_stands() -> None:
    made = run(TWO, SAME)
    made.recording.save("running", Exit.GREEN, ["a note"])
    report = made.written[-1]
    assert report is made.recording.report
    assert (report.state, report.notes, report.false_alarms.judgements) == ("running", ["a note"], 25)
    assert report.data_sha256 == {"m": "d"}


def test_it_is_saved_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(TWO, SAME)
    clock = [100.0]
    monkeypatch.setattr(interim_report.time, "perf_counter", lambda: clock[0])
    made.recording.save_now_and_then()
    made.recording.save_now_and_then()
    assert len(made.written) == 1
    clock[0] += interim_report._SAVE_SECONDS + 0.1
    made.recording.save_now_and_then()
    assert len(made.written) == 2


def test_a_save_that_takes_long_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(TWO, SAME)
    clock = [100.0]
    monkeypatch.setattr(interim_report.time, "perf_counter", lambda: clock[0])

    def slow(*_: object) -> None:
        clock[0] += 2.0

    monkeypatch.setattr(made.recording, "_write", slow)
    made.recording.save("running", Exit.GREEN)
    clock[0] += 37.0
    made.recording.save_now_and_then()
    assert clock[0] == 139.0
    clock[0] += 1.5
    made.recording.save_now_and_then()
    assert clock[0] == 142.5


def test_what_was_measured_later_is_in_the_next_report() -> None:
    made = run(TWO, SAME)
    made.recording.save("running", Exit.GREEN)
    made.results.join(HALF, MeasuredAlone(timed={"latency": measured(5.0, "µs")}))
    made.recording.save("running", Exit.GREEN)
    assert ["latency" in report.cells[1].measurements for report in made.written] == [False, True]
