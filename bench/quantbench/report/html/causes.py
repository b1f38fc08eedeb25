"""Show where errors come from: charts along the graph in ``report.html``, and the page of ``explain``."""

from markupsafe import Markup

from quantbench.core.echo import line
from quantbench.records import Attribution, OperatorError, Report, Suspect
from quantbench.report import along, attribution
from quantbench.report.attribution import REPAIRS, layer, shown_score
from quantbench.report.html.templating import Banner, Part, fragment, page_from

MOST_CHARTS = 5  # of a run; its report keeps the errors of no more
_SUSPECTS = ["", "operator", "layer", "repaired", "outputs' error gone"]
_OPERATORS = ["operator", "layer", "own error", "error here", "SQNR, dB", "cosine", "clipped", "float values", "steps"]
_WORDS = (
    "Errors are root mean squares, as a share of the float values'; the own part of an operator is its error with "
    "exact inputs. Error gone: of the outputs' squared error, by this repair alone."
)


def of_report(report: Report) -> Markup:
    """Chart the errors of the red cells whose errors the report keeps; empty where it keeps none."""
    kept = [(cell.id, cell.attribution) for cell in report.cells if cell.attribution is not None]
    drawn = [(cell, found) for cell, found in kept if along.drawable(found)][:MOST_CHARTS]
    if not drawn:
        return Markup("")
    charts = [_chart(found, cell) for cell, found in drawn]
    return fragment("causes.html.j2", keys=along.legend(), charts=charts, words=_WORDS)


def page(found: Attribution) -> str:
    """Render an explanation as one page that loads nothing."""
    parts = []
    if along.drawable(found):
        chart = fragment("causes.html.j2", keys=along.legend(), charts=[_chart(found, "")], words=_WORDS)
        parts.append(Part("along", "Error along the graph", chart))
    if found.changes:
        changed = attribution.changes_in_words(found.changes, len(found.changes))
        parts.append(Part("changed", "Changed since the accepted artifact", fragment("lines.html.j2", items=changed)))
    rows = [_row(one) for one in found.operators]
    table = fragment("table.html.j2", caption="In the order of the file", headers=_OPERATORS, rows=rows, kind="errors")
    parts.append(Part("operators", "Operators", table))
    explained = bool(found.suspects) and attribution.explains(found.suspects[0])
    facts = [one for one in (attribution.first(found), attribution.untried(found), attribution.unmatched(found)) if one]
    banner = Banner(attribution.cause(found), "✗" if explained else "!", "red" if explained else "amber", facts)
    return page_from("comparison.html.j2", banner=banner, parts=parts)


def _chart(found: Attribution, cell: str) -> dict[str, object]:
    """Collect what a chart shows.

    Args:
        cell: that a heading links to; empty for none.
    """
    suspects = [_suspect(one, number, found) for number, one in enumerate(found.suspects, 1)]
    headers = [*_SUSPECTS, found.metric] if found.score is not None else _SUSPECTS
    rows = [row[: len(headers)] for row in suspects]
    if found.score is not None and found.float_score is not None:
        rows.insert(0, ["", "", "", "nothing", "0 %", shown_score(found.score, found)])
        rows.append(["", "", "", f"everything: {found.reference}", "100 %", shown_score(found.float_score, found)])
    return {
        "cell": cell,
        "cause": attribution.cause(found),
        "plot": along.along(found),
        "headers": headers,
        "rows": rows,
        "caption": f"Repaired one at a time, on {max(found.examples, found.scored):,} examples",
    }


def _suspect(one: Suspect, number: int, found: Attribution) -> list[str]:
    more = f" and {len(one.together)} with it" if one.together else ""
    score = "" if one.score is None else shown_score(one.score, found)
    named = [str(number), f"{attribution.numbered(one)}{more}", line(layer(one.tensor))]
    return [*named, REPAIRS[one.repaired_by], f"{round(100 * one.recovered)} %", score]


def _row(one: OperatorError) -> list[str]:
    named = [attribution.numbered(one), line(layer(one.tensor))]
    if not one.finite:
        return [*named, "", "not finite", *[""] * 5]
    return [
        *named,
        "" if one.own is None else along.percent(one.own),
        along.percent(one.error),
        along.sqnr(one.error),
        f"{one.cosine:.4f}",
        along.percent(one.clipped) if one.clipped else "",
        f"{one.low:.4g} to {one.high:.4g}",
        "" if one.steps is None else f"{one.steps:,.0f}",
    ]
