"""Render the summary after a run for one screen: what needs attention first, the verdict last."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from quantbench.records import Action, Cell, Report, Verdict
from quantbench.report import formatting, reds

SCREEN = 24  # lines of a terminal, which a green run fits on
# What is listed at most: a red run may be as long as its regressions, a green one has to leave room for its verdict.
MOST_LINES = 10
MOST_ON_GREEN = 4
MOST_NOTES = 5
_PLAIN = (Verdict.PASS, Verdict.UNJUDGED, Verdict.UNSUPPORTED, Verdict.XFAIL)  # as expected: only counted


def summary(report: Report, folder: Path, verbose: bool = False) -> str:
    """Summarize a run: what needs attention with its next step, the cells, where the report is, and the verdict.

    Args:
        verbose: whether to list every cell and note, and the next step of what is no regression too.
    """
    red = report.exit_status != 0
    parts = [
        _attention(report, red, verbose),
        _exceptions(report, red, verbose),
        _notes(report, folder, verbose),
        _cells(report, red, verbose),
        [*_counted(report), f"report: {folder / 'report.md'}", formatting.headline(report)],
    ]
    return "\n".join(line for part in parts for line in part)


def _attention(report: Report, red: bool, verbose: bool) -> list[str]:
    """Return a block for each group of cells that needs attention, the worst first; with ``verbose`` the details."""
    entries = reds.entries(report)
    most = len(entries) if verbose else MOST_LINES if red else MOST_ON_GREEN
    lines = []
    for one in entries[:most]:
        told = one.lines if verbose else one.lines[: reds.LINES]
        lines += _entry(formatting.MARKS[one.verdict], one.name, told, one.actions if verbose or red else [])
    left = sum(max(1, len(one.cells)) for one in entries[most:])
    if left:
        lines.append(f"… and {left} more cells that need attention, in the report")
    for cell, verdict, messages, actions in reds.details(report) if verbose else []:
        lines += _entry(f"details: {formatting.MARKS[verdict]}", cell, messages, actions)
    return lines


def _entry(mark: str, cell: str, messages: Sequence[str], actions: Iterable[Action]) -> list[str]:
    """Return the lines on one cell: what, then what to do."""
    first, *others = messages or [""]
    steps = [f"    → {formatting.step(action)}" for action in actions]
    return [f"{mark}  {cell}: {first}", *(f"    {message}" for message in others), *steps]


def _exceptions(report: Report, red: bool, verbose: bool) -> list[str]:
    found = [f"exception: {cell}: {sentence}" for cell, sentence in formatting.exceptions(report)]
    most = len(found) if verbose else MOST_LINES if red else MOST_ON_GREEN
    return _at_most(found, most, "exceptions")


def _notes(report: Report, folder: Path, verbose: bool) -> list[str]:
    own = [formatting.unjudged_latency(report), formatting.gpu_note(report)]
    notes = [*report.notes, *(note for note in own if note)]
    everything = None if report.reds else formatting.accept_everything(report, folder)
    shown = _at_most([f"note: {note}" for note in notes], len(notes) if verbose else MOST_NOTES, "notes")
    return [*([everything] if everything else []), *shown]


def _at_most(lines: list[str], most: int, what: str) -> list[str]:
    left = len(lines) - most
    return lines if left <= 0 else [*lines[:most], f"… and {left} more {what} in the report"]


def _cells(report: Report, red: bool, verbose: bool) -> list[str]:
    """Return the table of cells: all with ``verbose``, else of a red run those that are not as expected."""
    wanted = [cell for cell in report.cells if verbose or (red and cell.verdict not in _PLAIN)]
    shown = wanted if verbose else wanted[:MOST_LINES]
    if not shown:
        return []
    return ["", *_table(report, shown).splitlines(), *_rest(report, wanted, shown), ""]


def _rest(report: Report, wanted: Sequence[Cell], shown: Sequence[Cell]) -> list[str]:
    left, fine = len(wanted) - len(shown), len(report.cells) - len(wanted)
    lines = [f"… and {left} more such cells in the report"] if left else []
    return [*lines, f"{fine} other cell{'s' * (fine != 1)} as expected (-v lists all)"] if fine else lines


def _table(report: Report, cells: Sequence[Cell]) -> str:
    by_id = {cell.id: cell for cell in report.cells}
    rows = [
        [
            cell.id,
            formatting.verdict(cell),
            formatting.score(cell),
            formatting.drop(cell, by_id).replace(" (no floor)", ""),
            formatting.kib(cell.measurements.get("size")),
            formatting.microseconds(cell),
            formatting.ratio(cell),
        ]
        for cell in cells
    ]
    headers = ["cell", "verdict", "score", "drop", "KiB", "µs", "ratio to float32"]
    used = [column for column in range(len(headers)) if any(row[column] for row in rows)]
    return tabulate(
        [[row[column] for column in used] for row in rows],
        headers=[headers[column] for column in used],
        tablefmt="simple",
        disable_numparse=True,
    )


def _counted(report: Report) -> list[str]:
    """Return how many values differ from their baselines by no more than their tolerance."""
    count = formatting.within_tolerance(report)
    return [formatting.told_within_tolerance(count)] if count else []
