"""Find the user's arrays in an ``.npz`` or in a folder of ``.npy`` files, without reading what is large."""

import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import psutil

from quantbench import files
from quantbench.adopt import formats
from quantbench.core.arrays import Array
from quantbench.errors import BadInput, DiskFull, full_disk_named
from quantbench.reference.datasets import read_npz
from quantbench.reference.npy_folder import Stored

_NUMBERED = re.compile(r"(?P<array>.+)_(?P<number>\d+)")
_BLOCK = 2**22  # bytes, copied at a time
# What stays free on a disk that data is unpacked onto: reports and the store need some.
KEEP_FREE = 2**30


def keys_of(name: str) -> tuple[str, ...]:
    """Return the names that the array of an input may have, the most exact one first."""
    return f"x_{name}", f"x_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"


# ---------------------------------------------------------------- a folder


def is_one(folder: Path) -> bool:
    """Check whether a folder holds ``.npy`` files."""
    return any(name.endswith(".npy") for name in _names(folder))


def arrays(folder: Path, specs: formats.Specs) -> dict[str, Array | Stored]:
    """Map array -> its files: ``x.npy``, ``y.npy``, ``x_INPUT.npy``, or shards ``x_000.npy``, ``x_001.npy``, ...

    Labels of an output, ``y_OUTPUT.npy``, may end in a number too; their shards have three digits or more.

    Raises:
        BadInput: a shard is missing, or an array is there twice, or shards of ``x`` and ``y`` do not fit together.
    """
    known = {"x", "y", *(key for name in specs for key in keys_of(name))}
    whole: dict[str, str] = {}
    numbered: dict[str, dict[int, str]] = {}
    for file in _names(folder):
        stem = file.removesuffix(".npy")
        match = _NUMBERED.fullmatch(stem)
        if not file.endswith(".npy"):
            continue
        of_output = match is not None and match["array"].startswith("y_") and len(match["number"]) < 3
        if stem in known or match is None or of_output:
            whole[stem] = file
        else:
            other = numbered.setdefault(match["array"], {}).setdefault(int(match["number"]), file)
            if other != file:
                raise BadInput(f"{folder}: {other} and {file} are the same shard; remove one")
    for name, shards in numbered.items():
        if name in whole:
            raise BadInput(f"{folder}: holds both {whole[name]} and {next(iter(shards.values()))}; remove one")
        first = min(shards)
        gaps = sorted(set(range(first, first + len(shards))) - shards.keys())
        if first > 1 or gaps:
            raise BadInput(
                f"{folder}: the shards of {name} are numbered {first} to {max(shards)}, and number "
                f"{gaps[0] if gaps else 0} is missing; expected {name}_000.npy, {name}_001.npy, ... without a gap"
            )
    inside = folder.resolve()
    found = {name: Stored((inside / file,), None, inside, name) for name, file in whole.items()}
    for name, shards in numbered.items():
        found[name] = Stored(tuple(inside / shards[number] for number in sorted(shards)), None, inside, name)
    _check_pairs(found)
    return dict(found)


def _check_pairs(found: Mapping[str, Stored]) -> None:
    """Raise BadInput where a shard of the labels has another number of examples than that of the inputs."""
    labels = found.get("y")
    for name, stored in found.items():
        if labels is None or not name.startswith("x") or not 1 < len(stored.files) == len(labels.files):
            continue
        for x, y, of_x, of_y in zip(stored.files, labels.files, stored.headers(), labels.headers(), strict=True):
            if of_x.shape[0] != of_y.shape[0]:
                raise BadInput(
                    f"{y}: y has {of_y.shape[0]} labels, {x.name} has {of_x.shape[0]} examples; expected as many"
                )


def _names(folder: Path) -> list[str]:
    with files.reading(folder, "data"):
        names = sorted(os.listdir(folder))
    if len(names) > files.MOST_ENTRIES and any(name.endswith(".npy") for name in names):
        raise BadInput(
            f"{folder}: holds {len(names):,} files, at most {files.MOST_ENTRIES:,} are read; join some shards"
        )
    return names


# ---------------------------------------------------------------- an .npz


def of_npz(path: Path, small: int, scratch: Path | None) -> dict[str, Array | Stored]:
    """Read an ``.npz`` that a person named; a large one is unpacked into the scratch folder instead.

    Args:
        small: bytes, up to which the arrays are read into memory.

    Raises:
        BadInput: it is no readable ``.npz`` of plain arrays.
        DiskFull: there is no room to unpack it.
    """
    size, packed = _sizes(path)
    if size > max(packed, psutil.virtual_memory().total // 2):  # what is not compressed cannot be a bomb
        raise BadInput(
            f"{path}: unpacks to {files.show(size)}, more than half of this machine's memory; save it uncompressed "
            "(numpy.savez), or each array by numpy.save into a folder, as x.npy and y.npy"
        )
    if scratch is not None and size > small:
        check_room(scratch, size, path)
        return dict(_unpacked(path, scratch))
    return dict(read_npz(path, "data", follow=True))


def _sizes(path: Path) -> tuple[int, int]:
    """Return the bytes of the arrays in an archive, as it declares them, and of its file."""
    with files.reading(path, "data"), files.open_regular(path, follow=True) as opened:
        if not zipfile.is_zipfile(opened):
            return 0, 0
        try:
            with zipfile.ZipFile(opened) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except Exception:  # a damaged archive can fail in many ways; reading it says how
            return 0, 0
        return size, os.fstat(opened.fileno()).st_size


def _unpacked(path: Path, scratch: Path) -> Iterator[tuple[str, Stored]]:
    with files.reading(path, "data"), files.open_regular(path, follow=True) as opened, full_disk_named(scratch):
        try:
            with zipfile.ZipFile(opened) as archive:
                for number, member in enumerate(archive.infolist()):
                    file = scratch / f"{number}.npy"
                    with archive.open(member) as source, file.open("wb") as target:
                        _copy(source, target, member.file_size)
                    name = member.filename.removesuffix(".npy")
                    yield name, Stored((file,), None, scratch, f"{path}: array {name}")
        except (OSError, BadInput):
            raise
        except Exception as error:  # a damaged archive can fail in many ways
            words = " ".join(str(error).split())[:200]
            raise BadInput(f"{path}: data is not a readable .npz file of plain arrays ({words})") from None


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    left = size
    while block := source.read(min(_BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            raise ValueError("an array is larger than it says")
        target.write(block)


def check_room(folder: Path, size: int, source: Path) -> None:
    """Create a folder; raise DiskFull where it has no room for so many bytes."""
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free - KEEP_FREE
    if size > free:
        raise DiskFull(
            f"{source} takes {files.show(size)} unpacked, and {folder} has room for {files.show(max(0, free))}; name a "
            "folder with more room in TMPDIR"
        )
