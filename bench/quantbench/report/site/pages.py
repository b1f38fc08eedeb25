"""Write the site of nights: ``index.html``, and a page for each cell. Each is one file that loads nothing else."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from quantbench import files
from quantbench.core.echo import plain
from quantbench.errors import BadInput
from quantbench.records import Verdict
from quantbench.report import plots
from quantbench.report.formatting import MARKS
from quantbench.report.history import step_in_words
from quantbench.report.html.templating import Banner, Part, asset, fragment, page_from
from quantbench.report.site.cell import cell_page
from quantbench.report.site.facts import VERDICTS, Change, Now, Site, row
from quantbench.report.site.words import arrow, causes_in_words, counted, name_of, sign

INDEX = "index.html"
COLUMNS = 45  # nights in the table at once: about a screen
LISTED = 30  # nights in which something moved, before the rest is folded away
# What each verdict means to somebody who sees it for the first time.
MEANINGS = {
    Verdict.REGRESSED: "worse than accepted",
    Verdict.ERROR: "could not be measured",
    Verdict.MISSING: "nothing accepted to compare with",
    Verdict.WARN: "worse, but not beyond limits or chance",
    Verdict.XFAIL: "known to fail, until a date",
    Verdict.UNSUPPORTED: "known limitation",
    Verdict.UNJUDGED: "measured, not gated",
    Verdict.CHANGED: "outputs changed, not worse",
    Verdict.IMPROVED: "better than accepted",
    Verdict.PASS: "as accepted",
}


class Key(NamedTuple):
    """Hold one entry of the legend."""

    verdict: Verdict
    sign: str
    name: str
    meaning: str


def write(folder: Path, facts: Site) -> int:
    """Write all pages, each atomically; return how many.

    Raises:
        BadInput: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / INDEX, index(facts), inside=folder)
        places = {id(run): at for at, run in enumerate(facts.history.runs)}
        for one in facts.cells:
            files.replace(folder / one.file, cell_page(facts, one, places), inside=folder)
    except (FileExistsError, NotADirectoryError, PermissionError, files.NotRegular) as error:
        raise BadInput(f"OUT: cannot write {folder}: {error.strerror}; give a folder that can be written") from None
    return 1 + len(facts.cells)


def index(facts: Site) -> str:
    """Render the first page."""
    parts = [
        Part("red", "Red now", _red(facts)),
        Part("nights", "Nights", _matrix(facts)),
        Part("changes", "What changed, and when", _changes(facts)),
    ]
    if facts.skipped:
        parts.append(Part("skipped", "Nights that could not be read", _skipped(facts)))
    return page_from(
        "site.html.j2",
        asset("site.js"),
        asset("site.css"),
        banner=_banner(facts),
        parts=parts,
        data=_data(facts),
    )


def _banner(facts: Site) -> Banner:
    cells, count = {now.found.cell for now in facts.red}, len(facts.nights)
    newest, state = facts.newest, facts.history.runs[-1].state
    span = f"{count:,} nights, {facts.nights[0].date} to {newest.date}" if count > 1 else f"One night, {newest.date}"
    told = [
        f"{span}, {counted(len(facts.cells), 'cell')}. A cell is one model with one variant of it.",
        f"Newest night: {newest.name}{'' if state == 'complete' else f', {state}'}, {newest.cells} of "
        f"{counted(len(facts.cells), 'cell')}, {newest.reds} red, commit {newest.commit[:12] or 'unknown'}.",
    ]
    if facts.skipped:
        told.append(f"{counted(len(facts.skipped), 'folder')} could not be read; the last part of this page says why.")
    if not cells:
        return Banner("No cell is red", "✓", "green", told)
    return Banner(f"{len(cells)} of {counted(len(facts.cells), 'cell')} red", "✗", "red", told)


def _red(facts: Site) -> Markup:
    if not facts.red:
        return fragment("paragraphs.html.j2", lines=["No cell was red when it was last measured."])
    several = len({found.machine for one in facts.cells for found in one.found}) > 1
    return fragment("site_red.html.j2", rows=[_red_row(facts, now) for now in facts.red], several=several)


def _red_row(facts: Site, now: Now) -> dict[str, Any]:
    since, last = facts.nights[now.since], facts.nights[now.last]
    one = next(one for one in facts.cells if one.id == now.found.cell)
    began = [move for move in one.moves if move.found is now.found and move.step.since is now.found.since]
    return {
        "cell": now.found.cell,
        "file": one.file,
        "verdict": now.found.verdict,
        "mark": MARKS[now.found.verdict],
        "since": since,
        "nights": now.nights,
        "last": None if last is facts.newest else last,
        "causes": causes_in_words(now.causes),
        "moved": "; ".join(step_in_words(now.found, move.step) for move in began),
        "machine": now.found.machine,
    }


def _matrix(facts: Site) -> Markup:
    plot = None
    if len(facts.nights) > 1:
        counts = [night.reds for night in facts.nights]
        plot = plots.reds("Red cells a night", [night.date for night in facts.nights], counts)
    there = {verdict for verdict in Verdict if (facts.history.verdicts == VERDICTS.index(verdict)).any()}
    return fragment("site_nights.html.j2", legend=legend(there), plot=plot, columns=COLUMNS)


def legend(there: set[Verdict]) -> list[Key]:
    """Explain the verdicts that occur, the worst first."""
    return [
        Key(verdict, sign(verdict), name_of(verdict), MEANINGS[verdict])
        for verdict in reversed(Verdict)
        if verdict in there
    ]


def _data(facts: Site) -> Markup:
    """Return what the script draws the table of nights from, as data that does not run."""
    changed = {change.night for change in facts.changes}
    last = len(facts.nights) - 1
    data = {
        "columns": COLUMNS,
        "signs": [[sign(verdict), name_of(verdict), str(verdict)] for verdict in VERDICTS],
        "nights": [
            [
                plain(night.date),
                plain(night.name),
                plain(night.link),
                night.reds,
                last - at if last - at in changed else -1,
            ]
            for at, night in enumerate(reversed(facts.nights))
        ],
        "cells": [[plain(one.id), one.file, row(facts.history, column)] for column, one in enumerate(facts.cells)],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(
        text.replace("</", "<\\/").replace("<!--", "<\\u0021--")
    )  # it can neither close the element nor hide its end


def _changes(facts: Site) -> Markup:
    words = (
        "Lasting shifts of scores, sizes, memory and latency, beyond noise, by the night in which they began; newest "
        "first."
    )
    if facts.quick:
        words += " Noisy measurements are searched for shifts that still hold; `quantbench history CELL` finds all."
    if not facts.changes:
        return fragment("paragraphs.html.j2", lines=[words, "None was found."])
    rows = [_change_row(facts, change) for change in facts.changes]
    return fragment("site_changes.html.j2", words=words, rows=rows[:LISTED], more=rows[LISTED:])


def _change_row(facts: Site, change: Change) -> dict[str, Any]:
    files_of = {one.id: one.file for one in facts.cells}
    moves = [
        {
            "cell": move.found.cell,
            "file": files_of[move.found.cell],
            "sign": arrow(move),
            "told": step_in_words(move.found, move.step),
        }
        for move in change.moves
    ]
    worse = sum(move.worse is True for move in change.moves)
    better = sum(move.worse is False for move in change.moves)
    counts = ", ".join(f"{count} {word}" for count, word in ((worse, "worse"), (better, "better")) if count)
    return {
        "night": facts.nights[change.night],
        "at": change.night,
        "causes": causes_in_words(change.causes),
        "counts": counts,
        "moves": moves,
    }


def _skipped(facts: Site) -> Markup:
    rows = [[one.name, one.why] for one in facts.skipped]
    return fragment(
        "table.html.j2", caption="They are left out of everything above.", headers=["folder", "why"], rows=rows, kind=""
    )
