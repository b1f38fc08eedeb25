"""Tell a chat or a webhook that a night turned red, once, and that it is over, once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from quantbench.errors import BadInput

STATE = "notified.json"
_LARGEST = 2**20  # bytes of a state file; an entry takes 30
State = Literal["red", "green"]


def due(before: str | None, now: State) -> bool:
    """Check whether there is something to tell: a change, or a first night that is red.

    Args:
        before: what was last delivered; None where nothing was yet.
    """
    return now == "red" if before is None else now != before


def key_of(url: str) -> str:
    """Return the name under which an address is remembered, without the secrets that it holds."""
    return hashlib.sha256(url.strip().encode()).hexdigest()[:16]


def read_state(folder: Path) -> dict[str, str]:
    """Return what was last delivered to each address; empty where nothing was, or the file is damaged.

    A damaged file costs at most one message too many.
    """
    try:
        with (folder / STATE).open("rb") as file:
            state = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    told = state.get("told") if isinstance(state, dict) else None
    return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}


def text_of_state(told: Mapping[str, str]) -> str:
    """Return the content of the state file."""
    return json.dumps({"told": dict(sorted(told.items()))}, indent=1) + "\n"


def addresses(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the addresses to tell: the given ones, else those in QUANTBENCH_NOTIFY, separated by blanks.

    Raises:
        BadInput: there is none.
    """
    found = list(given) or environment.get("QUANTBENCH_NOTIFY", "").split()
    if not found:
        raise BadInput(
            "QUANTBENCH_NOTIFY: not set; put one or more addresses in it, separated by blanks, such as "
            "slack://TOKEN_A/TOKEN_B/TOKEN_C, mailto://..., json://HOST/PATH (all kinds: see apprise)"
        )
    return found


Send = Callable[[str, str, str], bool]


def deliver(
    urls: Sequence[str],
    told: Mapping[str, str],
    now: State,
    title: str,
    text: str,
    send: Send,
    remember: Callable[[Mapping[str, str]], None],
) -> tuple[dict[str, str], list[str], int]:
    """Send to each address that has not been told yet.

    Args:
        send: address, title and text -> whether it was delivered.
        remember: keep what each address was last told. It is called before anything is sent, so that nothing is sent
            each night anew where it fails, and after each delivery, whatever happens to the next.

    Returns:
        What each address was last told, a sentence for each that could not be reached, and how many were told now.
    """
    after, failed, count = dict(told), [], 0
    if any(due(told.get(key_of(url)), now) for url in urls):
        remember(after)
    for number, url in enumerate(urls, 1):
        key = key_of(url)
        if not due(told.get(key), now):
            continue
        if send(url, title, text):
            after[key] = now
            count += 1
            remember(after)
        else:
            kind = url.partition("://")[0] if "://" in url else "?"
            failed.append(
                f"address {number} ({kind[:20]}://…) did not take the message; it is sent again by the next run; check "
                "that address"
            )
    return after, failed, count


def by_apprise(urls: Sequence[str]) -> Send:
    """Return how a message is sent by apprise to any of some addresses.

    Raises:
        BadInput: apprise is not installed, or it does not know the kind of an address.
    """
    try:
        import apprise
    except ImportError:
        raise BadInput("messages need apprise: pip install 'quantbench[notify]'") from None

    targets = {url: apprise.Apprise() for url in urls}
    for url, target in targets.items():
        if not target.add(url):
            kind = url.partition("://")[0][:20] if "://" in url else ""
            raise BadInput(
                f"QUANTBENCH_NOTIFY: an address{f' of kind {kind!r}' if kind else ''} is not one that apprise knows; "
                "see its list of services for how it is written"
            )

    def send(url: str, title: str, text: str) -> bool:
        return bool(targets[url].notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT))

    return send
