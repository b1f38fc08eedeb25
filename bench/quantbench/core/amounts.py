"""Read one value of ``--max-drop``: ``0.5``, ``0.5pp`` or ``2%``."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from quantbench.errors import BadInput

_AMOUNT = re.compile(r"^\s*(?P<number>[^%\s]+?)\s*(?P<unit>pp|%)?\s*$")
_EXPECTED = "expected a number of at least 0 such as 0.5, 0.5pp, 2% or OUTPUT=0.5pp"


@dataclass(frozen=True)
class Amount:
    """Hold one limit as given.

    Attributes:
        unit: ``pp``, ``%`` (a share), or empty for the metric's own.
        text: as the user wrote it.
    """

    value: float
    unit: Literal["", "pp", "%"]
    text: str


def read(whole: str) -> tuple[str | None, Amount]:
    """Return the output that a limit is of, None where it is of all, and the amount. Raises BadInput."""
    output, equals, words = whole.rpartition("=")
    match = _AMOUNT.match(words)
    try:
        value = float(match["number"]) if match else math.nan
    except ValueError:
        value = math.nan
    if match is None or not (math.isfinite(value) and value >= 0):
        raise BadInput(f"--max-drop: {_EXPECTED}, found {whole}")
    return output if equals else None, Amount(value, match["unit"] or "", words.strip())  # type: ignore[arg-type]


def given_twice(each: str, output: str | None) -> BadInput:
    """Return the error of a limit that is given twice."""
    return BadInput(f"--max-drop {each}: given twice {'for all outputs' if output is None else f'for {output!r}'}")


def check(values: list[str]) -> None:
    """Raise BadInput where one value is not a limit, or a limit is given twice."""
    seen = set()
    for each in values:
        output, _ = read(each)
        if output in seen:
            raise given_twice(each, output)
        seen.add(output)
