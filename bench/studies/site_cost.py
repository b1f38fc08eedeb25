"""Measure how long ``quantbench site`` takes over many nights, and how long a browser takes to open its pages.

    python -m studies.site_cost --nights 1000 --cells 200

The nights are made up: summaries beside empty reports, which are never read. The command is timed in a process of its
own, with its start. The browser is the system's Chromium, headless, through playwright (extra ``tests``); without it
those times are omitted.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from studies._common import chromium
from studies.long_history import make
from studies.page_size import SHOWN


class Cost(NamedTuple):
    """Hold seconds of a command: on the clock, and of the processor, which others on the machine add less to."""

    clock: float
    processor: float


def built(runs: Path, out: Path) -> Cost:
    """Time the command."""
    before, started = _of_children(), time.perf_counter()
    command = [sys.executable, "-m", "quantbench", "site", str(runs), str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return Cost(time.perf_counter() - started, _of_children() - before)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def opened(browser: Any, path: Path) -> float:
    """Time a page in seconds, until it is on the screen."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(path.as_uri())
    page.evaluate(SHOWN)
    seconds = time.perf_counter() - started
    page.close()
    return seconds


def size(folder: Path) -> float:
    """Return the size of all files below a folder, in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def main() -> None:
    """Make, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--cells", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--times", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        runs, out = Path(name) / "runs", Path(name) / "site"
        make(runs, arguments.nights, arguments.cells)
        average = os.getloadavg()[0]
        costs = [built(runs, out) for _ in range(arguments.times)]
        print(f"{arguments.nights} nights, {arguments.cells} cells; load average {average:.1f} at the start")
        clock, processor = (_shown(sorted(column)) for column in zip(*costs, strict=True))
        print(f"build: {clock} s, of the processor {processor} s; {size(out):.1f} MiB of pages")
        index, cell = out / "index.html", next((out / "cells").rglob("*.html"))
        for path in (index, cell) if browser is not None else ():
            seconds = sorted(opened(browser, path) for _ in range(arguments.times))
            print(f"open {path.relative_to(out)}: {_shown(seconds)} s, {path.stat().st_size / 2**20:.2f} MiB")


def _shown(seconds: list[float]) -> str:
    return " ".join(f"{second:.2f}" for second in seconds)


if __name__ == "__main__":
    main()
