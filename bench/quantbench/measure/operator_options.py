"""Describe the options of operators in words that can be compared: strides, padding, activations, beta."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from quantbench.tflite.graph import Operator

_LONGEST = 200
_MOST_OPERATORS = 10_000
_ACTIVATION = "fusedActivationFunction"


def in_order(operators: Sequence[Operator]) -> tuple[list[str] | None, list[int] | None]:
    """Return each operator with its options once, and for every operator its position among them.

    Both are None for a file of more operators than any model has.
    """
    if len(operators) > _MOST_OPERATORS:
        return None, None
    places: dict[str, int] = {}
    order = [places.setdefault(described(operator), len(places)) for operator in operators]
    return list(places), order


def described(operator: Operator) -> str:
    """Return an operator's name and options; zeros, empty ones and what the file leaves out are not listed."""
    options, custom = operator.more_options
    parts = [operator.name]
    for given in (operator.options, options):
        for name, value in sorted(vars(given).items()) if given is not None else ():
            shown = _activation(int(value)) if name == _ACTIVATION else _option(name, value)
            parts += [shown] if shown else []
    if custom:
        parts.append(f"custom={hashlib.sha256(custom).hexdigest()[:12]}")
    text = " ".join(parts)
    if len(text) > _LONGEST:
        return f"{text[: _LONGEST - 14]}… {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return text


def _option(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple | np.ndarray):
        numbers = [str(number) for number in np.asarray(value).reshape(-1).tolist()]
        return f"{name}={','.join(numbers)}" if numbers else ""
    if isinstance(value, bytes):
        return f"{name}={value.decode(errors='replace')}" if value else ""
    if isinstance(value, float):
        return f"{name}={value:.6g}" if value else ""
    if isinstance(value, bool | int):
        return f"{name}={int(value)}" if value else ""
    return f"{name}={type(value).__name__}"


@cache
def _activation_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in vars(schema.ActivationFunctionType).items() if isinstance(number, int)}


def _activation(number: int) -> str:
    name = _activation_names().get(number, f"activation={number}")
    return "" if name == "NONE" else name
