"""Render the page of one cell: charts over the nights, what moved, and the newest values. It needs no script."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from quantbench.comparison.trends import Trend
from quantbench.core.echo import plain
from quantbench.records import Verdict
from quantbench.report import plots
from quantbench.report.formatting import MARKS
from quantbench.report.history import commit_of, pace_in_words, step_in_words, value_in_words
from quantbench.report.html.templating import Banner, Part, asset, fragment, page_from
from quantbench.report.plots import Plot, Series
from quantbench.report.site.facts import RED, VERDICTS, Move, OneCell, Site, causes_between, dates
from quantbench.report.site.words import arrow, causes_in_words, counted, name_of

LISTED = 30  # newest nights in the table
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
_COLOURS = dict.fromkeys(RED, "red") | {Verdict.PASS: "green", Verdict.IMPROVED: "green"}


class Chart(NamedTuple):
    """Hold a chart with what is written above it."""

    name: str
    newest: str
    plot: Plot


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
    told = [f"{verdict} {counted(len(found.runs), 'comparable night')}."]
    if last is not facts.newest:
        told.append(f"Last measured in the night {last.name}; the newest night lacks this cell, or ran elsewhere.")
    if one.drift is not None:
        told.append(f"Slow drift: it {pace_in_words(one.drift)}.")
    lately = [(alarm.step.since.run, step_in_words(found, alarm.step)) for alarm in one.alarms]
    told += [f"Lately worse: {what}, in the night {night}." for night, what in lately]
    told += [f"Left out: nights {why}: {count}." for why, count in found.apart.items()]
    return Banner(one.id, mark, _COLOURS.get(found.verdict, "amber"), told)


def _charts(facts: Site, found: Trend, moves: Sequence[Move], places: Mapping[int, int]) -> Markup:
    rows = np.array([places[id(run)] for run in found.runs])
    labels = dates(found.runs)
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
        plot = plots.over_nights(f"{found.cell}: {heading}", labels, series, style, shifts)
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
    rows = [
        [
            facts.nights[places[id(move.step.since)]].name,
            step_in_words(move.found, move.step),
            arrow(move),
            causes_in_words(causes_between(move.step.before, move.step.since)),
        ]
        for move in sorted(one.moves, key=lambda move: -places[id(move.step.since)])
    ]
    return fragment("table.html.j2", caption="Newest first.", headers=headers, rows=rows, kind="")


def _newest(facts: Site, found: Trend, up: str, places: Mapping[int, int]) -> Markup:
    names = [name for name, *_ in CHARTS if np.isfinite(found.values[name]).any()]
    rows = list(_newest_rows(facts, found, names, up, places))
    heads = [told for name, told, *_ in CHARTS if name in names]
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
