"""Whether every artifact answers on the GPU as it does on the CPU; how long it takes there is shown."""

import pytest

from quantbench.engine.session import Session
from quantbench.records import Kind
from quantbench.suites.plugin import state


@pytest.mark.gpu
def test_gpu(cell: str, run: Session) -> None:
    """The GPU gives no fast wrong answers."""
    state(run.judge(cell, Kind.GPU))
