"""GitHub's comments on pull requests, and its issues."""

from collections.abc import Mapping
from typing import Any

from quantbench.forge.decide import Said
from quantbench.forge.http import Api, number_in

# Who may speak for the project, besides bots: a bot has to be let in by one of them.
_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")


def api(base: str, token: str) -> Api:
    """Return the API at an address such as ``https://api.github.com``."""
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    return Api(base, headers | ({"Authorization": f"Bearer {token}"} if token else {}), _permission, token)


def _permission(method: str, path: str) -> str:
    what = "issues" if "/comments" not in path else "pull-requests"
    needed = f"`{what}: {'read' if method == 'GET' else 'write'}`"
    fork = "; a pull request from a fork never has more than read" if what == "pull-requests" else ""
    return f"{needed} under `permissions:` in the workflow{fork}"


class GitHub:
    """Comment on one pull request, and keep one issue, of a repository.

    Args:
        repository: ``owner/name``.
    """

    name = "GitHub"
    most_characters = 65_536  # of a comment and of an issue

    def __init__(self, api: Api, repository: str) -> None:
        self._api, self._path = api, f"/repos/{repository}"

    def comments(self, number: int) -> list[Said]:
        """List the comments of a pull request, the oldest first."""
        return [_said(one) for one in self._api.pages(f"{self._path}/issues/{number}/comments")]

    def comment(self, number: int, body: str) -> str:
        """Add a comment; return its address."""
        return _address(self._api.ask("POST", f"{self._path}/issues/{number}/comments", {"body": body}))

    def edit_comment(self, number: int, comment: int, body: str) -> str:
        """Replace the text of a comment; return its address."""
        del number
        return _address(self._api.ask("PATCH", f"{self._path}/issues/comments/{comment}", {"body": body}))

    def issues(self, label: str) -> list[Said]:
        """List the open issues with a label; pull requests, which GitHub lists among them, are left out."""
        found = self._api.pages(f"{self._path}/issues", state="open", labels=label, direction="asc")
        return [_said(one, "number") for one in found if "pull_request" not in one]

    def open_issue(self, title: str, label: str, body: str) -> str:
        """Open an issue; return its address. GitHub makes a label that is not there."""
        return _address(
            self._api.ask("POST", f"{self._path}/issues", {"title": title, "body": body, "labels": [label]})
        )

    def edit_issue(self, issue: int, body: str, close: bool) -> str:
        """Replace the text of an issue, and close it where asked; return its address."""
        sent: dict[str, Any] = {"body": body}
        if close:
            sent |= {"state": "closed", "state_reason": "completed"}
        return _address(self._api.ask("PATCH", f"{self._path}/issues/{issue}", sent))


def _said(one: Mapping[str, Any], id_: str = "id") -> Said:
    user = one.get("user")
    bot = isinstance(user, dict) and user.get("type") == "Bot"
    ours = bot or one.get("author_association") in _TRUSTED
    return Said(number_in(one, id_), str(one.get("body") or ""), ours, str(one.get("html_url") or ""))


def _address(answer: Any) -> str:
    return str(answer.get("html_url") or "") if isinstance(answer, dict) else ""
