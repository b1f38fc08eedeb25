"""How far a run is: a bar on a real (pseudo-)terminal, lines where there is none, and the time left."""

import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT, command, surroundings
from quantbench.engine import progress
from quantbench.engine.durations import Durations, seconds_left
from quantbench.engine.progress import Bar, Counts, Few, JudgedLines, Lines
from system.test_isolation import planted_models


def read_all(terminal: int) -> str:
    """Everything that was sent to a terminal, until nobody holds its other end any more."""
    shown = b""
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown.decode(errors="replace")


def on_a_terminal(arguments: list[str], store: Path, **environment: str) -> tuple[int, str]:
    """Exit status and everything that a command sent to a terminal."""
    ours, theirs = pty.openpty()
    usual = surroundings(QUANTBENCH_CACHE=str(store), TERM="xterm")
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env=usual | environment
    )
    os.close(theirs)
    shown = read_all(ours)
    return process.wait(timeout=60), shown


def test_a_terminal_gets_a_bar_and_none_of_pytests_letters(tmp_path: Path, store: Path) -> None:
    arguments = [
        "run",
        "--models",
        "seed_cnn",
        "--variants",
        "ptq_float16",
        "--no-latency",
        "--no-cache",
        "--workers",
        "1",
    ]
    status, shown = on_a_terminal([*arguments, "--report-dir", str(tmp_path)], store)
    assert status == 0, shown
    assert "cells" in shown
    assert "0/2" in shown
    assert "running" in shown
    assert "2/2" in shown
    assert "\x1b[1A" in shown or "\x1b[2K" in shown  # it was drawn over and taken away
    assert "[1/2]" not in shown  # the line of where there is no terminal
    assert "test_accuracy.py" not in shown
    assert "GREEN (2 cells" in shown
    assert "INFO: " not in shown
    assert "WARNING: All log messages" not in shown


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path, store: Path) -> None:
    arguments = ["run", "--models", "seed_cnn", "--variants", "float32", "--no-latency", "--report-dir", str(tmp_path)]
    status, shown = on_a_terminal(arguments, store, TERM="dumb")
    assert status == 0, shown
    assert "[1/1] seed_cnn/float32" in shown


def test_on_a_bar_only_failures_leave_a_line() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as file:
        assert progress.is_terminal(file) is (os.environ.get("TERM", "dumb") != "dumb")
        bar = Bar(file)
        bar.finished("m/fine 1.0 s", Counts("cells", 1, 3, 2, 0, 100.0), failed=False)
        bar.finished("m/broken crash", Counts("cells", 2, 3, 1, 1, 40.0), failed=True)
        bar.close()
    shown = read_all(ours)
    assert "m/fine" not in shown
    assert "m/broken crash" in shown
    assert "2 running, about 2 min left" in shown
    assert "1 running, 1 failed, about 40 s left" in shown


def test_lines_say_what_is_left_and_speak_up_after_a_silence() -> None:
    said: list[str] = []
    lines = Lines(said.append, quiet=0.0)
    lines.finished("m/v 3.1 s", Counts("cells", 1, 4, 2, 0, 3 * 60.0), failed=False)
    lines.show(Counts("cells", 1, 4, 2, 1, 100.0))
    assert said == ["[1/4] m/v 3.1 s (about 3 min left)", "cells: 1 of 4 done, 2 running, 1 failed, about 2 min left"]
    lines.judged("m/v: ✓ pass, 3.1 s", 1, 4)
    lines.detail("the cache was trimmed")
    assert len(said) == 2
    patient = Lines(said.append)
    patient.show(Counts("cells", 1, 4))
    assert len(said) == 2


def test_a_log_has_one_line_a_cell_with_its_verdict() -> None:
    said: list[str] = []
    lines = JudgedLines(said.append)
    lines.finished("m/v 3.1 s", Counts("cells", 1, 2), failed=False)
    lines.finished("m/w 1.0 s crash: signal 11", Counts("cells", 2, 2), failed=True)
    lines.judged("m/v: ✓ pass, 3.1 s", 1, 2)
    lines.judged("m/w: ✗ error, 1.0 s", 2, 2)
    lines.detail("the cache was trimmed")
    assert said == [
        "failed: m/w 1.0 s crash: signal 11",
        "[1/2] m/v: ✓ pass, 3.1 s",
        "[2/2] m/w: ✗ error, 1.0 s",
    ]
    patient = JudgedLines(said.append, quiet=0.0)
    patient.finished("m/x 2.0 s", Counts("cells", 1, 2), failed=False)
    patient.show(Counts("cells", 1, 2))
    patient.finished("m/y 2.0 s", Counts("cells", 2, 2), failed=False)
    patient.judged("m/y: ✓ pass, 2.0 s", 1, 2)
    patient.show(Counts("cells", 2, 2))
    assert said[3:] == [
        "computed: m/x 2.0 s; 1 of 2 done",
        "[1/2] m/y: ✓ pass, 2.0 s",
        "cells: 2 of 2 done",
    ]
    JudgedLines(said.append, verbose=True).detail("the cache was trimmed")
    assert said[-1] == "the cache was trimmed"


def test_the_time_left_comes_from_what_cells_took_before(tmp_path: Path) -> None:
    before = Durations(tmp_path)
    before.note("m/a", 30.0)
    before.note("m/b", 10.0)
    before.save()
    durations = Durations(tmp_path)
    assert durations.expected("m/a", None) == 30.0
    assert durations.usual(["m/a", "m/b", "m/new"]) == 20.0
    assert durations.expected("m/new", 20.0) == 20.0
    assert durations.usual(["m/new"]) is None
    assert seconds_left({"m/a": 30.0, "m/b": 10.0}, {"m/a": 10.0}, workers=2) == pytest.approx(20.0)
    assert seconds_left({"m/a": 30.0, "m/new": None}, {}, workers=2) is None
    (tmp_path / ".durations.json").write_text("[1, 2")
    assert Durations(tmp_path).expected("m/a", None) is None


@pytest.mark.slow
def test_a_line_behind_a_pipe_is_told_when_it_is_said(tmp_path: Path, store: Path) -> None:
    """Whoever reads a run's output, such as CI's log, sees a cell when it is finished, whatever the next one does."""
    models = planted_models(tmp_path / "models")
    arguments = command("run", "--models", "seed_cnn", "--variants", "planted_hang", "--no-latency")
    with subprocess.Popen(
        [*arguments, "--model-dir", str(models), "--report-dir", str(tmp_path / "reports"), "--cell-timeout", "60"],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        begun = time.monotonic()
        first = next(line for line in run.stdout if "/float32" in line)
        waited = time.monotonic() - begun
        run.send_signal(signal.SIGINT)
    assert "computed: seed_cnn/float32 " in first  # its verdict is awaited no longer than the line
    assert waited < 55, "told only when the hanging cell was given up"


def test_before_an_answer_an_hour_of_work_is_told_in_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    few = Few(said.append)
    began = time.monotonic()
    for second in range(3600):
        monkeypatch.setattr(progress.time, "monotonic", lambda at=second: began + at)
        few.finished("m/v 1 s", Counts("cells", second, 3600, 1), failed=True)
        few.say("m/v: other processes disturbed it")
        few.show(Counts("cells", second, 3600, 1))
        if second == 60:
            assert len([line for line in said if line.startswith("cells: ")]) == 3
    assert len(said) <= 12
    assert said[1] == "cells: 0 of 3600 done, 1 running"


def test_before_an_answer_six_hours_have_hardly_more_lines_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    few = Few(said.append)
    began = time.monotonic()
    for second in range(0, 6 * 3600, 5):
        monkeypatch.setattr(progress.time, "monotonic", lambda at=second: began + at)
        few.show(Counts("cells", 0, 9, 1))
    assert len(said) <= 11


def test_before_an_answer_the_last_remark_is_printed_with_how_many_were_left_out() -> None:
    said: list[str] = []
    few = Few(said.append)
    for number in range(7):
        few.say(f"m/v{number}: disturbed")
    few.say("the search for causes was stopped")
    few.close()
    few.close()
    few.say("after the end")
    few.close()
    assert said[3:] == ["the search for causes was stopped (4 other remarks left out before it)", "after the end"]
    assert said[:3] == ["m/v0: disturbed", "m/v1: disturbed", "m/v2: disturbed"]
