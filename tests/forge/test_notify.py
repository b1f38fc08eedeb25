"""A red night is told once and its end once, through apprise to a local webhook."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from quantbench.errors import BadInput
from quantbench.forge import notify

SECRET = "very-secret-path"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, "green", False),
        (None, "red", True),
        ("red", "red", False),
        ("red", "green", True),
        ("green", "green", False),
        ("green", "red", True),
    ],
)
def test_only_a_change_is_told(before: str | None, now: notify.State, told: bool) -> None:
    assert notify.due(before, now) is told


class Hook:
    """A webhook that answers with a status and keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.got.append(json.loads(content))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    pytest.importorskip("apprise")
    found = Hook()
    yield found
    found.server.shutdown()
    found.server.server_close()


def night(hook: Hook, folder: Path, now: notify.State) -> list[str]:
    before = notify.read_state(folder)
    send = notify.by_apprise([hook.url])
    return notify.deliver([hook.url], before, now, f"it is {now}", "text", send, kept_in(folder))[1]


def kept_in(folder: Path) -> Callable[[Mapping[str, str]], None]:
    return lambda told: (folder / notify.STATE).write_text(notify.text_of_state(told)) and None


def test_a_red_night_is_told_once_and_its_end_once(hook: Hook, tmp_path: Path) -> None:
    for now in ("green", "red", "red", "red", "green", "green", "red"):
        assert night(hook, tmp_path, now) == []  # type: ignore[arg-type]
    assert [one["title"] for one in hook.got] == ["it is red", "it is green", "it is red"]
    assert SECRET not in (tmp_path / notify.STATE).read_text()


def test_what_was_not_delivered_is_sent_again(hook: Hook, tmp_path: Path) -> None:
    hook.status = 500
    [failed] = night(hook, tmp_path, "red")
    assert "address 1 (json://…) did not take the message" in failed
    assert SECRET not in failed
    hook.status = 200
    assert night(hook, tmp_path, "red") == []
    assert [one["title"] for one in hook.got] == ["it is red"]


def test_each_address_has_a_state_of_its_own(tmp_path: Path) -> None:
    sent: list[str] = []

    def send(url: str, title: str, text: str) -> bool:
        sent.append(url)
        return url != "b://x"

    keep = kept_in(tmp_path)
    after, failed, count = notify.deliver(["a://x", "b://x"], {}, "red", "t", "x", send, keep)
    assert (len(failed), count) == (1, 1)
    after, failed, count = notify.deliver(["a://x", "b://x"], after, "red", "t", "x", send, keep)
    assert sent == ["a://x", "b://x", "b://x"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"told": 3}', '{"told": {"a": ' + "[" * 99_999])
def test_a_damaged_state_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / notify.STATE).write_text(content)
    assert notify.read_state(tmp_path) == {}


def test_an_address_of_an_unknown_kind_is_bad_input_before_anything_is_sent(hook: Hook) -> None:
    with pytest.raises(BadInput, match="an address of kind 'nosuch' is not one that apprise knows") as refused:
        notify.by_apprise([hook.url, f"nosuch://{SECRET}"])
    assert SECRET not in str(refused.value)


def test_what_was_delivered_is_kept_whatever_happens_next(tmp_path: Path) -> None:
    def send(url: str, title: str, text: str) -> bool:
        if url == "b://x":
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        notify.deliver(["a://x", "b://x"], {}, "red", "t", "x", send, kept_in(tmp_path))
    assert notify.read_state(tmp_path) == {notify.key_of("a://x"): "red"}


def test_nothing_is_sent_where_it_cannot_be_remembered() -> None:
    sent: list[str] = []

    def full(told: Mapping[str, str]) -> None:
        raise BadInput("cannot write")

    with pytest.raises(BadInput):
        notify.deliver(["a://x"], {}, "red", "t", "x", lambda *said: bool(sent.append(said[0])), full)
    assert sent == []


def test_no_address_is_bad_input() -> None:
    with pytest.raises(BadInput, match="QUANTBENCH_NOTIFY: not set"):
        notify.addresses([], {"QUANTBENCH_NOTIFY": "  "})
    assert notify.addresses([], {"QUANTBENCH_NOTIFY": "a://x\n b://y"}) == ["a://x", "b://y"]
