"""Comments and issues on a stand-in: pages, refusals, failures in the middle, and secrets that stay secret."""

import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import SOURCE
from quantbench.errors import BadInput
from quantbench.forge import http, post, where
from quantbench.forge.http import ForgeRefused
from quantbench.forge.where import Forge
from stand_in_forge import TOKEN, StandIn, stand_in


@pytest.fixture
def forge() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


def github(forge: StandIn) -> Forge:
    return where.found(forge.environment()).forge


def gitlab(forge: StandIn) -> Forge:
    return where.found(forge.gitlab_environment()).forge


def comment(of: Forge, text: str = "worse", red: bool = True) -> str:
    return post.comment(of, 5, text, red, "gate", sleep=lambda _: None)


def issue(of: Forge, text: str = "worse", red: bool = True) -> str:
    return post.issue(of, text, red, "nightly", "The night is not green", "nightly", sleep=lambda _: None)


BOTH = pytest.mark.parametrize("of", [github, gitlab], ids=["github", "gitlab"])


@BOTH
def test_a_comment_is_made_once_edited_and_taken_back(forge: StandIn, of: object) -> None:
    here = of(forge)  # type: ignore[operator]
    assert "green, and no red one" in comment(here, "all is well", red=False)
    assert forge.comments == []
    assert "made" in comment(here, "first")
    assert "edited" in comment(here, "second")
    assert "says this already" in comment(here, "second")
    assert "edited" in comment(here, "over", red=False)
    assert "says this already" not in comment(here, "still over", red=False)
    assert "edited" in comment(here, "again")
    [only] = forge.comments
    assert only["body"] == "<!-- quantbench gate red -->\nagain"


@BOTH
def test_ours_is_found_on_a_later_page(forge: StandIn, of: object) -> None:
    here = of(forge)  # type: ignore[operator]
    for number in range(230):
        forge.stranger_says(f"opinion {number}")
    comment(here, "first")
    comment(here, "second")
    assert len(forge.comments) == 231
    assert "second" in forge.comments[-1]["body"]


@BOTH
def test_a_stranger_with_our_marker_is_not_edited(forge: StandIn, of: object) -> None:
    forge.stranger_says("<!-- quantbench gate red -->\nall is green, merge it")
    comment(of(forge), "worse")  # type: ignore[operator]
    assert forge.comments[0]["body"].endswith("merge it")
    assert len(forge.comments) == 2


def test_a_maintainers_token_finds_its_comment(forge: StandIn) -> None:
    forge.stranger_says("<!-- quantbench gate red -->\nold", association="MEMBER")
    assert "edited" in comment(github(forge), "new")


@BOTH
def test_an_issue_is_opened_once_edited_closed_and_opened_anew(forge: StandIn, of: object) -> None:
    here = of(forge)  # type: ignore[operator]
    assert "green" in issue(here, red=False)
    assert "opened" in issue(here, "night 1")
    assert "edited" in issue(here, "night 2")
    assert "closed" in issue(here, "night 3", red=False)
    assert "opened" in issue(here, "night 4")
    first, second = forge.issues
    assert (first["state"], second["state"]) == ("closed", "open")
    assert "night 3" in first.get("body", first.get("description"))


def test_a_pull_request_is_not_taken_for_the_issue(forge: StandIn) -> None:
    here = github(forge)
    issue(here, "night 1")
    forge.issues[0]["pull_request"] = {}
    issue(here, "night 2")
    assert len(forge.issues) == 2


@BOTH
@pytest.mark.parametrize("say", [comment, issue])
def test_a_token_without_the_permission_is_told_which(forge: StandIn, of: object, say: object) -> None:
    forge.may_write = False
    with pytest.raises(ForgeRefused) as refused:
        say(of(forge))  # type: ignore[operator]
    message = str(refused.value)
    assert "answered 403 to POST" in message
    assert "Resource not accessible by integration" in message
    if of is github:
        assert ("`pull-requests: write`" if say is comment else "`issues: write`") in message
    else:
        assert "scope `api`" in message
    assert TOKEN not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {"message": "Bad credentials"}, {}), "missing, wrong or expired"),
        ((404, {"message": "Not Found"}, {}), "no such thing, or the token may not see it"),
        ((403, {"message": "API rate limit exceeded"}, {"X-RateLimit-Remaining": "0"}), "rate limit is used up"),
        ((429, {}, {"Retry-After": "60"}), "rate limit is used up, and ends in 60 s"),
        ((403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "30"}), "ends in 30 s"),
        ((302, {}, {"Location": "http://127.0.0.1:1/elsewhere"}), "has moved"),
        ((422, {"message": f"the token {TOKEN} is odd"}, {}), "the token *** is odd"),
        ((200, b"<html>a proxy's page</html>", {}), "no JSON"),
        ((200, {"not": "a list"}, {}), "expected a list"),
        ((403, b"<html>", {}), "the token may not do this"),
        ((403, b"{}", {"Content-Length": "9"}), "the token may not do this"),
        ((200, [3], {}), "expected a list of objects"),
        ((200, [{"body": "x"}], {}), "holds no number as 'id'"),
        ((200, [{"id": "abc"}], {}), "holds no number as 'id'"),
        ((200, [{"id": "1"}], {}), "holds no number as 'id'"),
        ((200, [{"id": True}], {}), "holds no number as 'id'"),
    ],
)
def test_each_refusal_is_one_sentence(forge: StandIn, answer: tuple[int, object, dict[str, str]], said: str) -> None:
    forge.failing = [answer]
    with pytest.raises(ForgeRefused) as refused:
        comment(github(forge))
    assert said in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert len(forge.asked) == 1  # asking again would not help
    assert forge.comments == []


def test_a_forge_that_is_busy_for_a_moment_is_asked_again(forge: StandIn) -> None:
    forge.failing = [(502, b"", {}), None, (503, b"", {})]
    assert "made" in comment(github(forge))
    assert len(forge.comments) == 1


def test_a_forge_that_stays_busy_is_left_alone_after_three_tries(forge: StandIn) -> None:
    forge.failing = [(502, b"", {})] * 9
    with pytest.raises(ForgeRefused, match="answered 502"):
        comment(github(forge))
    assert len(forge.asked) == 3


@BOTH
def test_a_comment_that_was_made_in_spite_of_the_answer_is_not_made_twice(forge: StandIn, of: object) -> None:
    forge.after_writing = [502]
    comment(of(forge))  # type: ignore[operator]
    assert len(forge.comments) == 1


def test_a_forge_that_is_silent_is_given_up(forge: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.2)
    forge_answers = forge.answer
    monkeypatch.setattr(forge, "answer", lambda *asked: time.sleep(0.6) or forge_answers(*asked))
    with pytest.raises(ForgeRefused, match=r"did not answer within 0\.2 s"):
        comment(github(forge))


@BOTH
@pytest.mark.parametrize("say", [comment, issue])
def test_an_item_without_its_number_is_a_refusal(forge: StandIn, of: object, say: object) -> None:
    forge.failing = [(200, [{"body": "said"}], {})]
    with pytest.raises(ForgeRefused, match=r"holds no number as '(id|iid|number)'"):
        say(of(forge))  # type: ignore[operator]
    assert forge.comments + forge.issues == []


def test_gitlab_without_the_tokens_user_is_a_refusal(forge: StandIn) -> None:
    comment(gitlab(forge), "first")
    forge.failing = [None, (200, {"name": "nobody"}, {})]
    with pytest.raises(ForgeRefused, match="holds no number as 'id'"):
        comment(gitlab(forge), "second")
    assert len(forge.comments) == 1


@BOTH
def test_an_answer_that_breaks_off_is_not_taken_for_an_empty_list(forge: StandIn, of: object) -> None:
    here = of(forge)  # type: ignore[operator]
    comment(here, "first")
    forge.failing = [(200, b"[]", {"Content-Length": "1000"})]
    assert "edited" in comment(here, "second")  # by the second try
    forge.failing = [(200, b"[]", {"Content-Length": "1000"})] * 3
    with pytest.raises(ForgeRefused, match="the answer broke off"):
        comment(here, "third")
    assert len(forge.comments) == 1


@contextmanager
def server_that_says(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """Answer every connection with these bytes, with a pause before each part; yield the address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            with suppress(OSError):  # the client has gone
                for part in parts:
                    time.sleep(pause)
                    self.request.sendall(part)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n[]", "is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]", "broke off"),
        (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]", "the token may not do this"),
    ],
)
def test_an_answer_that_is_no_http_is_a_refusal(forge: StandIn, answer: bytes, said: str) -> None:
    with server_that_says(answer) as address:
        environment = forge.environment() | {"GITHUB_API_URL": address}
        with pytest.raises(ForgeRefused, match=said) as refused:
            comment(where.found(environment).forge)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "whole", [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b" " * 900, b"HTTP/1.1 " + b"2" * 900]
)
def test_a_forge_that_answers_byte_by_byte_is_given_up(
    forge: StandIn, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    monkeypatch.setattr(http, "IN_ALL", 0.3)
    drops = [whole[at : at + 1] for at in range(len(whole))]
    with server_that_says(*drops, pause=0.05) as address:
        environment = forge.environment() | {"GITHUB_API_URL": address}
        with pytest.raises(ForgeRefused, match=r"took more than 0\.3 s to answer \(GET /repos/"):
            comment(where.found(environment).forge)


@pytest.mark.parametrize("address", ["http://[", "http://host:port", "http://a b"])
def test_an_address_that_is_none_is_a_refusal(forge: StandIn, address: str) -> None:
    with pytest.raises(ForgeRefused, match="is not one that a request can hold"):
        comment(where.found(forge.environment() | {"GITHUB_API_URL": address}).forge)


def test_a_forge_that_is_not_there_is_named(forge: StandIn) -> None:
    environment = forge.environment() | {"GITHUB_API_URL": "http://127.0.0.1:9"}
    with pytest.raises(ForgeRefused, match=r"cannot reach 127\.0\.0\.1:9"):
        comment(where.found(environment).forge)


def test_a_text_is_cut_to_what_the_forge_takes(forge: StandIn) -> None:
    comment(github(forge), "@everybody line of text\n" * 20_000)
    body = forge.comments[0]["body"]
    assert 60_000 < len(body) <= 65_536
    assert "cut here" in body
    assert "@everybody" not in body


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "no job of GitHub Actions or GitLab CI"),
        ({"GITHUB_REPOSITORY": "o/n"}, "GITHUB_TOKEN: not set"),
        ({"GITHUB_REPOSITORY": "o/n/../x", "GITHUB_TOKEN": "t"}, "expected owner/name"),
        ({"GITHUB_REPOSITORY": "o/n", "GITHUB_TOKEN": "t", "GITHUB_API_URL": "file:///etc"}, "begins with https://"),
        ({"CI_API_V4_URL": "https://x/api/v4", "GITLAB_TOKEN": "t"}, "CI_PROJECT_ID: not set"),
        ({"CI_API_V4_URL": "https://x/api/v4", "CI_PROJECT_ID": "1"}, "GITLAB_TOKEN: not set"),
    ],
)
def test_an_environment_that_lacks_something_is_told_what(environment: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        where.found(environment)


def test_a_token_with_a_line_break_is_not_shown(forge: StandIn) -> None:
    environment = forge.environment() | {"GITHUB_TOKEN": "secret\r\nX-Other: 1"}
    with pytest.raises(ForgeRefused, match="has no line break") as refused:
        comment(where.found(environment).forge)
    assert "secret" not in str(refused.value)


def test_the_pull_request_and_its_commit_are_read_from_the_event(tmp_path: Path, forge: StandIn) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"pull_request": {"number": 12, "head": {"sha": "abc"}}}')
    environment = forge.environment(None) | {"GITHUB_EVENT_PATH": str(event)}
    assert where.found(environment).pull_request == 12
    assert where.commit_of(environment) == "abc"
    assert where.job_address(environment) == "https://github.com/team/models/actions/runs/77"
    assert where.job_address({"CI_JOB_URL": "https://x/(a) b"}) == ""
    assert where.found(forge.environment()).pull_request == 5
    assert where.found(forge.environment(None)).pull_request is None


def alone(forge: StandIn, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the module with ``-S``: without site-packages, so that the standard library alone is there."""
    (folder / "body.md").write_text("the night was bad")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), **forge.environment(None)}
    command = [sys.executable, "-S", "-m", "quantbench.forge", *arguments, "--body", "body.md"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_module_runs_with_nothing_installed(forge: StandIn, tmp_path: Path) -> None:
    opened = alone(forge, tmp_path, "issue", "--name", "nightly", "--red")
    assert (opened.returncode, opened.stderr) == (0, "")
    assert opened.stdout == "issue opened: http://forge/issues/1\n"
    closed = alone(forge, tmp_path, "issue", "--name", "nightly", "--green")
    assert closed.stdout.startswith("issue 1 closed")


def test_the_module_has_a_status_of_its_own_for_a_refusal(forge: StandIn, tmp_path: Path) -> None:
    forge.may_write = False
    refused = alone(forge, tmp_path, "issue", "--name", "nightly", "--red")
    assert refused.returncode == 7
    assert refused.stderr.startswith("quantbench: 127.0.0.1:")
    assert refused.stderr.count("\n") == 1
    assert TOKEN not in refused.stderr
    assert alone(forge, tmp_path, "comment", "--red").returncode == 4  # of no pull request
