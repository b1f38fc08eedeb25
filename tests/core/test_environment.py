"""What a run depends on: the repository of its models, and what changed between two environments."""

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import environment
from quantbench.core.environment import (
    NOT_RECORDED,
    changed_between,
    commit_of,
    describe,
    described,
    facts,
    repository,
)

VERSIONS = st.from_regex(r"[0-9][0-9a-z.+]{0,8}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda name: name not in ("pytest", "quantbench"))


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40),
    st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    VERSIONS,
    st.dictionaries(NAMES, VERSIONS, min_size=1),
)
def test_the_line_of_a_baseline_is_taken_apart_again(cpu: str, isa: str, python: str, packages: dict[str, str]) -> None:
    here = environment(cpu=cpu, isa=isa, python=python, packages=packages)
    told = described(describe(here))
    known = facts(here)
    assert told == {name: known[name] for name in told}
    assert set(told) == {"Python", "CPU", *packages}


def test_a_line_of_another_form_says_nothing() -> None:
    assert described("e") == {}


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *own, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_repository_of_the_models(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    assert repository(models) == {"repository_commit": None, "repository_dirty": None}
    git(tmp_path, "init", "--quiet")
    (models / "m.py").write_text("1")
    git(tmp_path, "add", "models")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "report.json").write_text("{}")  # output of a run is no change of what it measures
    assert repository(models) == {"repository_commit": commit, "repository_dirty": False}
    (models / "n.py").write_text("1")
    assert repository(models)["repository_dirty"]
    (models / "n.py").unlink()
    (models / "m.py").write_text("2")
    assert repository(models)["repository_dirty"]


def test_two_commits_are_told_apart_where_they_are_of_two_repositories() -> None:
    own = environment(git_commit="a" * 40)
    both = environment(git_commit="b" * 40, repository_commit="c" * 40, repository_dirty=True)
    same = environment(git_commit="b" * 40, repository_commit="b" * 40)
    assert changed_between(own, same) == [f"commit {'a' * 12} → {'b' * 12}"]
    assert changed_between(own, both) == [
        f"commit {NOT_RECORDED} → {'c' * 12}+changes",
        f"quantbench commit {'a' * 12} → {'b' * 12}",
    ]
    assert changed_between(both, both) == []
    assert (commit_of(own), commit_of(both)) == ("a" * 12, f"{'c' * 12}+changes")
