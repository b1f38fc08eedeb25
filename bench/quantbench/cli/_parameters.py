"""Give every command what all share: ``-q`` and ``-v``, words for values in the help, and completion by the shell."""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from quantbench.cli import _complete, _screen

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="show only the verdict, or what was asked for")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show details too")]

# Command -> its line in the list of commands, which cuts a longer one.
SUMMARIES = {
    "run": "Quantize, measure, judge, and write a report.",
    "try": "Recommend a quantization of your own model.",
    "adopt": "Gate a model of your own, with its first baseline.",
    "report": "Show a run's report, or merge the shards of a run.",
    "compare": "Compare two runs.",
    "history": "Show what changed over many runs.",
    "export": "Write the .tflite file of a cell.",
    "explain": "Show which operators an error comes from.",
    "answers": "Check that a target answers as this machine.",
    "tune": "Find the smallest mixed artifact within a limit.",
    "judge": "Judge .tflite files that another tool built.",
    "init": "Set up a repository: settings and a workflow.",
    "config": "Show which settings hold, and from where.",
    "site": "Make static pages of many nights.",
    "comment": "Keep one comment on a pull request.",
    "issue": "Keep one issue while the nights are red.",
    "notify": "Tell a chat when a red time begins and ends.",
    "ab": "Preview an upgrade of packages.",
    "schema": "Print the JSON Schema of a file format.",
    "pin": "Train a reference model and pin its weights.",
    "selftest": "Inject regressions, and report which are caught.",
    "doctor": "Check what this machine can measure.",
    "inspect": "Show the weights, ranges and flips of a cell.",
    "update": "Accept a run's values as the new baselines.",
    "diff": "Show what accepting a run would change.",
    "loosen": "Widen a tolerance until a day.",
    "xfail": "Expect a measurement to fail until a day.",
    "seal": "Seal baselines that were edited by hand.",
    "check": "Check the baseline files.",
    "upgrade": "Rewrite files of an older format.",
    "ls": "List the cached entries.",
    "why": "Explain why a cell is not cached.",
    "gc": "Remove leftovers and the least recently used.",
}
# Parameter -> what stands for its value in the help; for others, see :func:`_metavar`.
METAVARS = {
    "models": "MODEL[,MODEL]",
    "variants": "VARIANT[,VARIANT]",
    "gate": "VARIANT[,VARIANT]",
    "replace": "MODEL[,MODEL]",
    "only": "CELL[,CELL]",
    "cells": "CELL[,CELL]",
    "cell": "CELL",
    "model_dir": "DIR",
    "baseline_dir": "DIR",
    "report_dir": "DIR",
    "history": "DIR",
    "run": "RUN",
    "runs": "RUN...",
    "old": "RUN",
    "new": "RUN",
    "model": "MODEL",
    "data": "DATA",
    "calibration": "DATA",
    "train_data": "DATA",
    "metric": "METRIC",
    "max_drop": "DROP",
    "shard": "I/N",
    "shard_durations": "RUN",
    "threads": "N[,N]|all",
    "cluster": "ADDRESS",
    "cache_size": "GB",
    "latency_budget": "SECONDS",
    "turns_budget": "SECONDS",
    "cell_timeout": "SECONDS",
    "false_alarms": "PROBABILITY",
    "update_baselines": "REASON",
    "accept": "REASON",
    "expires": "YYYY-MM-DD",
    "ticket": "URL",
    "prefer": "size|latency|balanced",
    "labels": "FORM",
    "output": "FILE",
    "html": "FILE",
    "chart": "FILE",
    "at_most": "BYTES",
    "of_class": "CLASS",
    "record": "FORMAT",
    "override": "REQUIREMENT",
    "quantized": "FILE",
    "float_model": "MODEL",
    "spec": "SPEC",
    "artifact": "NAME=FILE",
    "limit": "NAME=VALUE",
    "vela_report": "CSV",
}
# Command and parameter -> the same, where the name means something else there.
_METAVARS_OF = {
    ("ab", "old"): "REQUIREMENT",
    ("ab", "new"): "REQUIREMENT",
    ("try_model", "output"): "NAME",
    ("adopt", "output"): "NAME",
    ("tune", "output"): "NAME",
    ("judge", "output"): "NAME",
    ("judge", "against"): "FILE",
    ("adopt", "spec"): "NAME=SPEC",
    ("adopt", "update"): "NAME",
    ("inspect_artifact", "against"): "FILE|CELL",
    ("adopt", "name"): "NAME",
    ("pin", "model"): "FILE",
}
# Command and parameter -> when it has to be given, where the command checks that itself.
_NEEDED = {
    ("update", "reason"): "required",
    ("loosen", "reason"): "required unless --remove",
    ("loosen", "expires"): "required unless --remove",
    ("xfail", "ticket"): "required unless --remove",
    ("xfail", "reason"): "required unless --remove",
    ("xfail", "expires"): "required unless --remove",
    ("adopt", "name"): "required, or --update",
}
_BY_TYPE = {int: "N", float: "NUMBER", Path: "PATH"}
COMPLETIONS: dict[str, Callable[..., list[str]]] = {
    "models": _complete.models,
    "replace": _complete.models,
    "variants": _complete.variants,
    "gate": _complete.variants,
    "only": _complete.cells,
    "cells": _complete.cells,
    "cell": _complete.cells,
}


def share(app: typer.Typer) -> None:
    """Give every command of an application, and of the groups in it, what all share."""
    for command in _commands(app):
        if command.callback is not None:
            command.short_help = command.short_help or SUMMARIES.get(command.name or command.callback.__name__)
            command.callback = _shared(command.callback)


def _commands(app: typer.Typer) -> Iterator[Any]:
    yield from app.registered_commands
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(group.typer_instance)


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with ``-q`` and ``-v``, its parameters described and completed."""
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=_described(function.__name__, parameter, hints[parameter.name]))
        for parameter in own.parameters.values()
    ]
    for name, hint in (("quiet", Quiet), ("verbose", Verbose)):
        if name not in own.parameters:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, default=False, annotation=hint))

    @functools.wraps(function)
    def command(*given: Any, **named: Any) -> Any:
        _screen.set_level(named["quiet"], named["verbose"])
        return function(*given, **{name: value for name, value in named.items() if name in own.parameters})

    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _described(command: str, parameter: inspect.Parameter, hint: Any) -> Any:
    """Return an annotation whose option or argument says what its value is, and is completed."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *notes = get_args(hint)
    described = [_completed(command, parameter, kind, note) for note in notes]
    return functools.reduce(lambda made, note: Annotated[made, note], described, kind)


def _completed(command: str, parameter: inspect.Parameter, kind: Any, note: Any) -> Any:
    if not isinstance(note, OptionInfo | ArgumentInfo):
        return note
    note = copy(note)
    if note.metavar is None:
        note.metavar = _metavar(command, parameter.name, kind)
    if note.autocompletion is None:
        note.autocompletion = COMPLETIONS.get(parameter.name)
    needed = _NEEDED.get((command, parameter.name))
    if needed is not None and note.help:
        note.help = f"{note.help}  [{needed}]"
    if parameter.default in ("", None) or kind is bool:
        note.show_default = False
    return note


def _metavar(command: str, name: str, kind: Any) -> str | None:
    """Return what stands for a value: by name, else by type; None for a flag."""
    kinds = [one for one in _kinds(kind) if one is not type(None)]
    if bool in kinds:
        return None
    known = _METAVARS_OF.get((command, name)) or METAVARS.get(name)
    return known or next((_BY_TYPE[one] for one in kinds if one in _BY_TYPE), name.upper())


def _kinds(kind: Any) -> list[Any]:
    """List the types that a parameter's type is made of."""
    if get_origin(kind) in (Union, types.UnionType, list):
        return [inner for one in get_args(kind) for inner in _kinds(one)]
    return [kind]


@dataclasses.dataclass(frozen=True)
class Variable:
    """An environment variable that commands read, and what it sets."""

    name: str
    text: str


# Those that no option sets; options name theirs themselves.
VARIABLES = (
    Variable("QUANTBENCH_CACHE", "folder of the cache (default: the user's cache folder)"),
    Variable(
        "QUANTBENCH_VULKAN",
        "Vulkan drivers of GPU checks, comma-separated, also software ones, e.g. swiftshader",
    ),
    Variable("QUANTBENCH_OPENVINO", "devices of OpenVINO to check too, comma-separated: CPU, GPU, NPU"),
    Variable("QUANTBENCH_REQUIRE_GPU", "1: a machine without a GPU is an error, not a reason to skip its checks"),
    Variable("TMPDIR", "folder for temporary files"),
    Variable("TERM", "dumb: lines instead of a progress bar"),
    Variable("GITHUB_ACTIONS", "true, as GitHub sets it: print annotations for what fails"),
)


def variables(app: typer.Typer) -> list[Variable]:
    """List every environment variable: those of options, each once, then the others."""
    found: dict[str, Variable] = {}
    for command in _commands(app):
        for parameter in inspect.signature(command.callback).parameters.values():
            for note in getattr(parameter.annotation, "__metadata__", ()):
                for name in _names(getattr(note, "envvar", None)):
                    option = "--" + parameter.name.replace("_", "-")
                    found.setdefault(name, Variable(name, f"value of {option}"))
    return [*found.values(), *(one for one in VARIABLES if one.name not in found)]


def _names(envvar: str | list[str] | None) -> list[str]:
    return [envvar] if isinstance(envvar, str) else list(envvar or [])
