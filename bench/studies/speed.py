"""Measure what a run costs: from nothing, again, after a change of one variant; and a bare script for the same work.

    python -m studies.speed --report-dir reports/reference
    python -m studies.speed -m "not nightly" --report-dir reports/reference --name speed_gate.md
    python -m studies.speed --models seed_cnn --report-dir reports/speed

All options except ``--report-dir`` and ``--name`` go to ``quantbench run``, without any latency. The bare script is
:mod:`studies.bare`, on the same cells as the run, and runs right after it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from quantbench.ab.runs import copy_sources
from quantbench.core.options import CHECKOUT, PACKAGE
from quantbench.errors import BadInput

from studies import _common

SAMPLE_SECONDS = 0.2
CHANGED = ("ptq.py", "def _float16(", "ptq_float16")


@dataclass(frozen=True)
class Ran:
    """Describe one run.

    Attributes:
        wall: seconds from start to end of the command.
        peak: largest resident set of any of its processes, in bytes.
        report: its report.
        tensorflow: whether its own process imported TensorFlow.
    """

    wall: float
    peak: int
    report: dict[str, Any]
    tensorflow: bool

    def computed(self) -> list[str]:
        """List the cells that did not come from the store."""
        return [cell["id"] for cell in self.report["cells"] if not cell["cached"]]


class _Watcher:
    """Record the largest resident set of any descendant of a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.peak = 0
        self._process, self._ended = process, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                family = psutil.Process(self._process.pid)
                for process in (family, *family.children(recursive=True)):
                    self.peak = max(self.peak, process.memory_info().rss)
            except psutil.Error:  # a process ended meanwhile
                continue

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self.peak


def run(home: Path, folder: Path, arguments: list[str]) -> Ran:
    """Run the sources in ``home`` once, with the store in ``folder``."""
    command = [sys.executable, "-X", "importtime", "-m", "quantbench", "run", "--no-latency", "--no-gpu", "-q"]
    command += [f"--report-dir={folder / 'reports'}", *arguments]
    environment = os.environ | {"QUANTBENCH_CACHE": str(folder / "store"), "PYTHONPATH": str(home)}
    start = time.perf_counter()
    with (
        (folder / "output.txt").open("w+", encoding="utf-8") as output,
        subprocess.Popen(command, stdout=output, stderr=output, text=True, env=environment, cwd=home) as process,
    ):
        watcher = _Watcher(process)
        process.wait()
        wall, peak = time.perf_counter() - start, watcher.stop()
        output.seek(0)
        output_text = output.read()
    report = folder / "reports" / "latest" / "report.json"
    if process.returncode not in (0, 1, 3) or not report.exists():
        raise BadInput(f"the run ended with status {process.returncode}: {output_text[-500:]}")
    imported = any(line.rstrip().endswith("| tensorflow") for line in output_text.splitlines())
    return Ran(wall, peak, json.loads(report.read_text(encoding="utf-8")), imported)


def bare(cells: list[str]) -> float:
    """Time the bare script on the same cells in seconds."""
    command = [sys.executable, "-m", "studies.bare", "--cells", ",".join(cells)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    if done.returncode != 0:
        raise BadInput(f"the bare script ended with status {done.returncode}: {done.stderr[-500:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def change_one_variant(home: Path) -> str:
    """Edit the function of one variant, so that other code makes the same artifact; return the variant's name."""
    name, definition, variant = CHANGED
    file = home / PACKAGE.name / "variants" / name
    text = file.read_text(encoding="utf-8")
    body = text.index("\n", text.index(definition)) + 1
    file.write_text(f"{text[:body]}    _ = 0\n{text[body:]}", encoding="utf-8")
    return variant


def measure(arguments: list[str], say: Any) -> list[str]:
    """Measure, and return the report's paragraphs."""
    machine = _common.machine()
    with tempfile.TemporaryDirectory(prefix="quantbench-") as temporary:
        folder = Path(temporary)
        home = copy_sources(folder)
        defaults = ["--model-dir", str(CHECKOUT / "models"), "--baseline-dir", str(CHECKOUT / "baselines")]
        arguments = [*defaults, *arguments]
        first = run(home, folder, arguments)
        cells = [cell["id"] for cell in first.report["cells"]]
        say(f"from nothing: {len(cells)} cells, {first.wall:.0f} s")
        alone = [bare(cells)]
        say(f"bare script: {alone[0]:.0f} s")
        again = run(home, folder, arguments)
        say(f"again: {again.wall:.1f} s, {len(again.computed())} cells computed")
        variant = change_one_variant(home)
        changed = run(home, folder, arguments)
        rebuilt = changed.computed()
        say(f"{variant} changed: {changed.wall:.1f} s, {len(rebuilt)} cells computed")
        whole = run(home, folder, [*arguments, "--no-cache"])
        say(f"--no-cache: {whole.wall:.0f} s")
    return report(machine, arguments[len(defaults) :], first, alone[0], again, (variant, changed), whole)


def report(
    machine: str, arguments: list[str], first: Ran, alone: float, again: Ran, changed: tuple[str, Ran], whole: Ran
) -> list[str]:
    """Write the report's paragraphs and tables.

    Args:
        whole: without any cache, so that nothing was taken from the baselines either.
    """
    variant, after = changed
    rebuilt = Counter(cell.partition("/")[2] for cell in after.computed())
    rows = [
        ["from nothing", f"{first.wall:.0f} s", f"{len(first.report['cells'])} cells"],
        ["the bare script", f"{alone:.0f} s", f"the run took {first.wall / alone:.2f} times as long"],
        ["again, nothing changed", f"{again.wall:.1f} s", _again(again)],
        [f"code of `{variant}` changed", f"{after.wall:.1f} s", f"computed: {dict(rebuilt)}"],
        ["all measured (`--no-cache`)", f"{whole.wall:.0f} s", f"{whole.wall / alone:.2f} times the bare script"],
        ["largest process", f"{max(first.peak, whole.peak) / 2**30:.2f} GiB", "resident set, sampled every 0.2 s"],
    ]
    return [
        "# What a run costs",
        machine,
        f"`{shlex.join(['quantbench', 'run', '--no-latency', '--no-gpu', *arguments])}`. The bare script makes the"
        " same artifacts by the same functions and runs the whole test split through each, on all cores, and does"
        " nothing else. " + _taken(first.report),
        _common.table(["what", "wall time", ""], rows),
        "Where the time of the run went, by variant (seconds of a worker, summed over models):",
        _common.table(["variant", "cells", "seconds"], _by_variant(first.report)),
    ]


def _taken(report_of_run: dict[str, Any]) -> str:
    parts = [f"{what} of {count}" for what, count in sorted(report_of_run["as_accepted"].items())]
    return f"From the baselines, as everything that affects it is as accepted: {', '.join(parts) or 'nothing'}."


def _again(again: Ran) -> str:
    imported = "imported" if again.tensorflow else "not imported"
    return f"{len(again.computed())} cells computed; TensorFlow {imported}"


def _by_variant(report_of_run: dict[str, Any]) -> list[list[str]]:
    seconds: Counter[str] = Counter()
    cells: Counter[str] = Counter()
    for cell in report_of_run["cells"]:
        seconds[cell["variant"]] += cell["seconds"]
        cells[cell["variant"]] += 1
    return [[f"`{name}`", str(cells[name]), f"{total:.1f}"] for name, total in seconds.most_common()]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``speed.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, default=Path("reports/speed"))
    parser.add_argument("--name", default="speed.md", help="file in that folder (default: %(default)s)")
    given, rest = parser.parse_known_args(arguments)
    _common.write(given.report_dir, given.name, measure(rest, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    main()
