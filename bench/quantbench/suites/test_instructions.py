"""Test the instructions of one call of every artifact, counted under valgrind where it is installed."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.instructions
def test_instructions(cell: str, run: Session) -> None:
    """Check that a call of the artifact does not take more instructions than its baseline."""
    state(run.judge(cell, Kind.INSTRUCTIONS))
