"""Define the command ``init``: settings and a CI workflow for a repository of one's own."""

import re
import subprocess
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from quantbench import files
from quantbench.errors import BadInput

PYPROJECT, OWN, IGNORED = "pyproject.toml", "quantbench.toml", ".gitignore"
TEMPLATES = Path(__file__).parent / "templates"
_SETTINGS = ['model_dir = "models"', 'baseline_dir = "baselines"', 'report_dir = "reports"']
_LARGEST = 2**20  # bytes of a file that is read, as in core.config
_ACTION = "OWNER/quantbench@v1"


class System(StrEnum):
    """List the CI systems that a workflow can be written for."""

    GITHUB = "github"
    GITLAB = "gitlab"
    JENKINS = "jenkins"


_WORKFLOWS = {
    System.GITHUB: ("github.yml", ".github/workflows/quantbench.yml"),
    System.GITLAB: ("gitlab.yml", ".gitlab-ci.yml"),
    System.JENKINS: ("Jenkinsfile", "Jenkinsfile"),
}
# Where another workflow is there already.
_BESIDE = {System.GITLAB: ".gitlab/quantbench.yml", System.JENKINS: "Jenkinsfile.quantbench"}


def init(
    ci: Annotated[System | None, typer.Option("--ci", help="CI system to write a workflow for")] = None,
    action: Annotated[
        str, typer.Option(help="with --ci github: the action, as in `uses:`, with the account that hosts it")
    ] = _ACTION,
) -> None:
    """Set up a repository: settings and a CI workflow.

    Writes into the working directory, and lets git ignore the reports. Nothing that is there is overwritten, so that it
    may be run again.

    Example: quantbench init --ci github
    """
    if not re.fullmatch(r"(\./)?\w[\w.-]*(/\w[\w.-]*)*(@\w[\w./-]*)?", action, re.ASCII):
        raise BadInput(f"--action: expected OWNER/REPOSITORY@VERSION, found {action!r}")
    if action != _ACTION and ci is not System.GITHUB:
        raise BadInput("--action: goes with --ci github; leave it out")
    for done in [_settings(), _ignored(), *([_workflow(ci, action)] if ci else [])]:
        typer.echo(done)
    for number, step in enumerate(_next(ci, action), 1):
        typer.echo(f"{number}. {step}")


def _settings() -> str:
    """Write the table of settings, unless there is one; return what was done."""
    own, pyproject = Path(OWN), Path(PYPROJECT)
    if own.exists():
        return f"{own} is there: left as it is"
    if not pyproject.is_file():
        files.write_named(own, "\n".join(_SETTINGS) + "\n", OWN)
        return f"wrote {own}"
    text = files.read_text(pyproject, "config", _LARGEST, follow=True)
    longer = with_table(text)
    if longer == text:
        return f"{pyproject} has [tool.quantbench]: left as it is"
    files.write_named(pyproject, longer, PYPROJECT)
    return f"added [tool.quantbench] to {pyproject}"


def with_table(text: str) -> str:
    """Return a pyproject.toml with the table of settings at its end; as it was where it has one.

    Raises:
        BadInput: it is not TOML, or no table can be appended to it.
    """
    try:
        before = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{PYPROJECT}: not valid TOML: {error or 'nested too deeply'}; correct the file") from None
    tools = before.get("tool", {})
    if isinstance(tools, dict) and "quantbench" in tools:
        return text
    end = "\r\n" if "\r\n" in text else "\n"
    body = text if not text or text.endswith("\n") else text + end
    longer = body + (end if body else "") + end.join(["[tool.quantbench]", *_SETTINGS, ""])
    wanted = tomllib.loads("\n".join(_SETTINGS))
    try:
        after = tomllib.loads(longer)
        appended = after.pop("tool")["quantbench"] == wanted
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        appended = False
    if not appended:
        raise BadInput(
            f"{PYPROJECT}: 'tool' is no table that [tool.quantbench] can be appended to; write it by hand: "
            f"{'; '.join(_SETTINGS)}"
        )
    return longer


def _ignored() -> str:
    """Let git ignore the reports, for a run with files that are in no commit is not accepted as a baseline."""
    path, entry = Path(IGNORED), "/reports/"
    text = files.read_text(path, "config", _LARGEST, follow=True) if path.exists() else ""
    if any(line.strip().strip("/") == "reports" for line in text.splitlines()):
        return f"{path} has {entry}: left as it is"
    files.write_named(path, text + ("" if not text or text.endswith("\n") else "\n") + f"{entry}\n", IGNORED)
    return f"added {entry} to {path}"


def _workflow(ci: System, action: str) -> str:
    """Write the workflow, beside another one where that takes its place; return what was done."""
    template, place = _WORKFLOWS[ci]
    text = (TEMPLATES / template).read_text(encoding="utf-8").replace(_ACTION, action)
    for path in [Path(place), *([Path(_BESIDE[ci])] if ci in _BESIDE else [])]:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_named(path, text, str(path))
            return f"wrote {path}"
        if files.read_text(path, "workflow", _LARGEST, follow=True) == text:
            break
    return f"{path} is there: left as it is"


def _next(ci: System | None, action: str) -> list[str]:
    steps = [
        "Adopt a model: quantbench adopt MODEL.keras --name NAME --data EVAL.npz",
        "Commit it with its baseline: git add --all && git commit",
        "Gate it: quantbench run",
    ]
    if not _in_git():
        steps.insert(0, "Make this folder a git repository: git init")
    if ci is System.GITHUB and action == _ACTION:
        steps.append("In .github/workflows/quantbench.yml, put the account that hosts the action in place of OWNER")
    if ci is System.GITLAB:
        steps.append("Set the CI/CD variable GITLAB_TOKEN: a project access token with the scope api (not protected)")
        if Path(_BESIDE[ci]).exists():
            steps.append(f"Include it in .gitlab-ci.yml: include: [{{local: {_BESIDE[ci]}}}]")
    if ci is System.JENKINS:
        steps.append("Make a multibranch pipeline of this repository; its Jenkinsfile says what it needs")
    return steps


def _in_git() -> bool:
    try:
        done = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
