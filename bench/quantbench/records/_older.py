"""Upgrade reports of older formats: the one place that parses facts out of their sentences.

Until 1.3 a judgement's message began with the cell's name, its steps were one string (``what: command; what``), and an
operator that the GPU left to the CPU was one line (``NAME: reason``).
"""

import shlex
from typing import Any

_FACTS_SINCE = (1, 4)


def is_older(data: dict[str, Any]) -> bool:
    """Return whether a report's steps and reasons are still sentences. The version has been validated."""
    return tuple(int(part) for part in str(data["schema_version"]).split(".")) < _FACTS_SINCE


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Return the report with fields in place of sentences; invalid parts are left for the schema to refuse."""
    for cell in _dicts(data.get("cells")):
        if isinstance(left := cell.get("gpu_left"), list) and all(isinstance(line, str) for line in left):
            named = [line.partition(":") for line in left]
            cell["gpu_left"] = [{"operator": name.strip(), "reason": reason.strip()} for name, _, reason in named]
        for judgement in _dicts(cell.get("judgements")):
            _upgrade(judgement, str(cell.get("id")))
    return data


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _upgrade(judgement: dict[str, Any], cell: str) -> None:
    message = judgement.get("message")
    if isinstance(message, str):
        judgement["message"] = message.removeprefix(f"{cell}: ")
        if judgement.get("measurement") == "promise" and judgement.get("verdict") != "pass":
            judgement["detail"] = judgement["message"].partition(": ")[2]
    if isinstance(judgement.get("action"), str) and "actions" not in judgement:
        judgement["actions"] = [_action(step) for step in judgement.pop("action").split("; ") if step]


def _action(step: str) -> dict[str, Any]:
    what, _, command = step.partition(": ")
    try:
        words = shlex.split(command)
    except ValueError:  # an unmatched quotation mark
        words = []
    return {"what": what, "command": words} if words[:1] == ["quantbench"] else {"what": step}
