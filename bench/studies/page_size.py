"""Measure the size of ``report.html``, how long it takes to write, and how long a browser takes to open and use it.

    python -m studies.page_size reports/latest --cells 200 10000

The page is made from the run's cells, repeated under the names of more models; its pictures are those of the run. The
browser is the system's Chromium, headless, through playwright (extra ``tests``); without it those times are omitted.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from quantbench.records import Report
from quantbench.records.run_folder import read
from quantbench.report.evidence import Behind
from quantbench.report.html.page import render

from studies._common import chromium

# Two frames after an action, its effect is on the screen.
SHOWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def many(report: Report, count: int) -> Report:
    """Make a report with ``count`` cells by copying them."""
    cells = [
        cell.model_copy(update={"model": f"{cell.model}_{i}", "id": f"{cell.model}_{i}/{cell.variant}"})
        for i in range(-(-count // len(report.cells)))
        for cell in report.cells
    ]
    return report.model_copy(update={"cells": cells[:count]})


def used(browser: Any, path: Path, cell: str) -> dict[str, float]:
    """Measure seconds until the page is shown, sorted, filtered, and a cell of it unfolded."""
    page = browser.new_page()
    seconds = {}

    def timed(what: str, act: Any) -> None:
        started = time.perf_counter()
        act()
        page.evaluate(SHOWN)
        seconds[what] = time.perf_counter() - started

    timed("open", lambda: page.goto(path.as_uri(), timeout=120_000))
    timed("sort", lambda: page.locator(".cells thead button").nth(4).click())
    timed("filter", lambda: page.locator(".filters input").fill("int8"))
    timed("link", lambda: page.evaluate("cell => { location.hash = encodeURI(cell) }", cell))
    page.close()
    return seconds


def tell(what: str, report: Report, behind: Behind, browser: Any) -> None:
    """Write the page into a temporary file, use it, and print the times."""
    started = time.perf_counter()
    page = render(report, behind)
    line = f"{what}: {len(report.cells)} cells, {len(page.encode()) / 2**20:.1f} MiB, written in "
    line += f"{time.perf_counter() - started:.2f} s"
    if browser is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            path.write_text(page, encoding="utf-8")
            times = used(browser, path, report.cells[-1].id)
        line += "; " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
    print(line, flush=True)


def main() -> None:
    """Measure the page of one run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[200, 10_000])
    arguments = parser.parse_args()
    report, folder = read(arguments.run)
    with chromium() as browser:
        tell("the run", report, Behind.of(folder, report, {}), browser)
        for count in arguments.cells:
            tell("made up", many(report, count), Behind(), browser)


if __name__ == "__main__":
    main()
