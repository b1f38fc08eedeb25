"""Workflow commands of GitHub: what fails beside its file, in GitHub's own escapes, and no more than it shows."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from made_up_runs import cell, report, write
from quantbench.cli.report import report as command
from quantbench.records import Action, Cell, Judgement, Kind, Verdict
from quantbench.report.github_annotations import MOST, annotations, on_github

COMMAND = re.compile(r"::(error|warning) (?:file=([^,:]*),)?title=([^,:]*)::([^\r\n]*)")


def one(name: str, verdict: Verdict, message: str = "worse") -> Cell:
    judgement = Judgement(
        kind=Kind.SIZE,
        measurement="size",
        against="baseline",
        verdict=verdict,
        message=message,
        actions=[Action(what="look closer", command=["quantbench", "run"])],
    )
    return cell(name, verdict=verdict, verdicts={Kind.SIZE: verdict}, judgements=[judgement])


def parsed(command: str) -> tuple[str, str, str, str]:
    match = COMMAND.fullmatch(command)
    assert match, command
    return match[1], match[2] or "", unquote(match[3]), unquote(match[4])


def test_what_fails_is_an_error_and_what_warns_a_warning(tmp_path: Path) -> None:
    cells = [one("a", Verdict.WARN), one("b", Verdict.REGRESSED), one("c", Verdict.PASS), one("d", Verdict.IMPROVED)]
    files = {"m": tmp_path / "models" / "m.py"}
    assert [parsed(command) for command in annotations(report(cells), files, tmp_path)] == [
        ("error", "models/m.py", "quantbench: m/b regressed", "worse\nnext: look closer: quantbench run"),
        ("warning", "models/m.py", "quantbench: m/a warn", "worse\nnext: look closer: quantbench run"),
    ]


def test_a_file_outside_the_repository_or_unknown_is_not_named(tmp_path: Path) -> None:
    found = report([one("b", Verdict.MISSING)])
    for files in ({}, {"m": Path("/elsewhere/m.py")}):
        assert [parsed(command)[1] for command in annotations(found, files, tmp_path)] == [""]


@pytest.mark.parametrize("message", ["100 %, a: b, c::d", "a\r\n::error::forged\n::stop-commands::x", "%0A%25"])
def test_no_text_ends_a_command_or_begins_another(message: str) -> None:
    (command,) = annotations(report([one("b", Verdict.ERROR, message)]), {}, Path())
    assert "\n" not in command
    said = parsed(command)[3]
    if "\n" not in message:
        assert said.partition("\n")[0] == message
    assert said.count("\n") == 1  # only that before the next step


def test_of_more_than_ten_the_last_says_how_many_are_left_out() -> None:
    cells = [one(f"e{i}", Verdict.REGRESSED) for i in range(13)] + [one(f"w{i}", Verdict.WARN) for i in range(10)]
    found = [parsed(command) for command in annotations(report(cells), {}, Path())]
    errors = [one for one in found if one[0] == "error"]
    assert len(errors) == MOST == 10
    assert errors[-1][3].startswith("4 more cells: ")
    assert sum(one[0] == "warning" for one in found) == 10
    assert not any("more cells" in one[3] for one in found if one[0] == "warning")


def test_report_annotates_beside_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output may go into the job's summary, so that commands are on the other one."""
    folder = write(tmp_path, report([one("b", Verdict.REGRESSED)], exit_status=1))
    command([folder])
    assert "::error" not in "".join(capsys.readouterr())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    command([folder], model_dir=tmp_path)
    printed = capsys.readouterr()
    assert printed.err.startswith("::error title=quantbench%3A m/b regressed::")
    assert printed.out.startswith("# quantbench: RED")
    command([folder], summary=True)
    assert capsys.readouterr().err == ""


def test_only_github_itself_gets_them() -> None:
    assert on_github({"GITHUB_ACTIONS": "true"})
    assert not on_github({})
    assert not on_github({"GITHUB_ACTIONS": "false"})
