"""A part of the index of a history: up to some hundred nights as columns, and its form as a file.

A column is one cell's measurement over the nights. Most values are those of the night before, so a table is stored as
the places where it changes, and whole where that is not smaller. The facts about the nights (packages, commits, data,
...) are stored once for each distinct value. The file is an uncompressed ``.npz``, whose checksums numpy verifies.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from quantbench.comparison.summary import VALUES, Summary
from quantbench.core.arrays import Array
from quantbench.records import Environment, Record

FORMAT = "1"
VERDICTS = "verdicts"
TABLES = (VERDICTS, *VALUES)
# What a history needs of a summary besides its tables; reading anything else raises AttributeError.
_FACTS = (
    "run", "shard", "started", "state", "trained_from_scratch", "data_sha256", "scoring", "trained", "seeds", "spread",
    "cells", "causes",
)  # fmt: skip
_OF_ENVIRONMENT = tuple(Environment.model_fields)
_FIELDS = len(_FACTS) + len(_OF_ENVIRONMENT)
_Model = TypeVar("_Model", bound=Record)
_WORTH = 4  # a table is stored by its changes where there are so many times fewer of them than values


@dataclass(frozen=True)
class Part:
    """Hold nights with their tables.

    Attributes:
        names: of their folders.
        stamps: what each night's files looked like when they were read, shape (nights, ...).
        runs: their summaries, without what a history does not need.
        cells: every cell of any of them.
        stored: by name, the table of shape (cells, nights), or its (starts, values).
    """

    names: list[str]
    stamps: Array
    runs: list[Summary]
    cells: list[str]
    stored: Mapping[str, Array | tuple[Array, Array]]
    _place: dict[str, int] = field(default_factory=dict)

    def table(self, name: str, cells: Sequence[str]) -> Array | None:
        """Return a table of shape (cells, nights), NaN (-1 for verdicts) where a night lacks one; None without it."""
        if name not in self.stored:
            return None
        if not self._place:
            self._place.update({cell: place for place, cell in enumerate(self.cells)})
        nights, held = len(self.names), self.stored[name]
        rows = [self._place.get(cell, -1) for cell in cells]
        if isinstance(held, tuple) and len(cells) > 1:
            held = np.repeat(held[1], np.diff(held[0], append=len(self.cells) * nights)).reshape(-1, nights)
        if not isinstance(held, tuple):
            if list(cells) == self.cells:
                return held
            found = held[rows]
        else:
            found = np.array([_row(*held, row * nights, nights) for row in rows])
        found[[row < 0 for row in rows]] = -1 if name == VERDICTS else np.nan
        return found


def _row(starts: Array, values: Array, first: int, count: int) -> Array:
    """Return the values at the places ``first`` to ``first + count`` of a table stored by its changes."""
    at = max(first, 0) + np.arange(count)
    return values[np.searchsorted(starts, at, side="right") - 1]


def written(part: Part, version: str) -> bytes:
    """Return the content of a part's file."""
    columns: list[dict[str, int]] = [{} for _ in range(_FIELDS)]
    codes = np.zeros((len(part.runs), _FIELDS), dtype=np.int32)
    dumped: dict[int, str] = {}
    for row, run in enumerate(part.runs):
        for column, value in enumerate(_facts(run)):
            text = dumped.get(id(value)) or dumped.setdefault(id(value), _dumped(column, value))
            codes[row, column] = columns[column].setdefault(text, len(columns[column]))
    facts = ",".join(f"[{','.join(column)}]" for column in columns)
    head = json.dumps({"format": FORMAT, "version": version, "names": part.names, "cells": part.cells})
    arrays = {"head": _bytes(head), "facts": _bytes(f"[{facts}]"), "codes": codes, "stamps": part.stamps}
    for name, held in part.stored.items():
        if isinstance(held, tuple):
            starts, values = held
        else:
            starts, values = _changes(held)
        if _WORTH * len(starts) < len(part.cells) * len(part.names):
            arrays |= {f"{name}.starts": starts, f"{name}.values": values}
        elif not isinstance(held, tuple):
            arrays[name] = np.ascontiguousarray(held)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _facts(run: Summary) -> list[Any]:
    return [getattr(run, name) for name in _FACTS] + [getattr(run.environment, name) for name in _OF_ENVIRONMENT]


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)


def _changes(table: Array) -> tuple[Array, Array]:
    """Return where a table of shape (cells, nights) changes along its nights, and the values from there on."""
    differs = np.ones(table.shape, dtype=bool)
    bits = np.ascontiguousarray(table).view(np.int64) if table.dtype == np.float64 else table
    differs[:, 1:] = bits[:, 1:] != bits[:, :-1]
    starts = np.flatnonzero(differs)
    return starts.astype(np.int32), table.reshape(-1)[starts]


@lru_cache
def _adapter(column: int) -> TypeAdapter[Any]:
    fields, name = Environment.model_fields, _OF_ENVIRONMENT[column - len(_FACTS)]
    if column < len(_FACTS):
        fields, name = Summary.model_fields, _FACTS[column]
    return TypeAdapter(list[fields[name].annotation])  # type: ignore[arg-type,misc]


def _dumped(column: int, value: Any) -> str:
    return str(_adapter(column).dump_json([value])[1:-1], "utf-8")


def parsed(content: bytes, version: str) -> Part:
    """Return the part in a file's content.

    Raises:
        ValueError, or another exception of numpy, json or pydantic: it is damaged, or of another version.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        head = json.loads(arrays["head"].tobytes())
        if (head["format"], head["version"]) != (FORMAT, version):
            raise ValueError("of another version")
        facts = json.loads(arrays["facts"].tobytes())
        codes, stamps = arrays["codes"], arrays["stamps"]
        stored: dict[str, Array | tuple[Array, Array]] = {}
        for name in TABLES:
            if name in arrays:
                stored[name] = arrays[name]
            elif f"{name}.starts" in arrays:
                stored[name] = arrays[f"{name}.starts"], arrays[f"{name}.values"]
    names, cells = head["names"], head["cells"]
    if codes.shape != (len(names), _FIELDS) or len(stamps) != len(names):
        raise ValueError("its tables do not fit together")
    return Part(names, stamps, _runs(facts, codes), cells, stored)


def _runs(facts: list[list[Any]], codes: Array) -> list[Summary]:
    """Make the summaries of a part; equal facts are one object in all of them."""
    values = [_adapter(column).validate_python(found, strict=False) for column, found in enumerate(facts)]
    columns = [[found[code] for code in codes[:, column].tolist()] for column, found in enumerate(values)]
    width, runs, environments = len(_FACTS), [], dict[tuple[int, ...], Environment]()
    for row, facts_of_run in zip(codes[:, width:].tolist(), zip(*columns, strict=True), strict=True):
        key = tuple(row)
        if key not in environments:
            environments[key] = _made(Environment, dict(zip(_OF_ENVIRONMENT, facts_of_run[width:], strict=True)))
        held = dict(zip(_FACTS, facts_of_run, strict=False))
        runs.append(_made(Summary, {**held, "environment": environments[key]}))
    return runs


def _made(of: type[_Model], fields: dict[str, Any]) -> _Model:
    """Make a record of validated fields alone; ``model_construct`` does the same in twenty times the time."""
    made = of.__new__(of)
    object.__setattr__(made, "__dict__", fields)
    object.__setattr__(made, "__pydantic_fields_set__", set(fields))
    object.__setattr__(made, "__pydantic_extra__", None)
    object.__setattr__(made, "__pydantic_private__", None)
    return made
