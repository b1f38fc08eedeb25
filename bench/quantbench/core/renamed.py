"""Know the packages that go on under another name, in one place: whichever is installed is used, and recorded as such.

Source: the page of litert-quantizer, "Migrating from AI Edge Quantizer": names aside, the API is the same.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

# Distribution that ended -> the one that goes on.
SUCCESSORS = {"ai-edge-quantizer": "litert-quantizer"}
PREDECESSORS = {new: old for old, new in SUCCESSORS.items()}
QUANTIZER = "litert-quantizer"
# What it is imported as, the one that goes on first.
QUANTIZER_MODULES = ("litert_quantizer", "ai_edge_quantizer")


@cache
def installed_name(name: str) -> str:
    """Return the name under which a package is installed: its own, or its former one where only that is there."""
    old = PREDECESSORS.get(name)
    return old if old is not None and not _installed(name) and _installed(old) else name


def _installed(name: str) -> bool:
    # A nightly installs the same modules under a name of its own.
    for one in (name, f"{name}-nightly"):
        try:
            metadata.distribution(one)
        except metadata.PackageNotFoundError:
            continue
        return True
    return False


def current_name(name: str) -> str:
    """Return the name under which a package goes on today."""
    return SUCCESSORS.get(name, name)


def quantizer(module: str) -> Any:
    """Import a module of the quantizer, such as ``recipe_manager``, from whichever package is installed.

    Raises:
        ModuleNotFoundError: neither is, by the name of the one that goes on.
    """
    found = next((name for name in QUANTIZER_MODULES if find_spec(name) is not None), QUANTIZER_MODULES[0])
    return import_module(f"{found}.{module}")


def under_one_name(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return name -> version of both sides, where a package that one side has by its former name has today's in both.

    The version then says which it is, e.g. ``0.10.0 (ai-edge-quantizer)``.
    """
    sides = dict(old), dict(new)
    for before, after in SUCCESSORS.items():
        for side, other in (sides, sides[::-1]):
            if before in side and after not in side and after in other and before not in other:
                side[after] = f"{side.pop(before)} ({before})"
    return sides
