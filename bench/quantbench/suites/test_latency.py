"""Test CPU latency of every artifact (1 thread, batch 1) as a ratio to the float control, timed interleaved with it.

pytest-benchmark gets the same samples, so its table, JSON and comparisons work as usual.
"""

from typing import Any

import pytest

from quantbench.engine.session import Session
from quantbench.measure.pytest_benchmark import replay
from quantbench.records import Kind
from quantbench.suites.outcomes import state


@pytest.mark.latency
def test_latency(cell: str, run: Session, benchmark: Any) -> None:
    """Check that the artifact has not become slower relative to its float control."""
    judgements = run.judge(cell, Kind.LATENCY)
    samples = run.latency_blocks(cell)
    if samples:
        replay(benchmark, samples)
    state(judgements)
