"""What every artifact is made of: what its variant's name promises, and what the baseline says."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.plugin import state


@pytest.mark.structure
def test_structure(cell: str, run: Session) -> None:
    """The artifact is what its name says, and is still made of what it was."""
    state(run.judge(cell, Kind.STRUCTURE))
