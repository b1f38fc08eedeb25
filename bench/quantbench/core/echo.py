r"""Make text of others safe to show, on a terminal and in every report.

Names in models, messages of libraries and fields of reports may hold characters that control the display instead of
being shown: escape sequences that clear a screen or rename a window, marks that reverse the text order, lone surrogates
that no file can hold. Each is shown as Python would write it in a string, ``\x1b``.
"""

import re
import sys
from typing import Any, TextIO

# Unicode's categories Cc (except tab and newline), Cf, Cs, Zl and Zp: controls, formats such as bidirectional overrides
# and zero-width spaces, lone surrogates, and line separators that most programs do not treat as such.
_ORDERS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_FORBIDDEN = re.compile(f"[{_ORDERS}]")
# What pytest itself writes to a terminal: colours, the return that redraws a line, and progress (OSC 9;4).
_PAINT = r"\x1b\[[0-9;]*m"
_COLOURED = re.compile(rf"(^(?:{_PAINT})*\r|{_PAINT}|\x1b\]9;4;[0-9;]*\x1b\\)|[{_ORDERS}]")


def plain(text: str) -> str:
    """Make every control character visible; newlines and tabs stay."""
    return text if text.isprintable() else _FORBIDDEN.sub(_shown, text)  # none of them counts as printable


def line(text: str) -> str:
    """Make one line of text safe: newlines and tabs become spaces."""
    return plain(" ".join(text.split("\n")).replace("\t", " ").replace("\r", " "))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _coloured(match: re.Match[str]) -> str:
    return match[1] or _shown(match)


class Guarded:
    """Wrap a text stream so that what is written to it is shown as by :func:`plain`.

    Colours pass where the stream is a terminal: pytest writes them. The byte stream below is hidden, so that the
    wrapper cannot be bypassed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; return the number of characters given."""
        coloured = "\x1b" in text or "\r" in text
        shown = _COLOURED.sub(_coloured, text) if coloured and self._stream.isatty() else plain(text)
        self._stream.write(shown)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for text in lines:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach"):
            raise AttributeError(name)
        return getattr(self._stream, name)


def guarded(stream: TextIO) -> TextIO:
    """Return the guarded stream, guarded only once; characters that its encoding lacks are escaped too."""
    if isinstance(stream, Guarded):
        return stream
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return Guarded(stream)  # type: ignore[return-value]


def guard() -> None:
    """Guard everything that Python prints in this process from now on, as by :func:`plain`."""
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)
