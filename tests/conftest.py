"""Share what several tests need: made-up cells for the judges, one real read-only run, and locks for timing tests.

Several processes of pytest may share the work (pytest-xdist): slow fixtures are made once for all of them, and a test
marked ``alone`` has the machine to itself. One marked ``nightly`` waits for
``--nightly``.
"""

import contextlib
import fcntl
import gc
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import command_server
import damage
import hypothesis
import pytest
from filelock import FileLock
from made_up_pages import as_large, lay_run_folder, nine_cells
from quantbench.baselines import seals
from quantbench.core import child_process, signals
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
# Each run would start valgrind for half a minute; what is tested of it has tests of its own.
os.environ.setdefault("QUANTBENCH_NO_INSTRUCTIONS", "true")
# What does not run on TFLite-Micro would be a verdict of runs that are about something else.
os.environ.setdefault("QUANTBENCH_NO_MICRO", "true")
GPU_VARIABLES = ("QUANTBENCH_VULKAN", "QUANTBENCH_REQUIRE_GPU")
FORKED_SECONDS = 300  # the limit of a forked command
THREE_VARIANTS = "float32,ptq_float16,ptq_static_wi8_ai8"
THREE_CELLS = ["--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency", "--no-gpu"]

# The time of an example depends on the load of the machine, and not on the tested code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


# ---------------------------------------------------------------- what waits for the night

_left_out = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one switch between the default run and all tests."""
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly as well")


def _is_slow(item: pytest.Item) -> bool:
    """Whether it is marked so, or starts the command."""
    starts = {"quantbench", "three_cells"} & set(getattr(item, "fixturenames", ()))
    return bool(starts) or item.get_closest_marker("slow") is not None


def _put_in_order(items: list[pytest.Item]) -> None:
    """Begin with the files of slow tests, and end with quick ones, and those that have the machine to themselves.

    So processes hardly wait for each other: neither at the end, nor for a slow test before one that runs alone. Files
    stay whole.
    """
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    slow = {item.path for item in items if _is_slow(item)} - alone
    place = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}

    def rank(item: pytest.Item) -> tuple[bool, bool, int, bool]:
        last = item.get_closest_marker("alone") is not None
        return item.path in alone, item.path not in slow, place[item.path], last

    items.sort(key=rank)


@pytest.hookimpl(trylast=True)  # of those that -k and -m select
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests marked ``nightly``, unless they are asked for, and put the others in order."""
    if not config.option.nightly and "nightly" not in config.option.markexpr:
        waiting = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
        config.stash[_left_out] = len(waiting)
        if waiting:
            config.hook.pytest_deselected(items=waiting)
    _put_in_order(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Keep the collected tests out of every collection of garbage, which would look through a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes says how many it left out; each collects all tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(_left_out, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Several processes leave out the same ones."""
    number = getattr(node, "workeroutput", {}).get("left_out", 0)  # nothing is known of one that died
    node.config.stash[_left_out] = max(number, node.config.stash.get(_left_out, 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Count what did not run."""
    if number := config.stash.get(_left_out, 0):
        terminalreporter.line(f"{number} tests marked nightly were left out; --nightly runs them as well")


# ---------------------------------------------------------------- several processes of pytest


forks = True  # whether commands are forked from a process that has imported them; not in the nightly run


def pytest_configure(config: pytest.Config) -> None:
    """Hide from the tested commands that pytest shares its work, so that they run as a user starts them."""
    global forks
    if hasattr(config, "workerinput"):
        command_server.use(Path(config.workerinput["command_server"]))
    forks = not config.option.nightly
    damage.share = 1.0 if config.option.nightly or "nightly" in config.option.markexpr else 1 / 12
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Several processes have their commands forked from one server, which imports once for all."""
    node.workerinput["command_server"] = str(command_server.folder())


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Lock a folder against other processes, exclusively (``LOCK_EX``) or shared (``LOCK_SH``)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile would keep it locked
        os.close(descriptor)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Make a test marked ``alone`` wait until no other runs, and hold others back until it has ended."""
    alone = item.get_closest_marker("alone") is not None
    here = Path(__file__).parent
    had = "tensorflow" in sys.modules
    with ExitStack() as room:
        with _locked(here.parent, fcntl.LOCK_EX):  # a waiting process keeps later ones behind it
            room.enter_context(_locked(here, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        done = yield
    if not had and "tensorflow" in sys.modules:  # another million
        gc.collect()
        gc.freeze()
    return done


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder that one process of pytest fills and all others only read."""
    common = factory.getbasetemp()
    if common.name.startswith("popen-"):  # one of several processes
        common = common.parent
    folder, made = common / name, common / f"{name}.made"
    with FileLock(common / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a failed attempt
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def accepted(value: float, tolerance: float = 0.0, unit: str = "fraction", **more: Any) -> BaselineValue:
    """Make a baseline value, with defaults for everything that does not matter."""
    stamp = Accepted(date="2026-01-01", reason="test", run="r", environment="e")
    fields: dict[str, Any] = {"n": 1000, "noise": 0.0, "noise_from": "test", "tolerance_from": "test"} | more
    return BaselineValue(value=value, unit=unit, tolerance=tolerance, accepted=stamp, **fields)


def baseline_cell(**values: BaselineValue) -> BaselineCell:
    """Make a baseline cell with the named measurements."""
    return BaselineCell(measurements=values)


def instead_of_python(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the fresh Python interpreters of measurements by a shell script."""
    shell = folder / "python"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    monkeypatch.setattr(child_process, "sys", SimpleNamespace(executable=str(shell)))


def steps(judgement: Judgement) -> str:
    """List a judgement's recommended actions, one line each."""
    return "\n".join(step(action) for action in judgement.actions)


def row(report: dict[str, Any], cell_id: str) -> dict[str, Any]:
    """Find a cell in a report."""
    cell: dict[str, Any] = next(cell for cell in report["cells"] if cell["id"] == cell_id)
    return cell


@dataclass
class Done:
    """Hold a finished command."""

    status: int
    output: str
    reports: Path

    def report(self) -> dict[str, Any]:
        """Read the run's report as plain JSON."""
        loaded: dict[str, Any] = json.loads((self.reports / "latest" / "report.json").read_text())
        return loaded

    def cell(self, cell_id: str) -> dict[str, Any]:
        """Find one cell of the report."""
        return row(self.report(), cell_id)


Quantbench = Callable[..., Done]


def command(*arguments: str) -> list[str]:
    """Return the command line, independent of the PATH."""
    return [sys.executable, "-m", "quantbench", *arguments]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one store for all tests, so that an artifact is built once."""
    return made_once(tmp_path_factory, "store", lambda folder: None)


@dataclass(frozen=True)
class ThreeCells:
    """Hold a read-only run, and a store that only contains its results.

    Attributes:
        run: folder of the run.
    """

    run: Path
    store: Path

    def cell(self, cell_id: str) -> dict[str, Any]:
        """Find one cell of its report."""
        return row(json.loads((self.run / "report.json").read_text()), cell_id)

    def copied_store(self, target: Path) -> Path:
        """Copy the store, to fill or damage it."""
        return Path(shutil.copytree(self.store, target, ignore=shutil.ignore_patterns(".*")))


def _put_into(store: Path, other: Path) -> None:
    """Add the other store's entries, each at once, as another process may build it meanwhile."""
    for entry in other.glob("??/*"):
        target = store / entry.parent.name / entry.name
        aside = target.with_name(f".new-{entry.name}")
        shutil.copytree(entry, aside)
        try:
            aside.rename(target)
        except OSError:  # it is there already
            shutil.rmtree(aside)


@pytest.fixture(scope="session")
def three_cells(store: Path, tmp_path_factory: pytest.TempPathFactory) -> ThreeCells:
    """Make a green run of THREE_CELLS, whose results are also in the common store."""

    def make(folder: Path) -> None:
        done = run_quantbench("run", *THREE_CELLS, "--report-dir", str(folder / "reports"), store=folder / "store")
        assert done.returncode == 0, done.stdout + done.stderr

    folder = made_once(tmp_path_factory, "three_cells", make)
    made_once(tmp_path_factory, "three_cells_stored", lambda _: _put_into(store, folder / "store"))
    return ThreeCells((folder / "reports" / "latest").resolve(), folder / "store")


def surroundings(**more: str) -> dict[str, str]:
    """Make the environment of a command that a test starts; only tests that ask for a GPU see one."""
    # A user's output is buffered, even if the tests' is not.
    left_out = (*GPU_VARIABLES, "PYTHONUNBUFFERED")
    usual = {name: value for name, value in os.environ.items() if name not in left_out}
    return usual | {"PYTHONPATH": str(SOURCE)} | more


def run_quantbench(
    *arguments: str, store: Path, cwd: Path = ROOT, first: str = "", path: Iterable[Path] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own: a forked one, or a fresh interpreter where that may matter.

    Args:
        first: Python code that the process runs before the command.
        path: further folders to import from.
    """
    seen = surroundings(**({"QUANTBENCH_CACHE": str(store)} | environment))
    if path:
        seen["PYTHONPATH"] = os.pathsep.join(map(str, [SOURCE, *path]))
    if forks and not any(name.startswith(("PYTHON", "LC_", "LANG")) for name in environment):
        try:
            return command_server.run(list(arguments), cwd, seen, timeout=FORKED_SECONDS, first=first)
        except subprocess.TimeoutExpired as hung:  # seen once; at night nothing is forked, and none is repeated
            warnings.warn(f"a forked command hung, and is repeated: {hung.__notes__}", stacklevel=2)
    start = [sys.executable, "-c", f"{first}\nfrom quantbench.cli import main\nmain()"] if first else command()
    return subprocess.run([*start, *arguments], cwd=cwd, env=seen, capture_output=True, text=True, timeout=600)


def run_script(
    script: Path, *arguments: str, cwd: Path = ROOT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a script that computes with TensorFlow in a process of its own, forked unless this is the nightly run."""
    if forks:
        return command_server.run(list(arguments), cwd, surroundings(**environment), timeout=600, script=script)
    start = [sys.executable, str(script), *arguments]
    return subprocess.run(start, cwd=cwd, env=surroundings(**environment), capture_output=True, text=True, timeout=600)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked ``forked`` in a process that has TensorFlow imported; at night it runs here, as all others."""
    if not forks or pyfuncitem.get_closest_marker("forked") is None:
        return None
    given = pickle.dumps({name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps((sys.path, pyfuncitem.module.__name__, pyfuncitem.originalname, given)))
        file.flush()
        done = run_script(ROOT / "tests" / "forked_test.py", file.name)
    if done.returncode:
        pytest.fail(
            f"in a forked process, which ended with status {done.returncode}:\n{done.stdout}{done.stderr}", False
        )
    return True


@pytest.fixture
def quantbench(tmp_path: Path, store: Path) -> Quantbench:
    """Run the command line in a process of its own, with a report folder of its own.

    A run has one worker unless it asks for more: each would import TensorFlow, and several runs share the cores anyway.
    """

    def call(*arguments: str, cwd: Path = ROOT, **environment: str) -> Done:
        extra = ["--report-dir", str(tmp_path / "reports")] if arguments[0] == "run" else []
        if extra and not {"--workers", "--cluster"} & set(arguments):
            extra += ["--workers", "1"]
        done = run_quantbench(*arguments, *extra, store=store, cwd=cwd, **environment)
        return Done(done.returncode, done.stdout + done.stderr, tmp_path / "reports")

    return call


@pytest.fixture
def stops_in_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handle signals as the command does, with no signal received yet, and as before afterwards."""
    monkeypatch.setattr(signals, "_state", signals._State())
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    signals.stop_in_order()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    """Copy the project's baselines, to damage them."""
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


def update_of(data: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a value in a baseline as it lies on disk."""
    found: dict[str, Any] = data["updates"][value["accepted"].partition("@")[0]]
    return found


def resealed(path: Path) -> None:
    """Seal a baseline as it is."""
    write_json(path, seals.sealed(read_record(path, BaselineFile, "baseline")))


@pytest.fixture
def made_up() -> Report:
    """Make a report of nine cells, for the tests of its page."""
    return nine_cells()


@pytest.fixture
def run_folder(
    tmp_path: Path, made_up: Report, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, ReferenceModel]]:
    return lay_run_folder(tmp_path, made_up, monkeypatch)


@pytest.fixture
def large(made_up: Report, monkeypatch: pytest.MonkeyPatch) -> Report:
    return as_large(made_up, monkeypatch)
