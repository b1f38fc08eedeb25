"""Records as JSON files: read with one sentence for every way of being wrong, and written so that git merges them.

Formats carry a semantic version: a reader takes its own and older ones of the same major version. Newer ones are
refused in words, for unknown keys are refused too.
"""

import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from quantbench import files
from quantbench.errors import BadInput
from quantbench.records._baseline import BaselineFile
from quantbench.records._common import SCHEMA_VERSION, Record
from quantbench.records._older import is_older, upgraded
from quantbench.records._report import Report

LONGEST_NUMBER, LARGEST_NUMBER = 18, 1e100  # digits of a whole number; of any other
# Reports and baselines have a comma every 20 bytes or more, and a bracket every 75; a report of 10,000 cells has
# 2.6 million and 0.7 million. What holds more takes gigabytes of memory, and a minute, before any of it is refused.
_MOST_COMMAS, _MOST_BRACKETS = 5_000_000, 1_500_000
# Pydantic makes an error of everything that is wrong, at 30 µs and 1 kB each: a megabyte of empty cells took 64 s. So
# of a file with more commas and brackets than this (a report of 60 cells) some items of each list are checked first,
# then more: where a large share is wrong, that shows in few.
_MANY, _SAMPLES = 20_000, (8, 64, 512)
_MOST_FIELDS = 64  # of an object that is a record; a larger one is a table, of which some entries stand for all

R = TypeVar("R", Report, BaselineFile)


def schema(record: type[Record]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a record."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **record.model_json_schema()}


def read_record(path: Path, record: type[R], what: str, follow: bool = False) -> R:
    """Read and check a JSON file.

    Args:
        follow: a person named this very file, which may be a link then.

    Raises:
        BadInput: one sentence with the file, the field, what was found and what was expected.
    """
    text = _checked_text(path, record, what, follow)
    try:
        return record.model_validate_json(text, strict=True)
    except ValidationError as error:
        first, *rest = error.errors()
        more = f" (and {len(rest)} more)" if rest else ""
        raise BadInput(f"{path}: {what}: {_told(first)}{more}") from None


def problems(path: Path, record: type[R], what: str) -> list[str]:
    """All that is wrong with a JSON file, where :func:`read_record` stops at the first; no file name in them."""
    try:
        record.model_validate_json(_checked_text(path, record, what), strict=True)
    except ValidationError as error:
        return [_told(one) for one in error.errors()]
    except BadInput as error:
        return [str(error).removeprefix(f"{path}: ")]
    return []


def _checked_text(path: Path, record: type[R], what: str, follow: bool = False) -> str:
    """A file's text, once it is known to be JSON of this kind and of a version that is read here."""
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
            f"{path}: {what}: key {error.args[0]!r} is there twice in one object, and only the last would count; "
            "remove one of them"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {what} is not JSON ({error}); restore it from git or make it again") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: {what} must be a JSON object, found {type(data).__name__}")
    _check_version(path, data, record, what)
    if record is Report and is_older(data):
        data = upgraded(data)
        text = json.dumps(data)
    if commas + brackets > _MANY:
        for most in _SAMPLES:
            _check_sample(path, data, record, what, most)
    return text


def _check_sample(path: Path, data: dict[str, Any], record: type[R], what: str, most: int) -> None:
    """Raises BadInput where some items of each list, drawn by chance, already are not what they should be."""
    kept: dict[tuple[str | int, ...], list[int]] = {}
    sample = json.dumps(_sampled(data, most, (), kept))
    try:
        record.model_validate_json(sample, strict=True)
    except ValidationError as error:
        # What our own validators say, and limits of length, may come of what was left out.
        wrong = [one for one in error.errors() if one["type"] not in ("value_error", "too_short")]
        if wrong:
            place = wrong[0]["loc"]
            indices = [kept[place[:i]][part] if place[:i] in kept else part for i, part in enumerate(place)]  # type: ignore[index]
            raise BadInput(f"{path}: {what}: {_told({**wrong[0], 'loc': tuple(indices)})} (and more)") from None


def _sampled(value: Any, most: int, place: tuple[str | int, ...], kept: dict[tuple[str | int, ...], list[int]]) -> Any:
    """The same with at most so many items in each list; ``kept``: place of a list -> which of its items."""
    if isinstance(value, dict):
        names = list(value)
        if len(names) > max(most, _MOST_FIELDS):
            names = random.sample(names, max(most, _MOST_FIELDS))
        return {name: _sampled(value[name], most, (*place, name), kept) for name in names}
    if isinstance(value, list):
        if len(value) <= most:
            return [_sampled(item, most, (*place, i), kept) for i, item in enumerate(value)]
        kept[place] = sorted(random.sample(range(len(value)), most))
        return [_sampled(value[at], most, (*place, i), kept) for i, at in enumerate(kept[place])]
    return value


class _Twins(Exception):
    """A key that an object holds twice."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of two equal keys without a word, which a bad merge of two branches leaves behind."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twins(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _whole_number(digits: str) -> int:
    """Nothing that is counted here is larger; what is fails only when it is written out or divided."""
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:12]}…")
    return int(digits)


def _number(text: str) -> float:
    if abs(float(text)) > LARGEST_NUMBER:
        raise ValueError(f"a number as large as {text[:12]}")
    return float(text)


def _check_version(path: Path, data: dict[str, Any], record: type[Record], what: str) -> None:
    kind = record.model_fields["kind"].default
    if data.get("kind") != kind:
        raise BadInput(f"{path}: field 'kind': expected {kind!r}, found {data.get('kind')!r}; this is no {what}")
    version = str(data.get("schema_version"))
    parts = version.split(".")
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})*", version):
        raise BadInput(f"{path}: field 'schema_version': expected a version like {SCHEMA_VERSION!r}, found {version!r}")
    if [int(part) for part in parts] > [int(part) for part in SCHEMA_VERSION.split(".")]:
        raise BadInput(
            f"{path}: field 'schema_version': {version} is newer than this quantbench reads ({SCHEMA_VERSION}); "
            "upgrade quantbench"
        )


def _told(error: Any) -> str:
    """One of pydantic's errors in words; what our own validators say has named what was found already."""
    field = ".".join(str(part) for part in error["loc"]) or "(whole file)"
    if error["type"] == "value_error":
        return f"field '{field}': {error['msg'].removeprefix('Value error, ')}"
    return f"field '{field}': {error['msg']}, found {repr(error.get('input'))[:60]}"


def write_json(path: Path, record: Record) -> None:
    """Write a record atomically: sorted keys, floats rounded to nine significant digits, a final newline."""
    files.replace(path, json_text(rounded(record.model_dump(mode="json", exclude_none=True))) + "\n")


def json_text(value: Any, depth: int = 0) -> str:
    """JSON with sorted keys, a key a line, and a line for each item of a list: short to read, and easy to merge."""
    if isinstance(value, dict) and value:
        inner = " " * (depth + 1)
        lines = [f"{inner}{_flat(key)}: {json_text(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = " " * (depth + 1)
        lines = [inner + (_flat(item) if _is_flat(item) else json_text(item, depth + 1)) for item in value]
        return "[\n" + ",\n".join(lines) + "\n" + " " * depth + "]"
    return _flat(value)


def _flat(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _is_flat(item: Any) -> bool:
    return not isinstance(item, dict) or not any(isinstance(value, dict) for value in item.values())


def rounded(value: Any) -> Any:
    """The same with every float at nine significant digits, as files keep them."""
    if isinstance(value, float):
        return value if value == 0 or not math.isfinite(value) else float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
