"""Crashes, hangs and errors of a worker cost one cell and say what happened."""

import os
import signal
import time
from pathlib import Path

import pytest

from bench import executor
from bench.work import Outcome, Task


def _task(tmp_path: Path, variant: str) -> Task:
    return Task(tmp_path / "m.py", "m", variant, 0, None, tmp_path, tmp_path / "logs" / f"{variant}.log")


def misbehave(task: Task) -> Outcome:
    """Stands in for computing a cell."""
    if task.variant == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task.variant == "hang":
        time.sleep(60)
    if task.variant == "raise":
        raise RuntimeError("converter said no")
    return Outcome(task.seed, score=0.5)


def test_each_misfortune_costs_its_own_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "compute", misbehave)
    with executor.LocalExecutor(workers=2) as pool:
        futures = {name: pool.submit(_task(tmp_path, name), 5.0) for name in ("crash", "hang", "raise", "fine")}
        outcomes = {name: future.result(timeout=60) for name, future in futures.items()}
    assert outcomes["fine"].failure is None
    assert outcomes["fine"].score == 0.5
    failures = {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure}
    assert failures["crash"].what == "crash"
    assert "signal 11" in failures["crash"].reason
    assert failures["hang"].what == "timeout"
    assert "no result within 5 s (--cell-timeout)" in failures["hang"].reason
    assert failures["raise"].what == "error"
    assert "converter said no" in failures["raise"].reason
