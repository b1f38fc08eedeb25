"""Keep a store within its limit: evict leftovers of killed runs, and then the least recently used entries.

Entries used since the oldest living lease began are kept whatever the limit, as an unfinished run may need them. The
environments of ``quantbench ab`` get the space that the entries leave, as they are the quicker ones to make again.
"""

import math
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from quantbench import files
from quantbench.build.store import DISCARDED, ENVIRONMENTS, HELD, INSTALLED, UNFINISHED, Store, shards
from quantbench.errors import BadInput
from quantbench.files import is_folder, is_regular, remove, unlink_unless_regular

GB = 10**9
_FOREVER = 2**63
_CLEAR = ".clear"  # marks when a run last left the store within the limit that it holds
_CLOCKS = 10**9  # nanoseconds by which the times of files may lag


@dataclass(frozen=True)
class Lying:
    """Describe a folder or file of a store.

    Attributes:
        size: bytes, including everything in it.
        used: time of its last use, in nanoseconds.
    """

    path: Path
    size: int
    used: int


@dataclass(frozen=True)
class Cleared:
    """List what was removed, or would be.

    Attributes:
        spared: entries that would be removed too if no unfinished run needed them.
        left: entries that remain.
        nouns: what the entries are called, in plural and singular.
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
        parts += [f"{_many(self.leftovers, 'leftovers', 'leftover')} of unfinished work"] if self.leftovers else []
        sentences = [f"{' and '.join(parts)} {removed}" if parts else f"nothing {removed}"]
        if self.spared:
            sentences.append(f"{_many(self.spared, *self.nouns)} kept for a run that is not finished")
        sentences.append(f"{_many(self.left, *self.nouns)} left")
        return "; ".join(sentences)


def _many(items: list[Lying], plural: str, singular: str) -> str:
    return f"{len(items)} {singular if len(items) == 1 else plural} ({show_size(sum(each.size for each in items))})"


def show_size(size: int) -> str:
    """Format bytes in a suitable unit: ``12.3 MB``."""
    for unit, name in ((GB, "GB"), (10**6, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def clear(store: Store, limit: float, dry_run: bool = False) -> Cleared:
    """Remove leftovers of killed runs, and entries until the rest is within the limit.

    Args:
        limit: bytes; 0 for no limit.
        dry_run: whether to only report what would be removed.
    """
    leftovers, began = _dead_leases(store, dry_run)
    leftovers += _unfinished(store, began, dry_run)
    if not dry_run:
        _remove_idle_locks(store)
    return _cut(store, list(entries(store)), Cleared([], leftovers, [], [], dry_run), limit or math.inf, began)


def clear_if_changed(store: Store, limit: float) -> Cleared | None:
    """Do the same as :func:`clear`, unless a run did and nothing was stored, removed or left behind since: of a store
    of 1,000 entries, looking takes .3 s.
    """
    if _is_clear(store, limit):
        return None
    began = time.time_ns()
    cleared = clear(store, limit)
    if not cleared.spared and not _made(store, HELD, "*.lock"):
        with suppress(OSError):  # then the next run looks again
            files.replace(store.root / _CLEAR, str(limit), inside=store.root)
            ahead = (store.root / _CLEAR).stat().st_mtime_ns - time.time_ns()  # of the clock that dates the shards
            last = began + min(ahead, 0) - _CLOCKS
            os.utime(store.root / _CLEAR, ns=(last, last))
    return cleared


def _is_clear(store: Store, limit: float) -> bool:
    try:
        last = (store.root / _CLEAR).lstat().st_mtime_ns
        if files.read_text(store.root / _CLEAR, "mark", 100, inside=store.root) != str(limit):
            return False
        unchanged = all(shard.lstat().st_mtime_ns < last for shard in shards(store.root))
        return unchanged and not _made(store, HELD, "*.lock")
    except (OSError, BadInput):
        return False


def clear_environments(store: Store, limit: float, dry_run: bool = False) -> Cleared:
    """Remove environments of ``quantbench ab`` in the same way.

    Args:
        limit: bytes, which may be 0.
    """
    _, began = _dead_leases(store, dry_run)
    installed = list(environments(store))
    leftovers = [
        environment
        for environment in installed
        if environment.path.name.startswith(DISCARDED) or _half_made(environment, began)
    ]
    if not dry_run:
        for item in leftovers:
            remove(item.path, store.root)
    whole = [environment for environment in installed if environment not in leftovers]
    nouns = ("installed environments", "installed environment")
    return _cut(store, whole, Cleared([], leftovers, [], [], dry_run, nouns), limit, began)


def clear_all(store: Store, limit: float, dry_run: bool = False) -> list[Cleared]:
    """Remove entries, and then environments, until both together are within the limit.

    Args:
        limit: bytes; 0 for no limit.
    """
    first = clear(store, limit, dry_run)
    room = limit - sum(entry.size for entry in first.left) if limit else math.inf
    return [first, clear_environments(store, room, dry_run)]


def _cut(store: Store, candidates: list[Lying], so_far: Cleared, limit: float, began: int) -> Cleared:
    """Remove the least recently used candidates until the rest is within the limit."""
    kept = sorted(candidates, key=lambda entry: entry.used)
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
    """Yield every entry, complete or not."""
    for path in _in_shards(store):
        if not path.name.startswith("."):
            yield from _item(path)


def _in_shards(store: Store) -> Iterator[Path]:
    """Yield everything in the folders of entries; a link in place of such a folder is skipped."""
    for shard in shards(store.root):
        if is_folder(shard):
            yield from shard.glob("*")


def _made(store: Store, name: str, pattern: str) -> list[Path]:
    """List a folder that the store made; empty where it is a link."""
    return list((store.root / name).glob(pattern)) if is_folder(store.root / name) else []


def _links(store: Store) -> Iterator[Lying]:
    """Yield links in place of the store's own folders; they are removed, and their targets are left alone."""
    for path in (*shards(store.root), store.root / HELD, store.root / ENVIRONMENTS):
        if path.is_symlink():
            yield from _item(path)


def environments(store: Store) -> Iterator[Lying]:
    """Yield every environment that ``quantbench ab`` installed, complete or not."""
    for path in _made(store, ENVIRONMENTS, "*"):
        if path.is_dir():
            yield from _item(path)


def _half_made(environment: Lying, began: int) -> bool:
    """Check whether an installation was killed; it may still go on if it is newer than the oldest living lease."""
    return environment.used < began and not (environment.path / INSTALLED).exists()


def _item(path: Path) -> Iterator[Lying]:
    """Yield its description; nothing where it has just vanished, as two runs may clear at once."""
    with suppress(OSError):
        status = path.lstat()
        inside = path.rglob("*") if stat.S_ISDIR(status.st_mode) else [path]
        sizes = [file.lstat() for file in inside]
        yield Lying(path, sum(inner.st_size for inner in sizes if not stat.S_ISDIR(inner.st_mode)), status.st_mtime_ns)


def oldest_lease(store: Store) -> int:
    """Return when the oldest living lease began, in nanoseconds: entries that were used since may be in use."""
    return _dead_leases(store, dry_run=True)[1]


def _dead_leases(store: Store, dry_run: bool) -> tuple[list[Lying], int]:
    """Return leftovers of processes that died while they held the store, and when the oldest living lease began."""
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
        dead += _item(folder)
        if not dry_run:
            remove(folder, store.root)
            remove(file, store.root)
        lock.release()
    return dead, began


def _remove_idle_locks(store: Store) -> None:
    """Remove locks of finished trainings and installations."""
    among_entries = (path for path in _in_shards(store) if path.name.startswith(".") and path.suffix == ".lock")
    for file in (*store.root.glob("?*.lock"), *among_entries, *_made(store, ENVIRONMENTS, "*.lock")):
        unlink_unless_regular(file)
        with suppress(Timeout, OSError), FileLock(file, thread_local=False).acquire(blocking=False):
            file.unlink()


def _unfinished(store: Store, began: int, dry_run: bool) -> list[Lying]:
    """Remove what a killed run was about to store, and what a killed eviction had set aside."""
    leftovers = [
        item
        for path in _in_shards(store)
        if path.name.startswith((UNFINISHED, DISCARDED))
        for item in _item(path)
        if item.used < began or path.name.startswith(DISCARDED)
    ]
    leftovers += _links(store)
    if not dry_run:
        for item in leftovers:
            remove(item.path, store.root)
    return leftovers


def _dropped(store: Store, entry: Lying) -> bool:
    """Remove the entry unless it was used a moment ago; return whether it is gone."""
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
