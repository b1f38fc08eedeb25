"""Damage files by hypothesis strategies: bytes, JSON, and archives of arrays with false headers.

QUANTBENCH_MUTATIONS=20 damages twenty times as many files.
"""

import copy
import io
import json
import os
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = [0, -1, 1, 2, 10**9, 10**17, -(10**17), 0.5, -0.0, 1e-300, 1e99, -1e99, 1e300, 5e-324]
NO_NUMBERS = [float("nan"), float("inf"), float("-inf"), 10**40, "HUGE"]
WORDS = ["", "x", "../../x", "\x00", "\ud800", "<b>|`*", "9" * 30, "2026-01-01"]
KNOWN_WORDS = ["float32", "ptq_float16", "regressed", "pass", "accuracy", "size", "baseline", "floor", "complete"]
OTHERS = [None, True, False, *WORDS, [], {}, [[]], {"": 0}]


share = 1.0  # of the examples that this run tries; the default run's is set in conftest.py
FEWEST = 10  # that it tries of each kind in any case, if there are as many


def examples(number: int) -> settings:
    """So many, or a share of them; the same ones each time, of which a share has the first."""
    tried = max(min(number, FEWEST), round(number * share))
    return settings(
        max_examples=max(1, int(tried * float(os.environ.get("QUANTBENCH_MUTATIONS", "1")))),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Content(bytes):
    """Wrap a file's content, which hypothesis would otherwise print in full."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, {bytes(self[:20])!r}>"


def one(draw: Draw, options: list[Any]) -> Any:
    """Draw an option by its index, as hypothesis would print all options, however long."""
    return options[draw(st.integers(0, len(options) - 1))]


@st.composite
def damaged_bytes(draw: Draw, content: Content) -> Content:
    """Cut, flip, overwrite, insert or remove bytes, up to four times."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(damaged) - 1)))
        how = one(draw, ["cut", "flip", "flip", "flip", "fill", "word", "insert", "remove"])
        if how == "cut":
            del damaged[at:]
        elif how == "flip" and damaged:
            damaged[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "fill":
            end = min(len(damaged), at + draw(st.integers(1, 64)))
            damaged[at:end] = bytes([one(draw, [0, 0x7F, 0x80, 0xFF])]) * (end - at)
        elif how == "word":
            word = one(draw, [0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4])
            damaged[at : at + 4] = word.to_bytes(4, "little")
        elif how == "insert":
            damaged[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            del damaged[at : at + draw(st.integers(1, 64))]
    return Content(damaged)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    paths = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            paths += _paths(inner, (*path, key))
    return paths


@st.composite
def damaged_json(draw: Draw, content: Content) -> Content:
    """Change a value's type or size, remove, rename or duplicate a key, or damage the text itself."""
    how = one(draw, ["same type"] * 5 + ["values"] * 3 + ["bytes", "deep", "twins"])
    if how == "bytes":
        return draw(damaged_bytes(content))  # type: ignore[no-any-return]
    text = content.decode()
    if how == "twins":
        key = one(draw, sorted(json.loads(text)))
        return Content((text.rstrip()[:-1] + f',"{key}": 1}}').encode())
    data = json.loads(text)
    paths = draw(st.just(_paths(data)))
    if how == "deep":
        data = _with(data, one(draw, paths), "DEEP")
        depth = one(draw, [50, 500, 5000, 100_000])
        return Content(json.dumps(data).replace('"DEEP"', "[" * depth + "]" * depth).encode())
    for _ in range(draw(st.integers(1, 3))):
        path = one(draw, paths)
        data = _of_its_type(draw, data, path) if how == "same type" else _changed(draw, data, path)
    # More digits than Python itself writes.
    return Content(json.dumps(data).replace('"HUGE"', "1" * 5000).encode())


def _with(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    inner = data
    try:
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    except (KeyError, IndexError, TypeError):  # an earlier change removed it
        pass
    return data


def _of_its_type(draw: Draw, data: Any, path: tuple[Any, ...]) -> Any:
    """Draw a value that is valid for every schema, but unexpected."""
    old = data
    try:
        for key in path:
            old = old[key]
    except (KeyError, IndexError, TypeError):
        return data
    if isinstance(old, bool):
        new: Any = not old
    elif isinstance(old, int):
        new = one(draw, [number for number in NUMBERS if isinstance(number, int)])
    elif isinstance(old, float):
        new = one(draw, NUMBERS)
    elif isinstance(old, str):
        new = one(draw, [*WORDS, *KNOWN_WORDS])
    elif isinstance(old, list):
        new = one(draw, [[], old[:1], old[1:], old + old])
    elif isinstance(old, dict):
        gone = one(draw, [None, *old])
        new = {key: value for key, value in old.items() if key != gone}
    else:
        return data
    return _with(data, path, new)


def _changed(draw: Draw, data: Any, path: tuple[Any, ...]) -> Any:
    data = copy.deepcopy(data)
    inner = data
    try:
        for key in path[:-1]:
            inner = inner[key]
        old = inner[path[-1]]
    except (KeyError, IndexError, TypeError):
        return data
    if isinstance(inner, str):  # an earlier change put it where a list was
        return data
    how = one(draw, ["number", "number", "number", "other", "other", "gone", "rename", "twice", "no number"])
    if how == "number":
        inner[path[-1]] = one(draw, NUMBERS)
    elif how == "other":
        inner[path[-1]] = one(draw, OTHERS)
    elif how == "no number":
        inner[path[-1]] = one(draw, NO_NUMBERS)
    elif how == "gone":
        del inner[path[-1]]
    elif how == "rename" and isinstance(inner, dict):
        inner[one(draw, ["", "x", "score", "size", "float32"])] = inner.pop(path[-1])
    elif isinstance(inner, list):
        inner.append(old)
    else:
        inner[path[-1]] = [old, old]
    return data


DTYPES = ["|O", "<U5", "|S3", "<c16", "<f2", "<f8", "<i8", "|b1", "<M8[s]", "|V4", "|u1", ">i4", "x", "[('a', '<i4')]"]
SHAPES = ["()", "(0,)", "(1,)", "(3,)", "(-1,)", "(10000,)", "(10000, 2)", "(2, 10000)", "(99999999999999,)", "7"]
NAMES = ["float32", "ptq_float16", "x", "y", "", "../x", "/x", "x" * 300, "float32@a"]


@st.composite
def lying_npz(draw: Draw) -> Content:
    """Draw an archive of arrays with unexpected headers, sizes and names."""
    buffer = io.BytesIO()
    how = one(draw, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for _ in range(draw(st.integers(0, 3))):
            name = one(draw, NAMES) + one(draw, [".npy", ".npy", ".npy", "", ".json"])
            if name not in archive.namelist():
                archive.writestr(name or "x", draw(_npy()))
    content = Content(buffer.getvalue())
    if draw(st.booleans()):
        return content
    return draw(damaged_bytes(content))  # type: ignore[no-any-return]


@st.composite
def fitting_npz(draw: Draw, names: list[str], n: int) -> Content:
    """Draw an archive with the right names and lengths, and unexpected values."""
    arrays = {}
    for name in names:
        values: Any = np.arange(n) % one(draw, [1, 2, 10, 300])
        odd = one(draw, [False, False, False, True])
        dtype = one(draw, ["c16", "U3", "S3", "M8[s]", "V4"] if odd else ["u1", "u1", "i8", "f4", "f8", "f2", "?"])
        values = values.astype("S4").astype("V4") if dtype == "V4" else values.astype(dtype)
        if dtype.startswith("f"):
            values[:: one(draw, [1, 7, n])] = one(draw, [np.nan, np.inf, -np.inf, 6e4, 0.5])
        shape = one(draw, [(n, 1), (n, 0), (1, n), (2, n // 2), ()]) if odd else (n,)
        if shape == ():
            values = values[0]
        arrays[name] = values[:, None][:, : shape[1]] if shape in ((n, 1), (n, 0)) else values.reshape(shape)
    kept = dict(list(arrays.items())[one(draw, [0, 0, 1]) :])
    buffer = io.BytesIO()
    np.savez(buffer, **kept)
    return Content(buffer.getvalue())


@st.composite
def _npy(draw: Draw) -> bytes:
    dtype, shape = one(draw, DTYPES), one(draw, SHAPES)
    described = dtype if dtype.startswith("[") else repr(dtype)
    header = f"{{'descr': {described}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}"
    header = one(draw, [header, header, header, header, "{}", "(" * 90, "[1]", header[:-3], "\xff" * 9])
    body = one(draw, [b"", b"\x00" * 24, b"\x01" * 10_000, b"\xff" * 80_000, b"\x7f" * 20_000, b"\x80" * 3])
    encoded = header.encode("latin1")
    version = one(draw, [b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x00"])
    length = one(draw, [len(encoded), len(encoded), len(encoded), 0, 60_000])
    return b"\x93NUMPY" + version + length.to_bytes(2, "little") + encoded + body
