"""Data packs: one ``.npz`` file with fixed splits, checked by its hash, never unpickled."""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BadInput

Array = NDArray[Any]
# One input is a plain array; several are a dict keyed by input name.
Inputs = Array | dict[str, Array]

CALIBRATION_STRIDE = 20


@dataclass(frozen=True)
class Split:
    """Examples and their labels.

    Attributes:
        x: inputs, shape (n, ...), as they lie in the pack.
        y: labels, shape (n,) or (n, ...).
    """

    x: Inputs
    y: Array

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Pack:
    """The fixed splits of a data set. Where a pack brings no calibration split, calibration examples are
    every 20th of the training examples; they are never test examples.

    Attributes:
        train: None where there is nothing to train on.
        calibration: None where there is nothing to calibrate with.
        sha256: hash of the pack file, which decides what a result may be compared with.
    """

    train: Split | None
    calibration: Split | None
    test: Split
    sha256: str


def rows(inputs: Inputs, index: slice | Array) -> Inputs:
    """The examples of ``inputs`` that ``index`` selects."""
    if isinstance(inputs, dict):
        return {name: array[index] for name, array in inputs.items()}
    return inputs[index]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes; of a folder, of its files' names and hashes."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n" for file in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_bytes_hash(path: Path, expected: str, what: str) -> None:
    """Raise BadInput unless the file exists and has the expected sha256."""
    if not path.exists():
        raise BadInput(f"{path}: {what} not found; restore the file or correct the path in the model's file")
    found = file_sha256(path)
    if found != expected:
        raise BadInput(
            f"{path}: {what} has sha256 {found[:12]}…, expected {expected[:12]}…; "
            "restore the file, or record the new hash in the model's file if the change is meant"
        )


def read_npz(path: Path, what: str) -> dict[str, Array]:
    """All arrays of an ``.npz`` file; object arrays (pickles) are refused.

    Raises:
        BadInput: not an npz file, or damaged, or it holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadInput(f"{path}: {what} must be an .npz file of named arrays, not a single .npy array")
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise BadInput(f"{path}: {what} not found") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise BadInput(f"{path}: {what} is not a readable .npz file of plain arrays ({error})") from None


@lru_cache(maxsize=4)
def load_pack(path: Path, sha256: str) -> Pack:
    """Read a pack and check its hash.

    Its arrays: ``x_test, y_test``, and where there is such data ``x_train, y_train`` and ``x_calibration``.
    A model with several inputs has one array an input: ``x_test.image``, ``x_test.age``.

    Raises:
        BadInput: the file is missing, its hash differs, or an array is missing.
    """
    checked_bytes_hash(path, sha256, "data pack")
    arrays = read_npz(path, "data pack")
    test, train = _split(arrays, "test"), _split(arrays, "train")
    if test is None:
        raise BadInput(f"{path}: data pack lacks the arrays x_test and y_test")
    calibration = _split(arrays, "calibration")
    if calibration is None and train is not None:
        every = slice(0, None, CALIBRATION_STRIDE)
        calibration = Split(rows(train.x, every), train.y[every])
    return Pack(train, calibration, test, sha256)


def _split(arrays: dict[str, Array], name: str) -> Split | None:
    prefix = f"x_{name}."
    several = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    x: Inputs | None = several or arrays.get(f"x_{name}")
    if x is None:
        return None
    count = len(next(iter(x.values())) if isinstance(x, dict) else x)
    return Split(x, arrays.get(f"y_{name}", np.zeros(count, dtype=np.uint8)))


def length(inputs: Inputs) -> int:
    """Number of examples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)
