"""Memory of every artifact: the planned arena, and the peak of a fresh process against the float control's."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.plugin import state


@pytest.mark.memory
def test_memory(cell: str, run: Session) -> None:
    """The artifact does not take more memory than it did."""
    state(run.judge(cell, Kind.MEMORY))
