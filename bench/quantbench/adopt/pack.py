"""Write the data pack of a user's model: one ``.npz`` where it is small, a folder of ``.npy`` files otherwise."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from quantbench import files
from quantbench.adopt.data import SMALL_BYTES, SplitData
from quantbench.core.arrays import Array
from quantbench.errors import full_disk_named
from quantbench.reference import npy_folder
from quantbench.reference.datasets import file_sha256
from quantbench.reference.npy_folder import Stored

_COMPRESSED_BYTES = 2**24  # compressing takes a second for so many, and saves what a repository keeps for ever


def write(
    folder: Path, name: str, arrays: Mapping[str, Array], stored: Sequence[tuple[Array, Stored]]
) -> tuple[str, str]:
    """Write a pack; return its name below ``folder``, and its hash.

    Args:
        name: of the pack, without a suffix.
        arrays: by their names in the pack, see :func:`quantbench.reference.datasets.load_pack`.
        stored: those of them that are files already: these are used where they are, or moved out of the scratch folder,
            and neither copied nor read.

    Raises:
        BadInput: a file of the user's cannot be read any more.
        DiskFull: there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = sum(array.nbytes for array in arrays.values())
    if size > SMALL_BYTES:
        described = {id(array): where for array, where in stored}
        written: dict[str, Array | Stored] = {key: described.get(id(array), array) for key, array in arrays.items()}
        return name, npy_folder.write(folder / name, written)
    path = folder / f"{name}.npz"
    save = np.savez_compressed if size <= _COMPRESSED_BYTES else np.savez
    with full_disk_named(folder):
        save(path, **{key: np.asarray(array) for key, array in arrays.items()})  # type: ignore[arg-type]
    return path.name, file_sha256(path)


def inputs(data: SplitData) -> dict[str, Array]:
    """Name the inputs of each split as in a pack."""
    return {
        f"x_{split}.{name}" if isinstance(x, dict) else f"x_{split}": values
        for split, (x, _) in data.items()
        for name, values in (x.items() if isinstance(x, dict) else [("", x)])
    }


def copy_data(source: Path, target: Path) -> None:
    """Copy a pack, with the user's files that it only names, in the place of an earlier one, of which nothing stays.

    Raises:
        BadInput: a file cannot be read.
        OSError: the target cannot be written.
    """
    files.remove(target, target.parent)
    files.copy_tree(source, target, "data pack", limit=sys.maxsize)
    bring_data(target)


def bring_data(pack: Path) -> None:
    """Copy the user's files that a pack only names into it, see :func:`quantbench.reference.npy_folder.bring`."""
    if files.is_folder(pack):
        npy_folder.bring(pack)
