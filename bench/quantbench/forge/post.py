"""Carry out what was decided: one comment or one issue, however often it is tried."""

import time
from collections.abc import Callable
from typing import TypeVar

from quantbench.forge import decide
from quantbench.forge.decide import Said, Step
from quantbench.forge.http import ForgeBusy
from quantbench.forge.text import disarmed, fitting
from quantbench.forge.where import Forge

_WAITS = (2.0, 8.0)  # seconds before each further try; a forge that is restarted is back within some
Sleep = Callable[[float], None]
_T = TypeVar("_T")


def comment(forge: Forge, number: int, text: str, red: bool, key: str, sleep: Sleep = time.sleep) -> str:
    """Comment on a pull request or edit our comment; return in one line what was done.

    Raises:
        ForgeRefused: the forge does not do it; see its message.
        BadInput: the key is none.
    """
    body = _body(forge, text, red, key)

    def once() -> str:
        step = decide.for_comment(decide.mine(forge.comments(number), key), body, red)
        what = f"comment on #{number}" if forge.name == "GitHub" else f"comment on !{number}"
        if step.what == "create":
            return _told(f"{what} made", forge.comment(number, step.body))
        if step.what == "edit" and step.edited is not None:
            edited = forge.edit_comment(number, step.edited.id, step.body)
            return _told(f"{what} edited", edited or step.edited.url)
        return _unchanged(what, step)

    return _patiently(once, sleep)


def issue(forge: Forge, text: str, red: bool, key: str, title: str, label: str, sleep: Sleep = time.sleep) -> str:
    """Open an issue, edit our open one, or close it; return in one line what was done.

    Raises:
        ForgeRefused: the forge does not do it; see its message.
        BadInput: the key is none.
    """
    body = _body(forge, text, red, key)

    def once() -> str:
        step = decide.for_issue(decide.mine(forge.issues(label), key), body, red)
        if step.what == "create":
            return _told("issue opened", forge.open_issue(title, label, step.body))
        if step.what in ("edit", "close") and step.edited is not None:
            address = forge.edit_issue(step.edited.id, step.body, close=step.what == "close")
            done = "closed" if step.what == "close" else "edited"
            return _told(f"issue {step.edited.id} {done}", address or step.edited.url)
        return _unchanged("issue", step)

    return _patiently(once, sleep)


def _body(forge: Forge, text: str, red: bool, key: str) -> str:
    marker = decide.marked("", key, red)
    # Cut first, so that no time is spent on what is not sent; what makes it harmless adds characters.
    harmless = disarmed(fitting(text, forge.most_characters))
    return marker + fitting(harmless, forge.most_characters - len(marker))


def _patiently(once: Callable[[], _T], sleep: Sleep) -> _T:
    """Try again where the forge was busy. It is listed anew each time: a comment may have been made all the same."""
    for wait in _WAITS:
        try:
            return once()
        except ForgeBusy:
            sleep(wait)
    return once()


def _told(what: str, address: str) -> str:
    return f"{what}: {address}" if address else what


def _unchanged(what: str, step: Step) -> str:
    there: Said | None = step.edited
    if there is not None:
        return _told(f"{what} says this already", there.url)
    return f"no {what} needed: green, and no red one to take back"
