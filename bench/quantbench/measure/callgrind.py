"""Read the profiles that callgrind writes: instructions by function, and by operator of a network.

The format is documented in "Callgrind Format Specification" of valgrind's manual. Only what ``--dump-line=no`` and
names in brackets give is read: costs by function, summed over source files. Of the packages on PyPI, ``gprof2dot``
parses it too, for a graph of the whole program.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAMED = re.compile(r"\((\d+)\)(?: (.*))?")
_RECURSION = re.compile(r"'\d+$")  # the suffix of a function that calls itself
_COST = re.compile(r"(?:[+-]?\d+|\*|0x[0-9a-f]+) (\d+)")


@dataclass(frozen=True)
class Profile:
    """Hold one dump.

    Attributes:
        trigger: why callgrind wrote it: a client's request with its text, or the function of ``--dump-before``.
        own: function -> instructions of its own code, without those of what it called.
    """

    trigger: str = ""
    own: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Return all instructions of the dump."""
        return self.own.total()


def parse(lines: Iterable[str]) -> Profile:
    """Parse one dump, whose first event is ``Ir``: instructions read.

    Raises:
        ValueError: it is none, or counts something else.
    """
    names: dict[str, str] = {}
    own: Counter[str] = Counter()
    function = trigger = ""
    started = of_call = False
    for raw in lines:
        line = raw.rstrip("\n")
        key, _, value = line.partition("=" if "=" in line.split(" ", 1)[0] else ":")
        match key:
            case "events":
                if value.split()[:1] != ["Ir"]:
                    raise ValueError(f"expected the event Ir first, found {value.strip()[:40]!r}")
                started = True
            case "desc":
                what, _, text = value.strip().partition(":")
                trigger = text.strip() if what == "Trigger" else trigger
            case "fn":
                function = _name(value, names)
            case "cfn":
                _name(value, names)
            case "calls":
                of_call = True  # the next line is the cost of all that was called
            case _ if (cost := _COST.match(line)) is not None:
                if function and not of_call:
                    own[function] += int(cost[1])
                of_call = False
    if not started:
        raise ValueError("expected a profile of callgrind, found no line 'events:'")
    return Profile(trigger, own)


def _name(value: str, names: dict[str, str]) -> str:
    """Return a function's name, which a file has in full once and by number afterwards."""
    match = _NAMED.fullmatch(value)
    if match is None:
        return _RECURSION.sub("", value)
    if match[2] is not None:
        names[match[1]] = _RECURSION.sub("", match[2])
    return names[match[1]]


BEFORE, AFTER, REQUEST = "--dump-before=", "--dump-after=", "Client Request: "
_BUILTIN = re.compile(r"tflite::ops::(?:builtin|custom)::(\w+)::(?:\(anonymous namespace\)::)?(\w+)")
_PART = "EvalImpl"  # what a builtin's own function calls, with the same signature
_XNNPACK = "xnn_run_operator_with_index"
NO_KERNEL = "no kernel"  # an operator that only renames its input, such as a reshape


def operators(dumps: Iterable[Profile]) -> tuple[list[tuple[str, int]], int]:
    """Split a call that was dumped before and after each operator of XNNPACK, and before each of the builtin kernels.

    A builtin's instructions are those up to the next operator, with the runtime's own step to it.

    Returns:
        (kernel, instructions) of each operator in order; and the instructions outside of all of them.
    """
    found: list[tuple[str, int]] = []
    running, inside, between = "", Counter[str](), 0
    for dump in dumps:
        if running:
            inside += dump.own
        else:
            between += dump.total
        function = dump.trigger.removeprefix(BEFORE) if dump.trigger.startswith(BEFORE) else ""
        if _continues(function):
            continue
        if running:
            found.append((kernel(inside, running), inside.total()))
        running, inside = function, Counter()
    return found, between


def _continues(function: str) -> bool:
    builtin = _BUILTIN.search(function)
    return builtin is not None and builtin[2] == _PART


def kernel(own: Counter[str], function: str) -> str:
    """Name what an operator ran: its builtin, or the kernel of XNNPACK that took most instructions."""
    builtin = _BUILTIN.search(function)
    if builtin is not None:
        return builtin[1]
    kernels = [name for name in own if "__" in name] or [name for name in own if name != _XNNPACK]
    name = max(kernels, key=lambda one: (own[one], one), default=NO_KERNEL)
    return name.removeprefix("xnn_").replace("_ukernel_", "_").replace("__", "_").lstrip("_")
