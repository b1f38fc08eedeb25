"""What several tests need: made-up cells for the judges, and one real run for the tests of the whole path."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_pages import as_large, lay_run_folder, nine_cells

from bench.measure import child
from bench.records import Accepted, BaselineCell, BaselineValue, Report
from bench.reference import ReferenceModel

ROOT = Path(__file__).parents[1]
GPU_VARIABLES = ("QUANTBENCH_VULKAN", "QUANTBENCH_REQUIRE_GPU")
THREE_VARIANTS = "float32,ptq_float16,ptq_static_wi8_ai8"


def accepted(value: float, tolerance: float = 0.0, unit: str = "fraction", **more: Any) -> BaselineValue:
    """A baseline value with everything that does not matter filled in."""
    stamp = Accepted(date="2026-01-01", reason="test", run="r", environment="e")
    fields: dict[str, Any] = {"n": 1000, "noise": 0.0, "noise_from": "test", "tolerance_from": "test"} | more
    return BaselineValue(value=value, unit=unit, tolerance=tolerance, accepted=stamp, **fields)


def baseline_cell(**values: BaselineValue) -> BaselineCell:
    """A baseline cell of the named measurements."""
    return BaselineCell(measurements=values)


def instead_of_python(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts a fresh interpreter to measure gets a shell script instead."""
    shell = folder / "python"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    monkeypatch.setattr(child, "sys", SimpleNamespace(executable=str(shell)))


@dataclass
class Done:
    """A finished command."""

    status: int
    output: str
    reports: Path

    def report(self) -> dict[str, Any]:
        """The run's report as plain JSON."""
        loaded: dict[str, Any] = json.loads((self.reports / "latest" / "report.json").read_text())
        return loaded

    def cell(self, cell_id: str) -> dict[str, Any]:
        """One row of it."""
        return next(cell for cell in self.report()["cells"] if cell["id"] == cell_id)


Quantbench = Callable[..., Done]


def command(*arguments: str) -> list[str]:
    """The command line, whatever the PATH says."""
    return [sys.executable, "-m", "bench", *arguments]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests, so that an artifact is built once."""
    return tmp_path_factory.mktemp("store")


def surroundings(**more: str) -> dict[str, str]:
    """Environment of a command that a test starts. A GPU is there for the tests that ask for one, and for no others."""
    # Nor is the output of what a user starts unbuffered, whatever that of the tests is.
    left_out = (*GPU_VARIABLES, "PYTHONUNBUFFERED")
    usual = {name: value for name, value in os.environ.items() if name not in left_out}
    return usual | {"PYTHONPATH": str(ROOT)} | more


def run_quantbench(
    *arguments: str, store: Path, cwd: Path = ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=surroundings(**({"QUANTBENCH_CACHE": str(store)} | environment)),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def quantbench(tmp_path: Path, store: Path) -> Quantbench:
    """Run the command line in a process of its own, with a report folder of its own."""

    def call(*arguments: str, cwd: Path = ROOT, **environment: str) -> Done:
        extra = ["--report-dir", str(tmp_path / "reports")] if arguments[0] == "run" else []
        done = run_quantbench(*arguments, *extra, store=store, cwd=cwd, **environment)
        return Done(done.returncode, done.stdout + done.stderr, tmp_path / "reports")

    return call


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    """A copy of the project's baselines, to be broken."""
    folder = tmp_path / "baselines"
    shutil.copytree(ROOT / "baselines", folder)
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit a JSON file by hand."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.fixture
def made_up() -> Report:
    """A report of nine cells, for the tests of its page."""
    return nine_cells()


@pytest.fixture
def run_folder(
    tmp_path: Path, made_up: Report, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, ReferenceModel]]:
    return lay_run_folder(tmp_path, made_up, monkeypatch)


@pytest.fixture
def large(made_up: Report, monkeypatch: pytest.MonkeyPatch) -> Report:
    return as_large(made_up, monkeypatch)
