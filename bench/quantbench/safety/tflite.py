"""Check whether an untrusted ``.tflite`` may be read and run: its unpacked size, and the operators that it uses.

In a flatbuffer, many tables may share one part, which is unpacked once for each. 40 kB can thus take minutes, which is
counted here before anything is unpacked. Only LiteRT's schema is loaded for it.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from quantbench.errors import BadInput

# LiteRT's interpreter has these operators besides its builtin ones, and they only compute.
CUSTOM = frozenset(
    {
        "AudioSpectrogram",
        "Convolution2DTransposeBias",
        "MaxPoolingWithArgmax2D",
        "MaxUnpooling2D",
        "Mfcc",
        "NumericVerify",
        "TFLite_Detection_PostProcess",
    }
)
# A table takes 60 us to count, unpack and describe; the largest language models have some 60,000.
_MOST_TABLES = 100_000
_LEAST_TABLE = 8  # bytes: the offsets to the table and to its fields
_SPARE_TABLES = 1000
_TIMES = 4  # bytes unpacked for each byte of the file, as converters may share a name, or a scale
_SPARE_BYTES = 2**20
_UNIONS = {
    "BuiltinOptions": "BuiltinOptions",
    "BuiltinOptions2": "BuiltinOptions2",
    "Details": "QuantizationDetails",
    "ArraySegments": "SparseIndexVector",
    "ArrayIndices": "SparseIndexVector",
}


class Unfit(ValueError):
    """Raised with one clause that says what is wrong with a ``.tflite``."""


def content(path: Path) -> bytes:
    """Read the whole file.

    Raises:
        BadInput: it is not a regular file, cannot be read, or does not fit into memory.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "no such file"
            raise BadInput(f"{path}: {what}; expected a .tflite file")
        size, room = path.stat().st_size, psutil.virtual_memory().total // 4  # it is in memory twice
        if size > room:
            raise BadInput(f"{path}: has {size} bytes, more than a quarter of this machine's memory ({room} bytes)")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); expected a .tflite file") from None


class _Count:
    """Count what is unpacked, up to a limit."""

    def __init__(self, size: int) -> None:
        self.tables = self.bytes = 0
        self.most_tables = min(_MOST_TABLES, size // _LEAST_TABLE + _SPARE_TABLES)
        self.most_bytes = size * _TIMES + _SPARE_BYTES

    def add(self, tables: int, size: int) -> None:
        """Raise Unfit where it is more than any model needs."""
        self.tables += tables
        self.bytes += size
        if self.tables > self.most_tables:
            raise Unfit(f"it would unpack to more than {self.most_tables} parts, which no model of its size has")
        if self.bytes > self.most_bytes:
            raise Unfit(f"it would unpack to more than {self.most_bytes} bytes, which no model of its size has")


def check_unpacks(artifact: bytes) -> None:
    """Refuse a file that unpacks to far more than its own size.

    Raises:
        Unfit: its parts are shared too often, or are too many.
        Exception: any error of reading a damaged flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    _walk(schema, schema.Model.GetRootAs(artifact, 0), _Count(len(artifact)), artifact)


def _walk(schema: Any, table: Any, count: _Count, artifact: bytes) -> None:
    count.add(1, 0)
    kind_of_table: Any = type(table)
    arrays, lists, tables, words, unions = _fields(kind_of_table)
    for name in arrays:
        if not getattr(table, f"{name}IsNone")():
            count.add(0, getattr(table, f"{name}AsNumpy")().nbytes)
    for name in words:
        count.add(0, len(getattr(table, name)() or b""))
    for name in lists:
        part = getattr(table, name)
        for i in range(getattr(table, f"{name}Length")()):
            inner = part(i)
            if hasattr(inner, "_tab"):
                _walk(schema, inner, count, artifact)
            else:
                count.add(1, len(inner or b""))
    for name in tables:
        inner = getattr(table, name)()
        if inner is not None:
            _walk(schema, inner, count, artifact)
    for name in unions:
        kind = _union(schema, _UNIONS.get(name, name), getattr(table, f"{name}Type")())
        held = getattr(table, name)()
        if kind is not None and held is not None:
            inner = kind()
            inner.Init(held.Bytes, held.Pos)
            _walk(schema, inner, count, artifact)
    if type(table).__name__ == "Buffer" and table.Offset() > 1:  # stored after the flatbuffer
        count.add(0, min(table.Size(), len(artifact)))


@lru_cache
def _fields(kind: type) -> tuple[list[str], list[str], list[str], list[str], list[str]]:
    """List the names of a table's arrays of numbers, other lists, tables, texts and unions, from its reader."""
    arrays: list[str] = []
    lists: list[str] = []
    tables: list[str] = []
    words: list[str] = []
    unions: list[str] = []
    for name in dir(kind):
        code = getattr(getattr(kind, name), "__code__", None)
        if code is None or name == "Init" or name.startswith(("_", "GetRootAs")):
            continue
        if hasattr(kind, f"{name}IsNone"):
            (arrays if hasattr(kind, f"{name}AsNumpy") else lists).append(name)
        elif code.co_argcount != 1:
            continue
        elif "Union" in code.co_names:
            unions.append(name)
        elif "String" in code.co_names:
            words.append(name)
        elif "Init" in code.co_names:
            tables.append(name)
    return arrays, lists, tables, words, unions


def _union(schema: Any, union: str, value: int) -> Any:
    names = [name for name, number in vars(getattr(schema, union)).items() if number == value and name != "NONE"]
    return getattr(schema, names[0]) if names else None


def check_runs(operators: Iterable[str], builtin: Iterable[str]) -> None:
    """Refuse operators besides LiteRT's own.

    ``Flex`` operators are TensorFlow's: where a process has loaded TensorFlow, LiteRT runs them, whatever they do.

    Raises:
        Unfit: there is such an operator.
    """
    allowed = CUSTOM.union(builtin)
    for name in sorted(set(operators) - allowed):
        word = "".join(character if character.isprintable() else "?" for character in name)[:100]
        if name.startswith("Flex"):
            raise Unfit(f"it asks TensorFlow to run {word}; convert the model with LiteRT's builtin operators alone")
        raise Unfit(f"it uses an operator that LiteRT lacks, {word}; convert the model with builtin operators alone")
