"""Test the score of every cell against its baseline, and its drop from the float control against the floor."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.accuracy
def test_accuracy(cell: str, run: Session) -> None:
    """Check that the score has not dropped from the baseline, nor below the floor."""
    state(run.judge(cell, Kind.ACCURACY))
