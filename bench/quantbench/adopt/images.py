"""Read a folder of images, one folder a class, into ``.npy`` files; a process behind walls decodes them.

``cat/1.png``, ``dog/2.jpg``: classes are sorted by name and numbered from 0, unless ``classes.txt`` names them in the
order of the model's outputs, one a line. A folder of images alone has no labels. Each image is stretched to the model's
input size with bilinear interpolation (over the whole area when it gets smaller), as Keras' ``load_img`` does, and gets
the model's number of channels: 1 grey, 3 RGB, 4 RGBA. Values are 0 to 255. Images are in a fixed random order, so that
any part of them has all classes.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import files
from quantbench.adopt import formats
from quantbench.adopt.npy_files import check_room
from quantbench.core import child_process, walls
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.reference.npy_folder import Stored

CLASSES = "classes.txt"
MOST_IMAGES = 5_000_000  # paths take some 200 bytes each while they are sorted
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_NOT_DATA = ("thumbs.db", "desktop.ini")  # and names that begin with a dot: file managers leave them
_LARGEST_CLASSES = 2**20
_LIMIT_SECONDS = 24 * 3600.0
_ORDER_SEED = 0
_BATCH = 2000  # images for one process: a path of 4,096 characters each is 8 MB of JSON
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Written:
    """Hold what was written.

    Attributes:
        arrays: ``x``, and ``y`` where there are classes.
        classes: names of the classes 0, 1, ...; empty where there are none.
    """

    arrays: dict[str, Array | Stored]
    classes: tuple[str, ...]


def is_one(folder: Path) -> bool:
    """Check whether a folder holds images, or folders."""
    with files.reading(folder, "data"), os.scandir(folder) as entries:
        seen = [entry for entry in entries if not _ignored(entry.name)]
    records = any(".tfrecord" in entry.name or entry.name == "dataset_spec.pb" for entry in seen)
    return not records and any(entry.is_dir() or entry.name.lower().endswith(_SUFFIXES) for entry in seen)


def written(folder: Path, specs: formats.Specs, scratch: Path) -> Written:
    """Decode all images into ``scratch``, some at a time.

    Raises:
        BadInput: an image cannot be read, a class has none, or the model takes no images; one sentence.
        DiskFull: there is no room.
    """
    size = _size(folder, specs)
    inside = folder.resolve()
    labelled, classes = _listed(folder, inside)
    random.Random(_ORDER_SEED).shuffle(labelled)
    check_room(scratch, len(labelled) * size.height * size.width * size.channels, folder)
    parts = []
    for number, start in enumerate(range(0, len(labelled), _BATCH)):
        names = [path for path, _ in labelled[start : start + _BATCH]]
        parts.append(scratch / f"{number}.npy")
        _decode(folder, inside, names, size, parts[-1])
    arrays: dict[str, Array | Stored] = {"x": Stored(tuple(parts), None, scratch, f"{folder}: x")}
    if classes:
        arrays["y"] = np.asarray([label for _, label in labelled], dtype=np.int32)
    return Written(arrays, classes)


# ---------------------------------------------------------------- the model's input


@dataclass(frozen=True)
class _Size:
    """Hold what the model takes; ``shape`` is that of an example."""

    height: int
    width: int
    channels: int
    first: bool
    shape: tuple[int, ...]


def _size(folder: Path, specs: formats.Specs) -> _Size:
    [(shape, _), *more] = specs.values()
    example = tuple(shape[1:])
    if not more and len(example) == 2:
        return _Size(*example, 1, False, example)
    if not more and len(example) == 3 and example[2] in _MODES:
        return _Size(*example, False, example)
    if not more and len(example) == 3 and example[0] in _MODES:
        return _Size(example[1], example[2], example[0], True, example)
    inputs = ", ".join(f"{name} {tuple(shape[1:])}" for name, (shape, _) in specs.items())
    raise BadInput(
        f"{folder}: holds images, and the model takes {inputs}; a folder of images fits one input of shape (height, "
        "width, channels) with 1, 3 or 4 channels; give an .npz or a folder of .npy files"
    )


# ---------------------------------------------------------------- files and classes


def _listed(folder: Path, inside: Path) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Return (path below the folder, class) of every image, sorted, and the names of the classes."""
    entries = list(_entries(folder))
    named = sorted(name for name, is_folder in entries if is_folder)
    loose = sorted(name for name, is_folder in entries if not is_folder and name != CLASSES)
    if not named:
        return [(name, 0) for name in loose], ()
    if stray := [name for name in loose if name.lower().endswith(_SUFFIXES)]:
        raise BadInput(
            f"{folder / stray[0]}: is an image beside the class folders; move it into the folder of its class"
        )
    classes = _classes(folder, inside, named)
    numbers = {name: number for number, name in enumerate(classes)}
    images: list[tuple[str, int]] = []
    for name in named:
        below = list(_entries(folder / name))
        if nested := next((entry for entry, is_folder in below if is_folder), None):
            raise BadInput(f"{folder / name / nested}: is a folder; expected images in the class folder {name}")
        if not below:
            raise BadInput(f"{folder / name}: the class folder is empty; add its images, or remove it")
        images += [(f"{name}/{entry}", numbers[name]) for entry, _ in sorted(below)]
        if len(images) > MOST_IMAGES:
            raise BadInput(
                f"{folder}: holds more than {MOST_IMAGES:,} images, which is the most that is read; give fewer"
            )
    return images, classes


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield (name, whether it is a folder); links and special files are refused when they are opened."""
    with files.reading(folder, "data"), os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count > MOST_IMAGES:
                raise BadInput(f"{folder}: holds more than {MOST_IMAGES:,} files, which is the most that is read")
            if _ignored(entry.name):
                continue
            if not entry.name.isprintable():
                raise BadInput(
                    f"{folder}: a name in it, {entry.name!r}, has characters that cannot be shown; rename it"
                )
            if entry.is_symlink():
                raise BadInput(
                    f"{folder / entry.name}: is a link, which is not followed here; put the file itself there"
                )
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NOT_DATA


def _classes(folder: Path, inside: Path, named: list[str]) -> tuple[str, ...]:
    """Return the classes in the order of the model's outputs. Raises BadInput where that is not known."""
    if os.path.lexists(folder / CLASSES):
        text = files.read_text(inside / CLASSES, "list of classes", _LARGEST_CLASSES, inside=inside)
        classes = [line.strip() for line in text.splitlines() if line.strip()]
        if odd := [name for name in classes if not name.isprintable()]:
            raise BadInput(f"{folder / CLASSES}: {odd[0][:80]!r} has characters that cannot be shown; rename the class")
        if unknown := [name for name in named if name not in classes]:
            raise BadInput(
                f"{folder / unknown[0]}: the class is not in {CLASSES}; add a line for it, or remove the folder"
            )
        if len(set(classes)) < len(classes):
            twice = next(name for name in classes if classes.count(name) > 1)
            raise BadInput(f"{folder / CLASSES}: names {twice!r} twice; remove a line")
        return tuple(classes)
    if all(name.isascii() and name.isdigit() for name in named):
        numbers = [int(name) for name in named]
        if numbers != list(range(len(named))):
            raise BadInput(
                f"{folder}: its class folders are named by numbers, {', '.join(named[:4])}, ..., which are not 0, 1, "
                "2, ... when sorted by name, so the output of each class is unknown; write "
                f"{CLASSES} into it, with the class names in the order of the model's outputs, one per line"
            )
    return tuple(named)


# ---------------------------------------------------------------- decoding


def _decode(folder: Path, inside: Path, names: list[str], size: _Size, target: Path) -> None:
    """Decode images into one ``.npy`` file, in a process that can read that folder and write that file alone."""
    job: dict[str, Any] = {
        "folder": str(inside),
        "shown": str(folder),
        "names": names,
        "target": str(target.absolute()),
        "height": size.height,
        "width": size.width,
        "mode": _MODES[size.channels],
        "channels first": size.first,
        "shape": list(size.shape),
    }
    room = walls.Room(write=(target.parent.absolute(),), read=(inside,))
    try:
        done = child_process.start(
            "quantbench.adopt.image_worker", job, _LIMIT_SECONDS, child_process.ONE_THREAD, room=room
        )
        answer = child_process.result(done)
    except child_process.ChildFailed as error:
        raise BadInput(f"{folder}: the process that decodes the images {error}; give an .npz or .npy files") from None
    if refused := answer.get("refused"):
        raise BadInput(str(refused))
