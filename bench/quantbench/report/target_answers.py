"""Put into words what a target answered: a line for all of it, a table of cells, and what is wrong."""

from tabulate import tabulate

from quantbench.core.echo import line
from quantbench.records import AnsweredCell, TargetAnswers, Verdict
from quantbench.report.formatting import MARKS

_QUIET = (Verdict.PASS, Verdict.CHANGED)
_MOST_CHANGED = 4  # of a target's packages that are named; an upgrade of the distribution moves thirty


def screen(found: TargetAnswers, wrong_alone: bool = False) -> str:
    """Return the text for the terminal.

    Args:
        wrong_alone: whether to leave out the table.
    """
    parts = [verdict(found)]
    if not wrong_alone:
        parts.append(table(found))
    parts += [line(f"{MARKS[cell.verdict]} {cell.cell}: {cell.message}") for cell in found.cells if _is_told(cell)]
    if found.changed:
        more = len(found.changed) - _MOST_CHANGED
        rest = f", and {more} more" if more > 0 else ""
        named = ", ".join(found.changed[:_MOST_CHANGED])
        parts.append(line(f"changed on {found.target} since accepted: {named}{rest}"))
    return "\n\n".join(part for part in parts if part)


def _is_told(cell: AnsweredCell) -> bool:
    return cell.verdict not in _QUIET


def verdict(found: TargetAnswers) -> str:
    """Say in one line how it went."""
    answered = [cell for cell in found.cells if cell.otherwise is not None]
    examples = sum(cell.examples for cell in answered)
    otherwise = sum(cell.otherwise or 0 for cell in answered)
    wrong = [cell for cell in found.cells if _is_told(cell)]
    how = f"{len(wrong)} of {len(found.cells)} cells need a look" if wrong else "all cells pass"
    what = "an emulator; its times are not a device's" if found.emulated else found.machine
    return line(
        f"{found.target} ({what}): {how}. It answered {examples:,} examples of {len(answered)} cells, {otherwise} of "
        f"them otherwise than this machine, in {found.seconds:.0f} s."
    )


def table(found: TargetAnswers) -> str:
    """Return a row for each cell."""
    seconds = "s (emulated)" if found.emulated else "s"
    differ = ("differ from here", "newly wrong / right", "differ from accepted", "red from")
    header = ("cell", "", "answers", *differ, seconds)
    rows = [
        (
            cell.cell,
            f"{MARKS[cell.verdict]} {cell.verdict.shown}",
            cell.examples or "",
            _number(cell.otherwise),
            "" if cell.newly_wrong is None else f"{cell.newly_wrong} / {cell.newly_right}",
            _number(cell.differ_from_accepted),
            _number(cell.detectable),
            "" if cell.seconds is None else f"{cell.seconds:.1f}",
        )
        for cell in found.cells
    ]
    return tabulate(rows, header, disable_numparse=True, colalign=("left", "left", *["right"] * 6))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
