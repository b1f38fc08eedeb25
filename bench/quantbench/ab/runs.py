"""Run one side: this package's code in the side's own environment."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantbench.core.child_process import Interpreter, ended
from quantbench.core.options import PACKAGE, PYTEST_INI
from quantbench.core.signals import hurried_by, undisturbed
from quantbench.errors import BadInput, DiskFull, Exit
from quantbench.records import Verdict
from quantbench.records.run_folder import REPORT
from quantbench.report.formatting import MARKS

# Both sides run a copy of the same sources: importing from a checkout or site-packages would also expose its
# neighbours, and a long run must not see later edits.
_PATIENCE_SECONDS = 30.0  # an interrupted side has ended after 3; one that has not is killed by the next signal
RAN = (Exit.GREEN, Exit.REGRESSED, Exit.NOT_MEASURED)
# What would make the cells differ from stored cells of the same pinned weights.
REFUSED_OPTIONS = ("--train", "--no-cache", "--update-baselines", "--shard", "--cluster")


@dataclass(frozen=True)
class Runner:
    """Describe where one side runs.

    Attributes:
        name: ``old`` or ``new``.
        python: its environment's Python, with the copied sources.
        folder: receives its run folder.
    """

    name: str
    python: Interpreter
    folder: Path


def copy_sources(folder: Path) -> Path:
    """Create a folder that only contains a copy of this package, as it is compiled."""
    home = folder / "sources"
    shutil.copytree(PACKAGE, home / PACKAGE.name)
    shutil.copy(PYTEST_INI, home / PACKAGE.name)
    return home


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise BadInput for arguments that both sides cannot take."""
    for argument in arguments:
        if argument.partition("=")[0] in REFUSED_OPTIONS:
            raise BadInput(f"{argument}: ab compares stored cells of the same pinned weights; leave it out")


def run(side: Runner, model_dir: Path, arguments: Sequence[str], say: Callable[[str], None]) -> Path:
    """Build and evaluate the cells of one side; return its run folder.

    There are no baselines, as each cell is only compared with the other side's, so that its status means nothing here.

    Args:
        arguments: of ``quantbench run``, such as ``-m`` or ``--models``.

    Raises:
        BadInput: the run could not begin, or wrote no report; with its last line.
        DiskFull: it found no space left.
        KeyboardInterrupt: it was interrupted.
    """
    side.folder.mkdir(parents=True, exist_ok=True)
    nothing = side.folder / "no-baselines"
    nothing.mkdir(exist_ok=True)
    command = [str(side.python.executable), "-P", "-m", "quantbench", "run", "--no-latency", "--no-gpu"]
    command += [f"--model-dir={model_dir.absolute()}", f"--baseline-dir={nothing.absolute()}"]
    command += [f"--report-dir={side.folder.absolute()}", *arguments]
    latest = side.folder / "latest"
    before = latest.resolve()
    last = _follow(command, side, say)
    nothing.rmdir()
    if latest.resolve() == before or not (latest / REPORT).exists():
        raise BadInput(f"the {side.name} side wrote no report: {last}")
    return latest.resolve()


def _without_verdict(line: str) -> str:
    """Return the line on a cell without its verdict, which is the same for all: there are no baselines here."""
    return line.replace(f": {MARKS[Verdict.MISSING]}, ", ": ")


def _follow(command: list[str], side: Runner, say: Callable[[str], None]) -> str:
    """Run it to its end, reporting each finished cell; return its last line."""
    log = side.folder / "run.log"
    # The side's packages come from its environment, and from nothing that PYTHONPATH names here.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(side.python.home)
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
                    say(f"{side.name}: {_without_verdict(line.strip())}")
        except KeyboardInterrupt:
            _end_orderly(run)
            raise
    if run.returncode == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    if run.returncode == Exit.DISK_FULL:
        raise DiskFull(f"the {side.name} side found no space left: {last} (all of it: {log})")
    if run.returncode not in RAN:
        raise BadInput(f"the {side.name} side {ended(run.returncode)}: {last} (all of it: {log})")
    return last


def _end_orderly(run: "subprocess.Popen[str]") -> None:
    """Interrupt a side so that it writes what it finished, and wait for it; each further signal makes it hurry.

    Killed at once, it would leave no report, and its scratch in the store.
    """
    begun = time.monotonic()

    def hurry() -> None:
        if time.monotonic() - begun < _PATIENCE_SECONDS:
            run.terminate()
        else:
            run.kill()

    run.terminate()
    assert run.stdout is not None
    with undisturbed(), hurried_by(hurry):
        for _ in run.stdout:  # a full pipe would block it
            pass
        run.wait()
