"""The action: pinned and linted; what it does with a green run, a red one, none at all, and a forge that refuses."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from composite_action import ACTION, STEPS, Runner, shims
from conftest import ROOT
from linters import PINNED, actionlint, linted
from made_up_runs import cell, measured, report, write
from quantbench.records import Judgement, Kind, Verdict
from stand_in_forge import TOKEN, StandIn, stand_in

SCRIPTS = {step["name"]: step for step in STEPS if "run" in step}
TEXT = (ROOT / "action.yml").read_text()


def problems(text: str) -> list[str]:
    action = yaml.safe_load(text)
    steps = action["runs"]["steps"]
    uses = re.findall(r"uses: (.*)", text.partition("\nruns:")[2])
    found = [f"not pinned: {one}" for one in uses if not PINNED.fullmatch(one)]
    for step in steps:
        if "${{" in step.get("run", ""):
            found.append(f"an expression in a shell line: {step['name']}")
        if "run" in step and step.get("shell") != "bash":
            found.append(f"no shell: {step['name']}")
        has_token = "token" in str(step.get("env", {}))
        if has_token and step["name"] not in ("Comment on the pull request", "Keep the issue"):
            found.append(f"a step that gets the token: {step['name']}")
    used = set(re.findall(r"inputs\.([a-z-]+)", text))
    found += [f"an input that is not declared: {name}" for name in used - set(action["inputs"])]
    found += [f"an input that nothing uses: {name}" for name in set(action["inputs"]) - used]
    return found


def test_the_action_is_safe() -> None:
    assert problems(TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (re.search(r"@[0-9a-f]{40} # v[\d.]+", TEXT)[0], "@v6", "not pinned"),  # type: ignore[index]
        ('exit "${STATUS:-1}"', "exit ${{ steps.run.outputs.status }}", "an expression in a shell line"),
        ("ARGUMENTS: ${{ inputs.arguments }}", "ARGUMENTS: ${{ inputs.token }}", "a step that gets the token: Run"),
        ("${{ inputs.notify }}", "${{ inputs.notified }}", "not declared: notified"),
    ],
)
def test_an_unsafe_action_is_seen(old: str, new: str, said: str) -> None:
    assert old in TEXT
    assert any(said in problem for problem in problems(TEXT.replace(old, new)))


def as_workflow(action: dict[str, Any]) -> str:
    """Turn the action into a workflow of the same steps, for actionlint reads workflows alone."""
    inputs = {name: {"type": "string", "default": "x"} for name in action["inputs"]}
    steps = yaml.safe_load(yaml.safe_dump(action["runs"]["steps"]).replace("github.action_path", "github.workspace"))
    job = {"runs-on": "ubuntu-latest", "steps": steps, "defaults": {"run": {"shell": "bash"}}}
    return yaml.safe_dump({"name": "a", "on": {"workflow_call": {"inputs": inputs}}, "jobs": {"a": job}})


def test_actionlint_finds_nothing_in_its_steps(tmp_path: Path) -> None:
    (tmp_path / "steps.yml").write_text(as_workflow(ACTION))
    done = actionlint(tmp_path / "steps.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('--run "$RUN"', "--run $RUN", "SC2086"),
        ("steps.run.outputs", "steps.runs.outputs", "runs"),
        ("inputs.cache ==", "inputs.cached ==", "cached"),
    ],
)
def test_actionlint_sees_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    (tmp_path / "steps.yml").write_text(as_workflow(ACTION | yaml.safe_load(TEXT.replace(old, new))))
    done = actionlint(tmp_path / "steps.yml")
    assert done.returncode == 1
    assert said in done.stdout


# ---------------------------------------------------------------- what it does


@pytest.fixture
def forge() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


def job(tmp_path: Path, forge: StandIn, status: int, event: str = "pull_request", **inputs: str) -> Runner:
    """Prepare a job whose run ends with a status, and writes a report unless the input was bad."""
    verdict = Verdict.REGRESSED if status else Verdict.PASS
    said = Judgement(kind=Kind.SIZE, measurement="size", against="baseline", verdict=verdict, message="9 KiB larger")
    fields = {"verdict": verdict, "verdicts": {Kind.SIZE: verdict}, "judgements": [said]}
    number = len(list(tmp_path.iterdir()))  # so that each job has a run of its own
    made = report(
        [cell("v", measurements={"size": measured(9.0)}, **fields)],
        run=f"2026-01-01T00-00-{number:02}Z",
        exit_status=status,
    )
    prepared = tmp_path / f"prepared-{number}"
    write(prepared, made)
    folder = tmp_path / "repository"
    folder.mkdir(exist_ok=True)
    copied = f'mkdir -p reports && cp -r {prepared}/* reports/ && ln -sfn {made.run} "reports/latest"'
    told = 'printf "%s|" "$@" > arguments; echo "quantbench: models: no such folder" >&2'
    script = f"{told}; {copied if status != 4 else 'true'}; exit {status}"
    contexts = {"github.event_name": event, "github.token": TOKEN}
    contexts["github.base_ref"] = "main" if event == "pull_request" else ""
    environment = {name: value for name, value in forge.environment().items() if name != "GITHUB_TOKEN"}
    bin_ = shims(tmp_path / f"bin-{number}", script)
    return Runner(folder, tmp_path / "temporary", bin_, inputs, contexts, environment)


def test_a_green_run_is_silent(tmp_path: Path, forge: StandIn) -> None:
    done = job(tmp_path, forge, 0)
    assert done.run()
    assert forge.comments == []
    assert done.outputs == {"status": "0", "run": "reports/2026-01-01T00-00-00Z"}
    assert done.summary.startswith("# quantbench: GREEN")
    assert "no cell is red: nothing to write" in done.printed


def test_a_red_run_comments_once_and_uploads(tmp_path: Path, forge: StandIn) -> None:
    done = job(tmp_path, forge, 1)
    assert not done.run()
    assert done.ran["Verdict"] == 1
    [comment] = forge.comments
    assert "9 KiB larger" in comment["body"]
    assert done.used["actions/upload-artifact"]["name"] == "quantbench-gate"
    assert Path(done.folder, done.used["actions/upload-artifact"]["path"], "report.json").exists()
    assert done.used["actions/cache/save"]["key"].startswith(done.used["actions/cache/restore"]["restore-keys"])
    assert not job(tmp_path, forge, 1).run()
    assert len(forge.comments) == 1
    assert TOKEN not in done.printed + done.summary


def test_a_run_without_a_report_says_why_on_the_pull_request(tmp_path: Path, forge: StandIn) -> None:
    job(tmp_path, forge, 0).run()  # leaves a `latest`, which is not of the next run
    done = job(tmp_path, forge, 4)
    assert not done.run()
    assert done.ran["Verdict"] == 4
    assert "models: no such folder" in forge.comments[0]["body"]
    assert "    quantbench: models: no such folder" in done.summary
    assert "actions/upload-artifact" not in done.used


@pytest.mark.parametrize("status", [1, pytest.param(0, marks=pytest.mark.nightly)])
def test_a_forge_that_refuses_changes_no_verdict(tmp_path: Path, forge: StandIn, status: int) -> None:
    forge.may_write = False
    forge.stranger_says("<!-- quantbench gate red -->\nold", association="OWNER")
    done = job(tmp_path, forge, status)
    assert done.run() == (status == 0)
    assert done.ran["Comment on the pull request"] == 0
    assert done.ran["Verdict"] == status
    [warning] = [line for line in done.printed.splitlines() if line.startswith("::warning")]
    assert "answered 403" in warning
    assert "`pull-requests: write`" in warning


def test_arguments_are_split_as_in_a_shell_and_the_merge_base_is_asked_for(tmp_path: Path, forge: StandIn) -> None:
    done = job(tmp_path, forge, 0, arguments='-m "not nightly" --models a,$(id)')
    assert done.run()
    words = (done.folder / "arguments").read_text().split("|")
    assert words[:6] == ["--report-dir", "reports", "-m", "not nightly", "--models", "a,$(id)"]
    assert words[6:] == ["--baselines-from", "origin/main", ""]
    done = job(tmp_path, forge, 0, baselines="head")
    assert done.run()
    assert "--baselines-from" not in (done.folder / "arguments").read_text()
    done = job(tmp_path, forge, 0, baselines="heads")
    assert not done.run()
    assert "expected merge-base or head" in done.printed


def test_the_night_keeps_an_issue_and_no_comment(tmp_path: Path, forge: StandIn) -> None:
    for status in (1, 1, 0):
        assert job(tmp_path, forge, status, event="schedule", issue="yes", name="nightly").run() == (status == 0)
    [issue] = forge.issues
    assert issue["state"] == "closed"
    assert forge.comments == []
    assert "--baselines-from" not in (tmp_path / "repository" / "arguments").read_text()


def test_a_failed_installation_is_red(tmp_path: Path, forge: StandIn) -> None:
    done = job(tmp_path, forge, 0)
    (done.bin / "quantbench").unlink()
    (done.bin / "python").unlink()
    assert not done.run()
    assert done.ran["Verdict"] != 0
    assert not shutil.which("quantbench", path=str(done.bin))


@pytest.mark.parametrize("step", SCRIPTS)
def test_shellcheck_finds_nothing(step: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS[step]["run"])
    done = linted("shellcheck", "--shell=bash", str(tmp_path / "script"))
    assert done.returncode == 0, done.stdout
