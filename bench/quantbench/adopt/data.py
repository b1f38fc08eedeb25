"""Read the user's examples and labels in any form, one split at a time: inputs that fit the model, and labels.

An ``.npz`` and a folder of ``.npy`` files are read where they are; images and what Python code yields are first written
into ``.npy`` files in a scratch folder, some at a time. All further work is on arrays that may be memory-mapped and
larger than the memory, so they are looked at in chunks.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from quantbench import files
from quantbench.adopt import formats, hints, images, npy_files, python_source
from quantbench.core.arrays import Array, Inputs, chunks, length, rows
from quantbench.errors import BadInput
from quantbench.reference import overlap
from quantbench.reference.npy_folder import Stored

OPTIONS = {"test": "--data", "calibration": "--calibration", "train": "--train-data"}
# Arrays of a data pack that a reason names -> the option that gives them.
_OPTION_OF_ARRAYS = {"x_train and y_train": OPTIONS["train"], "x_calibration": OPTIONS["calibration"]}
SplitData = dict[str, tuple[Inputs, Array | None]]
# A larger .npz is unpacked onto the disk. Also the largest data pack that is one file.
SMALL_BYTES = 200 * 2**20
# Values of calibration data: 512 MiB as float32, which is held in memory; 891 images of 224 x 224 x 3. Converters find
# ranges on one example at a time, and 100 to 500 are usual.
_CALIBRATION_VALUES = 2**27
_TRAINING_SHARE = 0.25  # of the machine's memory, for training data as float32, which is held as a whole
_MOST_LABEL_BYTES = 256 * 2**20  # larger labels, as of pixels, stay on the disk


def with_option(reason: str) -> str:
    """Name the option in the place of the arrays that a model lacks."""
    for arrays, option in _OPTION_OF_ARRAYS.items():
        reason = reason.replace(f"({arrays})", f"({option})")
    return reason


@dataclass(frozen=True)
class Examples:
    """Hold one split.

    Attributes:
        inputs: as given; examples have the shape that the model takes.
        labels: name -> shape (n,) or (n, ...); the name is empty for ``y``, and NAME for ``y_NAME``, the labels of an
            output of that name.
        stored: arrays among these that are files, and which.
        classes: names of the classes 0, 1, ..., where the data has names.
    """

    inputs: Inputs
    labels: dict[str, Array]
    stored: list[tuple[Array, Stored]] = field(default_factory=list)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Hold all splits.

    Attributes:
        data: split -> (inputs, labels ``y``).
        labels: split -> all labels by name, see :class:`Examples`.
        notes: one line each.
        stored: arrays that are files, and which.
        classes: see :class:`Examples`.
    """

    data: SplitData
    labels: dict[str, dict[str, Array]]
    notes: list[str]
    stored: list[tuple[Array, Stored]]
    classes: tuple[str, ...]


def read(sources: Mapping[str, str | Path | None], specs: formats.Specs, scratch: Path) -> Found:
    """Read every split that is given.

    Args:
        sources: ``test``, ``calibration`` and ``train`` -> what the user gave.
        specs: the model's inputs.
        scratch: folder for what has to be written.

    Raises:
        BadInput: a source cannot be read, or does not fit the model; one sentence.
        DiskFull: there is no room in the scratch folder.
    """
    splits = {
        split: read_examples(str(source), specs, scratch / split, OPTIONS[split])
        for split, source in sources.items()
        if source is not None
    }
    if "train" in splits and not splits["train"].labels:
        raise BadInput(f"{sources['train']}: training data needs labels, an array y")
    if "train" in splits and (size := 4 * _values(splits["train"].inputs)) > _TRAINING_SHARE * memory():
        raise BadInput(
            f"{sources['train']}: takes {files.show(size)} as float32, and training holds it in memory; give "
            f"{files.show(int(_TRAINING_SHARE * memory()))} or less"
        )
    classes = splits["test"].classes
    for split in ("calibration", "train"):
        if split in splits and splits[split].classes and splits[split].classes != classes:
            if split == "train" and classes:
                raise BadInput(
                    f"{sources['train']}: its classes ({_named(splits['train'].classes)}) are not those of "
                    f"{sources['test']} ({_named(classes)}), so the labels would mean other things; give both the same "
                    "class folders, or the same classes.txt"
                )
            if split == "calibration":
                splits[split] = replace(splits[split], labels={})  # it needs none
    numbered = all(str(number) == name for number, name in enumerate(classes))
    notes = [] if numbered else [f"classes: {_named(classes)}"]
    if "calibration" in splits:
        splits["calibration"], note = _bounded(splits["calibration"])
        notes += note
    notes += _notes({split: examples.inputs for split, examples in splits.items()})
    stored = [one for examples in splits.values() for one in examples.stored]
    data: SplitData = {split: (one.inputs, one.labels.get("")) for split, one in splits.items()}
    return Found(data, {split: one.labels for split, one in splits.items()}, notes, stored, classes)


def memory() -> int:
    """Return the bytes of memory that this machine has."""
    return int(psutil.virtual_memory().total)


def _named(classes: tuple[str, ...], most: int = 10) -> str:
    shown = ", ".join(f"{place} {name}" for place, name in enumerate(classes[:most]))
    return (shown + (f" and {len(classes) - most} more" if len(classes) > most else "")) or "none"


def _notes(inputs: Mapping[str, Inputs]) -> list[str]:
    notes = []
    for split in ("calibration", "train"):
        shared = overlap.shared(inputs["test"], inputs[split]) if split in inputs else 0
        if shared:
            notes.append(
                f"warning: {shared} evaluation examples are {split} examples too, so the score of what uses them is "
                "better than it will be in the field"
            )
    return notes


def _bounded(examples: Examples) -> tuple[Examples, list[str]]:
    """Take evenly spaced examples of calibration data that is larger than is ever needed."""
    size, count = _values(examples.inputs), length(examples.inputs)
    if size <= _CALIBRATION_VALUES:
        return examples, []
    kept = max(2, _CALIBRATION_VALUES * count // size)
    places = np.linspace(0, count - 1, kept).astype(int)
    labels = {name: np.asarray(values[places]) for name, values in examples.labels.items()}
    note = f"calibration: {kept:,} of {count:,} examples, evenly spaced, as the others would not change the ranges"
    return replace(examples, inputs=rows(examples.inputs, places), labels=labels), [note]


def check_classes(source: str | Path | None, classes: tuple[str, ...], outputs: int) -> None:
    """Raise BadInput where class folders do not stand for the model's classes: their numbers would be wrong.

    Args:
        outputs: values that the scored output has for an example; 1 for a decision between two classes.
    """
    wanted = 2 if outputs == 1 else outputs
    if classes and len(classes) != wanted:
        raise BadInput(
            f"{source}: holds {len(classes)} class folders, the model has {wanted} classes, so it is not known which "
            f"is which; write {images.CLASSES} into the folder, with the names of all {wanted} classes in the order of "
            "the model's outputs, one a line"
        )


# ---------------------------------------------------------------- one split


def read_split(source: str | Path, specs: formats.Specs) -> tuple[Inputs, Array | None]:
    """Read inputs that fit the model, and labels if there are any, of what needs no scratch folder. Raises BadInput."""
    examples = read_examples(str(source), specs, None, "--data")
    return examples.inputs, examples.labels.get("")


def read_examples(source: str, specs: formats.Specs, scratch: Path | None, option: str) -> Examples:
    """Read one split in the form that it has.

    Args:
        scratch: new folder for what has to be written; None where nothing can be.
        option: that named it, for messages.

    Raises:
        BadInput, DiskFull: see :func:`read`.
    """
    for name, (_, dtype) in specs.items():
        if np.dtype(dtype).kind not in "fiub":
            raise BadInput(hints.of_text_input(name, np.dtype(dtype)))
    if python_source.is_one(source):
        return _checked(source, python_source.written(source, specs, _needed(scratch)), specs)
    path = Path(source)
    if not os.path.lexists(path):
        raise BadInput(f"{path}: no such file or folder; {option} takes {hints.FORMS}")
    if path.is_dir():
        if npy_files.is_one(path):
            return _checked(source, npy_files.arrays(path, specs), specs)
        if images.is_one(path):
            written = images.written(path, specs, _needed(scratch))
            return replace(_checked(source, written.arrays, specs), classes=written.classes)
        raise BadInput(hints.of_folder(path))
    if hint := hints.of_file(path, option):
        raise BadInput(hint)
    return _checked(source, npy_files.of_npz(path, SMALL_BYTES, scratch), specs)


def _needed(scratch: Path | None) -> Path:
    assert scratch is not None
    return scratch


def _checked(source: str, arrays: Mapping[str, Array | Stored], specs: formats.Specs) -> Examples:
    """Check the arrays ``x`` (or ``x_NAME`` for each input) and ``y`` against the model. Raises BadInput."""
    inputs: dict[str, Array] = {}
    stored: list[tuple[Array, Stored]] = []
    for name, (shape, dtype) in specs.items():
        key = next((key for key in npy_files.keys_of(name) if key in arrays), "x")
        if key not in arrays or (key == "x" and len(specs) > 1):
            raise BadInput(_missing(source, arrays, specs))
        inputs[name] = _kept(arrays[key], stored, partial(_fitted, source, key, shape, dtype))
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1:
        raise BadInput(f"{source}: inputs have different numbers of examples: {counts}")
    count = next(iter(counts.values()))
    labels = {}
    for key in arrays:
        if key == "y" or key.startswith("y_"):
            values = _kept(arrays[key], stored, partial(_as_labels, source, key, count))
            if stored and stored[-1][0] is values and values.nbytes <= _MOST_LABEL_BYTES:
                stored.pop()
                values = np.array(values)
            labels[key.removeprefix("y").removeprefix("_")] = values
    single = next(iter(inputs.values())) if len(inputs) == 1 else None
    return Examples(inputs if single is None else single, labels, stored)


def _arrays(arrays: Mapping[str, Any]) -> str:
    return f"the arrays {', '.join(arrays)}" if arrays else "no arrays"


def _missing(source: str, arrays: Mapping[str, Any], specs: formats.Specs) -> str:
    wanted = ", ".join(f"x_{each}" for each in specs) if len(specs) > 1 else "x"
    return f"{source}: it has {_arrays(arrays)}; expected {wanted} (inputs) and y (labels)"


def _kept(
    array: Array | Stored, stored: list[tuple[Array, Stored]], example_of: Callable[[Array], tuple[int, ...]]
) -> Array:
    """Open the array, and give its examples the shape that ``example_of`` returns."""
    values = array.open() if isinstance(array, Stored) else array
    example = example_of(values)
    if isinstance(array, Stored):
        described = replace(array, example=example)
        values = values if values.shape[1:] == example else described.open()
        stored.append((values, described))
        return values
    return values if values.shape[1:] == example else values.reshape(len(values), *example)


def _as_labels(source: str, key: str, count: int, labels: Array) -> tuple[int, ...]:
    """Return the shape of one label. Raises BadInput."""
    if labels.dtype.kind in "USO":
        raise BadInput(
            f"{source}: {key} holds text; give whole numbers, the places of the classes in the model's output: "
            f"numpy.unique({key}, return_inverse=True)[1] numbers them alphabetically"
        )
    if labels.dtype.kind not in "fiub":
        raise BadInput(f"{source}: {key} has dtype {labels.dtype}, expected numbers")
    found = len(labels) if labels.ndim else 1
    if labels.ndim == 0 or found != count:
        raise BadInput(f"{source}: {key} has {found} labels, x has {count} examples")
    if labels.dtype.kind == "f" and _nonfinite(labels):
        raise BadInput(f"{source}: {key} holds NaN or infinite values")
    # (n, 1), as in some data sets, would broadcast against (n,)
    return () if math.prod(labels.shape[1:]) == 1 else labels.shape[1:]


def _fitted(source: str, key: str, shape: tuple[int, ...], dtype: Any, values: Array) -> tuple[int, ...]:
    """Return the shape of an example as the model takes it, with a missing channel axis of size 1. Raises BadInput."""
    if values.dtype.kind in "USO":
        raise BadInput(f"{source}: array {key} has dtype {values.dtype}, expected numbers; {hints.TOKENISE}")
    if values.dtype.kind not in "fiub":
        raise BadInput(f"{source}: array {key} has dtype {values.dtype}, expected numbers")
    if values.ndim == 0 or len(values) == 0:
        raise BadInput(f"{source}: array {key} is empty")
    example = tuple(shape[1:])
    if values.shape[1:] != example and (*values.shape[1:], 1) != example:
        hint = _how_to_shape(key, values.shape[1:], example)
        raise BadInput(
            f"{source}: array {key} has examples of shape {values.shape[1:]}, the model takes {example}{hint}"
        )
    if values.dtype.kind == "f" and np.dtype(dtype).kind != "f":
        raise BadInput(f"{source}: array {key} has dtype {values.dtype}, the model takes {np.dtype(dtype)}")
    if values.dtype.kind == "f" and (bad := _nonfinite(values)):
        raise BadInput(f"{source}: array {key} holds NaN or infinite values in {bad} of {len(values)} examples")
    return example


def _how_to_shape(key: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return the line of Python where the same numbers only lie otherwise; empty where they are others."""
    if len(found) == len(wanted) > 1 and (*found[1:], found[0]) == wanted:
        axes = ", ".join(map(str, [0, *range(2, len(found) + 1), 1]))
        return f"; where its channels come first, give {key}.transpose({axes})"
    if len(found) == 1 and math.prod(found) == math.prod(wanted) and len(wanted) > 1:
        return f"; where it is flattened, give {key}.reshape(-1, {', '.join(map(str, wanted))})"
    if len(wanted) == 1 and math.prod(found) == math.prod(wanted):
        return f"; give {key}.reshape(len({key}), -1), if the model was trained on flattened examples"
    return ""


def _nonfinite(values: Array) -> int:
    """Count the examples with a NaN or infinite value, chunk by chunk."""
    return sum(
        int(np.count_nonzero(~np.isfinite(np.asarray(values[part]).reshape(part.stop - part.start, -1)).all(axis=1)))
        for part in chunks(values)
    )


def _values(inputs: Inputs) -> int:
    return sum(array.size for array in (inputs.values() if isinstance(inputs, dict) else [inputs]))


def forget(scratch: Path) -> None:
    """Remove what was written for reading and is not needed any more."""
    shutil.rmtree(scratch, ignore_errors=True)
