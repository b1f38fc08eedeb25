"""Turn a report into workflow commands of GitHub Actions: ``::error`` and ``::warning``, shown beside the files."""

from collections.abc import Mapping
from pathlib import Path

from quantbench.core.echo import line
from quantbench.records import Report, Verdict
from quantbench.report import formatting, reds

MOST = 10  # of each level: GitHub shows no more of one step
_LEVELS = {
    Verdict.REGRESSED: "error",
    Verdict.ERROR: "error",
    Verdict.MISSING: "error",
    Verdict.WARN: "warning",
}


def on_github(environment: Mapping[str, str]) -> bool:
    """Return whether GitHub Actions runs this process."""
    return environment.get("GITHUB_ACTIONS") == "true"


def annotations(report: Report, files: Mapping[str, Path], root: Path) -> list[str]:
    """Return a command for each group of cells that fails, or cell that warns, the worst first, ten of a level at most.

    Where there are more, the last one of a level says how many were left out.

    Args:
        files: model -> the file that an annotation is shown beside: its own, or its baseline's.
        root: folder of the repository, which GitHub's paths are relative to.
    """
    found: dict[str, list[str]] = {"error": [], "warning": []}
    for name, verdict, messages, actions, cells in reds.entries(report):
        level = _LEVELS.get(verdict)
        if level is not None:
            steps = [f"next: {formatting.step(action)}" for action in actions]
            model = (cells or [name])[0].partition("/")[0].partition(":")[0]
            where = _relative(files.get(model), root)
            found[level].append(_command(level, f"quantbench: {name} {verdict}", [*messages, *steps], where))
    return [command for level, commands in found.items() for command in _shown(level, commands)]


def _shown(level: str, commands: list[str]) -> list[str]:
    if len(commands) <= MOST:
        return commands
    left = len(commands) - (MOST - 1)
    text = f"{left} more cells: GitHub shows {MOST} {level}s a step; the report lists all"
    return [*commands[: MOST - 1], _command(level, "quantbench: left out here", [text], None)]


def _command(level: str, title: str, lines: list[str], file: str | None) -> str:
    fields = [f"file={_field(file)}"] if file else []
    message = "\n".join(line(each) for each in lines)
    return f"::{level} {','.join([*fields, f'title={_field(line(title))}'])}::{_data(message)}"


def _relative(file: Path | None, root: Path) -> str | None:
    """Return a path as GitHub names it; None for a file outside the repository."""
    if file is None:
        return None
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None


def _data(text: str) -> str:
    """Escape a message: GitHub reads a command to the end of its line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _field(text: str) -> str:
    """Escape a property, which ends at a comma or a colon."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
