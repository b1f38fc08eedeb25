"""Render ``index.html`` of a run of ``try``: the recommendation, pictures, all variants, and what to do next."""

from pathlib import Path

from markupsafe import Markup

from quantbench import files
from quantbench.core.echo import plain
from quantbench.records import Advice, AdvisedVariant, Report
from quantbench.report import advice as words
from quantbench.report import plots
from quantbench.report.html.templating import Banner, Part, fragment, page_from


def render(report: Report, advice: Advice) -> str:
    """Render the whole page."""
    parts = [
        Part("picture", "Size and time against drop", _pictures(advice)),
        Part("variants", "Variants", _variants(advice)),
        Part("scored", "What was scored", _scored(advice)),
        Part("refused", "Left out", _refused(advice)),
        Part("next", "Next", fragment("steps.html.j2", steps=words.steps(advice))),
        Part("notes", "Notes and environment", _environment(report)),
    ]
    return page_from("report.html.j2", banner=_banner(advice), run=report.run, parts=parts, waiting="")


def write(path: Path, report: Report, advice: Advice) -> None:
    """Write the page atomically.

    Raises:
        OSError: it cannot be written.
    """
    files.replace(path, render(report, advice))


def _banner(advice: Advice) -> Banner:
    nothing = advice.choice is None
    title = "nothing to recommend" if nothing else f"ship {advice.choice}"
    file = f"File: {Path(advice.folder) / advice.file}" if advice.file else ""
    facts = [
        words.recommendation(advice),
        words.undecided(advice),
        words.too_few(advice),
        words.next_best(advice),
        file,
        *(f"Warning: {each}" for each in advice.warnings),
    ]
    kind = "red" if nothing else "amber" if words.is_float32(advice) else "green"
    return Banner(title, "✗" if nothing else "✓", kind, [each for each in facts if each])


def _paragraph(*lines: str) -> Markup:
    return fragment("paragraphs.html.j2", lines=lines)


def _pictures(advice: Advice) -> Markup:
    """Draw size, and time where it was measured, against the drop that is closest to its limit."""
    points = [_point(number, one, advice) for number, one in enumerate(advice.variants, 1) if one.same_as is None]
    with_limit = all(judged.limit > 0 for judged in advice.judged)
    drop = "drop, share of the limit" if with_limit else "drop"
    at = 1.0 if with_limit else 0.0
    drawn = []
    for what, value in (("size", "size"), ("time a call", "latency")):
        found = [(point, getattr(one, value)) for point, one in points if getattr(one, value)]
        if len(found) > 1:
            placed = [point._replace(x=x) for point, x in found]
            drawn.append(plots.decisions(f"{what}, as a fraction of float32's", drop, placed, at))
    if not drawn:
        return _paragraph("Fewer than two variants were made, so there is no picture.")
    return fragment("decisions.html.j2", plots=drawn, keys=plots.decision_legend())


def _point(number: int, one: AdvisedVariant, advice: Advice) -> tuple[plots.Decided, AdvisedVariant]:
    verdict, judged = words.closest(one, advice)
    share = judged.limit or 1.0
    low, high = (None if end is None else end / share for end in (verdict.low, verdict.high))
    said = f"{one.variant}: {words.drop(verdict, judged)} {judged.unit}, {words.verdict_words(one)}"
    kind = "excluded" if one.dead else one.verdict
    return plots.Decided(number, said, kind, 1.0, verdict.drop / share, low, high, one.variant == advice.choice), one


def _variants(advice: Advice) -> Markup:
    if not advice.variants:
        return _paragraph("None was made and scored.")
    rows = [[f"{number}. {row[0]}", *row[1:]] for number, row in enumerate(words.rows(advice), 1)]
    table = fragment(
        "table.html.j2",
        caption="The best first; numbers are those of the pictures",
        headers=[*words.headers(advice), *words.EXTRA],
        rows=rows,
        kind="advice",
    )
    return table + _paragraph(words.note(advice))


def _scored(advice: Advice) -> Markup:
    lines = [line for judged in advice.judged for line in [words.scored(judged), *judged.evidence]]
    return fragment("lines.html.j2", items=lines)


def _refused(advice: Advice) -> Markup:
    if not advice.refused:
        return _paragraph("Every variant was made as specified.")
    return fragment("lines.html.j2", items=[f"{one.reason}: {', '.join(one.variants)}" for one in advice.refused])


def _environment(report: Report) -> Markup:
    e = report.environment
    rows = [("CPU", e.cpu), ("cores", e.cores), ("OS", e.os), ("Python", e.python), *sorted(e.packages.items())]
    table = fragment("table.html.j2", caption="Measured with", headers=["what", "value"], rows=rows, kind="environment")
    notes = fragment("lines.html.j2", items=[plain(note) for note in report.notes]) if report.notes else Markup("")
    return notes + table
