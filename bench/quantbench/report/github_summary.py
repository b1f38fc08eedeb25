"""Fit a report into a GitHub job summary: whole where it fits, else the worst first, with a line on what was cut."""

from quantbench.records import Cell, Report, Verdict, worst
from quantbench.report import formatting
from quantbench.report.markdown import ATTENTION, OF_MODEL, TOP, parts, render

_NOTE = 2_000  # bytes kept free for the line that says what was left out
_MOST_NAMED = 10


def cut(report: Report, limit: int) -> str:
    """Render the report as Markdown of at most ``limit`` bytes.

    Args:
        limit: bytes of UTF-8, at least a few thousand. GitHub accepts 1 MiB (1,048,576) per step and drops a longer
            summary as a whole; an issue accepts 65,536 characters.
    """
    whole = render(report)
    if _bytes(whole) <= limit:
        return whole
    left = parts(report)
    top, _ = _fitting(left.pop(TOP), "\n", limit // 4)
    attention, missed = _fitting(left.pop(ATTENTION, ""), "\n- ", limit // 2)
    room = limit - _NOTE - _bytes(top) - _bytes(attention)
    kept, gone = [], []
    for name in _worst_first(report, list(left)):
        if _bytes(left[name]) + 2 <= room:
            room -= _bytes(left[name]) + 2
            kept.append(left[name])
        else:
            gone.append(name)
    note = _note(report, gone, missed)
    return "\n\n".join(part for part in (top, note, attention, *kept) if part) + "\n"


def _note(report: Report, gone: list[str], missed: int) -> str:
    omitted = [f"{missed} of the cells that need attention"] if missed else []
    omitted += gone[:_MOST_NAMED] + ([f"{len(gone) - _MOST_NAMED} more parts"] if len(gone) > _MOST_NAMED else [])
    listed = "; ".join(formatting.escape(part[:80]) for part in omitted)
    return (
        f"> **Cut** to GitHub's size limit, the worst first. Left out: {listed}. The whole report is in `report.md` "
        "and "
        f"`report.html` of run {formatting.code(report.run)}, in the artifacts of this workflow run."
    )


def _worst_first(report: Report, names: list[str]) -> list[str]:
    """Sort models by their worst verdict and by how many cells have it; parts that concern no model come last."""
    cells: dict[str, list[Cell]] = {}
    for cell in report.cells:
        cells.setdefault(cell.model, []).append(cell)
    severity = list(Verdict)

    def place(name: str) -> tuple[int, int, int]:
        members = cells.get(name.removeprefix(OF_MODEL), []) if name.startswith(OF_MODEL) else []
        verdicts = [cell.verdict for cell in members]
        decided = worst(verdicts)
        return (0 if verdicts else 1, -severity.index(decided), -verdicts.count(decided))

    return sorted(names, key=place)


def _fitting(text: str, separator: str, room: int) -> tuple[str, int]:
    """Return the first pieces of a text that fit into ``room`` bytes, and how many do not."""
    pieces = text.split(separator)
    used, count = 0, 0
    for piece in pieces:
        used += _bytes(piece) + len(separator)
        if used > room and count:
            break
        count += 1
    kept = separator.join(pieces[:count])
    if _bytes(kept) > room:  # one piece alone is too long
        kept = kept.encode("utf-8", errors="replace")[:room].decode("utf-8", errors="ignore") + " …"
    return kept, len(pieces) - count


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", errors="replace"))
