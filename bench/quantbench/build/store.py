"""A content-addressed store: a result lies under the hash of everything that decides it.

Entries are folders, written under a temporary name and renamed, and checked by checksum when read. One that is damaged,
or lies under a key that is not its own, is removed, so that it is made again, and named in the store's journal.

Two runs at once: each process that works with a store holds it (a locked file, which the system lets go when the
process dies). What was used since the oldest living hold began is never cleared away; see
:mod:`quantbench.build.eviction`.
"""

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
UNFINISHED, DISCARDED = ".new-", ".old-"  # prefixes of folders that are no entries
HELD = ".held"
ENVIRONMENTS, INSTALLED = "environments", "requirements.txt"  # what `ab` installs, and the file of one that is whole
_OF_WORKER = "-"  # in the name of a hold, after the process id of who started its worker
_JOURNAL = "damaged.log"
_LARGEST_INDEX = 2**24
T = TypeVar("T")


def default_root() -> Path:
    """``$QUANTBENCH_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("QUANTBENCH_CACHE") or platformdirs.user_cache_dir("quantbench"))


def digest(ingredients: Mapping[str, Any]) -> str:
    """Key of a result: sha256 of its ingredients as canonical JSON."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Hold:
    """This process's word that it works with a store: ``.held/<name>.lock`` is locked as long as it lives.

    Attributes:
        folder: ``.held/<name>``, as old as the hold.
        scratch: a folder in it for what is needed for a while; if we are killed, the next run removes it.
    """

    folder: Path
    scratch: Path
    lock: BaseFileLock

    def end(self) -> None:
        """Remove what belongs to it; the lock last, for it keeps others from removing the rest meanwhile."""
        remove(self.folder, self.folder.parent.parent)
        with suppress(OSError):
            self.folder.with_suffix(".lock").unlink()
        self.lock.release()

    def end_those_of_ended_workers(self) -> None:
        """Remove what this process's own workers left, of which those that it had to kill leave something."""
        for file in self.folder.parent.glob(f"{os.getpid()}{_OF_WORKER}*.lock"):
            lock = FileLock(file, thread_local=False)
            with suppress(Timeout, OSError):
                lock.acquire(blocking=False)
                shutil.rmtree(file.with_suffix(""), ignore_errors=True)
                file.unlink()
                lock.release()


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Whatever this process makes by :mod:`tempfile` meanwhile lies there."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = before


_HOLDS: dict[Path, Hold] = {}


def _own_prefix() -> str:
    """What a worker's hold is known by to the process that started it, and may have to kill it."""
    parent = multiprocessing.parent_process()
    return f"{parent.pid}{_OF_WORKER}" if parent is not None else ""


def _end_all() -> None:
    for hold in _HOLDS.values():
        hold.end()


Finalize(None, _end_all, exitpriority=0)  # unlike atexit, a pool's workers come to this as well


@dataclass(frozen=True)
class Store:
    """A folder of entries.

    Attributes:
        root: private (0700).
    """

    root: Path

    def path(self, key: str) -> Path:
        """Folder of an entry, whether it exists or not."""
        return self.root / key[:2] / key

    def get(self, key: str) -> Path | None:
        """Folder of a whole, undamaged entry of this very key; any other is removed, so that it is made again."""
        folder = self.path(key)
        self._drop_link(folder.parent)
        if not os.path.lexists(folder):
            return None
        with suppress(OSError), self.changing():
            os.utime(folder, follow_symlinks=False)  # when it was last used
        try:
            check(folder, key)
        except (OSError, ValueError) as error:
            if os.path.lexists(folder):
                self._journal(f"{key[:12]}: {type(error).__name__}: {error}")
                remove(folder, self.root)
            return None
        return folder

    def has(self, key: str) -> bool:
        """Whether there is a whole entry of this key; unlike :meth:`get`, without using or removing it."""
        try:
            check(self.path(key), key)
        except (OSError, ValueError):
            return False
        return True

    def changing(self) -> AbstractContextManager[Any]:
        """Held for a moment by whoever marks an entry as used, or clears one away: a run that has just been told that
        an entry is there still finds it a moment later.
        """
        files.unlink_unless_regular(self.root / ".lock")
        return FileLock(self.root / ".lock", is_singleton=True).acquire(poll_interval=0.002)

    def _journal(self, line: str) -> None:
        # Never through a link, which could lead to any file of ours.
        with suppress(OSError), files.appending(self.root / _JOURNAL) as file:
            file.write((" ".join(line.split()) + "\n").encode(errors="replace"))

    def damaged(self) -> list[str]:
        """What was found damaged so far and removed, one line each."""
        try:
            content = files.read_bytes(self.root / _JOURNAL, "journal", files.LARGEST_RECORD)
        except BadInput:
            return []  # there is none, or it is a link, or something else that we did not write
        return content.decode("utf-8", errors="replace").splitlines()

    def _drop_link(self, folder: Path) -> None:
        """Entries are behind folders that the store made. A link in place of one goes; what it leads to is not ours."""
        if folder.is_symlink():
            self._journal(f"{folder.name}: it is a link")
            remove(folder, self.root)

    def put(self, key: str, content: Mapping[str, bytes], ingredients: Mapping[str, Any]) -> Path:
        """Store an entry atomically and return its folder; another process's identical entry may win.

        Raises:
            OSError: it cannot be written; nothing of it is left then.
        """
        self.hold()
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
            except OSError:  # somebody else was first, and made the same content; or what lay there was damaged
                if self.get(key) is None:
                    temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def recall(self, recipe: Mapping[str, Any], read: Callable[[Path, bool], T]) -> T | None:
        """What was made by a recipe, if the store has it; see :meth:`remember`."""
        folder = self.get(digest(recipe))
        return None if folder is None else read(folder, True)

    def remember(
        self, recipe: Mapping[str, Any], make: Callable[[], Mapping[str, bytes]], read: Callable[[Path, bool], T]
    ) -> T:
        """What is made by a recipe, made now where the store lacks it; nothing is kept where making it raises.

        Args:
            recipe: everything that decides the result.
            make: the files of the entry.
            read: makes the result of the entry's folder, and of whether it came from the store.
        """
        found = self.recall(recipe, read)
        return read(self.put(digest(recipe), make(), recipe), False) if found is None else found

    # ------------------------------------------------------------ who works with it

    def hold(self) -> Hold:
        """Hold the store until :meth:`release`, or until this process ends; once a process."""
        if self.root not in _HOLDS:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.own_folder(self.root / HELD, 0o700)
            _HOLDS[self.root] = self._begun()
        return _HOLDS[self.root]

    def _begun(self) -> Hold:
        while True:
            folder = self.root / HELD / f"{_own_prefix()}{uuid.uuid4().hex}"
            hold = Hold(folder, folder / "scratch", FileLock(folder.with_suffix(".lock"), thread_local=False))
            hold.lock.acquire()
            hold.scratch.mkdir(mode=0o700, parents=True)
            if folder.with_suffix(".lock").exists():  # nobody took it for that of a dead process in between
                return hold
            hold.end()

    def temporary_files(self) -> AbstractContextManager[None]:
        """What is left of them when this process is killed goes when the store is next cleared."""
        return temporary_files_in(self.hold().scratch)

    def release(self) -> None:
        """End this process's hold, and remove its scratch folder."""
        hold = _HOLDS.pop(self.root, None)
        if hold is not None:
            hold.end_those_of_ended_workers()
            hold.end()

    def holds_as(self, folder: Path) -> bool:
        """Whether a hold's folder is that of this very process."""
        own = _HOLDS.get(self.root)
        return own is not None and own.folder == folder

    def make_private(self) -> str:
        """Take the rights of others on the root away; what was done or could not be, in a sentence, or nothing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.root.stat()
        if found.st_uid != os.getuid():
            return f"the store {self.root} belongs to user {found.st_uid}, who can change what it answers"
        if not stat.S_IMODE(found.st_mode) & 0o077:
            return ""
        self.root.chmod(0o700)
        return f"the store {self.root} was open to other users; it is private now"


def for_strangers(root: Path) -> tuple[Path, ...]:
    """What a worker of a stranger's model may change of a store, made where it is not there yet.

    The entries, the holds and the journal: not the root as a whole, which has the environments of ``ab`` in it, and
    they are code.
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
    """The index of an entry that is whole, and the one of this key.

    Raises:
        OSError: there is none.
        ValueError: it is damaged, or holds anything that it should not: a link, or a file that it does not list.
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
    """``entry.json`` of a folder: ``key``, ``files`` (name -> sha256) and ``ingredients``.

    Raises:
        OSError: there is none.
        ValueError: it is not one, or the folder is a link.
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
            raise ValueError(f"{name!r} is no name of a file in its folder")
    return index


def _sha256(path: Path) -> str:
    with files.open_regular(path, inside=path.parent.parent.parent) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shards(root: Path) -> list[Path]:
    """Folders that entries are in, by the first two digits of their keys; also what is in place of one."""
    return sorted(root.glob("[0-9a-f][0-9a-f]"))
