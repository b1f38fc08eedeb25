"""Find the forge, the pull request and this job's address in the environment that a CI job has."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantbench.errors import BadInput
from quantbench.forge import github, gitlab
from quantbench.forge.github import GitHub
from quantbench.forge.gitlab import GitLab

Forge = GitHub | GitLab
_LARGEST_EVENT = 16 * 2**20  # bytes; GitHub's are below 25 MB as webhooks, and some KB in a job


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        forge: whose API is asked.
        pull_request: number of the pull or merge request that the job is of; None where it is of none.
    """

    forge: Forge
    pull_request: int | None


def found(environment: Mapping[str, str]) -> Place:
    """Return where this job runs.

    Raises:
        BadInput: it is no job of GitHub Actions or GitLab CI, or there is no token.
    """
    get = environment.get
    if get("GITHUB_REPOSITORY"):
        token = _token(environment, "GITHUB_TOKEN", "GH_TOKEN")
        repository = environment["GITHUB_REPOSITORY"]
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise BadInput(f"GITHUB_REPOSITORY: expected owner/name, found {repository!r}")
        api = github.api(_address(get("GITHUB_API_URL") or "https://api.github.com", "GITHUB_API_URL"), token)
        number = _number_of(_event(get("GITHUB_EVENT_PATH", "")), get("GITHUB_REF", ""))
        return Place(GitHub(api, repository), number)
    if get("CI_API_V4_URL") or get("CI_PROJECT_ID"):
        token = _token(environment, "GITLAB_TOKEN")
        project = get("CI_MERGE_REQUEST_PROJECT_ID") or get("CI_PROJECT_ID") or ""
        if not project:
            raise BadInput("CI_PROJECT_ID: not set, so that the project is unknown; run this in a job of GitLab CI")
        api = gitlab.api(_address(get("CI_API_V4_URL") or "https://gitlab.com/api/v4", "CI_API_V4_URL"), token)
        iid = get("CI_MERGE_REQUEST_IID", "")
        return Place(GitLab(api, project), int(iid) if iid.isascii() and iid.isdecimal() else None)
    raise BadInput(
        "this is no job of GitHub Actions or GitLab CI: neither GITHUB_REPOSITORY nor CI_API_V4_URL is set; set them "
        "as such a job has them, with GITHUB_TOKEN or GITLAB_TOKEN"
    )


def job_address(environment: Mapping[str, str]) -> str:
    """Return the address of this job's page, where its artifacts are; empty outside of a job."""
    repository, run = environment.get("GITHUB_REPOSITORY"), environment.get("GITHUB_RUN_ID")
    if repository and run:
        return _link(f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}/actions/runs/{run}")
    return _link(environment.get("CI_JOB_URL", "") or environment.get("BUILD_URL", ""))


def commit_of(environment: Mapping[str, str]) -> str:
    """Return the commit that was pushed; empty outside of a job."""
    head = _head_of(_event(environment.get("GITHUB_EVENT_PATH", ""))) or environment.get("GITHUB_SHA", "")
    return head or environment.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or environment.get("CI_COMMIT_SHA", "")


def _link(url: str) -> str:
    """Return an address that can stand in a Markdown link; empty for any other."""
    return url if re.fullmatch(r"https?://[^\s()<>\[\]\\`]+", url) else ""


def _token(environment: Mapping[str, str], *names: str) -> str:
    for name in names:
        if token := environment.get(name, "").strip():
            return token
    raise BadInput(f"{names[0]}: not set; pass the job's token in it, e.g. `env: {names[0]}: ...` of the step")


def _address(url: str, name: str) -> str:
    if not re.match(r"https?://[^/\s]", url):
        raise BadInput(f"{name}: expected an address that begins with https://, found {url[:80]!r}")
    return url


def _event(path: str) -> dict[str, object]:
    """Read the event that started a GitHub job; empty where there is none that can be read."""
    try:
        with Path(path).open("rb") as file:
            event = json.loads(file.read(_LARGEST_EVENT))
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _number_of(event: Mapping[str, object], ref: str) -> int | None:
    pull_request = event.get("pull_request")
    number = pull_request.get("number") if isinstance(pull_request, dict) else None
    if isinstance(number, int):
        return number
    in_ref = re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", ref, re.ASCII)
    return int(in_ref[1]) if in_ref else None


def _head_of(event: Mapping[str, object]) -> str:
    """Return the commit that was pushed; what is measured is its merge with the base, which nobody has seen."""
    pull_request = event.get("pull_request")
    head = pull_request.get("head") if isinstance(pull_request, dict) else None
    sha = head.get("sha") if isinstance(head, dict) else None
    return sha if isinstance(sha, str) else ""
