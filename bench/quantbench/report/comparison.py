"""A comparison of two runs as Markdown and as one HTML page, both from the same rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from quantbench.comparison import Comparison, Item, Outcome
from quantbench.errors import Exit
from quantbench.records import Report
from quantbench.records.measurements import shown
from quantbench.report.comparison_items import LONE, change_text, lone, p_text, value_text
from quantbench.report.formatting import code, document, escape, table
from quantbench.report.html.deferred import Later
from quantbench.report.html.templating import Banner, Part, fragment, page_from

MOST_LISTED = 50
SIGNS = {Outcome.WORSE: ("✗ ", "regressed"), Outcome.BETTER: ("▲ ", "improved")}  # and colours, of outcomes
HEADERS = ["cell", "measurement", "outcome", "old", "new", "change (+ is worse; 95 % CI)", "p (needed)", "details"]
ONE_SIDED = "Only in one run, or not comparable"


class Section(NamedTuple):
    """More to tell of a comparison: words, and a table where it has rows."""

    title: str
    words: str
    headers: list[str]
    rows: list[list[str]]


def render(found: Comparison, of: str = "", more: Sequence[Section] = ()) -> str:
    """Markdown: what changed, the worst first; what is in one run only, or not comparable; counts.

    Args:
        of: what is compared, before the headline.
        more: told after what changed.
    """
    parts = [
        f"# {escape(of)}{headline(found)}",
        "\n".join(f"- {line}" for line in _facts(found, code, escape)),
    ]
    rows = [_row(item) for item in _changed(found)]
    if rows:
        parts += ["## What changed", table([[code(cell), *rest] for cell, *rest in rows], HEADERS)]
    for title, told_of_it, headers, others in more:
        parts += [f"## {escape(title)}", escape(told_of_it)]
        parts += [table(others, headers)] if others else []
    told = [f"- {escape(line)}" for line in lone(found.told())]
    parts += [f"## {ONE_SIDED}", "\n".join(told)] if told else []
    if not nothing_differs(found):
        parts += ["## Counts", table(_counts(found), _count_headers()), budget(found)]
    return document(parts)


def within(found: Comparison) -> Section:
    """What differs by no more than its tolerance or than chance, which is counted only unless somebody asks."""
    items = [item for item in found.items if item.outcome is Outcome.UNCHANGED and item.moved]
    rows = [[code(cell), *rest] for cell, *rest in map(_row, items)]
    return Section("Changed within tolerance or chance", f"{len(items)} values.", HEADERS, rows)


def page(found: Comparison, of: str = "", more: Sequence[Section] = ()) -> str:
    """The same as one self-contained HTML page, without scripts."""
    parts = []
    rows = [_row(item) for item in _changed(found)]
    if rows:
        changed = fragment("compared.html.j2", headers=HEADERS, rows=rows, signs=SIGNS)
        parts.append(Part("changed", "What changed", changed))
    for number, (title, words, headers, others) in enumerate(more):
        told = fragment("words.html.j2", words_first=True, words=words, caption=title, headers=headers, rows=others)
        parts.append(Part(f"more-{number}", title, told))
    alone = lone(found.told())
    if alone:
        listed = Later(large=False).listing("lines.html.j2", alone, MOST_LISTED, "of them")
        parts.append(Part("lone", ONE_SIDED, listed))
    if not nothing_differs(found):
        counted = fragment(
            "words.html.j2",
            words_first=False,
            words=budget(found),
            caption="How many, by measurement",
            headers=_count_headers(),
            rows=_counts(found),
        )
        parts.append(Part("counts", "Counts", counted))
    sign, kind = {Exit.GREEN: ("✓", "green"), Exit.REGRESSED: ("✗", "red")}.get(found.exit_status(), ("!", "amber"))
    banner = Banner(of + headline(found), sign, kind, _facts(found, str, str))
    return page_from("comparison.html.j2", banner=banner, parts=parts)


def nothing_differs(found: Comparison) -> bool:
    """Whether every value of every cell is the same in both."""
    return not any(item.moved for item in found.items)


def headline(found: Comparison) -> str:
    """The outcome in one line."""
    counts = Counter(found.cells.values())
    if not found.cells:
        return "Nothing to compare: neither run has any cells"
    if nothing_differs(found):
        return f"Nothing differs: {_cells(len(found.cells))} {'is' if len(found.cells) == 1 else 'are'} bit-identical"
    told = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    if set(counts) == {Outcome.UNCHANGED}:
        return f"Nothing differs beyond chance and tolerance in {_cells(len(found.cells))}"
    return f"{', '.join(told)}, of {_cells(len(found.cells))}"


def _cells(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"


def _within(found: Comparison) -> str:
    """Count what differs within its tolerance or by chance; empty where nothing does."""
    counts = Counter(
        shown(item.measurement) for item in found.items if item.moved and item.outcome is Outcome.UNCHANGED
    )
    names = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return f"within tolerance or chance, and not listed: {counts.total()} values ({names})" if counts else ""


def _facts(found: Comparison, mark: Callable[[str], str], told: Callable[[str], str]) -> list[str]:
    lines = [
        f"{name}: {mark(report.run)}, {told(_made(report))}"
        for name, report in (("old", found.old), ("new", found.new))
    ]
    lines.append(f"environment: {told(', '.join(found.environment) or 'the same')}")
    quiet = _within(found)
    return [*lines, *([told(quiet)] if quiet else []), *map(told, found.notes)]


def _made(report: Report) -> str:
    return f"started {report.started}, {_cells(len(report.cells))}"


def _changed(found: Comparison) -> list[Item]:
    return [item for item in found.told() if item.outcome not in LONE]


def _row(item: Item) -> list[str]:
    return [
        item.cell,
        shown(item.measurement),
        str(item.outcome),
        value_text(item.old, item.unit),
        value_text(item.new, item.unit),
        change_text(item),
        p_text(item),
        item.why,
    ]


def _count_headers() -> list[str]:
    return ["measurement", *(str(outcome) for outcome in Outcome), "bit-identical"]


def _counts(found: Comparison) -> list[list[str]]:
    """One row per measurement; the last column counts the unchanged ones that are bit-identical."""
    rows = [["cells", *_by_outcome(list(found.cells.values())), ""]]
    for name in dict.fromkeys(item.measurement for item in found.items):
        items = [item for item in found.items if item.measurement == name]
        same = sum(not item.moved for item in items)
        rows.append([shown(name), *_by_outcome([item.outcome for item in items]), str(same)])
    return rows


def _by_outcome(found: list[Outcome]) -> list[str]:
    counts = Counter(found)
    return [str(counts[outcome]) if counts[outcome] else "" for outcome in Outcome]


def budget(found: Comparison) -> str:
    """The false-alarm budget, and what shares it."""
    alarms = found.false_alarms
    tests = f"{alarms.judgements} two-sided test{'' if alarms.judgements == 1 else 's'}"
    return (
        f"The {100 * alarms.budget:g} % false-alarm rate of the whole comparison is shared (Holm) by {tests} of values "
        "that changed; each interval is a 95 % CI."
    )
