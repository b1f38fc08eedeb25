"""Whoever reads what a command prints may leave, close the terminal or have no room: the work goes on.

A full output is a full disk; a reader that left is no error.
"""

import functools
import json
import os
import pty
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, THREE_CELLS, ThreeCells, command, run_quantbench, surroundings
from quantbench.errors import Exit
from quantbench.records import Report, read_record

FIRST_LINE = f"{shlex.quote(sys.executable)} -c 'import os; os.read(0, 1)'"  # reads a byte, and leaves


def shell(redirection: str, arguments: list[str], store: Path) -> "subprocess.CompletedProcess[str]":
    """A command with its output redirected; status of its own, whatever that of a reader is."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(command(*arguments))} {redirection}"],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_whole(reports: Path, status: int) -> Report:
    """The run has come to its end, and its report states the status that its process ended with."""
    latest = reports / "latest"
    report = read_record(latest / "report.json", Report, "report")
    assert (report.state, report.exit_status) == ("complete", status)
    assert all(cell.failure is None for cell in report.cells)
    assert (latest / "report.html").exists()
    assert f'name="exit status" value="{status}"' in (latest / "junit.xml").read_text()
    return report


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        (f"| {FIRST_LINE}", Exit.GREEN),
        (">&- 2>&- <&-", Exit.GREEN),
        (">/dev/full 2>&1", Exit.DISK_FULL),
        pytest.param(">&-", Exit.GREEN, marks=pytest.mark.nightly),
        pytest.param("2>&-", Exit.GREEN, marks=pytest.mark.nightly),
        pytest.param(f"2>&1 | {FIRST_LINE}", Exit.GREEN, marks=pytest.mark.nightly),
        pytest.param("2>/dev/full", Exit.GREEN, marks=pytest.mark.nightly),
        pytest.param(">/dev/full", Exit.DISK_FULL, marks=pytest.mark.nightly),
    ],
    ids=lambda value: value.replace(FIRST_LINE, "first line").replace("/", "_") if isinstance(value, str) else "",
)
def test_a_run_whose_output_is_lost_goes_on_and_writes_its_report(
    redirection: str, status: Exit, three_cells: ThreeCells, store: Path, tmp_path: Path
) -> None:
    done = shell(redirection, ["run", *THREE_CELLS, "--report-dir", str(tmp_path)], store)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    report = assert_whole(tmp_path, status)
    assert any("standard output is full" in note for note in report.notes) == (status is Exit.DISK_FULL)


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        pytest.param(f"| {FIRST_LINE}", Exit.GREEN, id="first line", marks=pytest.mark.nightly),
        pytest.param(">&- 2>&-", Exit.GREEN, id="closed", marks=pytest.mark.nightly),
        pytest.param(">/dev/full", Exit.DISK_FULL, id="full"),
    ],
)
def test_pytest_itself_goes_on_too(
    redirection: str, status: Exit, three_cells: ThreeCells, store: Path, tmp_path: Path
) -> None:
    """``pytest bench`` is the same run without our command line around it."""
    words = [sys.executable, "-m", "pytest", "bench", *THREE_CELLS, "--report-dir", str(tmp_path)]
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.join(words)} {redirection}"],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert_whole(tmp_path, status)


@functools.cache
def whole_output(arguments: tuple[str, ...], store: Path) -> "subprocess.CompletedProcess[str]":
    """What a command prints where nothing is lost."""
    return run_quantbench(*arguments, store=store)


PRINTING = (
    "schema report", "compare RUN RUN", "variants --taxonomy", "history --report-dir REPORTS", "report RUN",
    "inspect seed_cnn/ptq_float16 --run RUN", "baseline diff RUN", "--help",
)  # fmt: skip
LOST = {"full": ">/dev/full", "first line": f"| {FIRST_LINE}", "closed": ">&-"}


def _each_that_prints() -> Iterator[Any]:
    """Five commands where there is no room, which the status has to tell; one of them in the other ways too."""
    for place, arguments in enumerate(PRINTING):
        for how, lost in LOST.items():
            marks = () if (how == "full" and place < 5) or place == 0 else pytest.mark.nightly
            yield pytest.param(arguments, lost, id=f"{arguments}-{how}", marks=marks)


@pytest.mark.parametrize(("arguments", "lost"), _each_that_prints())
def test_what_only_prints_ends_quietly(arguments: str, lost: str, three_cells: ThreeCells, store: Path) -> None:
    folder, reports = str(three_cells.run), str(three_cells.run.parent)
    words = [word.replace("REPORTS", reports).replace("RUN", folder) for word in arguments.split()]
    usual = whole_output(tuple(words), store)
    assert usual.returncode == 0, usual.stderr
    done = shell(lost, words, store)
    full = lost == ">/dev/full" and usual.stdout
    assert done.returncode == (Exit.DISK_FULL if full else 0), done.stderr
    assert done.stderr == usual.stderr + (
        "quantbench: standard output is full: no space is left where it goes; free some, or send it elsewhere\n"
        if full
        else ""
    )


def test_a_refusal_keeps_its_status_where_nobody_can_be_told(store: Path) -> None:
    for lost in ("2>&-", "2>/dev/full", ">&- 2>&- <&-"):
        assert shell(lost, ["inspect", "nothing.tflite"], store).returncode == Exit.BAD_INPUT


def test_a_terminal_that_is_closed_ends_the_run_with_a_report(
    three_cells: ThreeCells, store: Path, tmp_path: Path
) -> None:
    master, slave = pty.openpty()
    # The controlling terminal of a session of its own, as a window's is.
    start = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0); "
    start += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    arguments = ["-m", "quantbench", "run", *THREE_CELLS[:-2], "--no-gpu", "--latency-budget", "3"]
    run = subprocess.Popen(
        [sys.executable, "-c", start, *arguments, "--report-dir", str(tmp_path)],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store), TERM="xterm"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    end = time.monotonic() + 60
    while not list(tmp_path.glob("2*/report.json")) and time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:  # nothing is printed while a cell is timed
            os.read(master, 10_000)
    os.close(master)
    assert run.wait(60) == Exit.INTERRUPTED
    found = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert (found["state"], found["exit_status"]) == ("interrupted", Exit.INTERRUPTED)
    assert not [cell for cell in found["cells"] if cell.get("failure")]
