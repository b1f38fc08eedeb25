"""Files of others' folders, read and written without leaving them.

What a person names is taken as named, also through links. What lies inside a folder of models, baselines, runs, or of
the store may come from anybody: there links are never followed, and nothing but regular files is opened. So a link to a
private file is not read, a link in the way of a report is replaced rather than written through, and neither a named
pipe nor an endless device holds anything up.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from quantbench.errors import BadInput, full_disk_named

# A platform that lacks one of these has no such thing to protect from.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _CLOEXEC
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
_ON_THE_WAY = _FOLDER | getattr(os, "O_PATH", 0)  # a folder that may be passed through, if not listed
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC
TEMPORARY = ".new-"  # prefix of a file that is being written
_BLOCK = 2**20
# Made up by the kernel as they are read: without a size, and some without an end.
_MADE_UP = ("/proc", "/sys")

# Largest files, in bytes; each is refused before it is read.
# A cell takes 4 to 7 kB of report.json, 10,000 cells 40 to 70 MB, so this is a run of some 20,000.
LARGEST_RECORD = 128 * 2**20
# Evidence of a model's cells: 38 variants, 5,000 flipped examples and 200 tensors each, take 2 MB.
LARGEST_EVIDENCE = 32 * 2**20
# Flatbuffers end at 2 GiB, so no larger float model can be converted; a SavedModel may hold its variables twice.
LARGEST_MODEL = 8 * 2**30
MOST_ENTRIES, DEEPEST = 10_000, 32  # files and folders of a saved model, which has some ten in three levels


class NotRegular(OSError):
    """Something else than a regular file; ``strerror`` says what it is."""


def _kind(mode: int) -> str:
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISLNK, "a link, which is not followed here"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((words for test, words in kinds if test(mode)), "no regular file")


def _refuse(path: Path, mode: int) -> NotRegular:
    return NotRegular(errno.EINVAL, f"it is {_kind(mode)}", str(path))


# ---------------------------------------------------------------- folders


@contextmanager
def _opened_folder(path: Path, inside: Path | None, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder; below ``inside`` it is reached through folders alone, never through a link."""
    parts = () if inside is None else path.relative_to(inside).parts
    if ".." in parts:
        raise NotRegular(errno.EINVAL, "it is outside of its folder", str(path))
    here = os.open(path if inside is None else inside, _ON_THE_WAY)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            below = _folder_in(here, part, path, _ON_THE_WAY)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _folder_in(here: int, name: str, path: Path, flags: int = _FOLDER) -> int:
    try:
        return os.open(name, flags | _NOFOLLOW, dir_fd=here)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise
        mode = os.lstat(name, dir_fd=here).st_mode
        words = _kind(mode) if stat.S_ISLNK(mode) else "no folder"
        raise NotRegular(errno.ENOTDIR, f"{name!r} is {words}", str(path)) from None


def own_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and its parents, where there is none; a link in its place goes first, and what it leads to stays.

    Raises:
        OSError: something else is there, or it cannot be made.
    """
    if path.is_symlink():
        path.unlink()
    path.mkdir(mode=mode, parents=True, exist_ok=True)


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, rather than a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def is_regular(path: Path) -> bool:
    """Whether it is a regular file itself, rather than a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def unlink_unless_regular(path: Path) -> None:
    """Make way for a lock: whoever opens one truncates it, or waits for it, whatever a link there leads to."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            path.unlink()


# ---------------------------------------------------------------- reading


def open_regular(path: Path, *, inside: Path | None = None, follow: bool = False) -> BufferedReader:
    """A regular file, opened for reading; nothing that would block, or has no end.

    Args:
        inside: a folder below which no folder on the way may be a link.
        follow: the file itself may be a link, for a person named it.

    Raises:
        FileNotFoundError: there is none.
        NotRegular: it is a link, or a special file, or behind a link.
        OSError: it cannot be opened.
    """
    with _opened_folder(path.parent, inside) as folder:
        return os.fdopen(_open_in(folder, path.name, path, follow), "rb")


def _open_in(folder: int, name: str, path: Path, follow: bool = False) -> int:
    if not name:
        raise _refuse(path, stat.S_IFDIR)
    # Looked at first, for merely opening some devices does something; and again once open, for it may have changed.
    mode = os.stat(name, dir_fd=folder, follow_symlinks=follow).st_mode
    if not stat.S_ISREG(mode):
        raise _refuse(path, mode)
    try:
        descriptor = os.open(name, _READ | (0 if follow else _NOFOLLOW), dir_fd=folder)
    except OSError as error:
        raise _refuse(path, stat.S_IFLNK) if error.errno == errno.ELOOP and not follow else error from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or _is_made_up(found.st_dev):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "it is no regular file on a disk", str(path))
    return descriptor


def _is_made_up(device: int) -> bool:
    return any(os.path.ismount(place) and os.stat(place).st_dev == device for place in _MADE_UP)


def read_bytes(path: Path, what: str, limit: int, *, inside: Path | None = None, follow: bool = False) -> bytes:
    """All of a regular file, opened once.

    Args:
        what: what the file is, for messages.
        limit: bytes; a larger file is not read.
        inside, follow: see :func:`open_regular`.

    Raises:
        BadInput: not found, a link, a special file, too large, or not readable; one sentence.
    """
    with reading(path, what), open_regular(path, inside=inside, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= limit else b""
        size = max(size, len(content))
        if size > limit:
            raise BadInput(f"{path}: {what} is {show(size)} large, expected at most {show(limit)}; give another")
        return content


def read_text(path: Path, what: str, limit: int, *, inside: Path | None = None, follow: bool = False) -> str:
    """All of a regular file, as text.

    Raises:
        BadInput: see :func:`read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(path, what, limit, inside=inside, follow=follow).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: {what} cannot be read: {error}") from None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Errors of opening and reading a file become BadInput, in one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"{path}: {what} not found") from None
    except NotRegular as error:
        raise BadInput(
            f"{path}: {what} cannot be read: {error.strerror}, and only regular files are read; put the file itself "
            "there"
        ) from None
    except OSError as error:
        raise BadInput(f"{path}: {what} cannot be read: {error.strerror or error}") from None


def show(size: int) -> str:
    """Bytes in the unit that fits."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


# ---------------------------------------------------------------- writing


def replace(path: Path, content: bytes | str, *, inside: Path | None = None) -> None:
    """Write a file atomically: under a random name that nobody can have taken, then renamed.

    A link in its place is replaced and not followed, and so is a special file. What cannot be encoded is replaced.

    Args:
        inside: a folder below which folders are made where they lack, and may not be links.

    Raises:
        NotRegular: there is a link on the way.
        OSError: it cannot be written; nothing of it is left then.
    """
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    with _opened_folder(path.parent, inside, make=True) as folder:
        _written(folder, path.name, lambda file: file.write(data))


def _written(folder: int, name: str, write: Callable[[BinaryIO], object]) -> None:
    temporary = f"{TEMPORARY}{secrets.token_hex(16)}"
    descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def appending(path: Path) -> BinaryIO:
    """A regular file to add lines to, made for its owner alone where there is none.

    Raises:
        OSError: it is anything else, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOFOLLOW | _CLOEXEC | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o600)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _refuse(path, mode)
    return os.fdopen(descriptor, "ab")


def write_named(path: Path, content: bytes | str, option: str) -> None:
    """Write a file that a person named, atomically.

    Raises:
        BadInput: see :func:`check_named`; or it cannot be written.
        DiskFull: there is no room for it.
    """
    check_named(path, option)
    try:
        with full_disk_named(path.parent):
            replace(path, content)
    except OSError as error:
        raise BadInput(f"{option}: cannot write {path}: {error.strerror}; give another file") from None


def check_named(path: Path, option: str) -> None:
    """Refuse to write to a link or a special file that a person named: replacing it could take more than they meant
    (``/dev/stdout`` is a link), and what a link leads to is not named.

    Raises:
        BadInput: one sentence, with the option.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # not there yet; or writing will say why it cannot be
    if not stat.S_ISREG(mode):
        raise BadInput(f"{option}: cannot write {path}: it is {_kind(mode)}; give another file")


# ---------------------------------------------------------------- copying


@dataclass
class _Room:
    """What a copy may still take."""

    what: str
    limit: int
    bytes_left: int
    entries_left: int

    def take(self, path: Path, size: int, depth: int) -> None:
        self.bytes_left -= size
        self.entries_left -= 1
        if self.bytes_left < 0:
            raise BadInput(f"{path}: {self.what} takes more than {show(self.limit)}, which is the most that is read")
        if self.entries_left < 0:
            raise BadInput(f"{path}: {self.what} holds more than {MOST_ENTRIES} files and folders, which no model does")
        if depth > DEEPEST:
            raise BadInput(f"{path}: {self.what} is nested more than {DEEPEST} folders deep, which no model is")


def _no_names(_: str) -> bool:
    return False


def check_tree(
    source: Path,
    what: str,
    *,
    limit: int = LARGEST_MODEL,
    leave_out: Callable[[str], bool] = _no_names,
) -> None:
    """Look through a file or folder that a person named: regular files and folders alone, within limits.

    Raises:
        BadInput: it holds a link or a special file, is too large, or cannot be read; the entry is named.
    """
    _through(source, what, None, limit, leave_out)


def in_tree(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder itself; no link is followed."""
    for path in folder.iterdir():
        if is_folder(path):
            yield from in_tree(path)
        else:
            yield path


def copy_tree(
    source: Path,
    target: Path,
    what: str,
    *,
    limit: int = LARGEST_MODEL,
    leave_out: Callable[[str], bool] = _no_names,
) -> None:
    """Copy a file or folder that a person named, which may itself be a link; nothing inside it may.

    Existing files of the target are replaced, each atomically; no link in it is followed.

    Args:
        limit: bytes, of all files together.
        leave_out: names that are not copied.

    Raises:
        BadInput: the source holds a link or a special file, is too large, or cannot be read; the entry is named.
        OSError: the target cannot be written, or has a link in the way.
    """
    _through(source, what, target, limit, leave_out)


def copy_file(source: Path, target: Path, what: str, *, limit: int = LARGEST_MODEL) -> None:
    """Copy a regular file that a person named. Raises as :func:`copy_tree`, also where it is a folder."""
    if source.is_dir():
        raise BadInput(f"{source}: {what} cannot be read: it is a folder; give a file")
    copy_tree(source, target, what, limit=limit)


def _through(source: Path, what: str, target: Path | None, limit: int, leave_out: Callable[[str], bool]) -> None:
    room = _Room(what, limit, limit, MOST_ENTRIES)
    if not source.is_dir():
        with reading(source, what):
            file = open_regular(source, follow=True)
        with file:
            room.take(source, os.fstat(file.fileno()).st_size, 0)
            if target is not None:
                with _opened_folder(target.parent, None) as folder:
                    _copied(file, folder, target.name, source, room)
        return
    with reading(source, what):
        here = os.open(source, _FOLDER)
    try:
        if target is None:
            _below(here, source, None, room, leave_out, 1)
            return
        target.mkdir(parents=True, exist_ok=True)
        with _opened_folder(target, None) as there:
            _below(here, source, there, room, leave_out, 1)
    finally:
        os.close(here)


def _below(here: int, path: Path, there: int | None, room: _Room, leave_out: Callable[[str], bool], depth: int) -> None:
    for entry in _listed(here, path, room):
        if leave_out(entry):
            continue
        inner = path / entry
        with reading(inner, f"{room.what}: entry"):
            found = os.lstat(entry, dir_fd=here)
            is_dir = stat.S_ISDIR(found.st_mode)
            descriptor = _folder_in(here, entry, inner) if is_dir else _open_in(here, entry, inner)
        try:
            room.take(inner, 0 if is_dir else os.fstat(descriptor).st_size, depth)
            if is_dir:
                with _made_below(there, entry, inner) as made:
                    _below(descriptor, inner, made, room, leave_out, depth + 1)
            elif there is not None:
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    _copied(file, there, entry, inner, room)
        finally:
            os.close(descriptor)


def _listed(here: int, path: Path, room: _Room) -> list[str]:
    names: list[str] = []
    with reading(path, room.what), os.scandir(here) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > MOST_ENTRIES:
                room.entries_left = 0
                room.take(path, 0, 0)
    return sorted(names)


@contextmanager
def _made_below(there: int | None, name: str, path: Path) -> Iterator[int | None]:
    if there is None:
        yield None
        return
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=there)
    made = _folder_in(there, name, path)
    try:
        yield made
    finally:
        os.close(made)


def _copied(file: BinaryIO, folder: int, name: str, path: Path, room: _Room) -> None:
    size = os.fstat(file.fileno()).st_size

    def copy(to: BinaryIO) -> None:
        rest = size
        while block := file.read(_BLOCK):
            rest -= len(block)
            if rest < 0:
                raise BadInput(f"{path}: {room.what} grows while it is copied; try again")
            to.write(block)

    _written(folder, name, copy)


# ---------------------------------------------------------------- removing


def remove(path: Path, inside: Path) -> None:
    """Remove a folder with all that is in it, or a file, or a link alone; what cannot be removed stays.

    Args:
        inside: the folder that is cleared. Where a link is on the way from it, nothing is removed.
    """
    with suppress(OSError, ValueError), _opened_folder(path.parent, inside) as folder:
        if stat.S_ISDIR(os.lstat(path.name, dir_fd=folder).st_mode):
            shutil.rmtree(path.name, ignore_errors=True, dir_fd=folder)
        else:
            os.unlink(path.name, dir_fd=folder)
