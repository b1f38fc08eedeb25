"""Read TFLite-Micro's log: why an artifact does not run, and what its allocator used.

The arena is that of this machine: on a 32-bit processor, whose pointers are half as long, its tail is smaller.
"""

import re
from typing import NamedTuple

from quantbench.records import MicroRefusal

_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_CUSTOM = re.compile(r"Failed to get registration from op code (\w+)")
_FAILED = re.compile(r"Node (\w+) \(number \d+\w?\) failed to (?:prepare|invoke)")
_ALLOCATED = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_FOLDER = re.compile(r"^(?:tensorflow/lite/micro/)?(?:kernels/)?(\w+\.(?:cc|h)(?::\d+)?) ")
_LONGEST = 300  # characters of a reason


class Arena(NamedTuple):
    """Hold the bytes that the allocator used: in all, for what calls reuse, and for what stays."""

    total: int
    head: int
    tail: int


def arena(log: str) -> Arena | None:
    """Parse what the allocator used; None where it wrote nothing."""
    found = {name: int(count) for name, count in _ALLOCATED.findall(log)}
    return Arena(found["total"], found["head"], found["tail"]) if len(found) == 3 else None


def refusal(log: str, otherwise: str) -> MicroRefusal:
    """Parse why an artifact does not load, or why a call fails.

    Args:
        otherwise: the reason where the log names none.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if match := _MISSING.search(line) or _CUSTOM.search(line):
            return MicroRefusal(reason=line[:_LONGEST], operator=match[1], missing=True)
    for place, line in enumerate(lines):
        if match := _FAILED.match(line):
            reason = _FOLDER.sub(r"\1: ", lines[place - 1]) if place else otherwise
            return MicroRefusal(reason=reason[:_LONGEST], operator=match[1])
    return MicroRefusal(reason=(lines[-1] if lines else otherwise)[:_LONGEST])
