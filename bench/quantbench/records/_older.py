"""Upgrade reports of older formats: the one place that parses facts out of their sentences.

Until 1.3 a judgement's message began with the cell's name, its steps were one string (``what: command; what``), and an
operator that the GPU left to the CPU was one line (``NAME: reason``). Until 1.9 what only TFLite-Micro or an
accelerator was known not to run decided the whole cell's verdict.
"""

import shlex
from contextlib import suppress
from typing import Any

from quantbench.records._common import Kind, Verdict, verdict_of_cell

_FACTS_SINCE, _OWN_VERDICT_SINCE = (1, 4), (1, 10)


def is_older(data: dict[str, Any]) -> bool:
    """Return whether a report is of a version that is upgraded. The version has been validated."""
    return _version(data) < _OWN_VERDICT_SINCE


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Return the report as the newest version writes it; invalid parts are left for the schema to refuse."""
    for cell in _dicts(data.get("cells")):
        _decide(cell)
    return _with_facts(data) if _version(data) < _FACTS_SINCE else data


def _version(data: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in str(data["schema_version"]).split("."))


def _decide(cell: dict[str, Any]) -> None:
    """Decide an unsupported cell anew, by its own parts."""
    parts = cell.get("verdicts")
    if cell.get("verdict") != Verdict.UNSUPPORTED or not isinstance(parts, dict) or not parts:
        return
    with suppress(ValueError):  # of a kind or verdict that is none: the schema names it
        cell["verdict"] = str(verdict_of_cell({Kind(kind): Verdict(one) for kind, one in parts.items()}))


def _with_facts(data: dict[str, Any]) -> dict[str, Any]:
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
