"""State verdicts as outcomes of tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from quantbench.core.echo import line
from quantbench.errors import BadInput, DiskFull, full_disk_named
from quantbench.records import Judgement, Verdict, worst
from quantbench.report.formatting import helpful, step

FAILING = (Verdict.REGRESSED, Verdict.ERROR, Verdict.MISSING)


def state(judgements: list[Judgement]) -> None:
    """Pass, fail, xfail or skip by the worst verdict; missing data never passes."""
    decided = worst([judgement.verdict for judgement in judgements])
    words = _words([one for one in judgements if one.verdict is decided])
    if decided in FAILING:
        pytest.fail(words, pytrace=False)
    if decided in (Verdict.UNSUPPORTED, Verdict.XFAIL):
        _expected(words)
    if decided is Verdict.UNJUDGED:
        pytest.skip(words)


def state_cell(judgements: Sequence[Judgement], asked_for: Sequence[Judgement] = ()) -> None:
    """State the verdict of a cell by all its judgements; one that cannot be judged passes only beside others that are.

    Args:
        asked_for: those of them that the test named, so that it is skipped where this machine cannot judge them.
    """
    failing = [one for one in judgements if one.verdict in FAILING]
    if failing:
        pytest.fail(_words(failing), pytrace=False)
    for verdict in (Verdict.XFAIL, Verdict.UNSUPPORTED):
        found = [one for one in judgements if one.verdict is verdict]
        if found and (verdict is Verdict.XFAIL or len(found) == len(judgements)):
            _expected(_words(found))
    for some in (judgements, asked_for):
        if some and all(one.verdict is Verdict.UNJUDGED for one in some):
            pytest.skip(_words(some))


def _expected(words: str) -> None:
    """Fail as expected, as :func:`pytest.xfail` does, but without a traceback, whose source pytest would parse.

    With ``--runxfail`` it does nothing, as that does nothing.
    """
    try:
        pytest.xfail(words)
    except pytest.xfail.Exception:
        raise pytest.xfail.Exception(words, pytrace=False) from None


def _words(judgements: Sequence[Judgement]) -> str:
    """Return judgements in words, the worst first, each once, and each next step once.

    What stops a whole cell is said of each kind, and judgements of one cell mostly share their steps.
    """
    lines: dict[str, None] = {}
    for one in sorted(judgements, key=lambda judgement: list(Verdict).index(judgement.verdict), reverse=True):
        steps = [f"  → {line(step(action))}" for action in helpful(judgements, one)]
        lines |= dict.fromkeys([f"{one.verdict.shown.upper()} {line(one.message)}", *steps])
    return "\n".join(lines)


@contextmanager
def refused() -> Iterator[None]:
    """Fail a test with the sentence of an error that a person can act on."""
    try:
        with full_disk_named():
            yield
    except (BadInput, DiskFull) as error:
        raise pytest.fail.Exception(line(str(error)), pytrace=False) from None
