"""Keeping a store within bounds: leftovers of killed runs go, and then what was used least recently.

What was used since the oldest living hold began stays, whatever it takes: a run that is not finished may need it.
The environments of ``quantbench ab`` get what the entries leave: they are quickly made again, which entries may not be.
"""

import math
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from quantbench.build.store import DISCARDED, ENVIRONMENTS, HELD, INSTALLED, UNFINISHED, Store, shards
from quantbench.files import is_folder, is_regular, remove, unlink_unless_regular

GB = 10**9
_FOREVER = 2**63


@dataclass(frozen=True)
class Lying:
    """A folder or file of a store.

    Attributes:
        size: bytes, of everything in it.
        used: when it was last used, in nanoseconds.
    """

    path: Path
    size: int
    used: int


@dataclass(frozen=True)
class Cleared:
    """What was removed, or would be.

    Attributes:
        spared: entries that would have gone too, had no unfinished run needed them.
        left: entries that stay.
        nouns: what the entries are, several and one.
    """

    entries: list[Lying]
    leftovers: list[Lying]
    spared: list[Lying]
    left: list[Lying]
    dry_run: bool = False
    nouns: tuple[str, str] = ("entries", "entry")

    def __bool__(self) -> bool:
        return bool(self.entries or self.leftovers)

    def __str__(self) -> str:
        removed = "would be removed" if self.dry_run else "removed"
        parts = [f"{_many(self.entries, *self.nouns)} used least recently"] if self.entries else []
        parts += [f"{_many(self.leftovers, 'leftovers', 'leftover')} of killed processes"] if self.leftovers else []
        told = [f"{' and '.join(parts)} {removed}" if parts else f"nothing {removed}"]
        if self.spared:
            told.append(f"{_many(self.spared, *self.nouns)} spared, for a run that is not finished uses them")
        told.append(f"{_many(self.left, *self.nouns)} left")
        return "; ".join(told)


def _many(found: list[Lying], several: str, one: str) -> str:
    return f"{len(found)} {one if len(found) == 1 else several} ({show_size(sum(each.size for each in found))})"


def show_size(size: int) -> str:
    """Bytes in the unit that fits: ``12.3 MB``."""
    for unit, name in ((GB, "GB"), (10**6, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def clear(store: Store, limit: float, dry_run: bool = False) -> Cleared:
    """Remove what killed runs left, and entries until the rest takes no more than the limit.

    Args:
        limit: bytes; 0 for no limit.
        dry_run: only tell what would go.
    """
    leftovers, began = _dead_holds(store, dry_run)
    leftovers += _unfinished(store, began, dry_run)
    if not dry_run:
        _remove_idle_locks(store)
    return _cut(store, list(entries(store)), Cleared([], leftovers, [], [], dry_run), limit or math.inf, began)


def clear_environments(store: Store, limit: float, dry_run: bool = False) -> Cleared:
    """The same for the environments of ``quantbench ab``.

    Args:
        limit: bytes, also none.
    """
    _, began = _dead_holds(store, dry_run)
    found = list(environments(store))
    leftovers = [one for one in found if one.path.name.startswith(DISCARDED) or _half_made(one, began)]
    if not dry_run:
        for lying in leftovers:
            remove(lying.path, store.root)
    whole = [one for one in found if one not in leftovers]
    nouns = ("environments of ab", "environment of ab")
    return _cut(store, whole, Cleared([], leftovers, [], [], dry_run, nouns), limit, began)


def clear_all(store: Store, limit: float, dry_run: bool = False) -> list[Cleared]:
    """Entries, and then environments, until all of them together take no more than the limit.

    Args:
        limit: bytes; 0 for no limit.
    """
    first = clear(store, limit, dry_run)
    room = limit - sum(entry.size for entry in first.left) if limit else math.inf
    return [first, clear_environments(store, room, dry_run)]


def _cut(store: Store, found: list[Lying], so_far: Cleared, limit: float, began: int) -> Cleared:
    """Remove of what was found until the rest takes no more than the limit."""
    kept = sorted(found, key=lambda entry: entry.used)
    total, gone, spared = sum(entry.size for entry in kept), [], []
    for entry in kept:
        if total <= limit:
            break
        if entry.used >= began or not (so_far.dry_run or _dropped(store, entry)):
            spared.append(entry)
            continue
        gone.append(entry)
        total -= entry.size
    taken = {entry.path for entry in gone}
    return replace(so_far, entries=gone, spared=spared, left=[entry for entry in kept if entry.path not in taken])


def entries(store: Store) -> Iterator[Lying]:
    """Every entry, whole or not."""
    for path in _in_shards(store):
        if not path.name.startswith("."):
            yield from _lying(path)


def _in_shards(store: Store) -> Iterator[Path]:
    """All that is in the folders of entries; nothing of what is behind a link in place of one."""
    for shard in shards(store.root):
        if is_folder(shard):
            yield from shard.glob("*")


def _made(store: Store, name: str, pattern: str) -> list[Path]:
    """What is in a folder that the store made; nothing where it is a link."""
    return list((store.root / name).glob(pattern)) if is_folder(store.root / name) else []


def _links(store: Store) -> Iterator[Lying]:
    """Links in place of the folders that the store makes: they are removed, and what they lead to is not ours."""
    for path in (*shards(store.root), store.root / HELD, store.root / ENVIRONMENTS):
        if path.is_symlink():
            yield from _lying(path)


def environments(store: Store) -> Iterator[Lying]:
    """Everything that ``quantbench ab`` has installed, whole or not."""
    for path in _made(store, ENVIRONMENTS, "*"):
        if path.is_dir():
            yield from _lying(path)


def _half_made(environment: Lying, began: int) -> bool:
    """Whether an installation was killed; what was touched since a living hold began may be at it still."""
    return environment.used < began and not (environment.path / INSTALLED).exists()


def _lying(path: Path) -> Iterator[Lying]:
    """Nothing where it has just vanished: two runs may clear at once."""
    with suppress(OSError):
        found = path.lstat()
        inside = path.rglob("*") if stat.S_ISDIR(found.st_mode) else [path]
        sizes = [file.lstat() for file in inside]
        yield Lying(path, sum(one.st_size for one in sizes if not stat.S_ISDIR(one.st_mode)), found.st_mtime_ns)


def _dead_holds(store: Store, dry_run: bool) -> tuple[list[Lying], int]:
    """What processes left that died while they worked with the store, and when the oldest living one began."""
    dead: list[Lying] = []
    began = _FOREVER
    for file in _made(store, HELD, "*.lock"):
        if not dry_run:
            unlink_unless_regular(file)
        if not is_regular(file):
            continue
        folder, lock = file.with_suffix(""), FileLock(file, thread_local=False)
        try:
            if store.holds_as(folder):
                raise Timeout(str(file))
            lock.acquire(blocking=False)
        except Timeout:
            with suppress(OSError):
                began = min(began, folder.lstat().st_mtime_ns)
            continue
        dead += _lying(folder)
        if not dry_run:
            remove(folder, store.root)
            remove(file, store.root)
        lock.release()
    return dead, began


def _remove_idle_locks(store: Store) -> None:
    """Locks of trainings and installations that are over."""
    among_entries = (path for path in _in_shards(store) if path.name.startswith(".") and path.suffix == ".lock")
    for file in (*store.root.glob("?*.lock"), *among_entries, *_made(store, ENVIRONMENTS, "*.lock")):
        unlink_unless_regular(file)
        with suppress(Timeout, OSError), FileLock(file, thread_local=False).acquire(blocking=False):
            file.unlink()


def _unfinished(store: Store, began: int, dry_run: bool) -> list[Lying]:
    """What a killed run was about to store, and what a killed clearing had set aside."""
    found = [
        lying
        for path in _in_shards(store)
        if path.name.startswith((UNFINISHED, DISCARDED))
        for lying in _lying(path)
        if lying.used < began or path.name.startswith(DISCARDED)
    ]
    found += _links(store)
    if not dry_run:
        for lying in found:
            remove(lying.path, store.root)
    return found


def _dropped(store: Store, entry: Lying) -> bool:
    """Whether the entry is gone; one that was used a moment ago stays."""
    aside = entry.path.with_name(f"{DISCARDED}{uuid.uuid4().hex}")
    try:
        with store.changing():
            if entry.path.lstat().st_mtime_ns != entry.used:
                return False
            entry.path.rename(aside)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    remove(aside, store.root)
    return True
