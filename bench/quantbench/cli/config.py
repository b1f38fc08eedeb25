"""Define the command ``config``: which settings hold here, and where each comes from."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from quantbench.cli._common import SETTINGS
from quantbench.core.config import KEYS, Setting, Settings


def config(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="print the settings as JSON")] = False,
) -> None:
    """Show which settings hold here, and where each comes from.

    Settings are read from [tool.quantbench] in pyproject.toml, or from quantbench.toml, in the nearest folder that has
    one, from the working directory up to the repository's root. An environment variable counts before the file, and an
    option of a command before both.

    Example: quantbench config
    """
    from quantbench.reference.model import pick
    from quantbench.variants import VARIANTS

    found = context.meta[SETTINGS]
    pick(found["variants"], VARIANTS, "--variants")
    typer.echo(_as_json(found) if as_json else table(found))


def table(found: Settings) -> str:
    """Return setting, value and origin, one line each, and what was read."""
    from tabulate import tabulate

    rows = [[one.name, _shown(one.value), _origin(one)] for one in found.by_name.values()]
    lines = [tabulate(rows, headers=["setting", "value", "from"], tablefmt="simple", disable_numparse=True)]
    lines += [f"read: {', '.join(map(str, found.files))}"] if found.files else []
    lines += [f"ignored, because it belongs to another user: {path}" for path in found.ignored]
    if note := found.note():
        lines.append(f"note: {note}")
    lines += [f"note: {words}" for words in [*missing(found), *found.unknown_variables()]]
    return "\n".join(lines)


def missing(found: Settings) -> list[str]:
    """Return a sentence for each folder of models or baselines that does not exist."""
    return [
        f"{name}: no such folder: {found[name]}"
        for name in ("model_dir", "baseline_dir")
        if not Path(found[name]).is_dir()
    ]


def _origin(setting: Setting) -> str:
    return f"{setting.origin}, {setting.where}" if setting.where else setting.origin


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _as_json(found: Settings) -> str:
    rows = {
        name: {
            "value": str(one.value) if isinstance(one.value, Path) else one.value,
            "from": one.origin,
            "where": one.where or None,
            "variable": KEYS[name].variable,
        }
        for name, one in found.by_name.items()
    }
    read = {"files": [str(path) for path in found.files], "ignored": [str(path) for path in found.ignored]}
    return json.dumps({**read, "settings": rows}, indent=1, allow_nan=False)
