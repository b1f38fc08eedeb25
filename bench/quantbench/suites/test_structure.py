"""Test the structure of every artifact against its variant's quantization spec and the baseline."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.structure
def test_structure(cell: str, run: Session) -> None:
    """Check that the artifact is quantized as its name says, and has the structure of its baseline."""
    state(run.judge(cell, Kind.STRUCTURE))
