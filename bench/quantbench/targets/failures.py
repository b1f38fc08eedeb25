"""Say why a target did not answer: a code for programs, and one sentence that says what to do."""

import re
import signal
from typing import Any, Literal, cast, get_args

from quantbench.build import arm_root
from quantbench.core.echo import line
from quantbench.core.targets import Target
from quantbench.files import show

Code = Literal[
    "unreachable",  # no such host, refused, no route, the command cannot be started
    "not-here",  # this machine lacks what an emulated target needs
    "host-key",
    "login",
    "no-python",
    "no-module",
    "no-room",
    "no-folder",
    "versions",
    "lost",  # the connection ended
    "silent",
    "slow",
    "garbled",
    "bad-file",
    "bad-request",
    "refused",  # by LiteRT
    "failed",
    "died",  # the process of one request
    "clock",
]
# What a new connection may put right; whatever else went wrong would go wrong again.
WORTH_ANOTHER_TRY = frozenset({"lost", "silent", "garbled", "bad-file", "died"})
# What stops every cell of the target, and not one alone.
OF_THE_TARGET = frozenset(
    {"unreachable", "not-here", "host-key", "login", "no-python", "no-module", "no-folder", "versions"}
)
PIP = "pip install numpy ai-edge-litert"
REMADE = "run quantbench doctor, which removes a folder that does not start, so that the next use makes it again"


class TargetFailed(Exception):
    """Raised when a target did not do what was asked; the message continues its name: ``pi: the connection was lost``.

    Attributes:
        code: what went wrong.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(line(message))
        self.code: Code = code

    @classmethod
    def told(cls, head: dict[str, Any]) -> "TargetFailed":
        """Return the failure that a worker's ``error`` tells of; the frame may hold anything."""
        code, text = head.get("code"), line(str(head.get("text"))[:500])
        if code == "no-room":
            free, needed = (_bytes(head.get(name)) for name in ("free", "needed"))
            where = line(str(head.get("folder"))[:200])
            return cls(
                "no-room",
                f"no room in {where} there: {needed} are needed and {free} are free; free some, or set the target's "
                "'folder'",
            )
        if code == "no-folder":
            return cls("no-folder", f"{text}; set the target's 'folder' to one of your own there")
        if code == "no-module":
            return cls("no-module", _lacks_module(text, head))
        if code == "died":
            number = head.get("signal")
            how = f"signal {number}" if isinstance(number, int) and number else "without a word"
            return cls("died", f"the process that ran it there died ({how})")
        if code in get_args(Code):
            return cls(cast(Code, code), text)
        return cls("garbled", f"it told of an error that no worker has: {text}")


def _bytes(value: object) -> str:
    return show(value) if isinstance(value, int) and 0 <= value < 2**60 else "?"


def _lacks_module(text: str, head: dict[str, Any]) -> str:
    seen = head.get("profile")
    there = seen if isinstance(seen, dict) else {}
    python = line(str(there.get("executable", "python3"))[:200])
    which = f"Python {line(str(there.get('python', '?'))[:20])} on {line(str(there.get('machine', '?'))[:20])}"
    if head.get("module"):
        return f"{text} there ({which}); run {python} -m {PIP} there"
    return f"NumPy or LiteRT cannot be loaded there ({which}): {text}; install wheels for its processor and system"


_CHANGED = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|HOST IDENTIFICATION HAS CHANGED")
_UNKNOWN = re.compile(r"Host key verification failed|No \S+ host key is known for")
_LOGIN = re.compile(r"Permission denied|Too many authentication failures|No more authentication methods")
# Python 2 has no bytes of its standard input; 3.6 and older stop at the worker's syntax; 3.7 and 3.8 at its first line.
_TOO_OLD = re.compile(r"has no attribute 'buffer'|SyntaxError|future feature annotations is not defined|before 3\.9")
_NO_PYTHON = re.compile(r"not found|No such file or directory|cannot execute|Exec format error|is not recognized")
_SSH_FAILED = 255
_NOT_FOUND = (126, 127)
# SIGILL, SIGBUS and SIGSEGV: what a library that was built for another processor dies of.
_CRASHES = (signal.SIGILL, signal.SIGBUS, signal.SIGSEGV)


def told_at_start(target: Target, hello: dict[str, Any]) -> TargetFailed:
    """Return the failure that a worker tells of in place of its greeting."""
    told = TargetFailed.told(hello)
    if told.code != "no-module" or target.scheme != arm_root.NAME:
        return told
    return TargetFailed(
        "no-module", f"NumPy or LiteRT cannot be loaded there ({line(str(hello.get('text'))[:200])}); {REMADE}"
    )


def start_failed(target: Target, status: int, errors: str) -> TargetFailed:
    """Return why no worker could be started.

    Args:
        status: of the command; of ssh 255 means that it failed itself.
        errors: what it wrote to standard error.
    """
    said = line(next((one for one in reversed(errors.splitlines()) if one.strip()), "it said nothing")[:300])
    if target.scheme == arm_root.NAME:  # everything there is ours
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return TargetFailed("unreachable", f"its Python ended with {how} before the worker began ({said}); {REMADE}")
    if target.scheme == "ssh" and status == _SSH_FAILED:
        return _of_ssh(target, errors, said)
    if _TOO_OLD.search(errors):
        return TargetFailed("no-python", f"{target.python} there is older than Python 3.9; set the target's 'python'")
    if status in _NOT_FOUND or (_NO_PYTHON.search(errors) and "Traceback" not in errors):
        program = target.python if target.scheme == "ssh" else target.words[0] if target.words else target.address
        cure = "install Python 3.9 or newer, or set the target's 'python'"
        return TargetFailed("no-python", f"{program} cannot be run there ({said}); {cure}")
    if -status in _CRASHES or status - 128 in _CRASHES:
        number = -status if status < 0 else status - 128
        return TargetFailed("no-module", f"its Python was ended by signal {number} before the worker began; {_TRY}")
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return TargetFailed("unreachable", f"its command {how} before the worker began: {said}")


_TRY = (
    "NumPy or LiteRT there may be built for another processor: try its Python with -c 'import numpy, "
    "ai_edge_litert.interpreter'"
)


def _of_ssh(target: Target, errors: str, said: str) -> TargetFailed:
    host = target.host if target.port is None else f"[{target.host}]:{target.port}"
    if _CHANGED.search(errors):
        return TargetFailed(
            "host-key",
            f"the host key of {host} is another than the known one, so somebody may be in between; if it was changed "
            f"on purpose, run ssh-keygen -R '{host}' and log in once by hand",
        )
    if _UNKNOWN.search(errors):
        return TargetFailed("host-key", f"the host key of {host} is not known; log in once by hand to check it")
    if _LOGIN.search(errors):
        return TargetFailed("login", f"ssh could not log in to {host} without a password ({said}); set up a key for it")
    if not errors.strip():  # it says why it failed itself
        how = f"{target.python} there was ended by a signal, or with status 255, before the worker began"
        return TargetFailed("no-module", f"{how} (or ssh failed, and its LogLevel hides why); {_TRY}")
    return TargetFailed("unreachable", f"ssh cannot reach {host} ({said}); check the address and the network")
