"""A local stand-in for the APIs of GitHub and GitLab: what is asked for here behaves as theirs does.

Comments and issues are kept in memory; lists come in pages; a token without the permission gets their refusals.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "ghs_verysecret0123456789"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
ME = {"id": 7, "username": "project_1_bot"}
STRANGER = {"login": "stranger", "type": "User", "id": 99}

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class StandIn:
    """Hold what the forge knows, and what it was asked.

    Attributes:
        may_write: whether the token has the permission to comment and to open issues.
        failing: answers that come before any other, one for each request; None lets one request pass.
        after_writing: statuses answered to writes that were carried out all the same.
    """

    address: str = ""
    may_write: bool = True
    comments: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failing: list[Answer | None] = field(default_factory=list)
    after_writing: list[int] = field(default_factory=list)
    most: int = 65_536

    def stranger_says(self, body: str, association: str = "NONE") -> None:
        """Let somebody else comment."""
        self.comments.append(
            self._new(body) | {"user": STRANGER, "author": STRANGER, "author_association": association}
        )

    def _new(self, body: str) -> dict[str, Any]:
        number = len(self.comments) + 1
        url = f"http://forge/comments/{number}"
        return {"id": number, "body": body, "html_url": url, "system": False} | {
            "user": BOT,
            "author": ME,
            "author_association": "NONE",
        }

    def environment(self, pull_request: int | None = 5) -> dict[str, str]:
        """Return what a GitHub job has."""
        found = {
            "GITHUB_API_URL": self.address,
            "GITHUB_REPOSITORY": "team/models",
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_RUN_ID": "77",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": "c" * 40,
        }
        return found | ({} if pull_request is None else {"GITHUB_REF": f"refs/pull/{pull_request}/merge"})

    def gitlab_environment(self) -> dict[str, str]:
        """Return what a GitLab job of a merge request has."""
        return {
            "CI_API_V4_URL": self.address,
            "CI_PROJECT_ID": "12",
            "CI_MERGE_REQUEST_IID": "5",
            "GITLAB_TOKEN": TOKEN,
            "CI_JOB_URL": "https://gitlab.com/team/models/-/jobs/77",
        }

    def answer(self, method: str, target: str, headers: Any, sent: Any) -> Answer:
        """Answer one request."""
        url = urlsplit(target)
        self.asked.append(f"{method} {url.path}")
        if self.failing and (failure := self.failing.pop(0)) is not None:
            return failure
        if TOKEN not in (headers.get("Authorization", ""), headers.get("PRIVATE-TOKEN", "")) and (
            headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            return 401, {"message": "Bad credentials"}, {}
        if method != "GET" and not self.may_write:
            return 403, {"message": "Resource not accessible by integration"}, {}
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, found, more = self._route(method, unquote(url.path), query, sent or {})
        if method != "GET" and status < 300 and self.after_writing:
            return self.after_writing.pop(0), {"message": "Server Error"}, {}
        return status, found, more

    def _route(self, method: str, path: str, query: dict[str, str], sent: dict[str, Any]) -> Answer:
        routes: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/user"): lambda: (200, ME, {}),
            ("GET", "/repos/team/models/issues/5/comments"): lambda: self._page(self.comments, query),
            ("POST", "/repos/team/models/issues/5/comments"): lambda: self._comment(sent),
            ("GET", "/projects/12/merge_requests/5/notes"): lambda: self._page(self.comments, query),
            ("POST", "/projects/12/merge_requests/5/notes"): lambda: self._comment(sent),
            ("GET", "/repos/team/models/issues"): lambda: self._page(self._labelled(query), query),
            ("POST", "/repos/team/models/issues"): lambda: self._open(sent),
            ("GET", "/projects/12/issues"): lambda: self._page(self._labelled(query), query),
            ("POST", "/projects/12/issues"): lambda: self._open(sent),
        }
        if (method, path) in routes:
            return routes[method, path]()
        folder, _, last = path.rpartition("/")
        edits = {
            ("PATCH", "/repos/team/models/issues/comments"): self.comments,
            ("PUT", "/projects/12/merge_requests/5/notes"): self.comments,
            ("PATCH", "/repos/team/models/issues"): self.issues,
            ("PUT", "/projects/12/issues"): self.issues,
        }
        if (method, folder) in edits and last.isdecimal() and int(last) <= len(edits[method, folder]):
            edited = edits[method, folder][int(last) - 1]
            closed = {"state": "closed"} if sent.pop("state_event", "") == "close" else {}
            edited |= sent | closed
            return 200, edited, {}
        return 404, {"message": "Not Found"}, {}

    def _page(self, items: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
        return 200, items[size * (page - 1) : size * page], {}

    def _comment(self, sent: dict[str, Any]) -> Answer:
        if len(sent["body"]) > self.most:
            return 422, {"message": "Validation Failed: body is too long"}, {}
        self.comments.append(self._new(sent["body"]))
        return 201, self.comments[-1], {}

    def _labelled(self, query: dict[str, str]) -> list[dict[str, Any]]:
        state = {"open": "open", "opened": "open"}[query["state"]]
        return [one for one in self.issues if query["labels"] in one["labels"] and one["state"] == state]

    def _open(self, sent: dict[str, Any]) -> Answer:
        number = len(self.issues) + 1
        labels = sent["labels"] if isinstance(sent["labels"], list) else [sent["labels"]]
        url = f"http://forge/issues/{number}"
        who = {"user": BOT, "author": ME, "author_association": "NONE", "html_url": url, "web_url": url}
        self.issues.append({**sent, **who, "number": number, "iid": number, "state": "open", "labels": labels})
        return 201, self.issues[-1], {}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve a stand-in on a free port of this machine."""
    forge = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            status, found, headers = forge.answer(self.command, self.path, self.headers, sent)
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Stay silent where a client has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    forge.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
