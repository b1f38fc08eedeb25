"""Store results by content: each under a hash of everything that affects it.

Entries are folders, written under a temporary name and renamed, and verified by checksum when read. A damaged entry, or
one under a wrong key, is removed, so that it is made again, and is named in the store's journal.

For runs at the same time, each process that works with a store holds it (a locked file, which the system releases when
the process dies). Entries used since the oldest living lease began are never evicted; see
:mod:`quantbench.build.eviction`.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from filelock import BaseFileLock, FileLock, Timeout

from quantbench import files
from quantbench.errors import BadInput
from quantbench.files import remove

INDEX = "entry.json"
UNFINISHED, DISCARDED = ".new-", ".old-"  # prefixes of folders besides entries
HELD = ".held"
ENVIRONMENTS, INSTALLED = "environments", "requirements.txt"  # what `ab` installs, and the file that marks it complete
_OF_WORKER = "-"  # in the name of a lease, after the id of the process that started its worker
_JOURNAL = "damaged.log"
_LARGEST_INDEX = 2**24
T = TypeVar("T")


def default_root() -> Path:
    """Return ``$QUANTBENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("QUANTBENCH_CACHE") or platformdirs.user_cache_dir("quantbench"))


def digest(ingredients: Mapping[str, Any]) -> str:
    """Compute the key of a result: sha256 of its ingredients as canonical JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Lease:
    """Mark that this process works with a store: ``.held/<name>.lock`` is locked as long as it lives.

    Attributes:
        folder: ``.held/<name>``, as old as the lease.
        scratch: a folder in it for temporary files; if this process is killed, the next run removes it.
    """

    folder: Path
    scratch: Path
    lock: BaseFileLock

    def end(self) -> None:
        """Remove the files of the lease, and its lock last, which keeps others from removing the rest meanwhile."""
        remove(self.folder, self.folder.parent.parent)
        with suppress(OSError):
            self.folder.with_suffix(".lock").unlink()
        self.lock.release()

    def end_those_of_ended_workers(self) -> None:
        """Remove what this process's own workers left, as those that it had to kill do."""
        for file in self.folder.parent.glob(f"{os.getpid()}{_OF_WORKER}*.lock"):
            lock = FileLock(file, thread_local=False)
            with suppress(Timeout, OSError):
                lock.acquire(blocking=False)
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                file.unlink()
                lock.release()


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Create temporary files of this process (:mod:`tempfile`) in this folder for the while."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = before


_LEASES: dict[Path, Lease] = {}


def _own_prefix() -> str:
    """Return the prefix by which a process recognizes the leases of its workers, which it may have to kill."""
    parent = multiprocessing.parent_process()
    return f"{parent.pid}{_OF_WORKER}" if parent is not None else ""


def _end_all() -> None:
    for lease in _LEASES.values():
        lease.end()


Finalize(None, _end_all, exitpriority=0)  # unlike atexit, this also runs in a pool's workers


@dataclass(frozen=True)
class Store:
    """Keep entries in a folder.

    Attributes:
        root: private (0700).
    """

    root: Path

    def path(self, key: str) -> Path:
        """Return the folder of an entry, whether it exists or not."""
        return self.root / key[:2] / key

    def get(self, key: str) -> Path | None:
        """Return the folder of a complete, undamaged entry of this key; any other is removed, to be made again."""
        folder = self.path(key)
        self._drop_link(folder.parent)
        if not os.path.lexists(folder):
            return None
        with suppress(OSError), self.changing():
            os.utime(folder, follow_symlinks=False)  # time of its last use
        try:
            check(folder, key)
        except (OSError, ValueError) as error:
            if os.path.lexists(folder):
                self._journal(f"{key[:12]}: {type(error).__name__}: {error}")
                remove(folder, self.root)
            return None
        return folder

    def has(self, key: str) -> bool:
        """Check whether there is a complete entry of this key; unlike :meth:`get`, without using or removing it."""
        try:
            check(self.path(key), key)
        except (OSError, ValueError):
            return False
        return True

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Lock the store for a moment, to mark an entry as used or to evict one, so that an entry that was just
        reported to a run still exists a moment later.

        It is the lock that :class:`filelock.FileLock` takes, which took longer than all the rest of reading an entry.
        """
        files.unlink_unless_regular(self.root / ".lock")
        lock = os.open(
            self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _journal(self, line: str) -> None:
        # Never through a link, which could lead to any file of the user.
        with suppress(OSError), files.appending(self.root / _JOURNAL) as file:
            file.write((" ".join(line.split()) + "\n").encode(errors="replace"))

    def damaged(self) -> list[str]:
        """List what was damaged so far and removed, one line each."""
        try:
            content = files.read_bytes(self.root / _JOURNAL, "journal", files.LARGEST_RECORD)
        except BadInput:
            return []  # it does not exist, or is a link or something else that this store did not write
        return content.decode("utf-8", errors="replace").splitlines()

    def _drop_link(self, folder: Path) -> None:
        """Remove a link in place of a folder that the store made; its target is left alone."""
        if folder.is_symlink():
            self._journal(f"{folder.name}: it is a link")
            remove(folder, self.root)

    def put(self, key: str, content: Mapping[str, bytes], ingredients: Mapping[str, Any]) -> Path:
        """Store an entry atomically and return its folder; an identical entry of another process may win.

        Raises:
            OSError: it cannot be written; nothing of it remains.
        """
        self.lease()
        folder = self.path(key)
        files.own_folder(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
        try:
            for name, data in content.items():
                (temporary / name).write_bytes(data)
            index = {
                "key": key,
                "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
                "ingredients": dict(ingredients),
            }
            (temporary / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True), encoding="utf-8")
            try:
                temporary.rename(folder)
            except OSError:  # another process wrote the same content first, or the existing entry was damaged
                if self.get(key) is None:
                    temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def recall(self, recipe: Mapping[str, Any], read: Callable[[Path, bool], T]) -> T | None:
        """Return the stored result of a recipe, None where the store lacks it; see :meth:`remember`."""
        folder = self.get(digest(recipe))
        return None if folder is None else read(folder, True)

    def remember(
        self, recipe: Mapping[str, Any], make: Callable[[], Mapping[str, bytes]], read: Callable[[Path, bool], T]
    ) -> T:
        """Return the result of a recipe, made now where the store lacks it; nothing is stored where making it raises.

        Args:
            recipe: everything that affects the result.
            make: returns the files of the entry.
            read: makes the result from the entry's folder, and from whether it came from the store.
        """
        recalled = self.recall(recipe, read)
        return read(self.put(digest(recipe), make(), recipe), False) if recalled is None else recalled

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """Let only one process at a time make an entry."""
        self.lease()
        lock = self.path(key).with_name(f".{key}.lock")  # among entries, where workers of untrusted models may write
        files.own_folder(lock.parent)
        files.unlink_unless_regular(lock)
        with FileLock(lock):
            yield

    # ------------------------------------------------------------ holds of processes

    def lease(self) -> Lease:
        """Hold the store until :meth:`release`, or until this process ends; once per process."""
        if self.root not in _LEASES:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.own_folder(self.root / HELD, 0o700)
            _LEASES[self.root] = self._begun()
        return _LEASES[self.root]

    def _begun(self) -> Lease:
        while True:
            folder = self.root / HELD / f"{_own_prefix()}{uuid.uuid4().hex}"
            lease = Lease(folder, folder / "scratch", FileLock(folder.with_suffix(".lock"), thread_local=False))
            lease.lock.acquire()
            lease.scratch.mkdir(mode=0o700, parents=True)
            if folder.with_suffix(".lock").exists():  # no other process has removed it as that of a dead one
                return lease
            lease.end()

    def temporary_files(self) -> AbstractContextManager[None]:
        """Create temporary files in the lease's scratch folder, so that the next eviction removes them after a kill."""
        return temporary_files_in(self.lease().scratch)

    def release(self) -> None:
        """End this process's lease, and remove its scratch folder."""
        lease = _LEASES.pop(self.root, None)
        if lease is not None:
            lease.end_those_of_ended_workers()
            lease.end()

    def holds_as(self, folder: Path) -> bool:
        """Check whether a lease's folder is that of this process."""
        own = _LEASES.get(self.root)
        return own is not None and own.folder == folder

    def make_private(self) -> str:
        """Revoke the rights of others on the root; return what was done or could not be, in a sentence, or nothing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.root.stat()
        if status.st_uid != os.getuid():
            return f"the store {self.root} belongs to user {status.st_uid}, who can change its results"
        if not stat.S_IMODE(status.st_mode) & 0o077:
            return ""
        self.root.chmod(0o700)
        return f"the store {self.root} was open to other users; it is private now"


def for_strangers(root: Path) -> tuple[Path, ...]:
    """List the folders of a store that a worker of an untrusted model may change, creating those that are missing.

    These are the entries, the leases and the journal. The root is excluded, as it contains the environments of ``ab``,
    and they are code.
    """
    folders = [root / f"{number:02x}" for number in range(256)] + [root / HELD]
    files = [root / ".lock", root / _JOURNAL]
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in files:
        with suppress(OSError):  # it is a link, which gets no rights
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    return tuple(path for path in (*folders, *files) if not path.is_symlink())


def check(folder: Path, key: str) -> dict[str, Any]:
    """Read the index of an entry, and check that it is complete and of this key.

    Raises:
        OSError: there is no such entry.
        ValueError: it is damaged, or has anything unexpected: a link, or a file that the index does not list.
    """
    index = read_index(folder)
    if index["key"] != key:
        raise ValueError(f"it is the entry of {index['key'][:12]}")
    if {file.name for file in os.scandir(folder)} != {INDEX, *index["files"]}:
        raise ValueError("its files are not those that it lists")
    for name, expected in index["files"].items():
        if _sha256(folder / name) != expected:
            raise ValueError(f"checksum of {name} differs")
    return index


def read_index(folder: Path) -> dict[str, Any]:
    """Read ``entry.json`` of a folder: ``key``, ``files`` (name -> sha256) and ``ingredients``.

    Raises:
        OSError: there is none.
        ValueError: it is invalid, or the folder is a link.
    """
    if folder.is_symlink() or folder.parent.is_symlink():
        raise ValueError("it is a link")
    with files.open_regular(folder / INDEX, inside=folder.parent.parent) as file:
        text = file.read(_LARGEST_INDEX)
    try:
        index = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{INDEX} is nested too deeply") from error
    fields = {"key": str, "files": dict, "ingredients": dict}
    if not isinstance(index, dict) or not all(isinstance(index.get(name), kind) for name, kind in fields.items()):
        raise ValueError(f"{INDEX} lacks one of {', '.join(fields)}")
    for name in index["files"]:
        if name in (".", "..", INDEX) or name != os.path.basename(name):
            raise ValueError(f"{name!r} is not the name of a file in its folder")
    return index


def _sha256(path: Path) -> str:
    with files.open_regular(path, inside=path.parent.parent.parent) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shards(root: Path) -> list[Path]:
    """List the folders of entries, named by the first two digits of their keys; also anything in place of one."""
    return sorted(root.glob("[0-9a-f][0-9a-f]"))
