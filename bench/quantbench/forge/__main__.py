"""Comment, or keep an issue, with nothing installed: ``python -m quantbench.forge issue --body FILE --red``.

For a job that may write, and therefore runs no other code. ``quantbench comment`` and ``quantbench issue`` do the same
and write the text themselves.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from quantbench.core.echo import line
from quantbench.errors import BadInput, Exit
from quantbench.forge import post
from quantbench.forge.http import ForgeRefused
from quantbench.forge.where import found

_LARGEST = 4 * 2**20  # bytes of a text; the longest that a forge takes has a million characters


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 said, 4 bad input, 7 the forge refused."""
    asked = _parser().parse_args(arguments)
    try:
        text, place = _text(asked.body), found(os.environ)
        if asked.what == "issue":
            done = post.issue(place.forge, text, asked.red, asked.name, asked.title, asked.label)
        else:
            done = post.comment(
                place.forge, _number(asked.pull_request, place.pull_request), text, asked.red, asked.name
            )
    except BadInput as error:
        print(f"quantbench: {line(str(error))}", file=sys.stderr)
        return Exit.BAD_INPUT
    except ForgeRefused as error:
        print(f"quantbench: {line(str(error))}", file=sys.stderr)
        return Exit.NOT_DELIVERED
    print(line(done))
    return Exit.GREEN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quantbench.forge", description=__doc__)
    parser.add_argument("what", choices=("comment", "issue"))
    parser.add_argument("--body", type=Path, required=True, help="Markdown file to post")
    state = parser.add_mutually_exclusive_group(required=True)
    state.add_argument("--red", action="store_true", help="the run is not green")
    state.add_argument("--green", action="store_true", help="the run is green: end what was said")
    parser.add_argument("--name", default="gate", help="which of several comments or issues (default: gate)")
    parser.add_argument("--pull-request", type=int, help="its number (default: that of the job)")
    parser.add_argument("--title", default="The nightly quantbench run is not green", help="of a new issue")
    parser.add_argument("--label", default="nightly", help="of the issue (default: nightly)")
    return parser


def _number(given: int | None, of_job: int | None) -> int:
    number = given if given is not None else of_job
    if number is None:
        raise BadInput("--pull-request: this job is of no pull request; give its number")
    return number


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", errors="replace")
    except OSError as error:
        raise BadInput(f"--body: cannot read {path}: {error.strerror}; give a Markdown file") from None


if __name__ == "__main__":
    sys.exit(main())
