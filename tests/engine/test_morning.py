"""What a run that ended red finds out: groups, earlier runs, and causes as far as they were looked for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_cells import FLOAT, HALF, Run, baseline, outcome, run
from made_up_runs import answers, cell, report, write
from quantbench.core import signals
from quantbench.core.options import RunOptions
from quantbench.engine import causes, morning
from quantbench.engine.drive import until_stopped
from quantbench.engine.finish import HowEnded
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit
from quantbench.records import Attribution, Kind, Report, Verdict

SAME = baseline({"float32": answers(100), "ptq_float16": answers(100)})
ATTRIBUTION = Attribution(examples=8, matched=1.0, operators=[])


pytestmark = pytest.mark.usefixtures("stops_in_order")


def red_run() -> Run:
    made = run({FLOAT: [outcome()], HALF: [outcome(160)]}, SAME, [Kind.ACCURACY])
    for name in (FLOAT, HALF):
        made.drive.judge(name, Kind.ACCURACY)
    return made


def session(made: Run, said: list[str]) -> Any:
    """The part of a session that looks for causes."""
    return SimpleNamespace(
        _drift=True,
        _cluster=None,
        _plan=made.plan,
        _planned=SimpleNamespace(recording=made.recording),
        _baseline_of=lambda _: None,
        artifacts=dict,
        folder=None,
        say=said.append,
    )


def test_a_signal_ends_the_search_for_causes_and_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object) -> Iterator[tuple[str, Attribution]]:
        yield HALF, ATTRIBUTION
        os.kill(os.getpid(), signal.SIGINT)
        yield FLOAT, ATTRIBUTION

    monkeypatch.setattr(causes, "of_reds", found)
    made, said = red_run(), list[str]()
    how = until_stopped(lambda: Session._explain_reds(session(made, said)))
    assert how == HowEnded()
    assert not signals.stop_asked()
    assert said == ["the search for causes was stopped; all cells were judged, and what was found is in the report"]
    made.recording.save("complete", Exit.REGRESSED)
    assert {one.id: one.attribution for one in made.written[-1].cells} == {FLOAT: None, HALF: ATTRIBUTION}


def test_a_signal_before_the_search_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "of_reds", lambda *_: iter(()))
    signals._state.came = 1
    how = until_stopped(lambda: Session._explain_reds(session(red_run(), [])))
    assert how.interrupted


def test_a_running_report_has_no_groups_and_the_last_one_has() -> None:
    made = red_run()
    made.recording._with_reds = lambda told: told.model_copy(update={"notes": [*told.notes, "grouped"]})
    made.recording.save("running", Exit.GREEN)
    made.recording.save("complete", Exit.REGRESSED)
    assert [one.notes for one in made.written[-2:]] == [[], ["grouped"]]
    assert made.written[-1].models["m"].weights == "w"


def test_each_model_has_a_cell_explained_before_any_has_its_second() -> None:
    cells = [cell(name).model_copy(update={"model": model}) for model, name in ("ma", "mb", "mc", "na", "ob")]
    assert [one.model + one.variant for one in causes.in_turns(cells)] == ["ma", "na", "ob", "mb", "mc"]


# ---------------------------------------------------------------- earlier runs


def red(**more: Any) -> Report:
    verdicts = {Kind.ACCURACY: Verdict.REGRESSED}
    return report([cell(verdict=Verdict.REGRESSED, verdicts=verdicts)], "2026-02-02T00-00-00Z", **more)


def green(folder: Path, run: str) -> Path:
    made = cell(verdict=Verdict.PASS, verdicts={Kind.ACCURACY: Verdict.PASS})
    return write(folder, report([made], run))


def test_earlier_runs_are_those_of_the_output_folder_or_of_the_one_that_is_named(tmp_path: Path) -> None:
    here = tmp_path / "reports" / "2026-02-02T00-00-00Z"
    last = green(tmp_path / "reports", "2026-02-01T00-00-00Z")
    kept = green(tmp_path / "nights", "2026-01-31T00-00-00Z")
    for options, folder in ((RunOptions(), last), (RunOptions(history=str(tmp_path / "nights")), kept)):
        [found] = morning.with_reds(red(), here, options, lambda _: None).reds
        assert found.last_green is not None
        assert found.last_green.folder == str(folder)
        assert ["quantbench", "compare", str(folder), str(here)] in [action.command for action in found.actions]


def test_a_green_run_looks_nothing_up(tmp_path: Path) -> None:
    made = report([cell(verdict=Verdict.PASS)])
    assert morning.with_reds(made, tmp_path / "gone" / "r", RunOptions(), lambda _: None) is made


def test_a_folder_that_is_wrong_is_refused_at_the_start_and_one_that_is_damaged_is_a_note(tmp_path: Path) -> None:
    wrong = RunOptions(history=str(tmp_path / "none"))
    with pytest.raises(
        BadInput, match=r"^--history: .*none is not a folder; give the one that holds the earlier runs$"
    ):
        morning.check_history(wrong)
    morning.check_history(RunOptions())
    (tmp_path / "2026-01-01T00-00-00Z").mkdir()
    (tmp_path / "2026-01-01T00-00-00Z" / "report.json").write_text("{")
    told = morning.with_reds(red(), tmp_path / "r", RunOptions(history=str(tmp_path)), lambda _: None)
    assert told.notes == [
        f"--history: 1 runs of {tmp_path} could not be read",
        f"--history: {tmp_path} holds no earlier run",
    ]
    assert len(told.reds) == 1


def test_commands_name_the_folders_that_the_run_was_given(tmp_path: Path) -> None:
    accepting = cell(verdict=Verdict.REGRESSED, verdicts={Kind.ACCURACY: Verdict.REGRESSED}, artifact_sha256="1" * 64)
    made = report([accepting], "2026-02-02T00-00-00Z")
    options = RunOptions(model_dir=Path("my models"), baseline_dir=Path("kept"))
    [found] = morning.with_reds(made, tmp_path / "r", options, lambda _: None).reds
    assert found.actions[0].command == [
        *("quantbench", "explain", "m/v", "--run", str(tmp_path / "r")),
        *("--model-dir", "my models", "--baseline-dir", "kept"),
    ]
