"""Read the run folders of shards, and check that they make one whole run together."""

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
from quantbench.reference.datasets import read_predictions


@dataclass(frozen=True)
class Piece:
    """Hold a shard's run folder."""

    path: Path
    report: Report
    shard: Shard
    _arrays: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return its name in error messages."""
        return f"{self.path} (shard {self.shard.index}/{self.shard.of})"

    @cached_property
    def day(self) -> datetime.date:
        """Return the day that decided which exceptions had expired in it."""
        started = self.report.started
        try:
            return datetime.datetime.fromisoformat(started).date()
        except ValueError:
            raise BadInput(f"{self.name}: field 'started': expected a time in ISO 8601, found {started!r}") from None

    def arrays(self, model: str) -> dict[str, Array]:
        """Return predictions of a model, by variant; empty where there is no file."""
        if model not in self._arrays:
            path = self.path / "predictions" / f"{model}.npz"
            there = os.path.lexists(path)
            self._arrays[model] = read_predictions(path, "predictions", inside=self.path) if there else {}
        return self._arrays[model]

    def machines(self) -> list[str]:
        """Return its machine class for each number of threads that it timed with."""
        here = self.report.environment
        counts = thread_counts(self.shard.options.get("threads", "1"), here.cores)
        return [environment.with_threads(here.machine_class, count) for count in counts]


def read_pieces(paths: Sequence[Path]) -> list[Piece]:
    """Return all shards of one run, in order.

    Raises:
        BadInput: a folder is not a shard, is incomplete, is given twice or belongs to another run; or a shard is
            missing.
    """
    pieces = [_read(path) for path in paths]
    pieces.sort(key=lambda piece: piece.shard.index)
    first = pieces[0]
    for piece in pieces[1:]:
        _check_same_run(first, piece)
    for left, right in pairwise(pieces):
        if left.shard.index == right.shard.index:
            raise BadInput(
                f"{left.path} and {right.path} are both shard {left.shard.index}/{left.shard.of}; give one of them"
            )
    missing = sorted(set(range(1, first.shard.of + 1)) - {piece.shard.index for piece in pieces})
    if missing:
        names = ", ".join(f"{index}/{first.shard.of}" for index in missing)
        raise BadInput(
            f"report: shard {names} is missing; give all {first.shard.of} run folders, or run it: "
            f"quantbench run --shard {missing[0]}/{first.shard.of}"
        )
    _check_complete(pieces)
    return pieces


def _read(path: Path) -> Piece:
    report, folder = read(path)
    if report.shard is None:
        raise BadInput(f"{path}: is a complete run, not a shard")
    piece = Piece(folder, report, report.shard)
    if report.state != "complete":
        raise BadInput(
            f"{piece.name}: field 'state': the run is {report.state}; run it again: quantbench run --shard "
            f"{report.shard.index}/{report.shard.of}"
        )
    _ = piece.day, piece.machines()  # a report without either is refused here, before anything is written
    return piece


def _check_same_run(left: Piece, right: Piece) -> None:
    """Raise BadInput where two shards are not of the same run."""
    pair = f"{left.name} and {right.name} are not from one run"
    if left.shard.of != right.shard.of:
        raise BadInput(f"{pair}: one was split into {left.shard.of} shards, the other into {right.shard.of}")
    here, there = left.report.environment, right.report.environment
    if (here.git_commit, here.git_dirty) != (there.git_commit, there.git_dirty):
        commits = " and ".join(f"{e.git_commit}{' with local changes' * bool(e.git_dirty)}" for e in (here, there))
        raise BadInput(f"{pair}: they measured different commits ({commits})")
    if here.repository_commit != there.repository_commit:
        commits = f"{here.repository_commit} and {there.repository_commit}"
        raise BadInput(f"{pair}: their models are from different commits ({commits})")
    versions = [
        f"{name} {old} → {new}"
        for name, old, new in environment.differences(here, there)
        if name not in _MAY_DIFFER and name not in here.dependencies
    ]
    if versions:
        raise BadInput(f"{pair}: they measured different versions ({'; '.join(versions)})")
    if left.report.selection != right.report.selection:
        chosen = " and ".join(repr(piece.report.selection or "everything") for piece in (left, right))
        raise BadInput(f"{pair}: they selected different cells ({chosen})")
    options = {**left.shard.options, **right.shard.options}
    for name in options:
        values = [piece.shard.options.get(name) for piece in (left, right)]
        if values[0] != values[1]:
            raise BadInput(f"{pair}: --{name.replace('_', '-')} was {values[0]} and {values[1]}")
    for what, differ in (
        ("baselines", left.shard.baselines != right.shard.baselines),
        ("data", _other_data(left, right)),
    ):
        if differ:
            raise BadInput(f"{pair}: they used different {what}")
    if left.shard.split != right.shard.split:
        raise BadInput(f"{pair}: they were split differently; give every shard the same --shard-durations")


# Another machine may measure another shard; commits are checked by themselves. What the tools require in turn may be
# resolved anew on each machine.
_MAY_DIFFER = (environment.CPU, environment.CORES, environment.OS, environment.COMMIT, environment.OWN_COMMIT)


def _other_data(left: Piece, right: Piece) -> bool:
    both = left.report.data_sha256.keys() & right.report.data_sha256.keys()
    return any(left.report.data_sha256[model] != right.report.data_sha256[model] for model in both)


def _check_complete(pieces: Sequence[Piece]) -> None:
    """Raise BadInput where a shard does not hold what the split assigns to it."""
    for piece in pieces:
        held = {cell.id for cell in piece.report.cells if cell.selected}
        due = {cell for cell, home in piece.shard.split.items() if home == piece.shard.index}
        if held != due:
            example = min(held ^ due)
            raise BadInput(f"{piece.name}: cell {example} is {'missing' if example in due else 'not of this shard'}")
