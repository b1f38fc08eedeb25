"""Define the commands that tell others what a run found: ``comment``, ``issue``, ``notify``."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from quantbench.cli._common import LATEST, RunEnded
from quantbench.errors import BadInput, Exit, full_disk_named

RunArgument = Annotated[Path, typer.Argument(help="run folder, or its report.json")]
Name = Annotated[str, typer.Option(help="which of several comments or issues this is: letters, digits, . _ -")]
Artifact = Annotated[str, typer.Option(help="name of the CI artifact that holds the run folder")]
Otherwise = Annotated[
    Path | None, typer.Option(help="text file to quote where the run wrote no report, e.g. the end of its output")
]
ToFile = Annotated[Path | None, typer.Option(help="write the text to this file, and ask no forge")]


def comment(
    run: RunArgument = LATEST,
    pull_request: Annotated[
        int | None, typer.Option(min=1, help="number of the pull or merge request (default: that of the CI job)")
    ] = None,
    name: Name = "gate",
    artifact: Artifact = "",
    otherwise: Otherwise = None,
    output: ToFile = None,
) -> None:
    """Comment on the pull request of a red run.

    One comment is made, and edited from then on. A green run makes none; a red one that is there is edited to say that
    it is over. Works in a job of GitHub Actions (GITHUB_TOKEN, with `pull-requests: write`) or GitLab CI (GITLAB_TOKEN,
    with the scope `api`).

    Exit status: 0 said, or nothing to say; 4 bad input; 7 the forge refused. The run's verdict is not part of it.

    Example: quantbench comment reports/latest
    """
    from quantbench.forge import post, where

    place = None if output else where.found(os.environ)
    text, red = _text(run, artifact, otherwise, "this pull request")
    if output is not None:
        _written(output, text)
    if place is not None:
        number = pull_request if pull_request is not None else place.pull_request
        if number is None:
            raise BadInput("--pull-request: this job is of no pull request; give its number, or leave the comment out")
        _said(lambda: post.comment(place.forge, number, text, red, name))


def issue(
    run: RunArgument = LATEST,
    name: Name = "nightly",
    title: Annotated[str, typer.Option(help="of a new issue")] = "The nightly quantbench run is not green",
    label: Annotated[str, typer.Option(help="of the issue")] = "nightly",
    artifact: Artifact = "",
    otherwise: Otherwise = None,
    output: ToFile = None,
) -> None:
    """Keep one issue open while the run is red.

    It is opened by the first red run, edited by those that follow, and closed by a green one.

    Works in a job of GitHub Actions (GITHUB_TOKEN, with `issues: write`) or GitLab CI (GITLAB_TOKEN, scope `api`).

    Exit status: 0 said, or nothing to say; 4 bad input; 7 the forge refused. The run's verdict is not part of it.

    Example: quantbench issue reports/latest --label nightly
    """
    from quantbench.forge import post, where

    place = None if output else where.found(os.environ)
    text, red = _text(run, artifact, otherwise, "the nightly run")
    if output is not None:
        _written(output, text)
    if place is not None:
        _said(lambda: post.issue(place.forge, text, red, name, title, label))


def notify(
    run: RunArgument = LATEST,
    state_dir: Annotated[
        Path, typer.Option(help="folder that is kept from night to night; remembers what was told in notified.json")
    ] = Path("history"),
    link: Annotated[str, typer.Option(help="address to give with the message (default: that of the CI job)")] = "",
) -> None:
    """Tell a chat that runs turned red, or green again.

    Each is told once: the folder given by --state-dir remembers what was.

    The addresses are in the environment variable QUANTBENCH_NOTIFY, separated by blanks, as apprise writes them
    (slack://..., msteams://..., mailto://..., json://host/path). Needs quantbench[notify].

    Exit status: 0 told, or nothing to tell; 4 bad input; 7 an address did not take the message.

    Example: QUANTBENCH_NOTIFY=json://host/hook quantbench notify reports/latest --state-dir history
    """
    from quantbench import files
    from quantbench.forge import notify as message
    from quantbench.forge.where import job_address
    from quantbench.records.run_folder import read
    from quantbench.report.forge_comment import short

    urls = message.addresses([], os.environ)
    report, _ = read(run)
    title, text = short(report, link or job_address(os.environ))
    now: message.State = "green" if report.exit_status == Exit.GREEN else "red"
    before = message.read_state(state_dir)

    def remember(told: Mapping[str, str]) -> None:
        try:
            with full_disk_named(state_dir):
                state_dir.mkdir(parents=True, exist_ok=True)
                files.replace(state_dir / message.STATE, message.text_of_state(told))
        except OSError as error:
            raise BadInput(f"--state-dir: cannot write to {state_dir}: {error.strerror}; give another") from None

    send = message.by_apprise(urls)
    _, failed, count = message.deliver(urls, before, now, title, text, send, remember)
    if failed:
        typer.echo(f"quantbench: {'; '.join(failed)}", err=True)
        raise RunEnded(int(Exit.NOT_DELIVERED))
    typer.echo(f"told {count} of {len(urls)} addresses: {title}" if count else f"nothing to tell: still {now}")


def _text(run: Path, artifact: str, otherwise: Path | None, where: str) -> tuple[str, bool]:
    """Return what is to be said of a run, and whether it is red; a run without a report is."""
    from quantbench.forge.where import commit_of, job_address
    from quantbench.records.run_folder import REPORT, read
    from quantbench.report.forge_comment import Around, body, without_report

    around = Around(job_address(os.environ), commit_of(os.environ), artifact, where)
    if otherwise is not None and not (run / REPORT if run.is_dir() else run).exists():
        return without_report(_end_of(otherwise), around), True
    report, _ = read(run)
    return body(report, around), report.exit_status != Exit.GREEN


def _end_of(path: Path) -> str:
    """Return the last KiB of a text file. Raises BadInput where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2**13))
            return file.read().decode("utf-8", errors="replace")
    except OSError as error:
        raise BadInput(f"--otherwise: cannot read {path}: {error.strerror}; give a text file") from None


def _written(path: Path, text: str) -> None:
    from quantbench import files

    files.write_named(path, text, "--output")
    typer.echo(f"wrote {path}")


def _said(say: Callable[[], str]) -> None:
    """Say it, and print what was done, or the one sentence on why the forge refused."""
    from quantbench.core.echo import line
    from quantbench.forge.http import ForgeRefused

    try:
        done = say()
    except ForgeRefused as error:
        typer.echo(f"quantbench: {line(str(error))}", err=True)
        raise RunEnded(int(Exit.NOT_DELIVERED)) from None
    typer.echo(line(done))
