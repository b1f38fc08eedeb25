"""The workflows, ours and the one that users get: pinned, least permissions, no text of others in a shell line."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from conftest import ROOT, SOURCE
from linters import PINNED, actionlint, linted
from quantbench.cli.app import app

TEMPLATES = SOURCE / "quantbench" / "cli" / "templates"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def shell_lines(text: str) -> list[str]:
    """Lines of every ``run``, by their indentation."""
    found: list[str] = []
    inside = -1
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if inside >= 0 and line.strip() and depth <= inside:
            inside = -1
        if inside >= 0:
            found.append(line)
        told = re.match(r"\s*(?:- )?run: ?(.*)", line)
        if told:
            found.append(told[1])
            inside = line.index("run:")
    return found


def problems(text: str) -> list[str]:
    uses = re.findall(r"uses: (.*)", text)
    found = [f"not pinned: {one}" for one in uses if not PINNED.fullmatch(one) and one != "./"]
    found += [f"an expression in a shell line: {line.strip()}" for line in shell_lines(text) if "${{" in line]
    top = re.search(r"^permissions:\n((?:  .*\n)+)", text, re.MULTILINE)
    if top is None or top[1] != "  contents: read\n":
        found.append("by default a job may do no more than read the contents")
    for job in re.split(r"\n  (?=[a-z-]+:\n)", text.partition("\njobs:")[2]):
        writes = re.search(r"^ +[a-z-]+: write$", job, re.MULTILINE)
        # Of the project, only what needs nothing but the standard library, see tests/forge/test_post.py.
        if writes and re.search(r"pip3? install|uv |tox|quantbench |-m (?!quantbench\.forge )|\w\.py\b", job):
            found.append(f"a job that may write runs the project: {job.splitlines()[0]}")
    return found


# The job that a page offers to look at the next TensorFlow with.
IN_PAGE = (ROOT / "docs" / "upgrade.md").read_text().partition("```yaml\n")[2].partition("```")[0]


def test_the_job_that_a_page_offers_is_safe_and_its_command_has_its_options() -> None:
    assert problems(IN_PAGE) == []
    (step,) = [
        step for step in yaml.safe_load(IN_PAGE)["jobs"]["ab"]["steps"] if "quantbench ab" in step.get("run", "")
    ]
    ((command, given),) = our_commands(step["run"])
    assert command == "ab"
    assert given <= options_of("ab")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_safe(path: Path) -> None:
    assert problems(path.read_text()) == []


def test_all_workflows_are_there() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "nightly", "baselines", "pre-release"}


# ---------------------------------------------------------------- what `quantbench init --ci` writes


def test_the_users_workflow_is_as_safe_as_ours() -> None:
    text = (TEMPLATES / "github.yml").read_text()
    ours = "OWNER/quantbench@v1"
    assert {one for one in problems(text) if "may write" not in one} == {f"not pinned: {ours}"}
    assert "pull_request_target" not in text


def test_the_users_workflow_gives_the_action_what_it_takes() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = [step for job in workflow("github.yml")["jobs"].values() for step in job["steps"]]
    for step in steps:
        if "quantbench" in step["uses"]:
            assert set(step["with"]) <= set(action["inputs"])
    assert [step["uses"] for step in steps].count("OWNER/quantbench@v1") == 2
    assert steps[0]["with"]["fetch-depth"] == 0


def workflow(name: str) -> dict[str, Any]:
    found = yaml.safe_load((TEMPLATES / name).read_text())
    assert isinstance(found, dict)
    return found


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def options_of(command: str) -> set[str]:
    """All options of a command of ours."""
    click_command = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return {name for parameter in click_command.params for name in parameter.opts}


def our_commands(script: str) -> list[tuple[str, set[str]]]:
    """Each command of ours in a shell script, with its options."""
    joined = script.replace("\\\n", " ")
    lines = re.findall(r"(?:^|[;(/ ])quantbench\"? ([a-z]+)\b([^\n;|]*)", joined)
    return [(command, set(OPTION.findall(rest))) for command, rest in lines]


SCRIPTS = {
    "gitlab": "\n".join(workflow("gitlab.yml")["quantbench"]["script"]),
    "gitlab, before": "\n".join(workflow("gitlab.yml")["quantbench"]["before_script"]),
    "jenkins": "\n".join(re.findall(r"sh '''(.*?)'''", (TEMPLATES / "Jenkinsfile").read_text(), re.DOTALL)),
    "jenkins, after": "\n".join(re.findall(r"sh '([^'\n]+)'", (TEMPLATES / "Jenkinsfile").read_text())),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing_in_the_templates(name: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS[name])
    done = linted("shellcheck", "--shell=dash", str(tmp_path / "script"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["gitlab", "jenkins", "jenkins, after"])
def test_the_templates_give_our_commands_options_that_they_have(name: str) -> None:
    found = our_commands(SCRIPTS[name])
    assert found
    for command, given in found:
        assert given <= options_of(command), command


def test_the_action_gives_our_commands_options_that_they_have() -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    found = our_commands("\n".join(step.get("run", "") for step in steps))
    assert {command for command, _ in found} == {"run", "report", "export", "comment", "issue", "notify"}
    for command, given in found:
        assert given <= options_of(command), command


# As https://docs.gitlab.com/ci/yaml/ lists them; GitLab refuses a job with any other key.
OF_GITLAB_JOBS = {"artifacts", "before_script", "cache", "image", "rules", "script", "timeout", "variables"}


def test_the_template_for_gitlab_is_a_job() -> None:
    [(name, job)] = workflow("gitlab.yml").items()
    assert name == "quantbench"
    assert set(job) == OF_GITLAB_JOBS
    assert all(isinstance(line, str) for line in [*job["script"], *job["before_script"]])
    assert all(isinstance(value, str) for value in job["variables"].values())
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert job["artifacts"]["when"] == job["cache"]["when"] == "always"


def test_the_template_for_jenkins_has_a_pipelines_parts() -> None:
    text = re.sub(r"//[^\n]*", "", (TEMPLATES / "Jenkinsfile").read_text())
    bare = re.sub(r"'''.*?'''|'[^'\n]*'|\"[^\"\n]*\"", "", text, flags=re.DOTALL)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    parts = re.findall(r"^  (\w+) \{", bare, re.MULTILINE)
    assert parts == ["agent", "options", "triggers", "environment", "stages", "post"]


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    done = linted("hadolint", "--no-color", str(ROOT / "Dockerfile"))
    assert done.returncode == 0, done.stdout
    text = (ROOT / "Dockerfile").read_text()
    assert text.rindex("\nUSER 1000") > text.rindex("\nRUN ")  # the gate itself has no rights over the container
    (tmp_path / "Dockerfile").write_text(text.replace("apt-get install --yes", "apt-get install"))
    assert "DL3014" in linted("hadolint", "--no-color", str(tmp_path / "Dockerfile")).stdout


def test_the_dockerfile_copies_what_is_there() -> None:
    """What pyproject.toml needs for a wheel, and the versions that were tested together."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"bench", "models", "baselines", "pyproject.toml", "README.md", "LICENSE", ".ci/constraints"} == let_in
    assert all((ROOT / path).exists() for path in let_in)
    [constraints] = re.findall(r"/opt/quantbench/(\.ci/\S+)", (ROOT / "Dockerfile").read_text())
    assert (ROOT / constraints).exists()


# ---------------------------------------------------------------- what the checks see


def test_actionlint_reads_the_action_of_this_repository(tmp_path: Path) -> None:
    """So that the job which uses it is held to the inputs that it takes."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "uses: ./\n" in text
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "action.yml").write_text((ROOT / "action.yml").read_text())
    bad = tmp_path / ".github" / "workflows" / "ci.yml"
    bad.write_text(text.replace("          arguments: ", "          argument: "))
    done = actionlint(bad)
    assert done.returncode == 1
    assert 'input "argument" is not defined in action "quantbench"' in done.stdout


GOOD = (ROOT / ".github" / "workflows" / "baselines.yml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (re.search(r"@[0-9a-f]{40} # v[\d.]+", GOOD)[0], "@v7", "not pinned"),  # type: ignore[index]
        ('--reason "$REASON"', '--reason "${{ inputs.reason }}"', "an expression in a shell line"),
        ("permissions:\n  contents: read", "permissions:\n  contents: write", "no more than read"),
        ("      actions: read", "      issues: write", "may write runs the project"),
        ("          gh pr create", "          python3 -m quantbench run; gh pr create", "may write runs the project"),
    ],
)
def test_an_unsafe_workflow_is_seen(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(said in problem for problem in problems(GOOD.replace(old, new)))


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "in_page.yml").write_text(IN_PAGE)
    done = actionlint(*WORKFLOWS, TEMPLATES / "github.yml", tmp_path / "in_page.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("needs: propose", "needs: propos", 'job "propos" which does not exist'),
        ("inputs.reason", "inputs.reasons", 'property "reasons" is not defined'),
        ('git push origin "$BRANCH"', "git push origin $BRANCH", "SC2086"),
        ("timeout-minutes", "timeout-minuts", 'unexpected key "timeout-minuts"'),
    ],
)
def test_actionlint_sees_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    (tmp_path / "bad.yml").write_text(GOOD.replace(old, new))
    done = actionlint(tmp_path / "bad.yml")
    assert done.returncode == 1
    assert said in done.stdout
