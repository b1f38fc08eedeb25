"""Write the site of nights: ``index.html``, and a page for each cell. Each is one file that loads nothing else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from quantbench import files
from quantbench.comparison.history import Trend
from quantbench.core.echo import plain
from quantbench.errors import BadInput
from quantbench.records import Verdict
from quantbench.records.measurements import shown
from quantbench.report import plots
from quantbench.report.formatting import MARKS
from quantbench.report.history import commit_of, pace_in_words, step_in_words, value_in_words
from quantbench.report.html.templating import Banner, Part, asset, fragment, page_from
from quantbench.report.plots import Plot, Series
from quantbench.report.site.facts import VERDICTS, Change, Move, Now, OneCell, Site, row

INDEX = "index.html"
COLUMNS = 45  # nights in the table at once: about a screen
LISTED = 30  # of the newest nights in a cell's table, and of changes before the rest is folded away
# What a cell's page draws, in this order: measurement, what it is called, its unit, factor, and format of the axis.
CHARTS = (
    ("score", "Score", "", 1.0, ".4g"),
    ("floor_drop", "Accuracy drop vs float32", "", 1.0, ".3g"),
    ("latency_ratio", "Latency, ratio to float32", "", 1.0, ".4g"),
    ("control_to_yardstick", "Latency of float32, ratio to the reference workload", "", 1.0, ".4g"),
    ("size", "Size", "KiB", 1 / 1024, ",.1f"),
    ("gzip_size", "Size, compressed", "KiB", 1 / 1024, ",.1f"),
    ("memory_ratio", "Peak memory, ratio to float32", "", 1.0, ".4g"),
    ("arena", "Tensor arena", "KiB", 1 / 1024, ",.1f"),
)
# What each verdict means to somebody who sees it for the first time.
MEANINGS = {
    Verdict.REGRESSED: "worse than accepted",
    Verdict.ERROR: "could not be measured",
    Verdict.MISSING: "nothing was measured",
    Verdict.WARN: "worse, but within limits or chance",
    Verdict.XFAIL: "fails as expected",
    Verdict.UNSUPPORTED: "cannot be made",
    Verdict.UNJUDGED: "nothing accepted to compare with",
    Verdict.CHANGED: "changed, not worse",
    Verdict.IMPROVED: "better than accepted",
    Verdict.PASS: "as accepted",
}


_COLOURS = {Verdict.REGRESSED: "red", Verdict.ERROR: "red", Verdict.PASS: "green", Verdict.IMPROVED: "green"}


class Key(NamedTuple):
    """Hold one entry of the legend."""

    verdict: Verdict
    sign: str
    name: str
    meaning: str


class Chart(NamedTuple):
    """Hold a chart with what is written above it."""

    name: str
    newest: str
    plot: Plot


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


# ---------------------------------------------------------------- the index


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
        f"{span}, {_counted(len(facts.cells), 'cell')}. A cell is one model with one variant of it.",
        f"Newest night: {newest.name}{'' if state == 'complete' else f', {state}'}, {_counted(newest.cells, 'cell')}, "
        f"{newest.reds} red, commit {newest.commit[:12] or 'unknown'}.",
    ]
    if facts.skipped:
        told.append(f"{_counted(len(facts.skipped), 'folder')} could not be read; the last part of this page says why.")
    if not cells:
        return Banner("No cell is red", "✓", "green", told)
    return Banner(f"{len(cells)} of {_counted(len(facts.cells), 'cell')} red", "✗", "red", told)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _red(facts: Site) -> Markup:
    if not facts.red:
        return fragment("paragraphs.html.j2", lines=["No cell was red when it was last measured."])
    several = len({now.found.machine for now in facts.red}) > 1
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
        "causes": _causes(now.causes),
        "moved": "; ".join(step_in_words(now.found, move.step) for move in began),
        "machine": now.found.machine,
    }


def _causes(causes: Sequence[str] | None) -> str:
    if causes is None:
        return "red since its first night"
    return ", ".join(causes) or "nothing that is recorded"


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


def sign(verdict: Verdict) -> str:
    """Return the sign of a verdict, which tells it from the others without its colour."""
    return "E" if verdict is Verdict.ERROR else MARKS[verdict].partition(" ")[0]


def name_of(verdict: Verdict) -> str:
    """Return a verdict's name as reports print it."""
    return MARKS[verdict].partition(" ")[2].lower()


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
            "sign": _arrow(move),
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
        "causes": _causes(change.causes),
        "counts": counts,
        "moves": moves,
    }


def _arrow(move: Move) -> str:
    return {True: "worse", False: "better", None: "changed"}[move.worse]


def _skipped(facts: Site) -> Markup:
    rows = [[one.name, one.why] for one in facts.skipped]
    return fragment(
        "table.html.j2", caption="They are left out of everything above.", headers=["folder", "why"], rows=rows, kind=""
    )


# ---------------------------------------------------------------- a cell's page


def cell_page(facts: Site, one: OneCell, places: Mapping[int, int]) -> str:
    """Render the page of one cell.

    Args:
        places: id of a run's summary -> its place in the history.
    """
    found = one.found[0]
    up = "../" * one.file.count("/")
    parts = [Part("charts", "Night by night", _charts(facts, found, one.moves, places))]
    for number, other in enumerate(one.found[1:]):
        parts.append(Part(f"machine-{number}", f"On {plain(other.machine)}", _charts(facts, other, one.moves, places)))
    parts.append(Part("changes", "What changed, and when", _own_changes(facts, one, places)))
    parts.append(Part("newest", "The newest nights", _newest(facts, found, up, places)))
    return page_from(
        "site_cell.html.j2",
        "",
        asset("site.css"),
        banner=_cell_banner(facts, one, places),
        cell=one.id,
        up=up,
        parts=parts,
    )


def _cell_banner(facts: Site, one: OneCell, places: Mapping[int, int]) -> Banner:
    found = one.found[0]
    since, last = (facts.nights[places[id(run)]] for run in (found.since, found.runs[-1]))
    mark, _, name = MARKS[found.verdict].partition(" ")
    before = f", {name_of(found.verdict_before)} before" if found.verdict_before else ""
    verdict = f"{name.capitalize()} since the night {since.name}{before}."
    told = [f"{verdict} {_counted(len(found.runs), 'comparable night')}."]
    if last is not facts.newest:
        told.append(f"Last measured in the night {last.name}; the newest night lacks this cell, or ran elsewhere.")
    if one.drift is not None:
        told.append(f"Slow drift: it {pace_in_words(one.drift)}.")
    lately = [(alarm.step.since.run, step_in_words(found, alarm.step)) for alarm in one.alarms]
    told += [f"Lately worse: {what}, in the night {night}." for night, what in lately]
    told += [f"Left out: {_counted(count, 'night')} {why}." for why, count in found.apart.items()]
    return Banner(one.id, mark, _COLOURS.get(found.verdict, "amber"), told)


def _charts(facts: Site, found: Trend, moves: Sequence[Move], places: Mapping[int, int]) -> Markup:
    rows = np.array([places[id(run)] for run in found.runs])
    dates = [run.started[:10] for run in found.runs]
    order = {id(run): at for at, run in enumerate(found.runs)}
    column = facts.history.cells.index(found.cell)
    charts: list[Chart] = []
    drawn: set[str] = set()
    for name, told, unit, factor, style in CHARTS:
        values = found.values[name]
        if not np.isfinite(values).any():
            continue
        if name == "score" and found.scoring.scale == 100:
            unit, factor, style = "%", 100.0, ".2f"
        elif name == "floor_drop":
            unit = found.scoring.unit
        half, accepted = (
            _scaled(table.get(name), rows, column, factor) for table in (facts.history.errors, facts.history.accepted)
        )
        limit = found.values["floor_limit"] if name == "floor_drop" else None
        series = Series(factor * values, half, accepted, limit)
        shifts = [
            (order[id(move.step.since)], f"{move.step.since.run}: {step_in_words(found, move.step)}")
            for move in moves
            if move.found is found and move.step.measurement == name
        ]
        heading = f"{told}, {unit}" if unit else told
        newest = values[np.isfinite(values)][-1]
        told_newest = _told(found, name, float(newest), unit, factor)
        plot = plots.over_nights(f"{found.cell}: {heading}", dates, series, style, shifts)
        charts.append(Chart(heading, told_newest, plot))
        drawn |= _keys(series, bool(shifts))
    return fragment("site_charts.html.j2", charts=charts, drawn=drawn)


def _told(found: Trend, name: str, value: float, unit: str, factor: float) -> str:
    if name == "floor_drop":
        return f"{value:+.2f} {unit}"
    return f"{factor * value:,.1f} {unit}" if unit == "KiB" else value_in_words(found, name, value)


def _scaled(table: Any, rows: Any, column: int, factor: float) -> Any:
    if table is None:
        return None
    values = table[rows, column]
    return factor * values if np.isfinite(values).any() else None


def _keys(series: Series, shifts: bool) -> set[str]:
    """Return what a chart has besides its line, for the legend."""
    there = {"band": series.half, "accepted": series.accepted, "limit": series.limit, "shift": shifts or None}
    return {name for name, drawn in there.items() if drawn is not None}


def _own_changes(facts: Site, one: OneCell, places: Mapping[int, int]) -> Markup:
    if not one.moves:
        return fragment("paragraphs.html.j2", lines=["No lasting shift beyond noise."])
    headers = ["night", "what moved", "", "what else changed since the night before"]
    rows = []
    for move in sorted(one.moves, key=lambda move: -places[id(move.step.since)]):
        night = facts.nights[places[id(move.step.since)]]
        change = next(
            (each.causes for each in facts.changes if each.night == places[id(move.step.since)] and move in each.moves),
            [],
        )
        rows.append([night.name, step_in_words(move.found, move.step), _arrow(move), _causes(change)])
    return fragment("table.html.j2", caption="Newest first.", headers=headers, rows=rows, kind="")


def _newest(facts: Site, found: Trend, up: str, places: Mapping[int, int]) -> Markup:
    names = [name for name, *_ in CHARTS if np.isfinite(found.values[name]).any()]
    rows = list(_newest_rows(facts, found, names, up, places))
    heads = ["accuracy drop vs float32" if name == "floor_drop" else shown(name) for name in names]
    return fragment("site_newest.html.j2", heads=heads, rows=rows, of=len(found.runs))


def _newest_rows(
    facts: Site, found: Trend, names: Sequence[str], up: str, places: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    column = facts.history.cells.index(found.cell)
    for at in range(len(found.runs) - 1, max(-1, len(found.runs) - 1 - LISTED), -1):
        place = places[id(found.runs[at])]
        night = facts.nights[place]
        verdict = VERDICTS[facts.history.verdicts[place, column]]
        link = night.link if not night.link or "://" in night.link else up + night.link
        yield {
            "night": night.name,
            "link": link,
            "commit": commit_of(found.runs[at]),
            "verdict": verdict,
            "mark": MARKS[verdict],
            "values": [_short(found, name, at) for name in names],
        }


def _short(found: Trend, name: str, at: int) -> str:
    value = float(found.values[name][at])
    if not np.isfinite(value):
        return ""
    return f"{value:+.2f} {found.scoring.unit}" if name == "floor_drop" else value_in_words(found, name, value)
