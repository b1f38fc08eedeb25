"""Run the user's own code and write what it yields into ``.npy`` files, in an interpreter of its own.

Started by :mod:`quantbench.adopt.python_source`, which describes what the code may yield.
"""

import importlib.util
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import files
from quantbench.core.arrays import Array
from quantbench.core.worker import Job, worker_main
from quantbench.errors import BadInput
from quantbench.reference.npy_folder import Writer

# What TensorFlow puts around a message: the place in its own graph, and the operation.
_OF_TENSORFLOW = re.compile(r"\{\{function_node .*?\}\}|\[Op:\S*\].*")
_INFINITE = -1  # tf.data's cardinality of what is repeated for ever


class _Raised(Exception):
    """Wrap what the user's code raised."""


def run(job: Job) -> dict[str, Any]:
    """Write everything; the answer is ``{"arrays": {NAME: FILE}}`` or ``{"refused": SENTENCE}``."""
    shown = job["shown"]
    taken = 0
    os.chdir(job["cwd"])
    sys.path.insert(0, str(Path(job["file"]).parent))
    try:
        source = _load(job)
        expected = _expected(source, shown)
        sink = _Sink(job)
        for item in _items(source):
            taken += 1
            sink.take(item, taken)
        return {"arrays": sink.close(taken, expected)}
    except BadInput as error:
        return {"refused": str(error)}
    except _Raised as raised:
        return {"refused": _in_words(shown, job["file"], raised.__cause__, taken)}


def _in_words(shown: str, file: str, error: BaseException | None, taken: int) -> str:
    """Describe what the user's code raised, with the last line of their file that it went through."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == file] if error else []
    where = f" at line {lines[-1]}" if lines else ""
    after = f" after {taken} items" if taken else ""
    words = _OF_TENSORFLOW.sub("", " ".join(str(error).split())).strip()[:200]
    return f"{shown}: raised {type(error).__name__}{where}{after}: {words}"


def _load(job: Job) -> Any:
    """Return the iterable. Raises BadInput, _Raised."""
    path = Path(job["file"])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or (loader := spec.loader) is None:
        raise BadInput(f"{path}: is not a Python file; expected file.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _theirs(lambda: loader.exec_module(module))
    names = [name for name in vars(module) if not name.startswith("_")]
    if job["name"] not in vars(module):
        raise BadInput(f"{job['shown']}: the file defines no {job['name']}; it defines {', '.join(names) or 'nothing'}")
    found = getattr(module, job["name"])
    if not isinstance(found, Iterable) and not hasattr(found, "__getitem__") and callable(found):
        found = _theirs(found)
    if isinstance(found, str | bytes) or not (isinstance(found, Iterable) or hasattr(found, "__getitem__")):
        raise BadInput(
            f"{job['shown']}: is of type {type(found).__name__}; expected an iterable of (x, y), or a function that "
            "returns one and takes no arguments"
        )
    pair = isinstance(found, tuple) and len(found) == 2 and all(hasattr(part, "shape") for part in found)
    return [found] if pair else found


def _theirs(call: Callable[[], Any]) -> Any:
    """Run the user's code; whatever it raises, an exit too, becomes _Raised."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise _Raised from error


def _expected(source: Any, shown: str) -> int | None:
    """Return how many items there should be, where the source says so. Raises BadInput where it never ends."""
    if hasattr(source, "cardinality"):
        count = int(_theirs(source.cardinality))
        if count == _INFINITE:
            raise BadInput(f"{shown}: repeats for ever; remove .repeat(), or end it by .take(N)")
        return count if count >= 0 else None
    return int(_theirs(source.__len__)) if hasattr(source, "__len__") else None


def _items(source: Any) -> Iterator[Any]:
    if not isinstance(source, Iterable):  # a Keras sequence: only its length says where it ends
        count = int(_theirs(source.__len__)) if hasattr(source, "__len__") else sys.maxsize
        for place in range(count):
            try:
                yield source[place]
            except IndexError:
                return
            except (Exception, SystemExit) as error:
                raise _Raised from error
        return
    iterator = _theirs(lambda: iter(source))
    end = object()
    while (item := _theirs(lambda: next(iterator, end))) is not end:
        yield item


class _Sink:
    """Check and write items."""

    def __init__(self, job: Job) -> None:
        self._shown = job["shown"]
        self._inputs: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in job["inputs"].items()}
        self._folder = Path(job["folder"])
        self._left = int(job["most bytes"])
        self._batched: bool | None = None
        self._writers: dict[str, Writer] = {}

    def take(self, item: Any, number: int) -> None:
        """Write one item, an example or a batch. Raises BadInput."""
        arrays = {name: self._array(name, value, number) for name, value in self._parts(item, number).items()}
        if self._batched is None:
            self._batched = self._is_batch(arrays, number)
        if not self._batched:
            arrays = {name: array[None] for name, array in arrays.items()}
        counts = {name: len(array) if array.ndim else 1 for name, array in arrays.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise BadInput(f"{self._shown}: item {number} is a batch with different numbers of examples: {shown}")
        if self._writers and arrays.keys() != self._writers.keys():
            raise BadInput(
                f"{self._shown}: item {number} has {', '.join(arrays)}, item 1 had {', '.join(self._writers)}; all "
                "items need the same"
            )
        for name, array in arrays.items():
            self._write(name, array, number)

    def _write(self, name: str, array: Array, number: int) -> None:
        if name not in self._writers:
            path = self._folder / f"{len(self._writers)}.npy"
            self._writers[name] = Writer(path, array.dtype, array.shape[1:])
        writer = self._writers[name]
        if array.shape[1:] != writer.example:
            raise BadInput(
                f"{self._shown}: item {number} has {name} of shape {array.shape[1:]}, item 1 had {writer.example}; all "
                "examples need one shape"
            )
        if array.dtype != writer.dtype and not np.can_cast(array.dtype, writer.dtype, "same_kind"):
            raise BadInput(
                f"{self._shown}: item {number} has {name} of dtype {array.dtype}, item 1 had {writer.dtype}; all items "
                "need the same"
            )
        self._left -= array.nbytes
        if self._left < 0:
            so_far = files.show(sum(each.count * _bytes(each) for each in self._writers.values()))
            raise BadInput(
                f"{self._shown}: yielded {so_far} in {number} items, and the disk has no room for more; does it end? "
                "give fewer examples, or name a folder with more room in TMPDIR"
            )
        writer.append(array)

    def close(self, taken: int, expected: int | None) -> dict[str, str]:
        """Finish the files. Raises BadInput where there is nothing, or less than expected."""
        for writer in self._writers.values():
            writer.close()
        if not taken:
            raise BadInput(
                f"{self._shown}: yielded nothing; a generator that was used up has to be made anew by a function"
            )
        if expected is not None and taken < expected:
            raise BadInput(f"{self._shown}: ended after {taken} items, its length says {expected}")
        return {name: str(writer.path) for name, writer in self._writers.items()}

    def _parts(self, item: Any, number: int) -> dict[str, Any]:
        """Split an item into named arrays."""
        y: dict[str, Any] = {}
        if isinstance(item, Mapping):
            given = dict(item)
            for key in [key for key in given if str(key) == "y" or str(key).startswith("y_")]:
                if key not in self._inputs:
                    y |= _labels(str(key), given.pop(key))
            x = given.pop("x") if "x" in given else given
        elif isinstance(item, tuple | list) and not self._is_plain(item):
            if len(item) not in (1, 2):
                raise BadInput(
                    f"{self._shown}: item {number} has {len(item)} parts, expected (x, y); leave out weights and ids"
                )
            x, y = item[0], (_labels("y", item[1]) if len(item) == 2 else {})
        else:
            x = item
        return {**self._named(x, number), **y}

    def _is_plain(self, item: Any) -> bool:
        """Check whether a list is an example by itself, as one written in Python is: numbers alone."""
        return isinstance(item, list) and all(isinstance(value, int | float) for value in item)

    def _named(self, x: Any, number: int) -> dict[str, Any]:
        names = list(self._inputs)
        if isinstance(x, Mapping):
            given = {
                str(key).removeprefix("x_") if str(key) not in names else str(key): value for key, value in x.items()
            }
            if set(given) != set(names):
                expected = f"x and y, or {', '.join(names)} and y"
                raise BadInput(
                    f"{self._shown}: item {number} is a dict with {', '.join(map(str, x)) or 'nothing'}; expected "
                    f"{expected}"
                )
            return {"x": given[names[0]]} if len(names) == 1 else {f"x_{name}": given[name] for name in names}
        if len(names) == 1:
            return {"x": x}
        if isinstance(x, tuple | list) and len(x) == len(names):
            return {f"x_{name}": value for name, value in zip(names, x, strict=True)}
        raise BadInput(
            f"{self._shown}: item {number} has one x, the model takes {', '.join(names)}; yield "
            "({name: array, ...}, y)"
        )

    def _array(self, name: str, value: Any, number: int) -> Array:
        try:
            array = np.asarray(value)
        except Exception as error:  # ragged and sparse tensors, lists of lists of other lengths
            words = " ".join(str(error).split())[:200]
            raise BadInput(f"{self._shown}: item {number}: {name} is not an array of numbers ({words})") from None
        if array.dtype.kind not in "fiub":
            text = array.dtype.kind in "USO"
            what = (
                f"text or objects ({type(value).__name__}); turn them into numbers first" if text else f"{array.dtype}"
            )
            raise BadInput(f"{self._shown}: item {number}: {name} holds {what}")
        return array

    def _is_batch(self, arrays: Mapping[str, Array], number: int) -> bool:
        """Tell from the first item whether items are batches. Raises BadInput where they are neither."""
        name, array = next((name, array) for name, array in arrays.items() if name.startswith("x"))
        wanted = next(iter(self._inputs.values())) if name == "x" else self._inputs[name.removeprefix("x_")]
        for shape in (wanted, wanted[:-1]) if wanted and wanted[-1] == 1 else (wanted,):
            if array.shape == shape:
                return False
            if array.shape[1:] == shape and array.ndim == len(shape) + 1:
                return True
        raise BadInput(
            f"{self._shown}: item {number} has {name} of shape {array.shape}; expected an example of shape {wanted} "
            f"or a batch of shape (n, {', '.join(map(str, wanted))})"
        )


def _labels(key: str, value: Any) -> dict[str, Any]:
    """Name labels: ``y``, or ``y_OUTPUT`` for each of a dict."""
    return {f"y_{name}": one for name, one in value.items()} if isinstance(value, Mapping) else {key: value}


def _bytes(writer: Writer) -> int:
    return math.prod(writer.example) * int(writer.dtype.itemsize)


if __name__ == "__main__":
    worker_main(run)
