"""Test what every artifact answers on the targets of the run: boards behind ssh, emulators, other Pythons."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.target
def test_target(cell: str, run: Session) -> None:
    """Check that the artifact answers there as it does here, or as it was accepted there."""
    state(run.judge(cell, Kind.TARGET))
