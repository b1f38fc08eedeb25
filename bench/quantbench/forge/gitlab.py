"""GitLab's notes on merge requests, and its issues."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from quantbench.forge.decide import Said
from quantbench.forge.http import Api, number_in


def api(base: str, token: str) -> Api:
    """Return the API at an address such as ``https://gitlab.com/api/v4``."""
    return Api(base, {"PRIVATE-TOKEN": token} if token else {}, _permission, token)


def _permission(method: str, path: str) -> str:
    del method, path
    return (
        "the scope `api` and the role Reporter or higher: a project access token in the CI/CD variable GITLAB_TOKEN, "
        "which has to be unprotected for merge requests of unprotected branches (CI_JOB_TOKEN may not comment)"
    )


class GitLab:
    """Comment on one merge request, and keep one issue, of a project.

    Args:
        project: its number, or its path such as ``group/name``.
    """

    name = "GitLab"
    most_characters = 1_000_000  # of a note and of an issue's description

    def __init__(self, api: Api, project: str) -> None:
        self._api, self._path = api, f"/projects/{quote(project, safe='')}"

    def comments(self, number: int) -> list[Said]:
        """List the notes of a merge request, the oldest first; those of the token's own user are ours."""
        found = self._api.pages(f"{self._path}/merge_requests/{number}/notes", sort="asc", order_by="created_at")
        me = self._me()
        return [_said(one, me) for one in found if not one.get("system")]

    def _me(self) -> int:
        return number_in(self._api.ask("GET", "/user"), "id")

    def comment(self, number: int, body: str) -> str:
        """Add a note; return its address, which GitLab does not tell."""
        self._api.ask("POST", f"{self._path}/merge_requests/{number}/notes", {"body": body})
        return ""

    def edit_comment(self, number: int, comment: int, body: str) -> str:
        """Replace the text of a note."""
        self._api.ask("PUT", f"{self._path}/merge_requests/{number}/notes/{comment}", {"body": body})
        return ""

    def issues(self, label: str) -> list[Said]:
        """List the open issues with a label that the token's user made."""
        query = {"state": "opened", "labels": label, "scope": "created_by_me", "sort": "asc"}
        found = self._api.pages(f"{self._path}/issues", **query)
        return [
            Said(number_in(one, "iid"), str(one.get("description") or ""), True, str(one.get("web_url") or ""))
            for one in found
        ]

    def open_issue(self, title: str, label: str, body: str) -> str:
        """Open an issue; return its address. GitLab makes a label that is not there."""
        sent = {"title": title, "description": body, "labels": label}
        return _address(self._api.ask("POST", f"{self._path}/issues", sent))

    def edit_issue(self, issue: int, body: str, close: bool) -> str:
        """Replace the text of an issue, and close it where asked; return its address."""
        sent = {"description": body} | ({"state_event": "close"} if close else {})
        return _address(self._api.ask("PUT", f"{self._path}/issues/{issue}", sent))


def _said(one: Mapping[str, Any], me: int) -> Said:
    author = one.get("author")
    ours = isinstance(author, dict) and author.get("id") == me
    return Said(number_in(one, "id"), str(one.get("body") or ""), ours)


def _address(answer: Any) -> str:
    return str(answer.get("web_url") or "") if isinstance(answer, dict) else ""
