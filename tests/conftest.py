"""What several tests need: made-up cells for the judges, one real run that is only read, and room for those that time.

Several processes of pytest may share the work (pytest-xdist): what takes long is made once for all of them, and a test
marked ``alone`` has the machine to itself.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from filelock import FileLock
from made_up_pages import as_large, lay_run_folder, nine_cells
from quantbench.baselines import seals
from quantbench.core import child_process
from quantbench.errors import BadInput
from quantbench.records import (
    Accepted,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Judgement,
    Report,
    read_record,
    write_json,
)
from quantbench.reference.model import ReferenceModel
from quantbench.report.formatting import step

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "bench"
GPU_VARIABLES = ("QUANTBENCH_VULKAN", "QUANTBENCH_REQUIRE_GPU")
THREE_VARIANTS = "float32,ptq_float16,ptq_static_wi8_ai8"
THREE_CELLS = ["--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency", "--no-gpu"]

# How long an example takes says how busy the machine is, and nothing of what is tested.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


# ---------------------------------------------------------------- several processes of pytest


def pytest_configure() -> None:
    """What a test starts is a run as a user starts it: it does not know that pytest shares its work."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """A folder locked against the other processes, for one (``LOCK_EX``) or for several that share it (``LOCK_SH``)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile would keep it
        os.close(descriptor)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """A test that is to be alone waits until no other runs, and no other begins before it has ended."""
    alone = item.get_closest_marker("alone") is not None
    here = Path(__file__).parent
    with ExitStack() as room:
        with _locked(here.parent, fcntl.LOCK_EX):  # the door: whoever waits at it keeps later ones behind it
            room.enter_context(_locked(here, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of pytest fills and all others only read."""
    common = factory.getbasetemp()
    if common.name.startswith("popen-"):  # one of several
        common = common.parent
    folder, made = common / name, common / f"{name}.made"
    with FileLock(common / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


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
    monkeypatch.setattr(child_process, "sys", SimpleNamespace(executable=str(shell)))


def steps(judgement: Judgement) -> str:
    """What a judgement tells to do next, one line each."""
    return "\n".join(step(action) for action in judgement.actions)


def row(report: dict[str, Any], cell_id: str) -> dict[str, Any]:
    """What a report says of a cell."""
    found: dict[str, Any] = next(cell for cell in report["cells"] if cell["id"] == cell_id)
    return found


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
        return row(self.report(), cell_id)


Quantbench = Callable[..., Done]


def command(*arguments: str) -> list[str]:
    """The command line, whatever the PATH says."""
    return [sys.executable, "-m", "quantbench", *arguments]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this process, so that an artifact is built once."""
    return tmp_path_factory.mktemp("store")


@dataclass(frozen=True)
class ThreeCells:
    """A run that is only read, and a store that holds what it computed and nothing else.

    Attributes:
        run: its folder.
    """

    run: Path
    store: Path

    def cell(self, cell_id: str) -> dict[str, Any]:
        """One row of its report."""
        return row(json.loads((self.run / "report.json").read_text()), cell_id)

    def copied_store(self, target: Path) -> Path:
        """The store, to be filled or broken."""
        return Path(shutil.copytree(self.store, target, ignore=shutil.ignore_patterns(".*")))


@pytest.fixture(scope="session")
def three_cells(store: Path, tmp_path_factory: pytest.TempPathFactory) -> ThreeCells:
    """A green run of THREE_CELLS, whose results are in the common store as well."""

    def make(folder: Path) -> None:
        done = run_quantbench("run", *THREE_CELLS, "--report-dir", str(folder / "reports"), store=folder / "store")
        assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(tmp_path_factory, "three_cells", make)
    for entry in (folder / "store").glob("??/*"):
        if not (store / entry.parent.name / entry.name).exists():
            shutil.copytree(entry, store / entry.parent.name / entry.name)
    return ThreeCells((folder / "reports" / "latest").resolve(), folder / "store")


def surroundings(**more: str) -> dict[str, str]:
    """Environment of a command that a test starts. A GPU is there for the tests that ask for one, and for no others."""
    # Nor is the output of what a user starts unbuffered, whatever that of the tests is.
    left_out = (*GPU_VARIABLES, "PYTHONUNBUFFERED")
    usual = {name: value for name, value in os.environ.items() if name not in left_out}
    return usual | {"PYTHONPATH": str(SOURCE)} | more


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
    for path in folder.glob("*.json"):
        if '"seal": ' not in path.read_text():
            resealed(path)
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], None], seal: bool = True) -> None:
    """Edit a JSON file; a baseline is sealed again, as if the edit had been accepted, unless ``seal`` is False."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    if seal and data.get("kind") == "quantbench.baseline" and data.get("seal"):
        with contextlib.suppress(BadInput):  # what cannot be read has no seal
            resealed(path)


def resealed(path: Path) -> None:
    """Seal a baseline as it is."""
    write_json(path, seals.sealed(read_record(path, BaselineFile, "baseline")))


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
