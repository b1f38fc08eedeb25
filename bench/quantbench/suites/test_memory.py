"""Test memory of every artifact: the tensor arena, and the peak of a fresh process relative to the float control's."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.memory
def test_memory(cell: str, run: Session) -> None:
    """Check that the artifact does not need more memory than its baseline."""
    state(run.judge(cell, Kind.MEMORY))
