"""Read and write a data pack that is a folder of ``.npy`` files, memory-mapped and never read as a whole.

An array ``x_test`` is the file ``x_test.npy``, or the shards ``x_test-00000.npy``, ``x_test-00001.npy`` and so on, each
with some of the examples. Names are percent-encoded, as an input may be called ``a/b``. Two more files may be there:

- ``shapes.json``: array -> shape of one example, where the files have another one of the same size.
- ``elsewhere.json``: file of the folder -> absolute path of the file that stands for it, so that 50 GB need not be
  copied. Only a pack in a temporary folder has one; :func:`bring` replaces it by the files themselves.

The folder's hash is that of the sorted list of its files' names and hashes, wherever they are.
"""

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote, unquote

import numpy as np

from quantbench import files
from quantbench.core.arrays import Array, chunks, shards
from quantbench.errors import BadInput, full_disk_named

SHAPES, ELSEWHERE = "shapes.json", "elsewhere.json"
_MAGIC = b"\x93NUMPY"
_SHARD = re.compile(r"(?P<array>[^/]+?)(?:-(?P<number>\d{5}))?\.npy")
_LARGEST_LISTING = 8 * 2**20  # bytes, for 10,000 paths


# ---------------------------------------------------------------- one file


@dataclass(frozen=True)
class Header:
    """Describe the array in a ``.npy`` file.

    Attributes:
        offset: bytes before the values.
        order: ``C``, or ``F`` where the first axis varies fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str
    offset: int


def header(path: Path, what: str, inside: Path | None = None) -> Header:
    """Read what a ``.npy`` file holds, without its values.

    Args:
        what: what the file is, for messages.
        inside: a folder below which the path may not contain links.

    Raises:
        BadInput: it is a link or a special file, no ``.npy`` file, shorter than it says, or with pickled objects.
    """
    with files.reading(path, what), files.open_regular(path, inside=inside) as file:
        return _header(file, path, what)


def mapped(path: Path, what: str, inside: Path | None = None) -> Array:
    """Map the array in a ``.npy`` file into memory, read-only. Raises BadInput, see :func:`header`."""
    with files.reading(path, what), files.open_regular(path, inside=inside) as file:
        found = _header(file, path, what)
        if 0 in found.shape:
            return np.empty(found.shape, found.dtype)
        return np.memmap(file, found.dtype, "r", found.offset, found.shape, found.order)  # type: ignore[call-overload,no-any-return]


def _header(file: BinaryIO, path: Path, what: str) -> Header:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BadInput(f"{path}: {what} is not a .npy file; write it by numpy.save")
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # a damaged header can fail in many ways
        raise BadInput(f"{path}: {what} is a damaged .npy file ({' '.join(str(error).split())[:200]})") from None
    if dtype.hasobject:
        raise BadInput(
            f"{path}: {what} holds Python objects, which are never unpickled; save an array of numbers "
            "(array.astype('float32'))"
        )
    if not shape:
        raise BadInput(f"{path}: {what} holds a single value, expected an array with one row an example")
    if min(shape) < 0:
        raise BadInput(f"{path}: {what} is a damaged .npy file (its shape is {tuple(shape)})")
    offset = file.tell()
    there, wanted = os.fstat(file.fileno()).st_size - offset, math.prod(shape) * dtype.itemsize
    if there < wanted:
        raise BadInput(f"{path}: {what} is cut short: {there:,} bytes of values, expected {wanted:,}; save it again")
    return Header(tuple(shape), dtype, "F" if fortran else "C", offset)


class Writer:
    """Write a ``.npy`` file of unknown length, some examples at a time.

    Args:
        path: the new file; missing folders are created.
        dtype: of the values.
        example: shape of one example.
    """

    def __init__(self, path: Path, dtype: Any, example: tuple[int, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.dtype, self.example = path, np.dtype(dtype), example
        self.count = 0
        self._file = path.open("wb")
        self._write_header()
        self._start = self._file.tell()

    def append(self, examples: Array) -> None:
        """Write more examples, shape (m, ...)."""
        values = np.ascontiguousarray(examples, dtype=self.dtype)
        if values.shape[1:] != self.example:
            raise ValueError(f"examples of shape {values.shape[1:]}, expected {self.example}")
        self._file.write(values.data if values.size else b"")
        self.count += len(values)

    def close(self) -> None:
        """Write the final length into the header."""
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._start:  # NumPy leaves room for a first axis of 21 digits
            raise ValueError(f"{self.path}: the header outgrew its place")
        self._file.close()

    def _write_header(self) -> None:
        shape = (self.count, *self.example)
        described = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(self._file, {"descr": described, "fortran_order": False, "shape": shape})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._file.closed:
            self.close()


# ---------------------------------------------------------------- an array in several files


@dataclass(frozen=True)
class Stored:
    """Name the files that hold an array.

    Attributes:
        files: in order.
        example: shape of one example, as it is used; the files may have another one of the same size.
        inside: folder below which no link is followed.
        what: what the array is, for messages.
    """

    files: tuple[Path, ...]
    example: tuple[int, ...] | None = None
    inside: Path | None = None
    what: str = "array"

    def headers(self) -> list[Header]:
        """Read all headers. Raises BadInput where the shards do not fit together, see also :func:`header`."""
        found = [header(path, self.what, self.inside) for path in self.files]
        first = found[0]
        for path, other in zip(self.files, found, strict=True):
            if (other.shape[1:], other.dtype) != (first.shape[1:], first.dtype):
                raise BadInput(
                    f"{path}: {self.what} has examples of shape {other.shape[1:]} ({other.dtype}), "
                    f"{self.files[0].name} has {first.shape[1:]} ({first.dtype}); all shards need the same"
                )
        return found

    def open(self) -> Array:
        """Return the array, memory-mapped; see :class:`quantbench.core.arrays.Shards` where there are several files.

        Raises:
            BadInput: see :meth:`headers`; or the examples cannot have the shape.
        """
        found = self.headers()
        shape = found[0].shape[1:]
        example = shape if self.example is None else self.example
        if math.prod(shape) != math.prod(example):
            raise BadInput(f"{self.files[0]}: {self.what} has examples of shape {shape}, expected {example}")

        def open_shard(index: int) -> Array:
            array = mapped(self.files[index], self.what, self.inside)
            if (array.shape, array.dtype) != (found[index].shape, found[index].dtype):
                raise BadInput(f"{self.files[index]}: {self.what} changed while it was read; start again")
            return array

        return shards([each.shape[0] for each in found], open_shard, example, found[0].dtype)


# ---------------------------------------------------------------- a pack


def read(folder: Path, what: str) -> dict[str, Array]:
    """Map all arrays of a pack. Raises BadInput: see :meth:`Stored.open`; or a file is missing, or has no use."""
    return {name: stored.open() for name, stored in _arrays(folder, what).items()}


def sha256(folder: Path, what: str) -> str:
    """Hash a pack as hex: the sorted list of its files' names and hashes, each read as a stream. Raises BadInput."""
    places = _places(folder, what)
    listing = "".join(f"{name} {_file_sha256(path, inside, what)}\n" for name, (path, inside) in sorted(places.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _file_sha256(path: Path, inside: Path | None, what: str) -> str:
    with files.reading(path, what), files.open_regular(path, inside=inside) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def elsewhere(folder: Path) -> tuple[Path, ...]:
    """List the files of a pack that are outside of its folder; only ``.npy`` files, and no links. Raises BadInput."""
    if not files.is_regular(folder / ELSEWHERE):
        return ()
    paths = tuple(path for path, inside in _places(folder, "data pack").values() if inside is None)
    for path in paths:
        header(path, "data pack")
    return paths


def bring(folder: Path) -> None:
    """Copy the files that are outside into the folder, so that it stands alone; its hash stays.

    Raises:
        BadInput: a file is gone.
        DiskFull: there is no room for them.
    """
    for name, (path, inside) in _places(folder, "data pack").items():
        if inside is None:
            header(path, "data pack")
            with full_disk_named(folder):
                files.copy_tree(path, folder / name, "data pack", limit=sys.maxsize)
    (folder / ELSEWHERE).unlink(missing_ok=True)


def write(folder: Path, arrays: Mapping[str, Array | Stored]) -> str:
    """Write a pack and return its hash; files below the folder's parent are moved into it, others stay where they are.

    Args:
        arrays: by name; a :class:`Stored` array is not read.

    Raises:
        BadInput: a file cannot be read.
        DiskFull: there is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, list[int]] = {}
    outside: dict[str, str] = {}
    for name, array in arrays.items():
        encoded = quote(name, safe="").replace("-", "%2D")
        if not isinstance(array, Stored):
            with full_disk_named(folder), Writer(folder / f"{encoded}.npy", array.dtype, array.shape[1:]) as writer:
                for part in chunks(array):
                    writer.append(array[part])
            continue
        if array.example is not None and array.example != array.headers()[0].shape[1:]:
            shapes[name] = list(array.example)
        for number, path in enumerate(array.files):
            file = f"{encoded}.npy" if len(array.files) == 1 else f"{encoded}-{number:05d}.npy"
            if path.absolute().is_relative_to(folder.parent.absolute()):
                path.replace(folder / file)
            else:
                outside[file] = str(path.absolute())
    for listing, content in ((SHAPES, shapes), (ELSEWHERE, outside)):
        if content:
            (folder / listing).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    return sha256(folder, "data pack")


def _places(folder: Path, what: str) -> dict[str, tuple[Path, Path | None]]:
    """Map every file of a pack, ``elsewhere.json`` excepted, to its path and the folder that it must be in."""
    with files.reading(folder, what):
        names = sorted(os.listdir(folder))
    if len(names) > files.MOST_ENTRIES:
        raise BadInput(
            f"{folder}: {what} holds {len(names):,} files, at most {files.MOST_ENTRIES:,} are read; join some"
        )
    found: dict[str, tuple[Path, Path | None]] = {name: (folder / name, folder) for name in names if name != ELSEWHERE}
    if ELSEWHERE in names:
        for name, path in _listing(folder, ELSEWHERE).items():
            if not (isinstance(path, str) and Path(path).is_absolute() and _SHARD.fullmatch(name)) or name in found:
                raise BadInput(
                    f"{folder / ELSEWHERE}: {name!r} is no file of a pack with an absolute path; write it anew"
                )
            found[name] = (Path(path), None)
    return found


def _listing(folder: Path, name: str) -> dict[str, Any]:
    text = files.read_text(folder / name, "data pack", _LARGEST_LISTING, inside=folder)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadInput(f"{folder / name}: is not a JSON object; write the data pack anew")
    return content


def _arrays(folder: Path, what: str) -> dict[str, Stored]:
    places = _places(folder, what)
    shapes = _listing(folder, SHAPES) if places.pop(SHAPES, None) else {}
    shards_of: dict[str, dict[int, str]] = {}
    for name in places:
        match = _SHARD.fullmatch(name)
        if match is None:
            raise BadInput(
                f"{folder / name}: is not part of a {what}; expected files like x_test.npy or x_test-00000.npy"
            )
        shards_of.setdefault(unquote(match["array"]), {})[int(match["number"] or -1)] = name
    found = {}
    for name, numbered in shards_of.items():
        if sorted(numbered) not in ([-1], list(range(len(numbered)))):
            raise BadInput(
                f"{folder}: {what}: {name} has the shards {', '.join(sorted(numbered.values()))}; expected "
                "one file, or shards numbered from 00000"
            )
        paths = tuple(places[numbered[number]][0] for number in sorted(numbered))
        example = shapes.get(name)
        if example is not None and not (isinstance(example, list) and all(type(size) is int for size in example)):
            raise BadInput(f"{folder / SHAPES}: {name}: expected a list of sizes, found {example!r}")
        inside = places[next(iter(numbered.values()))][1]
        found[name] = Stored(paths, None if example is None else tuple(example), inside, f"{what}: {name}")
    return found
