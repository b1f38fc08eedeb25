"""Test bytes of every artifact, plain and deflated, against the baseline."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.size
def test_size(cell: str, run: Session) -> None:
    """Check that the artifact has not grown."""
    state(run.judge(cell, Kind.SIZE))
