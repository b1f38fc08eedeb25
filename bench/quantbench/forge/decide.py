"""Decide what to do with the one comment or issue of a run: pure functions of what is there and what was found."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from quantbench.errors import BadInput

# Forges change what they are given: line ends, and blanks at the end.
_MARKER = re.compile(r"<!-- quantbench ([A-Za-z0-9][A-Za-z0-9._-]{0,63}) (red|green) -->[ \t]*\r?\n?")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Said:
    """A comment or an issue that is there already.

    Attributes:
        id: by which it is edited.
        body: as the forge returns it.
        ours: whether its author is one who may speak for the project; a stranger may write our marker too.
        url: where a person reads it; empty where unknown.
    """

    id: int
    body: str
    ours: bool
    url: str = ""


@dataclass(frozen=True)
class Step:
    """What to do: create a text, edit one, close an issue with its last text, or nothing."""

    what: Literal["create", "edit", "close", "nothing"]
    body: str = ""
    edited: Said | None = None


def marked(body: str, key: str, red: bool) -> str:
    """Return a text that begins with the hidden line by which it is found again.

    Args:
        key: of the text among those of one pull request, where several jobs comment.

    Raises:
        BadInput: the key cannot stand in that line.
    """
    check_key(key)
    return f"<!-- quantbench {key} {'red' if red else 'green'} -->\n{body}"


def check_key(key: str) -> None:
    """Raise BadInput unless a key consists of letters, digits, ``.``, ``_`` and ``-``."""
    if not _KEY.fullmatch(key):
        raise BadInput(f"--name: expected up to 64 letters, digits, '.', '_' and '-', found {key[:80]!r}; give another")


def mine(said: Iterable[Said], key: str) -> Said | None:
    """Return the first text that is ours and begins with the marker of this key; None where there is none."""
    for one in said:
        found = _MARKER.match(one.body)
        if found is not None and found[1] == key and one.ours:
            return one
    return None


def was_red(one: Said) -> bool:
    """Check whether a text of ours said red."""
    found = _MARKER.match(one.body)
    return found is not None and found[2] == "red"


def for_comment(there: Said | None, body: str, red: bool) -> Step:
    """Comment once and edit that comment; nothing is said of a green run, unless a red comment has to be taken back.

    Args:
        there: our comment; None where there is none.
        body: with its marker.
    """
    if there is None:
        return Step("create", body) if red else Step("nothing")
    if not red and not was_red(there):
        return Step("nothing")
    return Step("nothing", body, there) if _alike(there.body, body) else Step("edit", body, there)


def for_issue(there: Said | None, body: str, red: bool) -> Step:
    """Open an issue once and edit it while the run is red; close it when it is green.

    Args:
        there: our open issue; None where there is none.
    """
    if there is None:
        return Step("create", body) if red else Step("nothing")
    if not red:
        return Step("close", body, there)
    return Step("nothing", body, there) if _alike(there.body, body) else Step("edit", body, there)


def _alike(old: str, new: str) -> bool:
    return [line.rstrip() for line in old.strip().splitlines()] == [line.rstrip() for line in new.strip().splitlines()]
