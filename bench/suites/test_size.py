"""Bytes of every artifact, plain and after deflate, against the baseline."""

import pytest

from bench.plugin import state
from bench.records import Kind
from bench.session import Session


@pytest.mark.size
def test_size(cell: str, run: Session) -> None:
    """The artifact has not grown."""
    state(run.judge(cell, Kind.SIZE))
