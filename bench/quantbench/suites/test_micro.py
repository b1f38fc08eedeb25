"""Test every artifact on TFLite-Micro: does it load, in what arena, with the reference kernels' answers."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.micro
def test_micro(cell: str, run: Session) -> None:
    """Check that the artifact still loads, in no larger arena, and answers as accepted."""
    state(run.judge(cell, Kind.MICRO))
