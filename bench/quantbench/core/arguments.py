"""Check arguments of the Python API, so that one of a wrong type is told in a sentence instead of a traceback."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from quantbench.errors import BadInput

# One name, several comma-separated, or a list of them.
Names = str | Sequence[str] | None

_EXPECTED = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
_TAKEN: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}


def names(value: Any, argument: str, numbers: bool = False) -> str | None:
    """Return names as options take them, comma-separated; None where nothing is given.

    Args:
        numbers: whether whole numbers are taken too.

    Raises:
        BadInput: it is neither text nor a list of texts.
    """
    if value is None or isinstance(value, str):
        return value
    kinds = (str, int) if numbers else (str,)
    each = [value] if numbers and isinstance(value, int) else value
    listed = isinstance(each, list | tuple) and each
    if not listed or not all(isinstance(one, kinds) and not isinstance(one, bool) for one in each):
        raise BadInput(f"{argument}: expected text, or a list of texts, found {_shown(value)}")
    return ",".join(str(one) for one in each)


def path(value: Any, argument: str) -> Path:
    """Return a path. Raises BadInput where it is neither text nor a path."""
    if not isinstance(value, str | PathLike) or isinstance(given := os.fspath(value), bytes) or not given:
        raise BadInput(f"{argument}: expected the path of a file or folder, found {_shown(value)}")
    return Path(given)


def optional_path(value: Any, argument: str) -> Path | None:
    """Return a path, or None where nothing is given. Raises BadInput as :func:`path` does."""
    return None if value is None else path(value, argument)


def check(kind: type, **given: Any) -> None:
    """Raise BadInput unless each argument is of this kind (bool, int, float or str) or None."""
    for argument, value in given.items():
        right = isinstance(value, _TAKEN[kind]) and (kind is bool or not isinstance(value, bool))
        if value is not None and not right:
            raise BadInput(f"{argument}: expected {_EXPECTED[kind]}, found {_shown(value)}")


def _shown(value: Any) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
