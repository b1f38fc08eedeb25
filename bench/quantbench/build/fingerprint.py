"""Fingerprint a function: a hash for each piece of source and each constant that can change what it does."""

import hashlib
import inspect
import types
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, cast


@cache  # one function is part of the keys of many results
def source_fingerprint(function: Callable[..., Any]) -> dict[str, str]:
    """Return name -> hash for a function's source, and for every function and constant of its own package that it uses.

    A change in one variant's code therefore only changes that variant's key, and can be named.
    """
    parts: dict[str, str] = {}
    _collect_source(function, function.__module__, parts)
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts.items()}


def _neighbours(module: str, other: str) -> bool:
    """Check whether two modules are the same, or in the same package."""
    package = module.rpartition(".")[0]
    return module == other or (bool(package) and other.rpartition(".")[0] == package)


# Finding a function in its file takes far longer than hashing it, and one function is part of many keys.
@cache
def _source(part: Any) -> str:
    return inspect.getsource(part)


def _collect_source(function: Callable[..., Any], module: str, parts: dict[str, str]) -> None:
    function = inspect.unwrap(function)  # of what a decorator makes of it, the code is the decorator's own
    name = f"{function.__module__}.{function.__qualname__}"
    if name in parts:
        return
    parts[name] = _source(function)
    for captured, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = cell.cell_contents
        if inspect.isfunction(value):  # its repr has an address, which differs between processes
            _collect_source(value, value.__module__, parts)
            parts[f"{name}: {captured}"] = value.__qualname__
        else:
            parts[f"{name}: {captured}"] = repr(value)
    names = set(_all_names(function.__code__))
    for used, value in sorted(vars(inspect.getmodule(function)).items()):
        if used not in names:
            continue
        if inspect.isfunction(value) and _neighbours(module, value.__module__):
            _collect_source(value, module, parts)
        elif inspect.isclass(value) and "." in module and _neighbours(module, value.__module__):
            parts[f"{value.__module__}.{used}"] = _source(cast(Hashable, value))
        elif inspect.ismodule(value) and _neighbours(module, value.__name__):
            for inner, member in sorted(vars(value).items()):
                if inner in names and inspect.isfunction(member) and member.__module__ == value.__name__:
                    _collect_source(member, module, parts)
        elif isinstance(value, str | int | float | tuple | list | dict | frozenset | bytes):
            parts[used] = repr(value)


def _all_names(code: types.CodeType) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _all_names(constant)
    return names
