"""Ask a forge's API, and say in one sentence why it refused."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from quantbench.core.echo import line

SECONDS = 20  # of silence until a request is given up; a forge answers in under one
IN_ALL = 60  # seconds for all requests of a command and the waits between them; they take a few
_LARGEST = 32 * 2**20  # bytes of an answer: 100 comments of 65,536 characters, four bytes each, and as much besides
_LONGEST_WORDS = 200  # of the forge's own message
_PASSING = (429, 500, 502, 503, 504)  # may be gone in a moment


class ForgeRefused(Exception):
    """Raised when a forge does not do what it is asked; the message is one sentence on what to do."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ForgeBusy(ForgeRefused):
    """Raised when asking again a moment later may help."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the token would go with it, to whatever host it names."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Api:
    """Hold the address of an API and how to be let in.

    Attributes:
        base: address that every path is appended to.
        headers: of every request, the token among them; shown nowhere.
        permission: method and path -> the permission to give where it is refused.
        token: so that it can be taken out of whatever the forge answers.
        now: seconds since 1970, for the end of a rate limit.
        ends: when all requests have to be answered, by ``time.monotonic``.
    """

    base: str
    headers: Mapping[str, str] = field(repr=False)
    permission: Callable[[str, str], str]
    token: str = field(repr=False, default="")
    now: Callable[[], float] = time.time
    ends: float = field(default_factory=lambda: time.monotonic() + IN_ALL)

    def ask(self, method: str, path: str, sent: Mapping[str, Any] | None = None) -> Any:
        """Send a request and return the JSON of the answer; None where the answer is empty.

        Raises:
            ForgeBusy: it may work in a moment.
            ForgeRefused: it will not, or the time for all requests is over.
        """
        done, answers = threading.Event(), list[Any]()
        failures = list[BaseException]()

        def asked() -> None:
            try:
                answers.append(self._asked(method, path, sent))
            except BaseException as error:
                failures.append(error)
            done.set()

        # No timeout of a socket ends an answer that comes byte by byte; a thread can be left behind.
        threading.Thread(target=asked, daemon=True).start()
        if not done.wait(max(0.0, self.ends - time.monotonic())):
            what = f"{method} {path.partition('?')[0]}"
            raise ForgeRefused(
                f"{self._host()} took more than {IN_ALL} s to answer ({what}); run the job again later, or check the "
                "address of the API"
            )
        if failures:
            raise failures[0]
        return answers[0]

    def _asked(self, method: str, path: str, sent: Mapping[str, Any] | None) -> Any:
        data = None if sent is None else json.dumps(sent).encode()
        headers = {"Accept": "application/json", "User-Agent": "quantbench", **self.headers}
        if data is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        opener = urllib.request.build_opener(_NoRedirect)
        what = f"{method} {path.partition('?')[0]}"
        try:
            request = urllib.request.Request(self.base.rstrip("/") + path, data=data, headers=headers, method=method)
            with opener.open(request, timeout=SECONDS) as answer:
                return self._parsed(_read(answer), what)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, method, path, what) from None
        except TimeoutError:
            raise ForgeBusy(f"{self._host()} did not answer within {SECONDS} s ({what}); run the job again") from None
        except OSError as error:  # urllib's errors are among them: no such host, refused, reset
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                message = f"{self._host()} did not answer within {SECONDS} s ({what}); run the job again"
            else:
                message = f"cannot reach {self._host()} ({self._said(str(reason))}); check the address and the network"
            raise ForgeBusy(message) from None
        except (ValueError, http.client.InvalidURL):  # an address that is none, or a header that no header may hold
            raise ForgeRefused(
                f"{self._host() or 'the API'}: its address, or the token, is not one that a request can hold; check "
                "GITHUB_API_URL or CI_API_V4_URL, and that the token has no line break"
            ) from None
        except http.client.IncompleteRead:
            raise ForgeBusy(f"{self._host()}: {what}: the answer broke off; run the job again") from None
        except http.client.HTTPException:
            raise ForgeRefused(
                f"{self._host()}: {what}: the answer is no HTTP; check the address of the API, and a proxy"
            ) from None

    def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return all items of a list that the forge gives 100 at a time.

        Pages are counted and not followed by their links, which could lead to another host.
        """
        found: list[dict[str, Any]] = []
        for page in range(1, _MOST_PAGES + 1):
            items = self.ask("GET", f"{path}?{urlencode({**query, 'per_page': _A_PAGE, 'page': page})}")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise ForgeRefused(
                    f"{self._host()}: GET {path}: expected a list of objects; check the address of the API"
                )
            found += items
            if len(items) < _A_PAGE:
                return found
        raise ForgeRefused(f"{self._host()}: GET {path}: more than {_A_PAGE * _MOST_PAGES:,} items; close the thread")

    def _parsed(self, content: bytes, what: str) -> Any:
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise ForgeRefused(f"{self._host()}: {what}: the answer is no JSON; check the address of the API") from None

    def _refusal(self, error: urllib.error.HTTPError, method: str, path: str, what: str) -> ForgeRefused:
        said = self._message(error)
        begin, status = f"{self._host()} answered {error.code} to {what}{said}", error.code
        now = self.now()
        if limited := _rate_limit(error, said, now):
            ends = f" in {limited - now:.0f} s" if limited > now else " soon"
            return ForgeRefused(f"{begin}: its rate limit is used up, and ends{ends}; run the job again then", status)
        if status in (401, 403, 404):
            return ForgeRefused(
                f"{begin}: {_WHY[status]}; give the job's token {self.permission(method, path)}", status
            )
        if 300 <= status < 400:
            return ForgeRefused(f"{begin}: the repository or the API has moved; use its present address", status)
        if status in _PASSING:
            return ForgeBusy(f"{begin}; run the job again later", status)
        return ForgeRefused(f"{begin}; check the number of the pull request and the address of the API", status)

    def _message(self, error: urllib.error.HTTPError) -> str:
        """Return the forge's own words in brackets; empty where it has none."""
        try:
            told = json.loads(_read(error))
        except (ValueError, RecursionError, OSError, http.client.HTTPException, ForgeRefused):
            return ""
        words = told.get("message") or told.get("error") if isinstance(told, dict) else None
        return f" ({self._said(words)})" if isinstance(words, str) and words.strip() else ""

    def _said(self, words: str) -> str:
        shown = line(words.replace(self.token, "***") if self.token else words).strip().rstrip(".")
        return shown if len(shown) <= _LONGEST_WORDS else shown[:_LONGEST_WORDS] + "…"

    def _host(self) -> str:
        try:
            return line(urlsplit(self.base).netloc.rpartition("@")[2])
        except ValueError:
            return ""


def number_in(one: Any, name: str) -> int:
    """Return the number by which the forge knows a thing.

    Args:
        one: what the forge answered, an object.
        name: of the field that holds the number.

    Raises:
        ForgeRefused: it holds none. Passed over, a comment of ours would be made a second time.
    """
    number = one.get(name) if isinstance(one, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise ForgeRefused(f"the forge's answer holds no number as {name!r}; check the address of the API")
    return number


_A_PAGE, _MOST_PAGES = 100, 100
_WHY = {
    401: "the token is missing, wrong or expired",
    403: "the token may not do this",
    404: "there is no such thing, or the token may not see it",
}


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError) -> bytes:
    """Read an answer. Raises IncompleteRead where it is shorter than it says, which reading up to a size does not."""
    content = answer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ForgeRefused("the forge's answer is larger than 32 MiB; check the address of the API")
    if missing := getattr(answer, "length", None):
        raise http.client.IncompleteRead(content, missing)
    return bytes(content)


def _rate_limit(error: urllib.error.HTTPError, said: str, now: float) -> float:
    """Return when a rate limit ends, in seconds since 1970; 0 where the refusal is no rate limit."""
    if error.code not in (403, 429):
        return 0.0
    used_up = error.headers.get("X-RateLimit-Remaining") == "0" or "rate limit" in said.lower()
    wait = _number(error.headers.get("Retry-After"))
    reset = _number(error.headers.get("X-RateLimit-Reset"))
    if used_up:
        return reset or now + wait
    return now + wait if wait else 0.0


def _number(text: str | None) -> float:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 12 else 0.0
