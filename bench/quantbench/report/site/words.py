"""Say what several pages of the site say in the same words."""

from collections.abc import Sequence

from quantbench.records import Verdict
from quantbench.report.formatting import MARKS
from quantbench.report.site.facts import Move


def counted(count: int, what: str) -> str:
    """Return a number of things, in the plural where there is not one."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def causes_in_words(causes: Sequence[str] | None) -> str:
    """Return what else changed in a night, on one line."""
    if causes is None:
        return "red since its first night"
    return ", ".join(causes) or "nothing that is recorded"


def sign(verdict: Verdict) -> str:
    """Return the sign of a verdict, which tells it from the others without its colour."""
    return "E" if verdict is Verdict.ERROR else MARKS[verdict].partition(" ")[0]


def name_of(verdict: Verdict) -> str:
    """Return a verdict's name as reports print it."""
    return MARKS[verdict].partition(" ")[2].lower()


def arrow(move: Move) -> str:
    """Return which way a measurement moved."""
    return {True: "worse", False: "better", None: "changed"}[move.worse]
