"""Read ``--limit NAME=VALUE``, and hold figures of a file against them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from quantbench.core.nearest import nearest
from quantbench.errors import BadInput
from quantbench.records import Decision, Held

# Figure -> what it is, and whether it is a number of bytes.
FIGURES = {
    "size": ("bytes of the file", True),
    "latency": ("time of a call as a fraction of the reference's", False),
    "arena": ("bytes of the tensor arena", True),
    "left": ("operators that an accelerator leaves to the CPU", False),
    "left_macs": ("multiplications that an accelerator leaves to the CPU", False),
    "left_share": ("share of the multiplications that is left to the CPU, 0 to 1, by --vela-report", False),
    "sram": ("bytes of SRAM, by --vela-report", True),
    "dram": ("bytes of DRAM, by --vela-report", True),
    "on_chip_flash": ("bytes of on-chip flash, by --vela-report", True),
    "off_chip_flash": ("bytes of off-chip flash, by --vela-report", True),
    "cycles": ("cycles of an inference, by --vela-report", False),
}
_OF_RUNNING = ("latency", "arena")
_UNITS = {"": 1, "B": 1, "k": 1e3, "kB": 1e3, "KiB": 2**10, "M": 1e6, "MB": 1e6, "MiB": 2**20}
_VALUE = re.compile(r"(?P<number>[0-9.eE+]+)\s*(?P<unit>[A-Za-z]*)")


@dataclass(frozen=True)
class Limits:
    """Hold the largest values that figures may have.

    Attributes:
        largest: figure -> limit.
        texts: as given.
    """

    largest: dict[str, float] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    def check_apply(self, compiled: Sequence[bool]) -> None:
        """Raise BadInput where a figure is known of none of the files.

        Args:
            compiled: of each file, whether it is compiled for an accelerator.
        """
        for name in self.largest:
            if name in _OF_RUNNING and all(compiled):
                raise BadInput(
                    f"--limit: {name}: is measured by running a file, and all of these are compiled; leave it out"
                )
            if name not in (*_OF_RUNNING, "size") and not any(compiled):
                raise BadInput(f"--limit: {name}: is a figure of compiled files, and none of these is; leave it out")

    def held(self, name: str, value: float | None, low: float | None = None, high: float | None = None) -> Held | None:
        """Hold a figure against its limit; None where it has none.

        Args:
            value: None where it is not known, which no limit is kept by.
            low, high: 95 % interval of a noisy one.
        """
        if name not in self.largest:
            return None
        limit = self.largest[name]
        return Held(name=name, value=value, low=low, high=high, limit=limit, verdict=_verdict(value, low, high, limit))


def _verdict(value: float | None, low: float | None, high: float | None, limit: float) -> Decision:
    if value is None:
        return "undecided"
    if (value if high is None else high) <= limit:
        return "within"
    return "beyond" if (value if low is None else low) > limit else "undecided"


def parse(texts: list[str]) -> Limits:
    """Read the values of ``--limit``.

    Raises:
        BadInput: one is no limit, or a figure is given twice.
    """
    largest: dict[str, float] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        match = _VALUE.fullmatch(value)
        if not equals or match is None:
            raise BadInput(f"--limit: expected NAME=VALUE such as size=300KiB or latency=1.1, found {text!r}")
        if name not in FIGURES:
            near = nearest(name, FIGURES)
            known = f"did you mean {near}?" if near else f"expected one of {', '.join(FIGURES)}"
            raise BadInput(f"--limit: unknown figure {name!r}; {known}")
        if name in largest:
            raise BadInput(f"--limit: {name} is given twice; give each figure once")
        largest[name] = _number(text, match["number"], match["unit"], FIGURES[name][1])
    return Limits(largest, tuple(texts))


def _number(text: str, number: str, unit: str, of_bytes: bool) -> float:
    units = _UNITS if of_bytes else {key: value for key, value in _UNITS.items() if key in ("", "k", "M")}
    try:
        value = float(number) * units[unit]
    except (ValueError, KeyError):
        value = math.nan
    if not math.isfinite(value):
        expected = ", ".join(name for name in units if name)
        raise BadInput(f"--limit: {text}: expected a number, with one of {expected} or nothing behind it")
    return value
