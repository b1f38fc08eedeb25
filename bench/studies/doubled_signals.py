"""Send real runs several signals in a row, and check that each ends like a run that gets a single signal.

A person who sees nothing happen presses ^C again; a batch system sends SIGTERM repeatedly; a closed terminal sends
SIGHUP. Each run here gets two or three signals, up to a second apart, at random moments of its life. Each must end with
status 2 and a report that says so, without an error in any cell and without remaining processes; the next run must
resume it and get the results of an uninterrupted one.

    python -m studies.doubled_signals --runs 36
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from quantbench.errors import BadInput
from quantbench.records import Report, Verdict, read_record
from quantbench.records.run_folder import REPORT
from quantbench.report.junit import JUNIT
from tabulate import tabulate

from studies.kill_and_resume import OUTPUT, RUN_SECONDS, Round, ends, wait_until_gone

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SEQUENCES = ((INT, INT), (TERM, TERM), (HUP, HUP), (INT, TERM), (TERM, INT), (HUP, TERM), (INT, INT, INT), (TERM,) * 3)
GAPS = (0.0, 0.01, 0.1, 0.3, 1.0)
# The other ways to end for a run that is signalled before it can handle signals: Python's own, or the signal itself.
UNHEARD = (2, 130, *(-number for number in (INT, TERM, HUP)))


@dataclass(frozen=True)
class Signalled:
    """Describe the effect of several signals.

    Attributes:
        moment: seconds from the start to the first signal.
        gap: seconds between signals.
        status: as the system reports it.
        state: of the run's report; empty where none was begun.
        seconds: from the first signal to the end.
        wrong: what went wrong, in words.
    """

    signals: tuple[signal.Signals, ...]
    moment: float
    gap: float
    status: int
    state: str
    seconds: float
    wrong: tuple[str, ...]


def send(here: Round, signals: tuple[signal.Signals, ...], moment: float, gap: float) -> Signalled:
    """Start a run and signal it: SIGINT and SIGHUP to all its processes, as a terminal does, others to the first."""
    before = here.runs()
    process, mark = here.start()
    time.sleep(moment)
    begin = time.perf_counter()
    for place, number in enumerate(signals):
        if place:
            time.sleep(gap)
        _send(process, number)
    try:
        status = process.wait(RUN_SECONDS)
    finally:
        process.kill()
    seconds = time.perf_counter() - begin
    _, left = wait_until_gone(mark)
    state, wrong = _wrong(here, here.runs() - before, status)
    wrong += [f"{left} processes were still alive"] if left else []
    return Signalled(signals, moment, gap, status, state, seconds, tuple(wrong))


def _send(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    if process.poll() is not None:
        return
    try:
        (os.kill if number is TERM else os.killpg)(process.pid, number)
    except ProcessLookupError:
        return


def _wrong(here: Round, folders: set[Path], status: int) -> tuple[str, list[str]]:
    """Return the state of the run's report, and everything that is wrong with it."""
    said = (here.folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
    wrong = [f"it said {word!r}" for word in ("INTERNALERROR", "leaked", "killed processes") if word in said]
    wrong += [f"{path} is left over" for path in here.leftovers()]
    if not folders:
        return "", wrong + ([] if status in UNHEARD else [f"status {status} without a report"])
    [folder] = folders
    try:
        report = read_record(folder / REPORT, Report, "report")
    except BadInput as error:
        return "", [*wrong, str(error)]
    wrong += [f"it said {word!r}" for word in ("Traceback",) if word in said]
    expected = {"interrupted": 2, "complete": 0}.get(report.state)
    if not report.exit_status == status == expected:
        wrong.append(f"status {status}, and a report that says {report.state} and {report.exit_status}")
    wrong += [
        f"{cell.id} is an error: {cell.failure.reason if cell.failure else cell.verdicts}"
        for cell in report.cells
        if cell.failure is not None or cell.verdict is Verdict.ERROR
    ]
    if (here.reports / "latest").resolve() != folder.resolve():
        wrong.append("latest does not lead to it")
    stated = {
        element.get("name"): element.get("value") for element in ElementTree.parse(folder / JUNIT).iter("property")
    }
    if stated.get("exit status") != str(status):
        wrong.append(f"its JUnit file says {stated.get('exit status')}")
    return report.state, wrong


def study(runs: int, seed: int, folder: Path, warm: Path | None = None) -> tuple[list[Signalled], list[str]]:
    """Signal every run, and list what was wrong with any of them or with their resumed results.

    Args:
        warm: a store that every other run begins with; by default that of the uninterrupted run.
    """
    chance = random.Random(seed)
    whole = Round(folder / "unbroken")
    if warm is not None:
        shutil.copytree(warm, whole.store, ignore=shutil.ignore_patterns(".*"))
    start = time.perf_counter()
    unbroken = whole.to_the_end()
    cold = time.perf_counter() - start
    start = time.perf_counter()
    whole.to_the_end()
    again = time.perf_counter() - start
    done: list[Signalled] = []
    wrong: list[str] = []
    for number in range(runs):
        here = Round(folder / f"run{number}")
        if number % 2 == 0:
            shutil.copytree(whole.store, here.store, ignore=shutil.ignore_patterns(".*"))
            longest = again
        else:
            if warm is not None:
                shutil.copytree(warm, here.store, ignore=shutil.ignore_patterns(".*"))
            longest = cold
        signalled = send(here, SEQUENCES[number % len(SEQUENCES)], chance.uniform(0.4, longest), chance.choice(GAPS))
        done.append(signalled)
        wrong += [
            f"run {number}, {_names(signalled)} after {signalled.moment:.2f} s: {what}" for what in signalled.wrong
        ]
        if number % 4 < 2:
            resumed, before = here.to_the_end(), ends(unbroken)
            after = ends(resumed)
            wrong += [
                f"run {number} went on to {after.get(cell)}, not {before[cell]}"
                for cell in before
                if before[cell] != after.get(cell)
            ]
            wrong += [f"run {number} went on and left {path}" for path in here.leftovers()]
        if not signalled.wrong:
            shutil.rmtree(here.folder, ignore_errors=True)
    return done, wrong


def _names(signalled: Signalled) -> str:
    return " ".join(number.name for number in signalled.signals)


def render(done: list[Signalled], wrong: list[str]) -> str:
    """Render the result as Markdown."""
    rows = [
        [
            _names(signalled),
            f"{signalled.moment:.2f}",
            f"{signalled.gap:.2f}",
            signalled.status,
            signalled.state or "(not begun)",
            f"{signalled.seconds:.1f}",
        ]
        for signalled in done
    ]
    headers = ["signals", "after, s", "between, s", "exit status", "its report", "ended after, s"]
    said = "Nothing was wrong." if not wrong else "\n".join(f"- WRONG: {what}" for what in wrong)
    return f"# Several signals\n\n{len(done)} runs. {said}\n\n" + tabulate(rows, headers, tablefmt="github") + "\n"


def main() -> None:
    """Run the study; exit with status 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=36)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doubled-signals-") as folder:
        done, wrong = study(given.runs, given.seed, Path(folder))
    sys.stdout.write(render(done, wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
