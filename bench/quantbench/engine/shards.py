"""Split a run into shards: balanced by recorded durations, and computed identically on every machine.

Machines do not communicate: the split depends on the selection and the durations alone, so all shards of a run must be
given the same of both. Each report contains the split it was made with, and reports of different splits do not merge.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from quantbench.errors import BadInput
from quantbench.records import parts
from quantbench.records.run_folder import read

# Groups of cells that share a control are cut into pieces of at most this fraction of a shard's target time: smaller
# ones balance better, larger ones have fewer controls built twice. The best value depends on the run: each is tried.
PIECES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
# Guesses where nothing is recorded, in seconds of all cores; measured on two: 5 (median of converted cells) and 50 (of
# cells that train), and 7 to time one for the usual 3 s, for every measurement starts fresh processes.
CONVERTED, TRAINED, TIMED = 5.0, 50.0, 7.0
# Options that decide what is measured or judged, so that all shards of a run need the same.
SAME_IN_ALL = (
    "seeds",
    "seeds_on_suspicion",
    "train",
    "no_latency",
    "no_gpu",
    "no_micro",
    "no_instructions",
    "latency_budget",
    "threads",
    "more_latency",
    "no_turns",
    "turns_budget",
    "false_alarms",
    "strict_change",
    "baselines_from",
)


@dataclass(frozen=True)
class Duration:
    """Hold seconds of machine time: ``made`` to build and evaluate with every core, ``alone`` to time."""

    made: float
    alone: float = 0.0


@dataclass(frozen=True)
class Work:
    """Describe a cell for the split.

    Attributes:
        group: cells of one group share most of their controls; kept in the order given.
        needs: controls that its shard has to build as well.
    """

    group: tuple[str, bool]
    duration: Duration
    needs: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """Return its own seconds, without its controls."""
        return self.duration.made + self.duration.alone


@dataclass
class _Shard:
    index: int
    seconds: float = 0.0
    cells: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)


def parse(text: str) -> tuple[int, int]:
    """Parse ``2/6`` as (2, 6).

    Raises:
        BadInput: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    index, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= of:
        raise BadInput(f"--shard: expected which shard of how many, such as 2/6 (the first is 1/6), found {text!r}")
    return index, of


def recorded(path: Path) -> dict[str, Duration]:
    """Return how long each cell of a run took, per seed.

    Raises:
        BadInput: there is no such run, or it was stopped early.
    """
    try:
        report, _ = read(path)
    except BadInput as error:
        raise BadInput(f"--shard-durations: {error}") from None
    if report.state != "complete":
        raise BadInput(f"--shard-durations: {path}: the run is {report.state}; give a complete one")
    cores = report.environment.cores
    return {
        cell.id: Duration(cell.seconds / cores / max(1, len(cell.seeds)), cell.alone_seconds or 0.0)
        for cell in report.cells
    }


def durations(
    seeds: Mapping[str, int], timed: Collection[str], recorded_durations: Mapping[str, Duration]
) -> dict[str, Duration]:
    """Return how long each cell will take: as recorded, else the median of similar cells, else a guess.

    Args:
        seeds: cell -> number of training seeds; 0 where nothing is trained.
        timed: cells that are timed or run on a GPU.
    """
    usual = _median(duration.alone for duration in recorded_durations.values() if duration.alone) or TIMED
    estimated = {}
    for cell, count in seeds.items():
        alike = [other for other in seeds if other in recorded_durations and (seeds[other] > 0) is (count > 0)]
        near = [other for other in alike if parts(other)[0] == parts(cell)[0]] or alike
        from_record = (
            recorded_durations[cell].made
            if cell in recorded_durations
            else _median(recorded_durations[other].made for other in near)
        )
        made = (TRAINED if count else CONVERTED) if from_record is None else from_record
        alone = (recorded_durations[cell].alone if cell in recorded_durations else 0.0) or usual
        estimated[cell] = Duration(made * max(1, count), alone if cell in timed else 0.0)
    return estimated


def _median(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return median(numbers) if numbers else None


def split(works: Mapping[str, Work], controls: Mapping[str, float], of: int) -> dict[str, int]:
    """Map each cell to its shard, 1 to ``of``; no shard is left empty.

    Groups are cut into pieces, and the largest remaining piece goes to the shard that would finish it first (longest
    processing time first: Graham 1969, "Bounds on multiprocessing timing anomalies"). The time of controls that a shard
    has to build for it is included, so that a piece goes where they are built already unless that shard is full.

    Args:
        controls: seconds to build each control, including those that are not among the cells.

    Raises:
        BadInput: there are more shards than cells.
    """
    if of > len(works):
        raise BadInput(f"--shard: {of} shards of {len(works)} selected cells; ask for {len(works)} at most")
    even = sum(work.seconds for work in works.values()) / of
    tried = [_assigned(_pieces(works, share * even, of), works, controls, of) for share in PIECES]
    best = min(tried, key=lambda shards: max(shard.seconds for shard in shards))
    home = {cell: shard.index for shard in best for cell in shard.cells}
    return {cell: home[cell] for cell in works}


def _assigned(
    pieces: list[list[str]], works: Mapping[str, Work], controls: Mapping[str, float], of: int
) -> list[_Shard]:
    """Assign the largest remaining piece to the shard that would finish it first."""
    left = sorted(pieces, key=lambda piece: (-_seconds(piece, works), piece[0]))
    shards = [_Shard(index) for index in range(1, of + 1)]
    while left:
        empty = [shard for shard in shards if not shard.cells]
        candidates = empty if len(left) <= len(empty) else shards
        piece = left.pop(0)
        best = min(candidates, key=lambda shard: (shard.seconds + _added(shard, piece, works, controls), shard.index))
        best.seconds += _added(best, piece, works, controls)
        best.cells += piece
        best.made |= set(piece).union(*(works[cell].needs for cell in piece))
    return shards


def _pieces(works: Mapping[str, Work], limit: float, least: int) -> list[list[str]]:
    """Cut the cells of each group into pieces of at most ``limit`` seconds, and at least ``least`` pieces in all."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for cell, work in works.items():
        groups.setdefault(work.group, []).append(cell)
    pieces: list[list[str]] = []
    for cells in groups.values():
        pieces.append([])
        for cell in cells:
            if pieces[-1] and _seconds([*pieces[-1], cell], works) > limit:
                pieces.append([])
            pieces[-1].append(cell)
    while len(pieces) < least:
        largest = max((piece for piece in pieces if len(piece) > 1), key=lambda piece: _seconds(piece, works))
        middle = len(largest) // 2
        pieces[pieces.index(largest)] = largest[:middle]
        pieces.append(largest[middle:])
    return pieces


def _seconds(piece: Collection[str], works: Mapping[str, Work]) -> float:
    return sum(works[cell].seconds for cell in piece)


def _added(shard: _Shard, piece: list[str], works: Mapping[str, Work], controls: Mapping[str, float]) -> float:
    """Return the seconds that a piece adds to a shard: those of its cells and controls not yet built there."""
    alone = sum(works[cell].duration.alone for cell in piece)
    made = {cell: works[cell].duration.made for cell in piece}
    needed = set().union(*(works[cell].needs for cell in piece)) - set(piece)
    made |= {cell: controls[cell] for cell in needed}
    return alone + sum(seconds for cell, seconds in sorted(made.items()) if cell not in shard.made)
