"""Kill real runs at random moments, resume them, and compare the results with those of an uninterrupted run.

Each round begins with an empty store: a run is killed three times, by SIGINT, SIGTERM and SIGKILL in random order, and
started again at once each time, and then runs to its end. After each kill none of its processes may be alive; every
cell that was finished by then must come from the store afterwards; and the results must equal those of the
uninterrupted run.

    python -m studies.kill_and_resume --kills 30
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
from quantbench.build.store import Store
from quantbench.core.options import CHECKOUT, RunOptions
from quantbench.engine.workers.task import Task, from_store
from quantbench.errors import BadInput
from quantbench.records import Cell, Report, read_record
from quantbench.records.run_folder import REPORT
from quantbench.reference.model import load_models
from tabulate import tabulate

MODEL = "seed_cnn"
CELLS = ("float32", "ptq_float16", "ptq_dynamic_wi8_afp32", "ptq_static_wi8_ai8", "aeq_dynamic_wi8_afp32")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
GONE_SECONDS = 15.0
RUN_SECONDS = 600
OUTPUT = "output.txt"
_MARK = "QUANTBENCH_STUDY"


@dataclass(frozen=True)
class Killed:
    """Describe the effect of one kill.

    Attributes:
        moment: seconds after the start.
        status: as the system reports it: negative for the signal itself.
        state: of its report; empty where there is none.
        finished: cells that the store had complete by then.
        gone: seconds until its last process was gone.
        wrong: what went wrong, in words.
    """

    signal: signal.Signals
    moment: float
    status: int
    state: str
    finished: frozenset[str]
    gone: float
    wrong: tuple[str, ...]


class Round:
    """Run a few cells with a store and a report folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.reports = folder / "reports"
        self.scratch = folder / "tmp"
        self.scratch.mkdir(parents=True)

    def start(self) -> "tuple[subprocess.Popen[bytes], str]":
        """Start a run; return it, and the mark that all of its processes carry."""
        mark = uuid.uuid4().hex
        environment = {_MARK: mark, "QUANTBENCH_CACHE": str(self.store), "TMPDIR": str(self.scratch)}
        selection = ["--models", MODEL, "--variants", ",".join(CELLS), "--no-latency", "--no-gpu"]
        with (self.folder / OUTPUT).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "quantbench", "run", *selection, "--report-dir", str(self.reports)],
                cwd=CHECKOUT,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, mark

    def to_the_end(self) -> Report:
        """Run without interruption, and return the report."""
        process, mark = self.start()
        process.wait(RUN_SECONDS)
        wait_until_gone(mark)
        return read_record(self.reports / "latest" / REPORT, Report, "report")

    def kill(self, number: signal.Signals, moment: float) -> Killed | None:
        """Start a run and kill it after so many seconds: SIGINT to all processes, as by a terminal.

        Other signals go to its first process. Return None where it had ended before.
        """
        before = self.runs()
        process, mark = self.start()
        time.sleep(moment)
        alive = process.poll() is None
        if alive:
            (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
        status = process.wait(RUN_SECONDS)
        gone, left = wait_until_gone(mark)
        if not alive:
            return None
        wrong = [f"{left} processes were still alive"] if left else []
        state, more = self._report_of(self.runs() - before, number, status)
        return Killed(number, moment, status, state, self.finished(), gone, (*wrong, *more))

    def kill_at_random(self, number: signal.Signals, chance: random.Random, seconds: float) -> Killed | None:
        """Kill a run at a random moment of the time that it has left, of the seconds of an uninterrupted one."""
        left = 1 - 0.9 * len(self.finished()) / len(CELLS)
        return self.kill(number, chance.uniform(0.2, left * seconds))

    def runs(self) -> set[Path]:
        """List the folders of the runs so far."""
        return {path for path in self.reports.glob("*") if path.is_dir() and not path.is_symlink()} - {
            self.reports / ".pytest_cache"
        }

    def _report_of(self, folders: set[Path], number: signal.Signals, status: int) -> tuple[str, list[str]]:
        """Return the state of the run's report, and what is wrong with it."""
        wrong = []
        state = ""
        for folder in folders:
            try:
                state = read_record(folder / REPORT, Report, "report").state
            except BadInput as error:
                if number is not signal.SIGKILL or "not found" not in str(error):
                    wrong.append(str(error))
        if number is not signal.SIGKILL and folders:
            expected = {"interrupted": 2, "complete": 0}
            if expected.get(state) != status and not (state == "complete" and status == 2):
                said = (self.folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
                wrong.append(f"status {status} with a report that says {state or 'nothing'}; its last line: {said}")
        return state, wrong

    def finished(self) -> frozenset[str]:
        """List the cells that the store has complete."""
        model = load_models(RunOptions().model_dir)[MODEL]
        log = self.folder / "log"
        tasks = {name: Task(model.file, MODEL, name, 0, None, self.store, log) for name in CELLS}
        finished = frozenset(f"{MODEL}/{name}" for name, task in tasks.items() if from_store(task) is not None)
        Store(self.store).release()  # reading may write what an artifact contains, and then holds the store
        return finished

    def leftovers(self) -> list[str]:
        """List the files that remain after a whole run and are not needed."""
        leftovers = [*self.scratch.glob("quantbench-*"), *self.store.glob("*/.*"), *(self.store / ".held").glob("*")]
        newest = max(self.runs(), key=lambda path: path.stat().st_mtime, default=self.folder)
        return [str(path.relative_to(self.folder)) for path in (*leftovers, *newest.glob(".*"))]


def wait_until_gone(mark: str) -> tuple[float, int]:
    """Wait until no process carries the mark; return the seconds, and how many still do at the timeout."""
    start = time.perf_counter()
    while (alive := sum(1 for _ in _marked(mark))) and time.perf_counter() - start < GONE_SECONDS:
        time.sleep(0.1)
    return time.perf_counter() - start, alive


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark:
                yield process
        except psutil.Error:
            continue


def ends(report: Report) -> dict[str, object]:
    """Collect everything that interruptions must not change."""
    return {cell.id: _end(cell) for cell in report.cells} | {"exit status": report.exit_status}


def _end(cell: Cell) -> tuple[object, ...]:
    values = {name: cell.measurements[name].value for name in ("score", "size", "arena") if name in cell.measurements}
    return cell.verdict, dict(cell.verdicts), cell.artifact_sha256, cell.predictions_sha256, values


def wrong_ends(unbroken: Report, resumed: Report, killed: list[Killed]) -> list[str]:
    """List how the results of an interrupted run differ from what they should be."""
    before, after = ends(unbroken), ends(resumed)
    wrong = [
        f"{name}: {after.get(name)} instead of {before[name]}" for name in before if before[name] != after.get(name)
    ]
    wrong += [] if resumed.state == "complete" else [f"it ended {resumed.state}"]
    from_the_store = {cell.id for cell in resumed.cells if cell.cached}
    lost = frozenset().union(*(kill.finished for kill in killed)) - from_the_store
    return wrong + [f"{cell} was finished and was computed again" for cell in sorted(lost)]


def study(kills: int, seed: int, folder: Path) -> tuple[list[Killed], list[str], float]:
    """Kill and resume; return every kill, everything that was wrong, and seconds of the uninterrupted run."""
    chance = random.Random(seed)
    whole = Round(folder / "unbroken")
    start = time.perf_counter()
    unbroken = whole.to_the_end()
    seconds = time.perf_counter() - start
    wrong = [f"unbroken run: {path} is left over" for path in whole.leftovers()]
    killed: list[Killed] = []
    rounds = count()
    while len(killed) < kills:
        here = Round(folder / f"round{next(rounds)}")
        numbers = chance.sample(SIGNALS, len(SIGNALS))[: kills - len(killed)]
        here_killed = [kill for number in numbers if (kill := here.kill_at_random(number, chance, seconds)) is not None]
        resumed = here.to_the_end()
        killed += here_killed
        wrong += [f"kill {len(killed)}: {what}" for kill in here_killed for what in kill.wrong]
        wrong += [f"after kill {len(killed)}: {what}" for what in wrong_ends(unbroken, resumed, here_killed)]
        wrong += [f"after kill {len(killed)}: {path} is left over" for path in here.leftovers()]
    return killed, wrong, seconds


def render(killed: list[Killed], wrong: list[str], seconds: float) -> str:
    """Render the result as Markdown."""
    rows = [
        [
            kill.signal.name,
            f"{kill.moment:.1f}",
            kill.status,
            kill.state or "(not begun)",
            len(kill.finished),
            f"{kill.gone:.1f}",
        ]
        for kill in killed
    ]
    headers = ["signal", "after, s", "exit status", "its report", "cells finished", "last process gone after, s"]
    said = "Nothing was wrong." if not wrong else "\n".join(f"- WRONG: {what}" for what in wrong)
    return (
        f"# Killed and resumed\n\n{len(killed)} kills of real runs of {len(CELLS)} cells of {MODEL}, each round of "
        f"three with an empty store; the unbroken run took {seconds:.0f} s. {said}\n\n"
        "Checked after every round: verdicts, scores, sizes, artifacts and predictions are those of the unbroken run; "
        "what was finished at any kill came from the store; no process, temporary folder or half-written entry is "
        "left.\n\n" + tabulate(rows, headers=headers, tablefmt="github") + "\n"
    )


def main() -> None:
    """Run the study; exit with status 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-and-resume-") as folder:
        killed, wrong, seconds = study(given.kills, given.seed, Path(folder))
    sys.stdout.write(render(killed, wrong, seconds))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
