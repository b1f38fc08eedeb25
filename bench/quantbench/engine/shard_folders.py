"""The shards of a run as their folders lie there, read and checked to make one whole run together."""

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from quantbench.core import environment
from quantbench.core.arrays import Array
from quantbench.core.threads import thread_counts
from quantbench.errors import BadInput
from quantbench.records import Report, Shard
from quantbench.records.run_folder import read
from quantbench.reference.datasets import read_npz


@dataclass(frozen=True)
class Piece:
    """A shard's run folder."""

    path: Path
    report: Report
    shard: Shard
    _arrays: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As errors name it."""
        return f"{self.path} (shard {self.shard.index}/{self.shard.of})"

    @cached_property
    def day(self) -> datetime.date:
        """By which exceptions held in it."""
        started = self.report.started
        try:
            return datetime.datetime.fromisoformat(started).date()
        except ValueError:
            raise BadInput(f"{self.name}: field 'started': expected a time in ISO 8601, found {started!r}") from None

    def arrays(self, model: str) -> dict[str, Array]:
        """Predictions of a model, by variant; empty where there is no file."""
        if model not in self._arrays:
            path = self.path / "predictions" / f"{model}.npz"
            there = os.path.lexists(path)
            self._arrays[model] = read_npz(path, "predictions", inside=self.path) if there else {}
        return self._arrays[model]

    def machines(self) -> list[str]:
        """Its machine class with each number of threads that it timed with."""
        here = self.report.environment
        counts = thread_counts(self.shard.options.get("threads", "1"), here.cores)
        return [environment.with_threads(here.machine_class, count) for count in counts]


def read_pieces(paths: Sequence[Path]) -> list[Piece]:
    """All shards of one run, in order.

    Raises:
        BadInput: one that is no shard, is not whole, is there twice or belongs to another run; or one that is missing.
    """
    pieces = [_read(path) for path in paths]
    pieces.sort(key=lambda piece: piece.shard.index)
    first = pieces[0]
    for piece in pieces[1:]:
        _check_same_run(first, piece)
    for one, other in pairwise(pieces):
        if one.shard.index == other.shard.index:
            raise BadInput(
                f"{one.path} and {other.path} are both shard {one.shard.index}/{one.shard.of}; give one of them"
            )
    missing = sorted(set(range(1, first.shard.of + 1)) - {piece.shard.index for piece in pieces})
    if missing:
        told = ", ".join(f"{index}/{first.shard.of}" for index in missing)
        raise BadInput(
            f"report: shard {told} is missing, and a report of less would pass for one of the whole run: give all "
            f"{first.shard.of} run folders, or run it: quantbench run --shard {missing[0]}/{first.shard.of}"
        )
    _check_complete(pieces)
    return pieces


def _read(path: Path) -> Piece:
    report, folder = read(path)
    if report.shard is None:
        raise BadInput(f"{path}: is no shard of a run but a run of its own, and there is nothing to merge it with")
    piece = Piece(folder, report, report.shard)
    if report.state != "complete":
        raise BadInput(
            f"{piece.name}: field 'state': the run is {report.state}; run it again: quantbench run --shard "
            f"{report.shard.index}/{report.shard.of}"
        )
    _ = piece.day, piece.machines()  # a report that tells neither is refused here, before anything is written
    return piece


def _check_same_run(one: Piece, other: Piece) -> None:
    """Raises BadInput where two shards are not of one and the same run."""
    pair = f"{one.name} and {other.name} are not of one run"
    if one.shard.of != other.shard.of:
        raise BadInput(f"{pair}: a run is divided into {one.shard.of} or into {other.shard.of}, not both")
    here, there = one.report.environment, other.report.environment
    if (here.git_commit, here.git_dirty) != (there.git_commit, there.git_dirty):
        commits = " and ".join(f"{e.git_commit}{' with local changes' * bool(e.git_dirty)}" for e in (here, there))
        raise BadInput(f"{pair}: they measured different commits ({commits})")
    versions = [
        change
        for change in environment.changed_between(here, there)
        if not change.startswith(("CPU ", "cores ", "OS ", "commit "))  # another machine may measure another shard
    ]
    if versions:
        raise BadInput(f"{pair}: they measured different versions ({'; '.join(versions)})")
    if one.report.selection != other.report.selection:
        chosen = " and ".join(repr(piece.report.selection or "everything") for piece in (one, other))
        raise BadInput(f"{pair}: they selected differently ({chosen})")
    options = {**one.shard.options, **other.shard.options}
    for name in options:
        values = [piece.shard.options.get(name) for piece in (one, other)]
        if values[0] != values[1]:
            raise BadInput(f"{pair}: --{name.replace('_', '-')} was {values[0]} and {values[1]}")
    for what, found in (("baselines", one.shard.baselines != other.shard.baselines), ("data", _other_data(one, other))):
        if found:
            raise BadInput(f"{pair}: they were given different {what}")
    if one.shard.split != other.shard.split:
        raise BadInput(f"{pair}: they divided it differently; give every shard the same --shard-durations")


def _other_data(one: Piece, other: Piece) -> bool:
    both = one.report.data_sha256.keys() & other.report.data_sha256.keys()
    return any(one.report.data_sha256[model] != other.report.data_sha256[model] for model in both)


def _check_complete(pieces: Sequence[Piece]) -> None:
    """Raises BadInput where a shard does not hold what the split gave to it."""
    for piece in pieces:
        held = {cell.id for cell in piece.report.cells if cell.selected}
        due = {cell for cell, home in piece.shard.split.items() if home == piece.shard.index}
        if held != due:
            example = min(held ^ due)
            raise BadInput(f"{piece.name}: cell {example} is {'missing' if example in due else 'not of this shard'}")
