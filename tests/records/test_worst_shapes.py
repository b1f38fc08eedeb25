"""Reports of the worst shapes that fit into the limits are refused in seconds and without much memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, ThreeCells, surroundings

SECONDS, MEMORY = 10.0, 2 * 2**20  # of the processor; in KiB
SIZE, COMMAS, BRACKETS = 127 * 2**20, 4_990_000, 1_490_000  # a little less than may be
MEASURED = """
import os, sys
child = os.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-m", "quantbench", "report", sys.argv[1]])
_, status, used = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def _keys(count: int) -> str:
    return ",".join(f'"{i:x}":0' for i in range(count))


def _repeated(item: str, size: int = SIZE) -> str:
    return "[" + ",".join([item] * (size // (len(item) + 1))) + "]"


SHAPES: dict[str, tuple[str, Callable[[str], str]]] = {
    "deep lists": ("notes", lambda _: "[" * BRACKETS + "]" * BRACKETS),
    "deep objects": ("environment", lambda _: '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6)),
    "many short keys": ("environment", lambda _: "{" + _keys(COMMAS) + "}"),
    "a long key": ("environment", lambda _: '{"' + "k" * SIZE + '":0}'),
    "a huge number": ("exit_status", lambda _: "9" * SIZE),
    "a long fraction": ("exit_status", lambda _: "1." + "9" * SIZE),
    "a long text": ("exit_status", lambda _: '"' + "k" * SIZE + '"'),
    "many numbers": ("notes", lambda _: "[" + ",".join(["1"] * COMMAS) + "]"),
    "many lists": ("notes", lambda _: "[" + ",".join(["[]"] * BRACKETS) + "]"),
    "empty cells": ("cells", lambda _: "[" + ",".join(["{}"] * BRACKETS) + "]"),
    "one cell again and again": ("cells", lambda cell: _repeated(cell, SIZE * 8 // 10)),
}


# What nests deepest, what has most parts, and what is longest.
AT_ONCE = ("deep lists", "many lists", "a huge number")


def _each() -> list[Any]:
    return [pytest.param(shape, marks=() if shape in AT_ONCE else pytest.mark.nightly) for shape in SHAPES]


@pytest.mark.slow
@pytest.mark.parametrize("shape", _each())
def test_a_report_of_a_bad_shape_is_refused_soon(shape: str, three_cells: ThreeCells, tmp_path: Path) -> None:
    report = json.loads((three_cells.run / "report.json").read_text())
    key, content = SHAPES[shape]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report | {key: "@@"}).replace('"@@"', content(json.dumps(report["cells"][0]))))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=os.devnull),
        capture_output=True,
        text=True,
        timeout=120,
    )
    path.unlink()
    status, seconds, memory = done.stdout.split()
    assert status == "4", done.stderr[-500:]
    assert done.stderr.count("quantbench: ") == 1
    assert len(done.stderr) < 1000
    assert float(seconds) <= SECONDS
    assert int(memory) <= MEMORY
