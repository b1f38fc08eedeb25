"""Read the history of cells from a folder of run folders: runs as rows, cells as columns."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from quantbench.comparison.nights import Found, LocalNights, Nights
from quantbench.comparison.spread import Spreads
from quantbench.comparison.summary import MEASUREMENTS, VALUES, Summary
from quantbench.core.arrays import Array
from quantbench.core.seed_spread import Sample
from quantbench.errors import BadInput
from quantbench.records import Verdict
from quantbench.records.measurements import without_output

VERDICTS = list(Verdict)  # by the numbers that stand for them in a table
_PLACES = {verdict: place for place, verdict in enumerate(VERDICTS)}
_RUN_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T")
_RUNTIME = re.compile(r"_litert-[^_]+")


@dataclass(frozen=True)
class Skipped:
    """Name a folder that was left out of the history, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class History:
    """Hold the runs of a folder by start time, oldest first.

    Attributes:
        cells: every cell of any run.
        verdicts: shape (runs, cells), places in ``Verdict``; -1 where a run lacks a cell.
        values: measurement -> shape (runs, cells), NaN where a run lacks it.
        machines: machine class of each run, without the version of its runtime.
        isas: instruction set of each run's processor, as a hash.
        spreads: of the trained cells' scores over seeds, as the runs have them.
        folders: name of each run's folder, where the runs were read from one.
        errors, accepted: measurement -> shape (runs, cells), as in a summary.
    """

    runs: list[Summary]
    skipped: list[Skipped]
    cells: list[str]
    verdicts: Array
    values: dict[str, Array]
    machines: Array
    isas: Array
    spreads: Spreads = field(default_factory=Spreads)
    folders: list[str] = field(default_factory=list)
    errors: dict[str, Array] = field(default_factory=dict)
    accepted: dict[str, Array] = field(default_factory=dict)
    _questions: dict[str, tuple[list[tuple[object, ...]], Array]] = field(default_factory=dict)
    _on: dict[tuple[str, str], Array] = field(default_factory=dict)

    def on(self, what: Literal["isas", "machines"], name: str) -> Array:
        """Return which runs were made with this instruction set, or on this machine, shape (runs,)."""
        if (what, name) not in self._on:
            self._on[what, name] = getattr(self, what) == name
        return self._on[what, name]

    def questions(self, model: str) -> tuple[list[tuple[object, ...]], Array]:
        """Return a model's distinct questions (data, metric, weights), and the one of each run, shape (runs,).

        Args:
            model: or one of its further outputs, see :func:`quantbench.comparison.summary.scored_as`.
        """
        if model not in self._questions:
            asked = [_question(run, model) for run, _ in self._asking.values()]
            distinct = list(dict.fromkeys(asked))
            of_run = np.empty(len(self.runs), dtype=int)
            for question, (_, rows) in zip(asked, self._asking.values(), strict=True):
                of_run[rows] = distinct.index(question)
            self._questions[model] = distinct, of_run
        return self._questions[model]

    @cached_property
    def _asking(self) -> dict[tuple[int, int, bool], tuple[Summary, list[int]]]:
        """Group the runs that hold the same facts on data and metrics, as the runs of an index share them."""
        groups: dict[tuple[int, int, bool], tuple[Summary, list[int]]] = {}
        for row, run in enumerate(self.runs):
            key = id(run.scoring), id(run.data_sha256), run.trained_from_scratch
            groups.setdefault(key, (run, []))[1].append(row)
        return groups


def _question(run: Summary, model: str) -> tuple[object, ...]:
    scoring = run.scoring.get(model)
    rule = scoring and (scoring.metric, scoring.unit, scoring.scale, scoring.higher_is_better)
    return run.data_sha256.get(without_output(model)), rule, run.trained_from_scratch


def read_history(folder: Path | Nights, last: int = 0) -> History:
    """Read all runs of a report folder; unreadable ones are skipped and listed.

    Args:
        folder: also a folder at an address, see :func:`quantbench.comparison.nights.at_address`.
        last: number of newest runs to read; all where 0.

    Raises:
        BadInput: the folder does not exist, or has no readable run.
    """
    nights = LocalNights(folder) if isinstance(folder, Path) else folder
    read, skipped = chosen(nights, nights.summaries(), last)
    return replace(gathered([run for run, _ in read], skipped), folders=[name for _, name in read])


def chosen(
    nights: Nights, found_in: Iterable[tuple[str, Found]], last: int
) -> tuple[list[tuple[Summary, str]], list[Skipped]]:
    """Sort what was found in the folders by start time, and list what is left out.

    Args:
        found_in: each folder's name, with what was found.
        last: number of newest runs to keep; all where 0.

    Raises:
        BadInput: there is no readable run.
    """
    read: list[tuple[Summary, str]] = []
    skipped: list[Skipped] = []
    seen: dict[tuple[str, str], str] = {}
    for name, found in found_in:
        if found is None:
            # Other folders may be here too; only those named like a run are reported.
            skipped += [Skipped(name, "holds no report.json")] if _RUN_NAME.match(name) else []
        elif isinstance(found, str):
            skipped.append(Skipped(name, found))
        elif found.shard:
            skipped.append(Skipped(name, f"shard {found.shard} of a run, not the whole of it"))
        elif (key := (found.run, found.started)) in seen:
            skipped.append(Skipped(name, f"the same run as {seen[key]}"))
        else:
            seen[key] = name
            read.append((found, name))
    if not read:
        first_reason = f"; {skipped[0].name}: {skipped[0].why}" if skipped else ""
        raise BadInput(f"{nights.option}: {nights.where} holds no run that can be read{first_reason}")
    read.sort(key=lambda one: (one[0].started, one[0].run))
    read = read[-last:] if last else read
    return read, skipped


def gathered(runs: list[Summary], skipped: list[Skipped]) -> History:
    """Arrange runs, in order, as tables with one column per cell."""
    cells = sorted({cell for run in runs for cell in run.cells})
    place = {cell: i for i, cell in enumerate(cells)}
    verdicts = np.full((len(runs), len(cells)), -1, order="F")
    values = {name: np.full((len(runs), len(cells)), np.nan, order="F") for name in VALUES}
    errors, accepted = ({name: np.full_like(values[name], np.nan) for name in MEASUREMENTS} for _ in range(2))
    for names, alike in groupby(
        range(len(runs)), key=lambda row: runs[row].cells
    ):  # most runs have the previous one's cells
        rows, columns = list(alike), [place[cell] for cell in names]
        at = np.ix_(rows, columns)
        verdicts[at] = [[_PLACES[verdict] for verdict in runs[row].verdicts] for row in rows]
        lacking = [None] * len(columns)
        for name, table in values.items():
            table[at] = np.array([runs[row].values.get(name, lacking) for row in rows], dtype=float)
        for name in MEASUREMENTS:
            for tables, stored in ((errors, "errors"), (accepted, "accepted")):
                if any(name in getattr(runs[row], stored) for row in rows):
                    lists = [getattr(runs[row], stored).get(name, lacking) for row in rows]
                    tables[name][at] = np.array(lists, dtype=float)
    return replace(arranged(runs, skipped, cells, verdicts, values, []), errors=errors, accepted=accepted)


def arranged(
    runs: list[Summary],
    skipped: list[Skipped],
    cells: list[str],
    verdicts: Array,
    values: dict[str, Array],
    folders: list[str],
) -> History:
    """Return a history without errors and accepted values; for the arguments see :class:`History`."""
    machines = np.array([_RUNTIME.sub("", run.environment.machine_class) for run in runs])
    isas = np.array([run.environment.isa for run in runs])
    return History(runs, skipped, cells, verdicts, values, machines, isas, Spreads(_samples(runs)), folders)


def _samples(runs: list[Summary]) -> dict[str, set[Sample]]:
    samples: dict[str, set[Sample]] = {}
    distinct = {(id(run.spread), id(run.seeds)): run for run in runs if run.spread}  # runs of an index share them
    for run in distinct.values():
        for cell, sd in run.spread.items():
            samples.setdefault(cell, set()).add(Sample(sd, run.seeds[cell] - 1))
    return samples


def retrained(history: History) -> list[str]:
    """List the trained cells whose score ever changed, as only these are judged by the spread of trainings."""
    trained = {cell for cells in {id(run.trained): run.trained for run in history.runs}.values() for cell in cells}
    scores = history.values["score"]
    changed = np.fmin.reduce(scores, axis=0) < np.fmax.reduce(scores, axis=0)
    return [cell for cell, once in zip(history.cells, changed, strict=True) if once and cell in trained]


def with_accepted(history: History, accepted: Mapping[str, Collection[Sample]]) -> History:
    """Add the spread of trainings that the baselines know: cell -> samples."""
    return replace(history, spreads=Spreads(_samples(history.runs), accepted))
