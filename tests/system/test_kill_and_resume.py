"""Running again is resuming: real runs killed at random moments end as the unbroken one. The study kills thirty."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, THREE_VARIANTS, ThreeCells
from quantbench.core.options import RunOptions
from quantbench.engine import scheduler
from quantbench.engine.finish import HowEnded
from quantbench.engine.session import Session
from quantbench.engine.workers.task import Outcome, Task, from_store
from quantbench.errors import Exit
from quantbench.records import Kind, Report, read_record
from studies import kill_and_resume


@pytest.mark.slow
# By the seed 5 the one kill is a SIGKILL, late in the run.
@pytest.mark.parametrize(("kills", "seed", "cells"), [(1, 5, 2), pytest.param(3, 1, 5, marks=pytest.mark.nightly)])
def test_killed_runs_end_as_the_unbroken_one(
    kills: int, seed: int, cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_and_resume, "CELLS", kill_and_resume.CELLS[:cells])
    killed, wrong, seconds = kill_and_resume.study(kills, seed, tmp_path)
    assert wrong == []
    assert len(killed) == kills
    text = kill_and_resume.render(killed, wrong, seconds)
    assert text.startswith(f"# Killed and resumed\n\n{kills} kills of real runs of {cells} cells of seed_cnn")
    assert "Nothing was wrong." in text


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_run_that_is_stopped_while_it_looks_into_the_store_reports_what_it_found(
    place: int, three_cells: ThreeCells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(three_cells.copied_store(tmp_path / "store")))
    looked: list[str] = []

    def interrupted(task: Task, **known: Any) -> Outcome | None:
        looked.append(task.variant)
        if len(looked) > place:
            raise KeyboardInterrupt
        return from_store(task, **known)

    monkeypatch.setattr(scheduler, "from_store", interrupted)
    options = RunOptions(models="seed_cnn", variants=THREE_VARIANTS, report_dir=tmp_path / "reports")
    session = Session(options, lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        session.plan({cell: {Kind.ACCURACY} for cell in session.cell_ids()})
    assert session.finish(HowEnded(interrupted=True)) is Exit.INTERRUPTED
    found = read_record(tmp_path / "reports" / "latest" / "report.json", Report, "report")
    assert found.state == "interrupted"
    assert {cell.variant for cell in found.cells if cell.cached} == set(looked[:place])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_imports_and_never_within_one(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end:\n    pass\nWHOLE = True\n"
    )
    script = f"""
import os, sys, threading, time
from quantbench.core.signals import nothing_left_to_stop, stop_in_order
stop_in_order()
threading.Timer(0.2, os.kill, [os.getpid(), {int(number)}]).start()
sys.path.insert(0, {str(tmp_path)!r})
try:
    import slow
    time.sleep(30)
except KeyboardInterrupt:
    print("whole", sys.modules["slow"].WHOLE)
nothing_left_to_stop()
os.kill(os.getpid(), {int(number)})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "whole True\n"), done.stderr
