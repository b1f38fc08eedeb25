"""Check untrusted zip archives: nothing in them may unpack to more than it should, or to another place.

Keras unpacks a ``.keras`` file by :mod:`zipfile`, which reads the central directory and stops at the sizes given there.
The sizes checked here are therefore those that count; compressed members are read once to the end to verify them.
"""

import io
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

import psutil

from quantbench.errors import BadInput

LARGEST_JSON = 2**26  # bytes; the configuration of a model with thousands of layers takes a tenth
_MOST_MEMBERS = 10_000  # a model has four, and a vocabulary for each layer that looks up words
# Keras stores without compression; trained weights compress by a tenth, pruned ones (90 % zeros) to a tenth.
_LARGEST_RATIO = 50
_ALWAYS_FINE = 2**28  # bytes; whatever the ratio, a quarter of a gigabyte fits into any machine
_CHUNK = 2**20
_ENCRYPTED = 0x1
_LOCAL_HEADER, _NAME_LENGTH, _EXTRA_LENGTH = 30, 26, 28
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10))}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def largest_unpacked(packed: int) -> int:
    """Compute how many bytes ``packed`` bytes of a file may unpack to on this machine."""
    return min(max(_ALWAYS_FINE, _LARGEST_RATIO * packed), psutil.virtual_memory().total // 2)


def check(path: Path) -> None:
    """Refuse an archive that unpacks to more than it should, to another place, or differently for other readers.

    Raises:
        BadInput: a bomb, a name outside the folder, a link, two members with one name, an overlap, or damage.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            wrong = _wrong(members, size) or _overlap(archive, members)
            for member in () if wrong else members:
                wrong = wrong or _false_size(archive, member)
    except Exception as error:  # a damaged archive can fail in many ways
        raise damaged(path, error) from None
    if wrong:
        raise BadInput(f"{path}: {wrong}; give the file as Keras saved it")


def damaged(path: Path, error: Exception) -> BadInput:
    """Create the error for an archive that cannot be read."""
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return BadInput(f"{path}: is not a whole .keras file ({words})")


def _wrong(members: list[zipfile.ZipInfo], size: int) -> str | None:
    if len(members) > _MOST_MEMBERS:
        return f"the archive has {len(members)} members, more than the {_MOST_MEMBERS} that a model could have"
    names = set[str]()
    for member in members:
        wrong = _wrong_name(member) or _wrong_kind(member)
        folded = member.filename.rstrip("/").casefold()
        if not wrong and folded in names:
            wrong = "is in the archive twice"
        names.add(folded)
        if wrong:
            return f"member {member.filename[:200]!r} {wrong}"
    unpacked, limit = sum(member.file_size for member in members), largest_unpacked(size)
    if unpacked > limit:
        return f"the archive of {_mib(size)} unpacks to {_mib(unpacked)}, more than the {_mib(limit)} that it may"
    return None


def _wrong_name(member: zipfile.ZipInfo) -> str | None:
    parts = member.filename.replace("\\", "/").split("/")
    if ".." in parts or member.filename.startswith(("/", "\\")) or ":" in parts[0]:
        return "would be unpacked outside of its folder"
    # zipfile cuts a name at a zero byte, and shows it in `orig_filename`; other readers may not cut it.
    if member.orig_filename != member.filename and member.orig_filename.replace("\\", "/") != member.filename:
        return "has a zero byte in its name"
    if any(_is_windows_own(part) for part in parts):
        return "has a name that Windows takes for another, or for a device"
    if len(member.filename) > 1000 or any(ord(letter) < 32 for letter in member.filename):
        return "has a name that no file should have"
    return None


def _is_windows_own(part: str) -> bool:
    return part.endswith((".", " ")) or part.partition(".")[0].strip().casefold() in _DEVICES


def _wrong_kind(member: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file, not a regular one"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type}, which Keras never writes"
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        return f"is stored in {member.compress_size} bytes and said to be of {member.file_size}"
    if member.filename.endswith(".json") and member.file_size > LARGEST_JSON:
        return f"unpacks to {member.file_size} bytes, more than the {LARGEST_JSON} of a configuration"
    return None


def _overlap(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> str | None:
    """Describe an overlap of two members' data, by which a little data could be unpacked many times."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            return f"member {member.filename[:200]!r} overlaps with another"
        end = _data_offset(archive, member) + member.compress_size
    if end > archive.start_dir:
        return "its last member reaches into the archive's directory"
    return None


def _data_offset(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Find where a member's bytes begin: after its local header, which has lengths of its own."""
    file: Any = archive.fp
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    lengths = [int.from_bytes(header[at : at + 2], "little") for at in (_NAME_LENGTH, _EXTRA_LENGTH)]
    return member.header_offset + _LOCAL_HEADER + sum(lengths)


def _false_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    """Describe a wrong size of a compressed member; zipfile raises where it is truncated or its checksum is wrong."""
    if member.compress_type == zipfile.ZIP_STORED:
        return None
    with archive.open(member) as file:
        unpacked = length(file)
    if unpacked != member.file_size:
        return f"member {member.filename[:200]!r} unpacks to {unpacked} bytes and is said to be of {member.file_size}"
    return None


def opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: IO[bytes]) -> IO[bytes]:
    """Open a member of a checked archive for random access; ``file`` is the archive itself, opened once more.

    :mod:`zipfile` reads a member again from its start for each step back, which takes minutes for large weights.
    """
    if member.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archive.read(member))
    return io.BufferedReader(_Window(file, _data_offset(archive, member), member.file_size))


class _Window(io.RawIOBase):
    """Read a range of a file as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        piece = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def length(file: IO[bytes]) -> int:
    """Count the bytes left in a stream, reading it in pieces."""
    total = 0
    while piece := file.read(_CHUNK):
        total += len(piece)
    return total


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
