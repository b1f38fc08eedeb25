"""A comparison of two runs as Markdown and as one HTML page, both from the same rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from tabulate import tabulate

from bench.compare import Comparison, Item, Outcome
from bench.records import Report

HEADERS = ["cell", "measurement", "outcome", "old", "new", "change for the worse (95 %)", "p (needed)", "how"]
LONE = (Outcome.NOT_COMPARABLE, Outcome.GONE, Outcome.NEW)
MOST_NAMES = 4

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2128}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}th{background:#f3f5f7}.worse{color:#a40e26;font-weight:600}.better{color:#116329}"
    "code{font-size:.92em}"
)


class Section(NamedTuple):
    """More to tell of a comparison: words, and a table where it has rows."""

    title: str
    words: str
    headers: list[str]
    rows: list[list[str]]


def render(found: Comparison, of: str = "", more: Sequence[Section] = ()) -> str:
    """Markdown: what changed, the worst first; what could not be compared; counts.

    Args:
        of: what is compared, before the headline.
        more: told after what changed.
    """
    parts = [
        f"# {_safe(of)}{headline(found)}",
        "\n".join(f"- {line}" for line in _facts(found, lambda run: f"`{run}`")),
    ]
    rows = [[_safe(text) for text in _row(item)] for item in _changed(found)]
    if rows:
        parts += ["## What changed", _table([[f"`{cell}`", *rest] for cell, *rest in rows], HEADERS)]
    for section in more:
        parts += [f"## {section.title}", _safe(section.words)]
        table = [[_safe(text) for text in row] for row in section.rows]
        parts += [_table(table, section.headers)] if table else []
    lone = [f"- {_safe(line)}" for line in _lone(found)]
    parts += ["## Not comparable, gone or new", "\n".join(lone)] if lone else []
    if not nothing_differs(found):
        parts += ["## Counts", _table(_counts(found), _count_headers()), _budget(found)]
    return "\n\n".join(parts) + "\n"


def page(found: Comparison, of: str = "", more: Sequence[Section] = ()) -> str:
    """The same as one HTML page that needs nothing else: no script, no other file."""
    title = of + headline(found)
    parts = [f"<h1>{escape(title)}</h1>"]
    facts = _facts(found, lambda run: run)
    parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in facts) + "</ul>")
    rows = [_row(item) for item in _changed(found)]
    if rows:
        parts += ["<h2>What changed</h2>", _html_table(rows, HEADERS)]
    for section in more:
        parts += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.words)}</p>"]
        parts += [_html_table(section.rows, section.headers)] if section.rows else []
    lone = _lone(found)
    if lone:
        parts += ["<h2>Not comparable, gone or new</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in lone)]
        parts.append("</ul>")
    if not nothing_differs(found):
        parts += ["<h2>Counts</h2>", _html_table(_counts(found), _count_headers()), f"<p>{escape(_budget(found))}</p>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def nothing_differs(found: Comparison) -> bool:
    """Whether no value of any cell is another."""
    return not any(item.moved for item in found.items)


def headline(found: Comparison) -> str:
    """The outcome in one line."""
    counts = Counter(found.cells.values())
    if not found.cells:
        return "Nothing to compare: neither run holds a cell"
    if nothing_differs(found):
        return f"Nothing differs: {len(found.cells)} cells are as they were"
    told = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    if set(counts) == {Outcome.UNCHANGED}:
        return f"Nothing differs beyond chance and tolerance in {len(found.cells)} cells"
    return f"{', '.join(told)}, of {len(found.cells)} cells"


def _facts(found: Comparison, mark: Callable[[str], str]) -> list[str]:
    lines = [
        f"{name}: {mark(report.run)}, {_made(report)}" for name, report in (("old", found.old), ("new", found.new))
    ]
    lines.append(f"environment: {', '.join(found.environment) or 'the same'}")
    return [*lines, *found.notes]


def _made(report: Report) -> str:
    return f"started {report.started}, {len(report.cells)} cells"


def _changed(found: Comparison) -> list[Item]:
    return [item for item in found.told() if item.outcome not in LONE]


def _row(item: Item) -> list[str]:
    return [
        item.cell,
        item.measurement.replace("_", " "),
        str(item.outcome),
        _value(item.old, item.unit),
        _value(item.new, item.unit),
        _change(item),
        "" if item.p_value is None or item.red_at is None else f"{item.p_value:.2g} ({item.red_at:.2g})",
        item.why,
    ]


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value:,.0f} bytes"
    return f"{100 * value:.2f} %" if unit == "fraction" else f"{value:.4g} {unit if unit == 'µs' else ''}".rstrip()


def _change(item: Item) -> str:
    if item.change is None:
        return ""
    style = "{:+,.0f}" if item.change_unit in ("bytes", "examples") else "{:+.2f}"
    text = f"{style.format(item.change)} {item.change_unit}"
    if item.low is None or item.high is None:
        return text
    return f"{text} ({style.format(item.low)} to {style.format(item.high)})"


def _lone(found: Comparison) -> list[str]:
    """What has no two sides, told together where the reason is one."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in found.told():
        if item.outcome in LONE:
            groups.setdefault((str(item.outcome), item.measurement, item.why), []).append(item.cell)
    return [
        f"{outcome}: {measurement.replace('_', ' ')} of {_names(cells)}: {why}"
        for (outcome, measurement, why), cells in groups.items()
    ]


def _names(cells: list[str]) -> str:
    shown = ", ".join(cells[:MOST_NAMES])
    return shown if len(cells) <= MOST_NAMES else f"{shown} and {len(cells) - MOST_NAMES} more"


def _count_headers() -> list[str]:
    return ["", *(str(outcome) for outcome in Outcome), "to the last digit"]


def _counts(found: Comparison) -> list[list[str]]:
    """A row a measurement; the last column counts the unchanged ones that are the same to the last digit."""
    rows = [["cells", *_by_outcome(list(found.cells.values())), ""]]
    for name in dict.fromkeys(item.measurement for item in found.items):
        items = [item for item in found.items if item.measurement == name]
        same = sum(not item.moved for item in items)
        rows.append([name.replace("_", " "), *_by_outcome([item.outcome for item in items]), str(same)])
    return rows


def _by_outcome(found: list[Outcome]) -> list[str]:
    counts = Counter(found)
    return [str(counts[outcome]) if counts[outcome] else "" for outcome in Outcome]


def _budget(found: Comparison) -> str:
    budget = found.false_alarms
    return (
        f"False-alarm budget {100 * budget.budget:g} % for the whole comparison, shared (Holm) by {budget.judgements} "
        "two-sided tests of what moved; intervals are 95 % each."
    )


def _safe(text: str) -> str:
    """Text of other people's making, safe inside a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _table(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _html_table(rows: list[list[str]], headers: list[str]) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    lines = [_html_row(row) for row in rows]
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def _html_row(row: list[str]) -> str:
    shade = f' class="{row[2]}"' if row[2] in (Outcome.WORSE, Outcome.BETTER) else ""
    return f"<tr{shade}>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
