"""The workflows: pinned actions, least permissions, and nothing that others write inside a shell line."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from linters import PINNED, actionlint

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
    found = [f"not pinned: {one}" for one in uses if not PINNED.fullmatch(one)]
    found += [f"an expression in a shell line: {line.strip()}" for line in shell_lines(text) if "${{" in line]
    top = re.search(r"^permissions:\n((?:  .*\n)+)", text, re.MULTILINE)
    if top is None or top[1] != "  contents: read\n":
        found.append("by default a job may do no more than read the contents")
    for job in re.split(r"\n  (?=[a-z-]+:\n)", text.partition("\njobs:")[2]):
        writes = re.search(r"^ +[a-z-]+: write$", job, re.MULTILINE)
        if writes and re.search(r"pip install|tox|quantbench ", job):
            found.append(f"a job that may write runs the project: {job.splitlines()[0]}")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_safe(path: Path) -> None:
    assert problems(path.read_text()) == []


def test_all_workflows_are_there() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "nightly", "baselines", "pre-release"}


GOOD = (ROOT / ".github" / "workflows" / "baselines.yml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (re.search(r"@[0-9a-f]{40} # v[\d.]+", GOOD)[0], "@v7", "not pinned"),  # type: ignore[index]
        ('--reason "$REASON"', '--reason "${{ inputs.reason }}"', "an expression in a shell line"),
        ("permissions:\n  contents: read", "permissions:\n  contents: write", "no more than read"),
        ("      actions: read", "      issues: write", "may write runs the project"),
    ],
)
def test_an_unsafe_workflow_is_seen(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert any(said in problem for problem in problems(GOOD.replace(old, new)))


def test_actionlint_finds_nothing() -> None:
    done = actionlint(*WORKFLOWS)
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
