"""Test whether every artifact agrees with the CPU on the GPU; its time there is only shown."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.gpu
def test_gpu(cell: str, run: Session) -> None:
    """Check that the GPU's predictions agree with the CPU's."""
    state(run.judge(cell, Kind.GPU))
