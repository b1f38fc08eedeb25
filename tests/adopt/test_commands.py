"""What ``try`` records: the exit status, the report, and the last line of the screen say the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from made_up_runs import LABELS, answers, cell, measured, report
from quantbench.adopt import commands, limits, ranking
from quantbench.adopt.understand import Given
from quantbench.engine import finish
from quantbench.engine.session import Session
from quantbench.errors import Exit
from quantbench.records import Cell, Failure, Report, Verdict, read_record
from quantbench.records.run_folder import REPORT
from quantbench.reference.metrics import ACCURACY, MEAN_ABSOLUTE_ERROR
from quantbench.report.advice import screen, steps
from quantbench.report.run_folder import RunFolder

GIVEN = Given("m.keras", Path("e.npz"), calibration=Path("c d.npz"), max_drop=limits.parse(["6", "a=2%"]))


def made(name: str, size: float) -> Cell:
    """Make a cell that a gate without a baseline calls red."""
    family = "control" if name == "float32" else "ptq"
    return cell(name, answers(100), measurements={"size": measured(size)}, family=family, verdict=Verdict.REGRESSED)


def recorded(folder: Path, cells: list[Cell]) -> tuple[Exit, Report, str]:
    """Advise on made-up cells; return the exit status, what the folder holds, and the screen."""
    predictions = {one.variant: answers(100) for one in cells if one.failure is None}
    run = report(cells, exit_status=1)
    judged = [ranking.Judging("", ACCURACY, LABELS)]
    advice = ranking.advise(run, judged, predictions, limits.parse("6"))
    session = SimpleNamespace(folder=RunFolder(folder), report=run, artifacts=dict)
    advice, status = commands._recorded(cast(Session, session), advice, GIVEN)
    return status, read_record(folder / REPORT, Report, "report"), screen(advice)


@pytest.fixture(autouse=True)
def reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the status with which this process ends as it is."""
    monkeypatch.setattr(finish, "reported", None)


def refused(name: str) -> Cell:
    failure = Failure.model_validate({"what": "unsupported", "reason": "no operator MaxPool3D"})
    return cell(name, failure=failure, verdict=Verdict.UNSUPPORTED)


@pytest.mark.parametrize(
    ("cells", "status", "last"),
    [
        ([made("float32", 4000), made("ptq_a", 1000)], Exit.GREEN, "Ship ptq_a: "),
        ([made("float32", 4000), made("ptq_a", 5000)], Exit.GREEN, "Ship float32: "),
        ([made("float32", 4000), refused("ptq_a")], Exit.GREEN, "Ship float32: no variant could be made."),
        (
            [refused("float32"), made("ptq_a", 1000)],
            Exit.NOT_MEASURED,
            "Nothing can be recommended: the float model could not be converted and run "
            "(unsupported: no operator MaxPool3D).",
        ),
    ],
)
def test_status_report_and_screen_agree(tmp_path: Path, cells: list[Cell], status: Exit, last: str) -> None:
    """Whatever a gate would say: it calls all of these red."""
    found, read, shown = recorded(tmp_path, cells)
    assert found == status == finish.reported == read.exit_status
    assert shown.splitlines()[-1].startswith(last)
    assert read.advice is not None
    assert (read.advice.choice is None) == (status is Exit.NOT_MEASURED)
    assert read.advice.folder == str(tmp_path)
    assert "RED" not in (tmp_path / "report.md").read_text()
    assert "REGRESSED" not in (tmp_path / "report.md").read_text()


def test_the_options_given_are_repeated() -> None:
    assert commands.arguments(GIVEN) == [
        *("--data", "e.npz", "--calibration", "c d.npz", "--max-drop", "6", "--max-drop", "a=2%")
    ]


def test_a_limit_for_an_output_that_is_not_scored_is_refused_before_anything_is_made() -> None:
    judged = ranking.judged_of(
        cast(Any, SimpleNamespace(model=SimpleNamespace(metric=ACCURACY, pack=lambda: _Pack), notes=[]))
    )
    assert [(one.output, one.metric) for one in judged] == [("", ACCURACY)]
    with pytest.raises(commands.BadInput, match="no output 'a' is scored"):
        ranking.unscored(judged, GIVEN.max_drop)
    with pytest.raises(commands.BadInput, match="is measured in units, not in percentage points"):
        ranking.unscored([ranking.Judging("", MEAN_ABSOLUTE_ERROR, LABELS)], limits.parse("2pp"))


class _Pack:
    test = SimpleNamespace(y=np.zeros(4))


def test_in_a_repository_with_a_config_its_folders_are_adopted_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commands.own_folders() == []
    (tmp_path / "quantbench.toml").write_text('model_dir = "ml"\n')
    monkeypatch.chdir(tmp_path)
    _, said, _ = recorded(tmp_path, [made("float32", 4000), made("ptq_a", 1000)])
    assert said.advice is not None
    adopt, run = [" ".join(step.command) for step in steps(said.advice)][-2:]
    assert adopt.endswith("--model-dir ml --baseline-dir baselines --gate ptq_a")
    assert run == "quantbench run"


def test_lines_before_the_answer_leave_fewer_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before: list[str] = []

    def tried(*given: Any, **_: Any) -> commands.Tried:
        for note in ("loading m.keras", "metric: accuracy", "making and scoring 9 variants"):
            given[5](note)
        return commands.Tried(Exit.GREEN, tmp_path, report([]), cast(Any, object()))

    monkeypatch.setattr(commands, "tried", tried)
    said: list[str] = []
    shown = commands.Shown(said.append, said.append, lambda _, said: before.extend(said) or "Ship float32.")
    assert commands.try_once(GIVEN, tmp_path, "", tmp_path, 1.0, shown) is Exit.GREEN
    assert len(said) == 4
    assert before == said[:3]


def test_a_warning_that_was_printed_before_the_answer_is_not_repeated(tmp_path: Path) -> None:
    _, run, _ = recorded(tmp_path, [made("float32", 4000), made("ptq_a", 1000)])
    assert run.advice is not None
    notes = ["metric: accuracy", "warning: scales differ"]
    advice = run.advice.model_copy(update={"warnings": ["float32 has no skill", *commands.of_data(notes)]})
    lines = commands.after(advice, notes).splitlines()
    assert [line for line in lines if line.startswith("warning: ")] == ["warning: float32 has no skill"]
    assert "warning: scales differ" in commands.after(advice, ["metric: accuracy"]).splitlines()
    assert '"scales differ"' in commands.Shown.on(print, print, as_json=True).render(advice, notes)
    many = run.advice.model_copy(update={"warnings": [f"warning {place}" for place in range(20)]})
    assert len(commands.after(many, ["note"] * 10).splitlines()) <= commands.MOST_LINES - 10


def test_warnings_of_the_advice_come_before_those_of_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, run, _ = recorded(tmp_path, [made("float32", 4000), made("ptq_a", 1000)])
    assert run.advice is not None
    of_advice = run.advice.model_copy(update={"warnings": ["float32 has no skill"]})
    monkeypatch.setattr(commands, "run_predictions", lambda *_: {})
    monkeypatch.setattr(commands.ranking, "judged_of", lambda _: [])
    monkeypatch.setattr(commands.ranking, "advise", lambda *_: of_advice)
    understood = cast(Any, SimpleNamespace(notes=["warning: scales differ"], model=SimpleNamespace(name="m")))
    advice = commands.advised(cast(Any, SimpleNamespace(report=run)), understood, GIVEN.max_drop)
    assert advice.warnings == ["float32 has no skill", "scales differ"]


def test_of_many_notes_the_warnings_are_shown_and_are_in_the_advice() -> None:
    notes = [f"metric: accuracy of output {name}" for name in "abcdefgh"] + ["warning: scales differ"]
    assert commands.few(notes) == [*notes[:5], "warning: scales differ", "… and 3 more notes in report.md"]
    assert commands.few(notes[:7]) == notes[:7]
    assert commands.of_data(notes) == ["scales differ"]
