"""Say in one sentence what is wrong with a command line, with the nearest name where one is near."""

import re
from collections.abc import Iterable
from typing import Any

import typer

from quantbench.core.nearest import nearest
from quantbench.errors import Exit

PREFIX = "quantbench: "  # of every error, so that it can be searched for in a log
# The command line library's base of all errors of usage, which it exports in no other way.
UsageProblem: type[Exception] = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")


def no_such(what: str, name: str, known: Iterable[str], command: str) -> str:
    """Say that there is no such option or command, which one is meant perhaps, and where all are listed."""
    near = nearest(name, known)
    meant = f"; did you mean {near}?" if near else ""
    return f"no such {what}: {name}{meant} ({command} -h lists all)"


def sentence(error: Any) -> str:
    """Describe an error of usage in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "quantbench"
    message = " ".join(str(error.format_message()).split())
    option = getattr(error, "option_name", None)
    if option is not None and message.startswith("No such option"):
        return no_such("option", option, _options(context), command)
    unknown = re.match(r"No such command '(.*?)'", message)
    if unknown and context is not None:
        return no_such("command", unknown[1], getattr(context.command, "commands", {}), command)
    message = _in_our_words(error, message)
    return f"{message[:1].lower()}{message[1:].rstrip('.')} ({command} -h shows how)"


# Beginning of the type of pydantic's errors, with which newer versions of the command line library convert values ->
# what is expected.
_EXPECTED = {"int_": "a whole number", "float_": "a number", "bool_": "true or false"}


def _in_our_words(error: Any, message: str) -> str:
    """Return a message in which what the library for checking values says of one is said in our words."""
    found = getattr(error.__cause__, "errors", None)
    if found is None:
        return message
    problem = found()[0]
    theirs = problem["msg"].rstrip(".")
    if problem["type"] == "value_error":
        ours = theirs.removeprefix("Value error, ")
    else:
        kind = next((text for start, text in _EXPECTED.items() if problem["type"].startswith(start)), None)
        ours = f"expected {kind or theirs.removeprefix('Input should be ')}, found {str(problem['input'])[:80]!r}"
    return message.replace(" ".join(theirs.split()), ours)


def _options(context: Any) -> list[str]:
    if context is None:
        return []
    return [name for parameter in context.command.get_params(context) for name in parameter.opts if name[:2] == "--"]


EXIT_STATUSES = {
    Exit.GREEN: "green: nothing got worse",
    Exit.REGRESSED: "red: a regression, or something is worse",
    Exit.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM); what was finished is reported",
    Exit.NOT_MEASURED: "could not measure: an error, or a baseline is missing",
    Exit.BAD_INPUT: "bad input or usage; one sentence says what and where",
    Exit.NOTHING_SELECTED: "nothing selected",
    Exit.DISK_FULL: "the disk is full; what was finished is kept",
    Exit.NOT_DELIVERED: "a comment, an issue or a message could not be delivered",
}
