"""``quantbench init``: writes what is missing, overwrites nothing, and says what to do next."""

import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from quantbench.cli.init import System, init, with_table
from quantbench.errors import BadInput

SETTINGS = {"model_dir": "models", "baseline_dir": "baselines", "report_dir": "reports"}
BAD_TOML = ["[tool", 'a = "', "a = 1\na = 2"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ci", [None, *System])
def test_an_empty_folder_gets_all_and_a_second_time_nothing(
    here: Path, ci: System | None, capsys: pytest.CaptureFixture[str]
) -> None:
    init(ci)
    first = contents(here)
    assert tomllib.loads((here / "quantbench.toml").read_text()) == SETTINGS
    assert (here / ".gitignore").read_text() == "/reports/\n"
    assert len(first) == (2 if ci is None else 3)
    said = capsys.readouterr().out
    assert said.count("wrote") == len(first) - 1
    assert "1. Make this folder a git repository: git init" in said
    assert "Adopt a model: quantbench adopt" in said
    init(ci)
    assert contents(here) == first
    assert capsys.readouterr().out.count("left as it is") == len(first)


def test_a_project_gets_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "pyproject.toml").write_text('[project]\nname = "x"\n# kept')
    subprocess.run(["git", "init", "--quiet"], check=True)
    init()
    text = (here / "pyproject.toml").read_text()
    assert text.startswith('[project]\nname = "x"\n# kept\n\n[tool.quantbench]\n')
    assert tomllib.loads(text)["tool"]["quantbench"] == SETTINGS
    assert not (here / "quantbench.toml").exists()
    assert "git init" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[tool.other]\na = 1\n", "[a]\r\nb = 1\r\n", "[tool.x]\n[tool]\ny = 2"])
def test_a_table_is_appended_to_any_project(text: str) -> None:
    before, after = tomllib.loads(text), tomllib.loads(with_table(text))
    assert after["tool"].pop("quantbench") == SETTINGS
    assert {**after, "tool": after["tool"]} == {"tool": {}, **before}
    assert with_table(with_table(text)) == with_table(text)
    assert ("\r\n" in text) == ("\r\n" in with_table(text))


@pytest.mark.parametrize(
    "text", ['[tool.quantbench]\nmodel_dir = "m"\n', "tool.quantbench.a = 1", "[tool]\nquantbench={}"]
)
def test_a_table_that_is_there_is_left_as_it_is(text: str) -> None:
    assert with_table(text) == text


@pytest.mark.parametrize("text", ["tool = {a = 1}", "tool = 3", *BAD_TOML])
def test_a_project_that_takes_no_table_is_one_sentence_and_unchanged(here: Path, text: str) -> None:
    (here / "pyproject.toml").write_text(text)
    with pytest.raises(BadInput, match=r"^pyproject\.toml: [^\n]*$"):
        init()
    assert contents(here) == {"pyproject.toml": text.encode()}


@pytest.mark.parametrize(("text", "kept"), [("*.pyc", "*.pyc\n/reports/\n"), ("reports/\n", "reports/\n")])
def test_reports_are_ignored_once(here: Path, text: str, kept: str) -> None:
    (here / ".gitignore").write_text(text)
    init()
    assert (here / ".gitignore").read_text() == kept


@pytest.mark.parametrize(
    ("ci", "there", "written"),
    [
        (System.GITHUB, ".github/workflows/quantbench.yml", None),
        (System.GITLAB, ".gitlab-ci.yml", ".gitlab/quantbench.yml"),
        (System.JENKINS, "Jenkinsfile", "Jenkinsfile.quantbench"),
    ],
)
def test_a_workflow_of_the_users_own_is_not_overwritten(
    here: Path, ci: System, there: str, written: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / there).parent.mkdir(parents=True, exist_ok=True)
    (here / there).write_text("theirs: yes\n")
    init(ci)
    assert (here / there).read_text() == "theirs: yes\n"
    said = capsys.readouterr().out
    assert (f"wrote {written}" if written else f"{there} is there: left as it is") in said


def test_the_action_is_named_as_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(System.GITHUB, "team/quantbench@v2")
    workflow = (here / ".github" / "workflows" / "quantbench.yml").read_text()
    assert workflow.count("uses: team/quantbench@v2") == 2
    assert "OWNER" not in workflow + capsys.readouterr().out
    assert yaml.safe_load(workflow)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("action", ["a b", "x@\n", "$(id)", "", "../x", "o/n@v1 # y"])
def test_an_action_that_is_none_is_refused(action: str) -> None:
    with pytest.raises(BadInput, match="--action: expected OWNER/REPOSITORY@VERSION"):
        init(System.GITHUB, action)


def test_an_action_for_another_system_is_refused() -> None:
    with pytest.raises(BadInput, match="goes with --ci github"):
        init(System.GITLAB, "team/quantbench@v2")
