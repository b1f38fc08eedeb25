"""Read where artifacts are to run besides this machine: ``[tool.quantbench.targets]`` and ``--target``.

A target is an address, or a table with an address and limits. This module only reads; nothing is connected to.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from quantbench.errors import BadInput

Scheme = Literal["local", "ssh", "command", "qemu-aarch64"]
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")
# What a shell, OpenSSH or its configuration would take for something else is in no name of a host or a user.
_HOST = re.compile(r"^[A-Za-z0-9:][A-Za-z0-9._:%-]*$")
_USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._@-]*$")
_PATH = re.compile(r"^[A-Za-z0-9_./+~-]+$")
EXPECTED = "local, ssh://[user@]host[:port][/path/to/python], qemu-aarch64 or command:PROGRAM ARGUMENTS"
SECONDS = 120.0  # of answers of one cell; a board takes 50 ms for an image that takes a server 2 ms


@dataclass(frozen=True)
class Target:
    """Say where artifacts run, and how much of it.

    Attributes:
        address: as it was given.
        user, host, port: of ssh.
        python: the interpreter there.
        words: the command that starts a Python, without the worker.
        examples: of the test split, the first ones; 0 for all.
        seconds: for the answers of one cell; it ends after the example at which they are over.
        folder: kept there for artifacts and data; empty for the worker's own choice.
        versions: whether LiteRT there must be the ``same`` version as here, or may be ``any``.
        emulated: whether its times say nothing about any machine.
        times: whether latencies are measured.
    """

    name: str
    address: str
    scheme: Scheme
    user: str = ""
    host: str = ""
    port: int | None = None
    python: str = "python3"
    words: tuple[str, ...] = ()
    examples: int = 0
    seconds: float = SECONDS
    folder: str = ""
    versions: Literal["same", "any"] = "same"
    emulated: bool = False
    times: bool = True


def parsed(name: str, value: object, field: str) -> Target:
    """Read one target.

    Args:
        value: an address, or a table of :class:`Target`'s fields.
        field: what a message calls it.

    Raises:
        BadInput: it is no target.
    """
    if not NAME.match(name):
        raise BadInput(f"{field}: a target's name has letters, digits, '_', '.' and '-', found {name!r}; rename it")
    table: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"address": value}
    unknown = sorted(set(table) - {"address", *_CHECKS})
    if unknown:
        raise BadInput(f"{field}.{unknown[0]}: unknown key; known: address, {', '.join(_CHECKS)}")
    if not isinstance(table.get("address"), str):
        raise BadInput(f"{field}: expected an address ({EXPECTED}), found {_shown(table.get('address', value))}")
    given: dict[str, Any] = {}
    for key, (expected, right) in _CHECKS.items():
        if key in table:
            if not right(table[key]):
                raise BadInput(f"{field}.{key}: expected {expected}, found {_shown(table[key])}")
            given[key] = table[key]
    return _of_address(name, table["address"].strip(), field, given)


def of_option(text: str, declared: Mapping[str, Target]) -> list[Target]:
    """Return the targets that ``--target`` names: names of declared ones, ``all``, or addresses, separated by commas.

    An address with a comma in it has to be declared.

    Raises:
        BadInput: a part is neither.
    """
    chosen: dict[str, Target] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        if part == "all":
            chosen |= declared
        elif part in declared:
            chosen[part] = declared[part]
        elif part in ("local", "qemu-aarch64") or ":" in part:
            target = parsed(_name_of(part), part, "--target")
            chosen[target.name] = target
        else:
            known = ", ".join(declared) or "none is declared in [tool.quantbench.targets]"
            raise BadInput(f"--target: no target {part!r}; expected a declared one ({known}) or an address: {EXPECTED}")
    return list(chosen.values())


def _of_address(name: str, address: str, field: str, given: dict[str, Any]) -> Target:
    if "\0" in address or "\n" in address:
        raise BadInput(f"{field}: expected an address in one line ({EXPECTED}), found {address!r}")
    if address == "local":
        return Target(name, address, "local", **given)
    if address == "qemu-aarch64":
        return Target(name, address, "qemu-aarch64", **({"emulated": True, "times": False} | given))
    if address.startswith("command:"):
        try:
            words = tuple(shlex.split(address.removeprefix("command:")))
        except ValueError as error:
            raise BadInput(f"{field}: {address!r} cannot be split into words ({error}); correct the quotes") from None
        if not words:
            raise BadInput(f"{field}: 'command:' names no program; expected {EXPECTED}")
        return Target(name, address, "command", words=words, **given)
    if address.startswith("ssh://"):
        return _ssh(name, address, field, given)
    raise BadInput(f"{field}: {address!r} is no address of a target; expected {EXPECTED}")


def _ssh(name: str, address: str, field: str, given: dict[str, Any]) -> Target:
    expected = "expected ssh://[user@]host[:port][/path/to/python]"
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise BadInput(f"{field}: {address!r}: {error}; {expected}") from None
    if parts.password is not None:
        raise BadInput(f"{field}: {name} holds a password, which anybody could read; remove it and use a key")
    # urlsplit writes host names in small letters, and aliases of a configuration may have others.
    at = parts.netloc.rpartition("@")[2].lower().find(host)
    host = parts.netloc.rpartition("@")[2][at : at + len(host)] if host else ""
    user = unquote(parts.username or "")
    if not _HOST.match(host) or (user and not _USER.match(user)) or parts.query or parts.fragment:
        raise BadInput(f"{field}: {address!r} names no host or user that ssh takes for one; {expected}")
    if parts.path.strip("/"):
        if not _PATH.match(parts.path):
            raise BadInput(f"{field}: {parts.path!r} is no path of a Python; {expected}")
        given = {"python": parts.path} | given
    if port == 0:
        raise BadInput(f"{field}: port 0 is none; {expected}")
    return Target(name, address, "ssh", user, host, port, **given)


def _name_of(address: str) -> str:
    """Name a target that was given by its address alone."""
    host = address.rpartition("@")[2] if address.startswith("ssh://") else address
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", host.removeprefix("ssh://").removeprefix("command:"))
    return words.strip("-._")[:40].strip("-._") or "target"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**6


def _path(value: object) -> bool:
    return isinstance(value, str) and bool(_PATH.match(value)) and not value.startswith("-")


def _folder(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and "\0" not in value and "\n" not in value


def _switch(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS = {
    "python": ("the path of an interpreter there", _path),
    "examples": ("a whole number, 0 for all", _whole),
    "seconds": ("a number above 0", _number),
    "folder": ("an absolute path there", _folder),
    "versions": ('"same" or "any"', lambda value: value in ("same", "any")),
    "emulated": ("true or false", _switch),
    "times": ("true or false", _switch),
}


def _shown(value: object) -> str:
    text = "a table" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
