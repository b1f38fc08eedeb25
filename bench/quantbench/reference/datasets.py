"""Read data packs: fixed splits in one ``.npz`` file or a folder of ``.npy`` files, checked by their hash.

Nothing is ever unpickled. The arrays of a folder are memory-mapped, so that they may be larger than the memory.
"""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil

from quantbench import files
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.core.deltas import from_differences
from quantbench.errors import BadInput
from quantbench.reference import npy_folder, overlap

CALIBRATION_STRIDE = 20
# Bytes of stored predictions of one model; `baseline check` allows 5 MB for all models together.
LARGEST_PREDICTIONS = 2**30
SLICE = "slice_"  # begins the names of arrays that divide the test split
GROUPS = "groups"
_NPY = b"\x93NUMPY"  # magic bytes of a single array


@dataclass(frozen=True)
class Split:
    """Hold examples and their labels.

    Attributes:
        x: inputs, shape (n, ...), as stored in the pack; of a folder only :func:`quantbench.core.arrays.rows` of them
            should be read at a time.
        y: labels, shape (n,) or (n, ...).
        more: labels of further outputs, by the key of the output's head in the model's file.
    """

    x: Inputs
    y: Array
    more: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def labels(self, key: str) -> Array:
        """Return the labels of a further output; those of the main one where the output has no key of its own."""
        return self.more[key] if key else self.y


@dataclass(frozen=True)
class Pack:
    """Hold the fixed splits of a data set; calibration examples never come from the test split.

    Where a pack has no calibration split, every 20th training example is used.

    Attributes:
        train: None where there is nothing to train on.
        calibration: None where there is nothing to calibrate with.
        sha256: hash of the pack; results are only comparable on equal packs.
        groups: of the test examples: equal integers belong together (frames of a clip), shape (n,); None where each
            stands alone.
        slices: name -> integers that divide the test examples, shape (n,); each part is judged by itself.
        shared: split -> how many test examples are in it too; splits that share none are left out.
    """

    train: Split | None
    calibration: Split | None
    test: Split
    sha256: str
    groups: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)


def file_sha256(path: Path, follow: bool = False) -> str:
    """Hash a file's bytes as hex sha256; for a folder, hash its files' names and hashes.

    Args:
        follow: whether the file may be a link, as files of an installed package may be.

    Raises:
        BadInput: it is, or the folder contains, a link or a special file.
        OSError: it does not exist, or cannot be read.
    """
    if files.is_folder(path):
        paths = sorted(files.in_tree(path))
        listing = "".join(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n" for file in paths)
        return hashlib.sha256(listing.encode()).hexdigest()
    try:
        with files.open_regular(path, follow=follow) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except files.NotRegular as error:
        raise BadInput(
            f"{path}: {error.strerror}, and only regular files are read; put the file itself there"
        ) from None


def checked_bytes_hash(path: Path, expected: str, what: str) -> None:
    """Raise BadInput unless the file exists and has the expected sha256."""
    _check_there(path, what)
    _check_hash(path, file_sha256(path), expected, what)


def checked_npz(path: Path, expected: str, what: str) -> dict[str, Array]:
    """Read all arrays of an ``.npz`` file of a known hash, opened once. Raises BadInput."""
    _check_there(path, what)
    with files.reading(path, what):
        opened = files.open_regular(path)
    with opened:
        _check_hash(path, hashlib.file_digest(opened, "sha256").hexdigest(), expected, what)
        opened.seek(0)
        return _arrays(opened, path, what)


def checked_arrays(path: Path, expected: str) -> dict[str, Array]:
    """Read all arrays of a data pack of a known hash; those of a folder are memory-mapped. Raises BadInput."""
    if not files.is_folder(path):
        return checked_npz(path, expected, "data pack")
    _check_hash(path, npy_folder.sha256(path, "data pack"), expected, "data pack")
    return npy_folder.read(path, "data pack")


def _check_there(path: Path, what: str) -> None:
    if not os.path.lexists(path):
        raise BadInput(f"{path}: {what} not found; restore the file or correct the path in the model's file")


def _check_hash(path: Path, actual: str, expected: str, what: str) -> None:
    if actual != expected:
        raise BadInput(
            f"{path}: {what} has sha256 {actual[:12]}…, expected {expected[:12]}…; "
            "restore the file, or record the new hash in the model's file if the change is meant"
        )


def read_npz(
    path: Path, what: str, *, content: bytes | None = None, inside: Path | None = None, follow: bool = False
) -> dict[str, Array]:
    """Read all arrays of an ``.npz`` file; object arrays (pickles) and arrays beyond this machine's memory are refused.

    Args:
        content: the file's bytes, where already read.
        inside, follow: see :func:`quantbench.files.open_regular`.

    Raises:
        BadInput: not a regular file, not an npz file, damaged, or with pickled objects.
    """
    with files.reading(path, what):
        opened = BytesIO(content) if content is not None else files.open_regular(path, inside=inside, follow=follow)
    with opened:  # NumPy does not close a damaged file
        return _arrays(opened, path, what)


def _arrays(opened: BinaryIO, path: Path, what: str) -> dict[str, Array]:
    try:
        _check_size(opened)
        if opened.read(len(_NPY)) == _NPY:
            raise BadInput(f"{path}: {what} must be an .npz file of named arrays, not a single .npy array")
        opened.seek(0)
        with np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except BadInput:
        raise
    except Exception as error:  # a damaged archive can fail in many ways
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{path}: {what} is not a readable .npz file of plain arrays ({words})") from None


def read_predictions(
    path: Path, what: str, *, content: bytes | None = None, inside: Path | None = None
) -> dict[str, Array]:
    """Read stored predictions by variant: one number or row of numbers per example, shape (n,) or (n, values).

    Raises:
        BadInput: see :func:`read_npz`; or an array cannot hold predictions.
    """
    arrays = read_npz(path, what, content=content, inside=inside)
    try:
        predictions = from_differences(arrays)
    except ValueError as error:
        raise BadInput(f"{path}: {error}, as {what} are stored; restore the file") from None
    for name, array in predictions.items():
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
            raise BadInput(
                f"{path}: array {name!r}: {what} are numbers of shape (n,) or (n, values), found {array.dtype} of "
                f"shape {array.shape}"
            )
    return predictions


def _check_size(opened: BinaryIO) -> None:
    """Raise ValueError where an archive declares more than fits into memory; no more than declared is ever read."""
    if not zipfile.is_zipfile(opened):
        opened.seek(0)
        return
    with zipfile.ZipFile(opened) as archive:
        size = sum(member.file_size for member in archive.infolist())
    opened.seek(0)
    memory = psutil.virtual_memory().total
    if size > memory // 2:
        raise ValueError(f"it unpacks to {size / 2**30:.1f} GiB, more than half of this machine's memory")


# A run visits its models in turns: with one pack more than are kept, it loads all of them each time.
@lru_cache(maxsize=8)
def load_pack(path: Path, sha256: str) -> Pack:
    """Read a pack, an ``.npz`` file or a folder (see :mod:`quantbench.reference.npy_folder`), and check its hash.

    Its arrays are ``x_test, y_test``, and optionally ``x_train, y_train`` and ``x_calibration``; of the test examples
    also ``groups``, and ``slice_NAME`` for any number of names.
    A model with several inputs has one array per input: ``x_test.image``, ``x_test.age``; labels of a further output
    are ``y_test.HEAD``, see :class:`quantbench.reference.model.Head`.

    Raises:
        BadInput: the file is missing, its hash differs, an array is missing or has a different length, or the training
            split holds more test examples than chance brings.
    """
    arrays = checked_arrays(path, sha256)
    test, train = _split(path, arrays, "test"), _split(path, arrays, "train")
    if test is None:
        raise BadInput(f"{path}: data pack lacks the arrays x_test and y_test")
    calibration = _split(path, arrays, "calibration")
    shared = _shared(path, test, {"train": train, "calibration": calibration})
    if calibration is None and train is not None:
        every = slice(0, None, CALIBRATION_STRIDE)
        more = {name: values[every] for name, values in train.more.items()}
        calibration = Split(rows(train.x, every), train.y[every], more)
    slices = {name: _divides(path, arrays, name, test) for name in sorted(arrays) if name.startswith(SLICE)}
    groups = _divides(path, arrays, GROUPS, test) if GROUPS in arrays else None
    return Pack(train, calibration, test, sha256, groups, slices, shared)


def _shared(path: Path, test: Split, others: Mapping[str, Split | None]) -> dict[str, int]:
    """Count the test examples that are in another split too. Raises BadInput where they leaked into training."""
    counts = {name: overlap.shared(test.x, other.x) for name, other in others.items() if other is not None}
    leaked, train = counts.get("train", 0), others["train"]
    if leaked and train is not None and leaked > (natural := overlap.most_by_chance(test.x, train.x)):
        raise BadInput(
            f"{path}: data pack: {leaked:,} of {len(test):,} examples of x_test are in x_train too (by chance: "
            f"at most {natural:,}), so the score would reward memorizing; remove them from x_train"
        )
    return {name: count for name, count in counts.items() if count}


def _divides(path: Path, arrays: dict[str, Array], name: str, test: Split) -> Array:
    """Read an array of integers that divides the test split. Raises BadInput."""
    found = arrays[name]
    if found.dtype.kind not in "biu" or found.shape != (len(test),):
        raise BadInput(
            f"{path}: array {name!r}: expected {len(test)} integers, one for each test example, found "
            f"{found.dtype} of shape {found.shape}; number the groups or slices from 0"
        )
    if name != GROUPS and len(np.unique(found)) < 2:
        raise BadInput(
            f"{path}: array {name!r}: all test examples have the value {found[0]}, which divides nothing; remove it"
        )
    return found


def _split(path: Path, arrays: dict[str, Array], name: str) -> Split | None:
    prefix = f"x_{name}."
    several = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    x: Inputs | None = several or arrays.get(f"x_{name}")
    if x is None:
        return None
    named = x if isinstance(x, dict) else {"": x}
    lengths = {f"x_{name}.{key}".rstrip("."): array.shape[:1] for key, array in named.items()}
    count = next(iter(lengths.values()))
    y = arrays.get(f"y_{name}", np.zeros(count, dtype=np.uint8))
    lengths[f"y_{name}"] = y.shape[:1]
    more = {key.removeprefix(f"y_{name}."): array for key, array in arrays.items() if key.startswith(f"y_{name}.")}
    lengths |= {f"y_{name}.{key}": array.shape[:1] for key, array in more.items()}
    if set(lengths.values()) != {count} or not count or not count[0]:
        shown = ", ".join(f"{key} {length[0] if length else 'none'}" for key, length in lengths.items())
        raise BadInput(f"{path}: data pack needs as many examples in each array, and one at least; found {shown}")
    return Split(x, y, more)
