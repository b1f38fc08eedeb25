"""Refer to what a baseline file says once: an update's provenance, and the texts that many values share.

A value names its update by an id, and each text by one, that follow from what they stand for. So an update or a text
that somebody edits no longer fits its id, and two of them cannot share one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from quantbench.records._common import Record

_DIGITS = 8  # hexadecimal, as of a seal
_HOST = "@"  # between an update's id and the host that measured a latency
_NOTE = "#"  # before a text's id
_RESTORE = "restore the file from git"
# Characters of a text that many values refer to: each of them is hashed with it, so that a file of few megabytes could
# otherwise keep a reader busy for hours. The longest reason so far has 150, the longest environment 250.
LONGEST_TEXT = 2000


class Accepted(Record):
    """Who accepted a value, when and why; and the run, machine and commit that measured it."""

    date: str
    reason: str
    run: str
    environment: str
    commit: str | None = None
    results_class: str | None = None
    host: str | None = Field(default=None, description="of a latency: hash of the host that measured it")


@dataclass(frozen=True)
class Tables:
    """What the values of one file refer to, by id."""

    updates: Mapping[str, Accepted] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def tables_of(data: Mapping[str, Any]) -> Tables:
    """Collect the tables of a file as it was parsed; the record refuses what is wrong in them."""
    updates, notes = data.get("updates"), data.get("notes")
    known = {}
    for name, update in (updates if isinstance(updates, dict) else {}).items():
        try:
            checked = Accepted.model_validate(update)
        except ValidationError:
            continue
        if not _too_long(checked):
            known[name] = checked
    named = notes.items() if isinstance(notes, dict) else ()
    texts = {name: text for name, text in named if isinstance(text, str) and len(text) <= LONGEST_TEXT}
    return Tables(known, texts)


def reference(accepted: Accepted) -> str:
    """Return how a value names its provenance: the update's id, and the host of a latency."""
    name = _id_of_update(accepted.model_copy(update={"host": None}))
    return name if accepted.host is None else f"{name}{_HOST}{accepted.host}"


def referred(accepted: Accepted) -> tuple[str, Accepted]:
    """Return id and content of the update that accepted a value."""
    update = accepted.model_copy(update={"host": None})
    return _id_of_update(update), update


def noted(text: str) -> tuple[str, str]:
    """Return how a value names a shared text, and the id under which the file holds it."""
    name = _id_of_note(text)
    return f"{_NOTE}{name}", name


def check_updates(updates: dict[str, Accepted]) -> dict[str, Accepted]:
    """Refuse an update whose content does not fit its id."""
    for name, update in updates.items():
        if _too_long(update):
            raise ValueError(
                f"update {name!r}: {_too_long(update)!r} is longer than {LONGEST_TEXT} characters; give a shorter one"
            )
        if name != _id_of_update(update):
            raise ValueError(
                f"update {name!r} was edited by hand, or is there under another id: what it holds has the id "
                f"{_id_of_update(update)!r}; {_RESTORE}"
            )
    return updates


def check_notes(notes: dict[str, str]) -> dict[str, str]:
    """Refuse a text that does not fit its id."""
    for name, text in notes.items():
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"note {name!r} has {len(text)} characters, expected at most {LONGEST_TEXT}")
        if name != _id_of_note(text):
            raise ValueError(f"note {name!r} was edited by hand, or is there under another id; {_RESTORE}")
    return notes


def _too_long(update: Accepted) -> str:
    """Name the first text of an update that is too long; empty where none is."""
    texts = update.model_dump(exclude_none=True)
    return next((name for name, text in texts.items() if len(text) > LONGEST_TEXT), "")


def _update(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Replace an update's id by its content; files of before 1.7 hold that with every value."""
    if not isinstance(value, str):
        return handler(value)
    name, _, host = value.partition(_HOST)
    update = _tables(info).updates.get(name)
    if update is None:
        raise PydanticCustomError("unknown_id", "expected an id that is in 'updates'")
    return update.model_copy(update={"host": host}) if host else update


def _note(value: str, info: ValidationInfo) -> str:
    """Replace a text's id by the text."""
    if not value.startswith(_NOTE):
        return value
    text = _tables(info).notes.get(value.removeprefix(_NOTE))
    if text is None:
        raise PydanticCustomError("unknown_id", "expected '#' and an id that is in 'notes'")
    return text


def _tables(info: ValidationInfo) -> Tables:
    return info.context if isinstance(info.context, Tables) else Tables()


Provenance = Annotated[
    Accepted,
    WrapValidator(_update),
    WithJsonSchema(
        {
            "type": "string",
            "description": "id in 'updates' of the update that accepted it; of a latency, '@' and the host's hash too",
        }
    ),
]
SharedText = Annotated[
    str, AfterValidator(_note), WithJsonSchema({"type": "string", "description": "'#' and the id in 'notes'"})
]


def _id_of_update(update: Accepted) -> str:
    return f"{update.date}-{_digest(update.model_dump(exclude_none=True))}"


def _id_of_note(text: str) -> str:
    return _digest(text)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
