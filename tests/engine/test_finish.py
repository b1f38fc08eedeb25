"""How a run ends, with made-up cells."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from made_up_cells import FLOAT, HALF, Run, baseline, model, outcome, run
from made_up_runs import answers
from quantbench.core import signals, streams
from quantbench.engine.finish import Ending, HowEnded, training_note
from quantbench.errors import Exit
from quantbench.records import Kind, Report

SAME = baseline({"float32": answers(100), "ptq_float16": answers(100)})
TWO = {FLOAT: [outcome()], HALF: [outcome()]}


@pytest.fixture(autouse=True)
def _no_signal_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_state", signals._State())
    monkeypatch.setattr(streams, "lost_for_want_of_space", lambda: "")


class Folder:
    """In place of a run's folder: what was done, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def finish(self, report: Report, evidence: object, models: object) -> None:
        self.done.append("report")

    def give_back_reserve(self) -> None:
        self.done.append("reserve")


def ended(made: Run, how: HowEnded, folder: Folder, **more: Any) -> Exit:
    parts: dict[str, Any] = {
        "close": made.drive.close,
        "notes": lambda: ["a note"],
        "accept": None,
        "tidy": lambda: folder.done.append("tidy"),
        "where_full": made.computing.where_full,
        "say": folder.done.append,
    }
    ending = Ending(folder, made.recording, made.results, {"m": model()}, **(parts | more))
    return ending.finish(how, ["loaded"])


def green() -> Run:
    made = run(TWO, SAME, [Kind.ACCURACY])
    for cell in TWO:
        made.drive.judge(cell, Kind.ACCURACY)
    return made


def test_a_whole_run() -> None:
    made, folder = green(), Folder()
    assert ended(made, HowEnded(), folder) is Exit.GREEN
    assert (made.written[-1].state, made.written[-1].exit_status) == ("complete", 0)
    assert made.written[-1].notes == ["loaded", "a note"]
    assert folder.done == ["report", "reserve", "tidy"]


def test_what_was_never_judged_is_not_measured() -> None:
    assert ended(run(TWO, SAME), HowEnded(), Folder()) is Exit.NOT_MEASURED


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (HowEnded(interrupted=True), Exit.INTERRUPTED),
        (HowEnded(cut_short=True), Exit.GREEN),
        (HowEnded(crashed=True), Exit.NOT_MEASURED),
        (HowEnded(disk_full=True), Exit.DISK_FULL),
    ],
)
def test_a_run_that_was_kept_from_its_end(how: HowEnded, status: Exit) -> None:
    made = run(TWO, SAME, [Kind.ACCURACY])
    assert ended(made, how, Folder()) is status
    assert (made.written[-1].state, made.written[-1].exit_status) == ("interrupted", status)
    assert set(made.judgements[HALF]) == {Kind.ACCURACY}  # judged though it was stopped


def test_a_regression_is_hidden_by_nothing() -> None:
    made = run(TWO | {HALF: [outcome(160)]}, SAME, [Kind.ACCURACY])
    assert ended(made, HowEnded(interrupted=True), Folder()) is Exit.REGRESSED


def test_a_signal_whose_exception_was_lost_still_counts() -> None:
    signals._state.came = 1
    made = green()
    assert ended(made, HowEnded(), Folder()) is Exit.INTERRUPTED


def test_a_disk_that_fills_up_at_the_end() -> None:
    made, folder = green(), Folder()
    writes: list[Callable[[], None]] = [lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))]
    write = made.recording._write

    def full_once(report: Report, predictions: Any) -> None:
        if writes:
            next(iter([writes.pop()]))()
        write(report, predictions)

    made.recording._write = full_once
    assert ended(made, HowEnded(), folder) is Exit.DISK_FULL
    assert folder.done[0] == "reserve"
    assert "no space is left in /store" in made.written[-1].notes


def test_a_report_that_cannot_be_written_at_all_is_said() -> None:
    made, folder = green(), Folder()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    made.recording._write = full
    assert ended(made, HowEnded(), folder) is Exit.DISK_FULL
    assert "could not be written either" in folder.done[-1]


def test_values_are_accepted_after_a_whole_run_only() -> None:
    def accept(report: Report, status: Exit) -> tuple[Exit, list[str]]:
        assert report.state == "complete"
        return Exit.BAD_INPUT, ["baselines not updated: why"]

    made = green()
    assert ended(made, HowEnded(), Folder(), accept=accept) is Exit.BAD_INPUT
    assert made.written[-1].notes == ["baselines not updated: why"]
    assert ended(green(), HowEnded(cut_short=True), Folder(), accept=accept) is Exit.GREEN


def test_a_model_trained_again_says_how_far_it_landed() -> None:
    made = run(TWO, SAME, of=model(seed_scores=(0.91, 0.90)), train=True)
    assert "accuracy 90.00 %" in training_note(made.results.of(FLOAT))[0]
    assert "-1.4 standard deviations (over seeds)" in training_note(made.results.of(FLOAT))[0]
    assert training_note(made.results.of(HALF)) == []
