"""One side's run: this package's code, in the side's own environment."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench.core.child_process import Interpreter, ended
from quantbench.core.options import PACKAGE, PYTEST_INI
from quantbench.core.signals import hurried_by, undisturbed
from quantbench.errors import BadInput, Exit
from quantbench.records.run_folder import REPORT

# Both sides run the same sources, copied: an import from a checkout or from site-packages would bring along what lies
# beside them, and a long run must not see later edits.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
RAN = (Exit.GREEN, Exit.REGRESSED, Exit.NOT_MEASURED)
# What would make the two sides' cells another thing than cells of the same pinned weights kept in the store.
REFUSED_OPTIONS = ("--train", "--no-cache", "--update-baselines", "--shard", "--cluster")


@dataclass(frozen=True)
class Runner:
    """Where one side runs.

    Attributes:
        name: ``old`` or ``new``.
        python: its environment's Python, with the copied sources.
        folder: gets its run folder.
    """

    name: str
    python: Interpreter
    folder: Path


def copy_sources(folder: Path) -> Path:
    """A folder that holds nothing but a copy of this package."""
    home = folder / "sources"
    shutil.copytree(PACKAGE, home / PACKAGE.name, ignore=LEFT_OUT)
    shutil.copy(PYTEST_INI, home / PACKAGE.name)
    return home


def check_arguments(arguments: Sequence[str]) -> None:
    """Raises BadInput for what both sides cannot be given."""
    for argument in arguments:
        if argument.partition("=")[0] in REFUSED_OPTIONS:
            raise BadInput(f"{argument}: ab compares stored cells of the same pinned weights; leave it out")


def run(one: Runner, model_dir: Path, arguments: Sequence[str], say: Callable[[str], None]) -> Path:
    """Build and evaluate the cells of one side; its run folder.

    There are no baselines: each cell is held against the other side's alone, so that its status means nothing here.

    Args:
        arguments: of ``quantbench run``, such as ``-m`` or ``--models``.

    Raises:
        BadInput: the run could not begin, or wrote no report; with its last words.
        KeyboardInterrupt: it was interrupted.
    """
    one.folder.mkdir(parents=True, exist_ok=True)
    nothing = one.folder / "no-baselines"
    nothing.mkdir(exist_ok=True)
    command = [str(one.python.executable), "-P", "-m", "quantbench", "run", "--no-latency", "--no-gpu"]
    command += [f"--model-dir={model_dir.absolute()}", f"--baseline-dir={nothing.absolute()}"]
    command += [f"--report-dir={one.folder.absolute()}", "-q", "--no-header", "--no-summary", *arguments]
    last = _follow(command, one, say)
    nothing.rmdir()
    found = one.folder / "latest"
    if not (found / REPORT).exists():
        raise BadInput(f"the {one.name} side wrote no report: {last}")
    return found.resolve()


def _follow(command: list[str], one: Runner, say: Callable[[str], None]) -> str:
    """Run it to its end, telling each finished cell; returns its last line."""
    log = one.folder / "run.log"
    # PYTHONPATH of whoever started us is not the side's; its own packages come from its environment.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(one.python.home)
    last = "no output"
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as run,
    ):
        assert run.stdout is not None
        try:
            for line in run.stdout:
                kept.write(line)
                last = line.strip() or last
                if line.strip().startswith("["):
                    say(f"{one.name}: {line.strip()}")
        except KeyboardInterrupt:
            _end_orderly(run)
            raise
    if run.returncode == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    if run.returncode not in RAN:
        raise BadInput(f"the {one.name} side {ended(run.returncode)}: {last} (all of it: {log})")
    return last


def _end_orderly(run: "subprocess.Popen[str]") -> None:
    """Have a side write what it finished, and wait for it; another signal ends it at once."""
    run.terminate()
    assert run.stdout is not None
    with undisturbed(), hurried_by(run.kill):
        for _ in run.stdout:  # a full pipe would hold it up
            pass
        run.wait()
