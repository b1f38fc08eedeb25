"""Render ``index.html`` of a run of ``judge``: the answer, all files, how each is quantized, and every limit."""

from pathlib import Path

from markupsafe import Markup

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import FileVerdicts, Report
from quantbench.report import built as words
from quantbench.report import plots
from quantbench.report.html.templating import Banner, Part, fragment, page_from

_KINDS = {"within": "green", "beyond": "red", "undecided": "amber"}


def render(report: Report, found: FileVerdicts) -> str:
    """Render the whole page."""
    parts = [
        Part("picture", "Size and time against drop", _pictures(found)),
        Part("files", "Files", _files(found)),
        Part("structure", "Structure", _lines(words.structures(found))),
        Part("limits", "Limits", _limits(found)),
        Part("scored", "What was scored", _lines(words.scored(found))),
        Part("notes", "Notes and environment", _environment(report)),
    ]
    shown = [part for part in parts if part.content]
    return page_from("report.html.j2", banner=_banner(found), run=report.run, parts=shown, waiting="")


def write(path: Path, report: Report, found: FileVerdicts) -> None:
    """Write the page atomically.

    Raises:
        OSError: it cannot be written.
    """
    files.replace(path, render(report, found))


def _banner(found: FileVerdicts) -> Banner:
    sign = words.SIGNS[found.verdict]
    title = words.answer(found).removeprefix(f"{sign} ")
    return Banner(title, sign, _KINDS[found.verdict], words.reasons(found))


def _pictures(found: FileVerdicts) -> Markup:
    """Draw size, and time where it was measured, against the drop that is nearest to its limit."""
    compared = [(number, one) for number, one in enumerate(found.files, 1) if one.outputs and one.size is not None]
    drawn = []
    for what, field in (("size", "size"), ("time a call", "latency")):
        points = []
        for number, one in compared:
            value = getattr(one, field)
            verdict, of = words.advice_pair(one, found)
            if value is None or not of.limit:
                continue
            low, high = (None if end is None else end / of.limit for end in (verdict.low, verdict.high))
            said = f"{one.name}: {words.WORDS[one.verdict]}"
            points.append(plots.Decided(number, said, one.verdict, value, verdict.drop / of.limit, low, high, False))
        if len(points) > 1:
            drawn.append(
                plots.decisions(f"{what}, as a fraction of the reference's", "drop, share of the limit", points, 1.0)
            )
    return fragment("decisions.html.j2", plots=drawn, keys=plots.decision_legend()) if drawn else Markup("")


def _files(found: FileVerdicts) -> Markup:
    rows, first = words.rows(found), 1 if found.reference is None else 0
    table = fragment(
        "table.html.j2",
        caption="In the order given; numbers are those of the pictures",
        headers=words.headers(found),
        rows=[[f"{number}. {row[0]}" if number else row[0], *row[1:]] for number, row in enumerate(rows, first)],
        kind="advice",
    )
    return table + fragment("paragraphs.html.j2", lines=[words.note(found)])


def _limits(found: FileVerdicts) -> Markup:
    return _lines([f"{one.name}: {words.held(each)}" for one in found.files for each in one.held])


def _lines(lines: list[str]) -> Markup:
    return fragment("lines.html.j2", items=lines) if lines else Markup("")


def _environment(report: Report) -> Markup:
    e = report.environment
    rows = [("CPU", e.cpu), ("cores", e.cores), ("OS", e.os), ("Python", e.python), *sorted(e.packages.items())]
    table = fragment("table.html.j2", caption="Measured with", headers=["what", "value"], rows=rows, kind="environment")
    return _lines([plain(note) for note in report.notes]) + table
