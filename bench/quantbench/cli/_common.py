"""Share options with their defaults among commands, and end a command with a run's status."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from quantbench.core import config
from quantbench.core.options import RunOptions
from quantbench.errors import BadInput

DEFAULTS = RunOptions()
LATEST = Path("reports/latest")
ModelDir = Annotated[Path, typer.Option(help="folder of model files", envvar="QUANTBENCH_MODEL_DIR")]
BaselineDir = Annotated[Path, typer.Option(help="folder of baselines", envvar="QUANTBENCH_BASELINE_DIR")]
SETTINGS = "quantbench.settings"
# Commands with a selection of their own: a gate's selection of models or variants, or its number of seeds, says nothing
# of what they try, train or list.
_FOLDERS_ALONE = ("model_dir", "baseline_dir", "report_dir", "latency_budget", "cache_size", "max_drop")


class RunEnded(Exception):
    """Carry a run's exit status past the command line library, in which 2 has another meaning."""


def take_config(context: typer.Context) -> None:
    """Take the defaults of all commands from the repository's config and the environment.

    Raises:
        BadInput: a config file or an environment variable is wrong; not where help or the version is asked for.
    """
    if context.resilient_parsing:
        return
    try:
        settings = config.resolve()
    except BadInput:
        if any(word in ("--help", "-h") for word in sys.argv[1:]):
            return
        raise
    context.meta[SETTINGS] = settings  # as they are before this process's own environment names the cache
    settings.name_cache()
    context.default_map = _defaults(context.command, settings)
    _show_defaults(context.command, context.default_map)


def _show_defaults(command: Any, values: Mapping[str, Any]) -> None:
    """Let the help show a default of the config, in place of what the option says of its own: ``(default: all)``."""
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            _show_defaults(one, values.get(name, {}))
        return
    for parameter in command.params:
        if isinstance(said := values.get(parameter.name), str) and said and getattr(parameter, "help", None):
            parameter.show_default = True
            parameter.help = parameter.help.replace(" (default: all)", "")


def _defaults(command: Any, settings: config.Settings, name: str = "") -> dict[str, Any]:
    """Return the defaults of a command by parameter, and of a group by command."""
    if hasattr(command, "commands"):
        return {each: _defaults(one, settings, each) for each, one in command.commands.items()}
    values: Mapping[str, Any] = settings.chosen
    if name != "run":
        values = {key: value for key, value in values.items() if key in _FOLDERS_ALONE}
    if settings.by_name["report_dir"].where or settings.files:
        values = {**values, "run": settings.latest}
    if name == "selftest" and "report_dir" in values:
        values = {**values, "report_dir": settings["report_dir"] / "selftest"}
    taken = {parameter.name for parameter in command.params}
    return {key: value for key, value in values.items() if key in taken and value is not None}
