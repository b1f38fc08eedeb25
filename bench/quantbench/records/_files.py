"""Read records from JSON files, with one sentence for every error, and write them so that git merges them.

Formats have a semantic version: a reader accepts its own and older ones of the same major version. Newer ones are
refused with a message, because unknown keys are refused too.
"""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records._baseline import BaselineFile
from quantbench.records._baseline_text import baseline_text
from quantbench.records._common import SCHEMA_VERSION, Record
from quantbench.records._json_text import json_text, rounded
from quantbench.records._measured import MeasuredFile
from quantbench.records._older import is_older, upgraded
from quantbench.records._provenance import Tables, tables_of
from quantbench.records._report import Report
from quantbench.records._target_answers import AnswersBaseline

LONGEST_NUMBER, LARGEST_NUMBER = 18, 1e100  # digits of an integer; absolute value of any other number
# Reports and baselines have a comma every 20 bytes or more, and a bracket every 75; a report of 10,000 cells has
# 2.6 million and 0.7 million. What holds more takes gigabytes of memory, and a minute, before any of it is refused.
_MOST_COMMAS, _MOST_BRACKETS = 5_000_000, 1_500_000
# Pydantic makes an error for every problem, at 30 µs and 1 kB each: a megabyte of empty cells took 64 s. So
# of a file with more commas and brackets than this (a report of 60 cells) some items of each list are checked first,
# then more: where a large share is wrong, that shows in few.
_MANY, _SAMPLES = 20_000, (8, 64, 512)
_SPARES = 16  # larger samples than one in so many of the longest list's items cost more than they spare
_LONGEST_KEY = 1000  # characters; those of a tensor have some 100, and an error quotes what it finds wrong
_MOST_KEYS = 100_000  # of one object; a baseline has one for each variant, a cell one for each measurement
_MOST_FIELDS = 64  # of an object that is a record; a larger one is a table, of which a sample of entries is checked

_HOLDING = frozenset((dict, list))  # what of JSON holds more

R = TypeVar("R", Report, BaselineFile, AnswersBaseline, MeasuredFile)


def schema(record: type[Record]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **record.model_json_schema()}


def read_record(path: Path, record: type[R], what: str, follow: bool = False, text: str | None = None) -> R:
    """Read and check a JSON file.

    Args:
        follow: whether a person named this very file, which may then be a link.
        text: of the file, where it was read already.

    Raises:
        BadInput: one sentence with the file, the field, the value found and the expected one.
    """
    text, tables = _checked_text(path, record, what, follow, text)
    try:
        return record.model_validate_json(text, strict=True, context=tables)
    except ValidationError as error:
        first, *rest = error.errors()
        more = f" (and {len(rest)} more)" if rest else ""
        raise BadInput(f"{path}: {what}: {_in_words(first)}{more}") from None


def problems(path: Path, record: type[R], what: str) -> list[str]:
    """Return all problems of a JSON file, without its name; :func:`read_record` stops at the first."""
    try:
        text, tables = _checked_text(path, record, what)
        record.model_validate_json(text, strict=True, context=tables)
    except ValidationError as error:
        return [_in_words(problem) for problem in error.errors()]
    except BadInput as error:
        return [str(error).removeprefix(f"{path}: ")]
    return []


def _checked_text(
    path: Path, record: type[R], what: str, follow: bool = False, text: str | None = None
) -> tuple[str, Tables]:
    """Return a file's text, and what it refers to, once it is known to be JSON of this kind and version."""
    if text is None:
        text = files.read_text(path, what, files.LARGEST_RECORD, follow=follow)
    commas, brackets = text.count(","), text.count("{") + text.count("[")
    if commas > _MOST_COMMAS or brackets > _MOST_BRACKETS:
        raise BadInput(
            f"{path}: {what} holds {commas} commas and {brackets} brackets, expected at most {_MOST_COMMAS} and "
            f"{_MOST_BRACKETS}; give another"
        )
    try:
        data = json.loads(text, object_pairs_hook=_without_twins, parse_int=_whole_number, parse_float=_number)
    except _Twins as error:
        raise BadInput(
            f"{path}: {what}: key {error.args[0]!r} appears twice in one object, and only the last would count; "
            "remove one of them"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {what} is not JSON ({error}); restore it from git or make it again") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: {what} must be a JSON object, found {type(data).__name__}")
    _check_version(path, data, record, what)
    if record is Report:
        _check_ids(path, data.get("cells"), what)
    if record is Report and is_older(data):
        data = upgraded(data)
        text = json.dumps(data)
    tables = tables_of(data) if record is BaselineFile else Tables()
    if commas + brackets > _MANY:
        longest = _SPARES * _SAMPLES[0]
        for most in _SAMPLES:
            if _SPARES * most <= longest:
                longest = _check_sample(path, data, record, what, most, tables)
    return text, tables


def _check_sample(path: Path, data: dict[str, Any], record: type[R], what: str, most: int, tables: Tables) -> int:
    """Raise BadInput where a random sample of each list's items is already invalid; return the longest list's length.

    Of objects that were left out no list counts.
    """
    kept: dict[tuple[str | int, ...], _Kept] = {}
    sample = json.dumps(_sampled(data, most, (), kept))
    try:
        record.model_validate_json(sample, strict=True, context=tables)
    except ValidationError as error:
        # Errors of our own validators, and limits of length, may result from what was left out.
        wrong = [problem for problem in error.errors() if problem["type"] not in ("value_error", "too_short")]
        if wrong:
            place = wrong[0]["loc"]
            indices = [kept[place[:i]].indices[part] if place[:i] in kept else part for i, part in enumerate(place)]  # type: ignore[index]
            raise BadInput(f"{path}: {what}: {_in_words({**wrong[0], 'loc': tuple(indices)})} (and more)") from None
    return max((one.of for one in kept.values()), default=0)


class _Kept(NamedTuple):
    """Which items of a list were kept, and how many it has."""

    indices: list[int]
    of: int


def _sampled(value: Any, most: int, place: tuple[str | int, ...], kept: dict[tuple[str | int, ...], _Kept]) -> Any:
    """Return the value with at most ``most`` items per list; ``kept`` maps each shortened list's place to the rest."""
    if isinstance(value, dict):
        names = list(value)
        if len(names) > max(most, _MOST_FIELDS):
            names = random.sample(names, max(most, _MOST_FIELDS))
        return {
            name: _sampled(value[name], most, (*place, name), kept) if type(value[name]) in _HOLDING else value[name]
            for name in names
        }
    if isinstance(value, list):
        if len(value) <= most:
            return [
                _sampled(item, most, (*place, i), kept) if type(item) in _HOLDING else item
                for i, item in enumerate(value)
            ]
        kept[place] = _Kept(sorted(random.sample(range(len(value)), most)), len(value))
        return [_sampled(value[at], most, (*place, i), kept) for i, at in enumerate(kept[place].indices)]
    return value


def _check_ids(path: Path, cells: Any, what: str) -> None:
    """Raises BadInput where a cell is there twice; the record says so too, a minute later where there are thousands."""
    if isinstance(cells, list):
        ids = [one["id"] for one in cells if isinstance(one, dict) and isinstance(one.get("id"), str)]
        if len(set(ids)) < len(ids):
            raise BadInput(f"{path}: {what}: field '(whole file)': two cells have the same id")


class _Twins(Exception):
    """Raised for a key that an object holds twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, which a bad merge of two branches leaves behind; JSON silently uses the last one."""
    if len(pairs) > _MOST_KEYS:
        raise ValueError(f"an object of {len(pairs)} keys")
    unique = dict(pairs)
    if max(map(len, unique), default=0) > _LONGEST_KEY:
        name = max(unique, key=len)
        raise ValueError(f"a key of {len(name)} characters, {name[:12]!r}…")
    if len(unique) < len(pairs):
        raise _Twins(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return unique


def _whole_number(digits: str) -> int:
    """Parse an integer; refuse large ones, which nothing here counts to and which fail when printed or divided."""
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}…")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"a number as large as {text[:12]}")
    return number


def _check_version(path: Path, data: dict[str, Any], record: type[Record], what: str) -> None:
    kind = record.model_fields["kind"].default
    if data.get("kind") != kind:
        raise BadInput(f"{path}: field 'kind': expected {kind!r}, found {data.get('kind')!r}; this is not a {what}")
    version = str(data.get("schema_version"))
    parts = version.split(".")
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})*", version):
        raise BadInput(f"{path}: field 'schema_version': expected a version like {SCHEMA_VERSION!r}, found {version!r}")
    if [int(part) for part in parts] > [int(part) for part in SCHEMA_VERSION.split(".")]:
        raise BadInput(
            f"{path}: field 'schema_version': {version} is newer than this quantbench reads ({SCHEMA_VERSION}); "
            "upgrade quantbench"
        )


def _in_words(error: Any) -> str:
    """Describe one of pydantic's errors; messages of our own validators name the value found already."""
    field = ".".join(str(part) for part in error["loc"]) or "(whole file)"
    if error["type"] == "value_error":
        return f"field '{field}': {error['msg'].removeprefix('Value error, ')}"
    return f"field '{field}': {error['msg']}, found {repr(error.get('input'))[:60]}"


def write_json(path: Path, record: Record) -> None:
    """Write a record atomically: floats rounded to nine significant digits, a final newline; a baseline for review."""
    if isinstance(record, BaselineFile):
        files.replace(path, baseline_text(record))
        return
    files.replace(path, json_text(rounded(record.model_dump(mode="json", exclude_none=True))) + "\n")
