"""Read a long history fast: an index beside the nights holds what ``history`` needs of them, as columns.

The index is a folder of files of up to ``NIGHTS`` nights each. A night is taken from it only where its report and
summary have the size, time and inode that they had when they were read; any other is read as without an index. It is
written again where nights were added, changed or removed, may be deleted at any time, and is never a reason to fail.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.comparison._index_part import TABLES, VERDICTS, Part, parsed, written
from quantbench.comparison.history import History, arranged, chosen, gathered
from quantbench.comparison.nights import Found, LocalNights
from quantbench.comparison.summary import SUMMARY, VERSION, Summary
from quantbench.core.arrays import Array
from quantbench.records.run_folder import REPORT

INDEX = ".history-index"
NIGHTS = 512  # of a part: adding a night writes one part again, some MB with 300 cells
LARGEST = 512 * 2**20  # bytes of a part's file: 512 nights of 15,000 cells; a larger one is not read
_UNREAD = (0,) * 6
Stamp = tuple[int, ...]


def read_indexed(folder: Path, last: int = 0, cell: str = "") -> History:
    """Read all runs of a report folder as ``read_history`` does, without errors and accepted values.

    Args:
        last: number of newest runs to read; all where 0.
        cell: where given and a run has it, the tables hold this cell alone.

    Raises:
        BadInput: the folder does not exist, or has no readable run.
    """
    nights = LocalNights(folder)
    names = nights.names()
    parts, broken = _parts(folder / INDEX)
    stamps = {name: _stamp(folder / name) for name in names}
    held: dict[str, tuple[Part, int]] = {}
    for part in parts.values():
        for row, (name, stamp) in enumerate(zip(part.names, part.stamps.tolist(), strict=True)):
            if stamps.get(name, _UNREAD) == tuple(stamp) != _UNREAD:
                held.setdefault(name, (part, row))
    fresh: list[tuple[str, Stamp, Summary]] = []

    def found() -> Iterator[tuple[str, Found]]:
        for name in names:
            if name in held:
                part, row = held[name]
                yield name, part.runs[row]
                continue
            night, stamp = _read(nights, name, stamps[name])
            if isinstance(night, Summary):
                fresh.append((name, stamp, night))
            yield name, night

    read, skipped = chosen(nights, found(), last)
    added = _of_fresh(fresh)
    for row, (name, _, _) in enumerate(fresh):
        held[name] = added, row
    placed = [held[name] for _, name in read]
    runs = [run for run, _ in read]
    cells = sorted({one for names_of_cells in _distinct([run.cells for run in runs]) for one in names_of_cells})
    tables = _tables(placed, [cell] if cell in cells else cells)
    with suppress(OSError):
        _keep(folder / INDEX, parts, broken, held, added)
    verdicts = tables.pop(VERDICTS)
    return arranged(runs, skipped, [cell] if cell in cells else cells, verdicts, tables, [name for _, name in read])


def _distinct(lists: Sequence[list[str]]) -> list[list[str]]:
    """Return each list object once: the runs of a part share them."""
    return list({id(one): one for one in lists}.values())


def _stamp(night: Path) -> Stamp:
    """Return size, time and inode of a night's report and summary; zeros where one is missing."""
    try:
        both = [os.lstat(f"{night}/{name}") for name in (REPORT, SUMMARY)]
    except OSError:
        return _UNREAD
    return tuple(number for one in both for number in (one.st_size, one.st_mtime_ns, one.st_ino))


def _read(nights: LocalNights, name: str, stamp: Stamp) -> tuple[Found, Stamp]:
    """Read a night, again where its files changed meanwhile: a summary that was made now is a change too."""
    for _ in range(2):
        found, after = nights.found(name), _stamp(nights.folder / name)
        if after == stamp:
            return found, stamp
        stamp = after
    return found, _UNREAD


def _of_fresh(fresh: list[tuple[str, Stamp, Summary]]) -> Part:
    """Arrange nights that were read from their summaries as a part."""
    history = gathered([run for _, _, run in fresh], [])
    stored: dict[str, Array | tuple[Array, Array]] = {VERDICTS: history.verdicts.T.astype(np.int8)}
    stored |= {name: table.T for name, table in history.values.items() if np.isfinite(table).any()}
    stamps = np.array([stamp for _, stamp, _ in fresh], dtype=np.int64).reshape(-1, len(_UNREAD))
    return Part([name for name, _, _ in fresh], stamps, history.runs, history.cells, stored)


def _tables(placed: Sequence[tuple[Part, int]], cells: Sequence[str]) -> dict[str, Array]:
    """Return the tables of nights in this order, shape (nights, cells) each."""
    shape = len(cells), len(placed)
    rows: dict[int, tuple[Part, list[int], list[int]]] = {}
    for place, (part, row) in enumerate(placed):
        _, at, to = rows.setdefault(id(part), (part, [], []))
        at.append(row)
        to.append(place)
    spans = [(part, _span(at), _span(to)) for part, at, to in rows.values()]
    tables: dict[str, Array] = {}
    for name in TABLES:
        held = [(part.table(name, cells), at, to) for part, at, to in spans]
        lacking = np.broadcast_to(np.nan, shape)
        if name == VERDICTS:
            tables[name] = np.full(shape, -1)
        elif all(table is None for table, _, _ in held):
            tables[name] = lacking
            continue
        else:  # it is filled below, as every night is in a part
            tables[name] = np.empty(shape) if all(table is not None for table, _, _ in held) else lacking.copy()
        for table, rows_of_part, places in held:
            if table is not None:
                tables[name][:, places] = table[:, rows_of_part]
    return {name: table.T for name, table in tables.items()}


def _span(places: list[int]) -> slice | list[int]:
    """Return places as a slice where they follow each other, which numpy copies several times faster."""
    adjoining = places[-1] - places[0] == len(places) - 1 and all(b > a for a, b in pairwise(places))
    return slice(places[0], places[-1] + 1) if adjoining else places


def _parts(folder: Path) -> tuple[dict[str, Part], list[str]]:
    """Return the parts of an index by their files' names, and the names of files that cannot be read."""
    parts, broken = dict[str, Part](), list[str]()
    if not files.is_folder(folder):
        return parts, broken
    for path in sorted(folder.glob("*.npz")):
        try:
            parts[path.name] = parsed(files.read_bytes(path, "index", LARGEST, inside=folder), VERSION)
        except Exception:  # whatever is wrong with it, the nights themselves are there
            broken.append(path.name)
    return parts, broken


def _keep(
    folder: Path, parts: dict[str, Part], broken: list[str], held: dict[str, tuple[Part, int]], added: Part
) -> None:
    """Write what changed: parts that lost nights, or have room for new ones, are made anew from what is valid.

    Raises:
        OSError: the folder cannot be written.
    """
    valid: dict[int, list[str]] = {}
    for name, (part, row) in held.items():
        if tuple(part.stamps[row].tolist()) != _UNREAD:
            valid.setdefault(id(part), []).append(name)
    new = valid.get(id(added), [])
    again = {file for file, part in parts.items() if len(valid.get(id(part), [])) < len(part.names)}
    if not (new or again or broken):
        return
    if new or again:
        again |= {file for file, part in parts.items() if len(part.names) < NIGHTS}
    names = sorted([*new, *(name for file in again for name in valid.get(id(parts[file]), []))])
    kept = set(parts) - again
    free = (f"{number:06d}.npz" for number in range(10**6) if f"{number:06d}.npz" not in kept)
    files.own_folder(folder)
    for file in broken:
        files.remove(folder / file, folder)
    for first in range(0, len(names), NIGHTS):
        part = _joined([held[name] for name in names[first : first + NIGHTS]], names[first : first + NIGHTS])
        file = next(free)
        files.replace(folder / file, written(part, VERSION))
        kept.add(file)
    for file in set(parts) - kept:
        files.remove(folder / file, folder)


def _joined(placed: list[tuple[Part, int]], names: list[str]) -> Part:
    runs = [part.runs[row] for part, row in placed]
    cells = sorted({one for cells_of_run in _distinct([run.cells for run in runs]) for one in cells_of_run})
    tables = _tables(placed, cells)
    stored: dict[str, Array | tuple[Array, Array]] = {VERDICTS: tables.pop(VERDICTS).T.astype(np.int8)}
    stored |= {name: table.T for name, table in tables.items() if np.isfinite(table).any()}
    stamps = np.array([part.stamps[row] for part, row in placed], dtype=np.int64)
    return Part(names, stamps, runs, cells, stored)
