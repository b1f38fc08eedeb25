"""Work out what the site of nights says: what is red now, what moved in which night and why, and a row of verdicts."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from quantbench.comparison.alarms import Alarm, alarms
from quantbench.comparison.history import History, Skipped
from quantbench.comparison.shifts import Step, moved, steps
from quantbench.comparison.slopes import DriftSlope, drift_slope
from quantbench.comparison.summary import MEASUREMENTS, Summary
from quantbench.comparison.trends import RECENT, Trend, trends
from quantbench.core.environment import changed_between
from quantbench.records import NAME, Verdict, parts
from quantbench.records.measurements import entry

RED = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)  # what fails a run
VERDICTS = list(Verdict)
# Values of the history (nights x cells) up to which every shift is searched for. 50,000 take 0.5 s, and a million
# 3 s; of more, only noisy measurements whose newest level still explains the series are searched.
SEARCHED = 50_000
NEWEST = 100  # nights in which a drift is looked for, as the overview of ``history`` does


@dataclass(frozen=True)
class Night:
    """Describe one night.

    Attributes:
        name: of its folder.
        date: its day, for labels; with the time where several began on one day.
        link: where its report can be opened; empty where its folder holds no page.
        reds, cells: how many cells were red, and how many there were.
    """

    name: str
    date: str
    link: str
    reds: int
    cells: int
    commit: str


class Move(NamedTuple):
    """Hold a lasting shift of a cell's measurement.

    Attributes:
        worse: None where neither direction is worse.
    """

    found: Trend
    step: Step
    worse: bool | None


class Change(NamedTuple):
    """Hold all shifts that began in one night.

    Attributes:
        night: place of the night.
        causes: what else changed since the night before, one phrase each.
    """

    night: int
    causes: list[str]
    moves: list[Move]


class Now(NamedTuple):
    """Hold a cell that was red when it was last measured, on one kind of machine.

    Attributes:
        since, last: place of the first night with this verdict, and of the newest one with this cell.
        nights: with this cell and this verdict.
        causes: what changed with that night; None where no night before has the cell.
    """

    found: Trend
    since: int
    last: int
    nights: int
    causes: list[str] | None


@dataclass(frozen=True)
class OneCell:
    """Hold what a cell's own page says.

    Attributes:
        file: address of the page, below the site.
        found: its trend on each kind of machine, the newest first.
    """

    id: str
    file: str
    found: Sequence[Trend]
    moves: Sequence[Move]
    drift: DriftSlope | None
    alarms: Sequence[Alarm]


@dataclass(frozen=True)
class Site:
    """Hold everything that the pages say.

    Attributes:
        nights: oldest first.
        changes: newest first.
        quick: whether shifts that ended again were not searched for, as there are too many values.
    """

    history: History
    nights: Sequence[Night]
    cells: Sequence[OneCell]
    red: Sequence[Now]
    changes: Sequence[Change]
    skipped: Sequence[Skipped]
    quick: bool

    @property
    def newest(self) -> Night:
        """Return the newest night."""
        return self.nights[-1]


def site(history: History, links: Mapping[str, str]) -> Site:
    """Work out what the pages say.

    Args:
        links: name of a night's folder -> where its report can be opened.
    """
    quick = history.verdicts.size > SEARCHED
    place = {id(run): at for at, run in enumerate(history.runs)}
    cells = [_cell(history, cell, quick) for cell in history.cells]
    recent = max(0, len(history.runs) - RECENT)
    red = [
        _now(found, place)
        for one in cells
        for found in one.found
        if found.verdict in RED and place[id(found.runs[-1])] >= recent
    ]
    red.sort(key=lambda now: (-now.since, now.found.cell))
    return Site(history, nights(history, links), cells, red, _changes(cells, place), history.skipped, quick)


def nights(history: History, links: Mapping[str, str]) -> list[Night]:
    """Describe every night, oldest first."""
    reds = np.isin(history.verdicts, [VERDICTS.index(verdict) for verdict in RED]).sum(axis=1)
    cells = (history.verdicts >= 0).sum(axis=1)
    labels = dates(history.runs)
    return [
        Night(
            name,
            label,
            links.get(name, ""),
            int(red),
            int(count),
            run.environment.repository_commit or run.environment.git_commit or "",
        )
        for run, name, label, red, count in zip(history.runs, history.folders, labels, reds, cells, strict=True)
    ]


def _commit(run: Summary) -> str:
    return run.environment.repository_commit or run.environment.git_commit or ""


def dates(runs: Sequence[Summary]) -> list[str]:
    """Return a label for each run: its day, with the time where that of two would be the same."""
    days = [run.started[:10] for run in runs]
    return days if len(set(days)) == len(days) else [run.started[:16].replace("T", " ") for run in runs]


def row(history: History, column: int) -> str:
    """Return a cell's verdicts, newest night first: a digit each, its place in ``VERDICTS``; a dot where there is none.

    A thousand nights of 200 cells take 200 kB of the page so.
    """
    return "".join("." if place < 0 else str(place) for place in history.verdicts[::-1, column].tolist())


def page_of(cell: str) -> str:
    """Return the address of a cell's page; a name that is none of ours cannot lead out of the folder."""
    model, variant = parts(cell)
    if re.fullmatch(NAME, model) and re.fullmatch(NAME, variant):
        return f"cells/{model}/{variant}.html"
    return f"cells/_/{hashlib.sha256(cell.encode(errors='replace')).hexdigest()[:16]}.html"


def _cell(history: History, cell: str, quick: bool) -> OneCell:
    found = trends(history, cell)
    moves = [
        Move(one, step, _worse(one, step))
        for one in found
        for step in (moved(one) if quick else [each for name in MEASUREMENTS for each in steps(one, name)])
    ]
    raised = [alarm for one in found for alarm in alarms(one)]
    return OneCell(cell, page_of(cell), found, moves, drift_slope(found[0], NEWEST), raised)


def _worse(found: Trend, step: Step) -> bool | None:
    if step.old == step.new:
        return None
    if step.measurement == "score":
        return (step.new < step.old) == found.scoring.higher_is_better
    return step.new > step.old if entry(step.measurement).direction == "lower is better" else None


def _now(found: Trend, place: Mapping[int, int]) -> Now:
    since = next(at for at, run in enumerate(found.runs) if run is found.since)
    causes = None if since == 0 else causes_between(found.runs[since - 1], found.runs[since])
    return Now(found, place[id(found.since)], place[id(found.runs[-1])], len(found.runs) - since, causes)


def causes_between(old: Summary, new: Summary) -> list[str]:
    """Return what is recorded to have changed between two nights, one phrase each."""
    return changed_between(old.environment, new.environment)


def _changes(cells: Sequence[OneCell], place: Mapping[int, int]) -> list[Change]:
    """Gather the shifts by the night in which they began and by what had changed, newest first."""
    together: dict[tuple[int, int], list[Move]] = {}
    for one in cells:
        for move in one.moves:
            together.setdefault((place[id(move.step.since)], place[id(move.step.before)]), []).append(move)
    return [
        Change(night, causes_between(moves[0].step.before, moves[0].step.since), _worst_first(moves))
        for (night, _), moves in sorted(together.items(), reverse=True)
    ]


def _worst_first(moves: list[Move]) -> list[Move]:
    return sorted(moves, key=lambda move: (move.worse is not True, move.found.cell, move.step.measurement))
