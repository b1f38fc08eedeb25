"""Score of every cell against its baseline, and its drop from the float control against the floor."""

import pytest

from bench.plugin import state
from bench.records import Kind
from bench.session import Session


@pytest.mark.accuracy
def test_accuracy(cell: str, run: Session) -> None:
    """The score has not dropped from the baseline, nor below the floor."""
    state(run.judge(cell, Kind.ACCURACY))
