"""Measure the size of ``report.html``, how long it takes to write, and how long a browser takes to open and use it.

    python -m studies.page_size reports/latest --cells 200 10000 --report-dir reports/reference

The page is made from the run's cells, repeated under the names of more models; its pictures are those of the run. The
browser is the system's Chromium, headless, through playwright (extra ``tests``); without it those times are omitted.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from quantbench.records import Report
from quantbench.records.run_folder import read
from quantbench.report.evidence import Behind
from quantbench.report.html.page import render

from studies import _common

TIMES = 5
USES = ("open", "loaded", "work", "sort", "filter", "link")
# Two frames after an action, its effect is on the screen.
SHOWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# What the browser itself says of it, without the way to it and back: milliseconds to the end of the load event.
LOADED = "() => performance.getEntriesByType('navigation')[0].loadEventEnd"


def many(report: Report, count: int) -> Report:
    """Make a report with ``count`` cells by copying them; what is red is told of the first ones."""
    cells = [
        cell.model_copy(update={"model": f"{cell.model}_{i}", "id": f"{cell.model}_{i}/{cell.variant}"}) if i else cell
        for i in range(-(-count // len(report.cells)))
        for cell in report.cells
    ][:count]
    names = {cell.id for cell in cells}
    reds = [red for red in report.reds if names.issuperset(red.cells)]
    return report.model_copy(update={"cells": cells, "reds": reds})


def used(browser: Any, path: Path, cell: str) -> dict[str, float]:
    """Measure seconds until the page is shown, sorted, filtered, and a cell of it unfolded.

    ``loaded`` is when the browser says it was, and ``work`` the processor's time of its main thread until it is shown.
    """
    page = browser.new_page()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    seconds = {}

    def timed(what: str, act: Any) -> None:
        started = time.perf_counter()
        act()
        page.evaluate(SHOWN)
        seconds[what] = time.perf_counter() - started

    timed("open", lambda: page.goto(path.as_uri(), timeout=120_000))
    seconds["loaded"] = page.evaluate(LOADED) / 1000
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    seconds["work"] = metrics["TaskDuration"]
    timed("sort", lambda: page.locator(".cells thead button").nth(4).click())
    timed("filter", lambda: page.locator(".filters input").fill("int8"))
    timed("link", lambda: page.evaluate("cell => { location.hash = encodeURI(cell) }", cell))
    page.close()
    return seconds


def measured(what: str, report: Report, behind: Behind, browser: Any) -> list[str]:
    """Write the page into a temporary file, use it, and return the row of its times."""
    started = time.perf_counter()
    page = render(report, behind)
    row = [what, f"{len(report.cells):,}", f"{len(page.encode()) / 2**20:.1f} MiB"]
    row.append(f"{time.perf_counter() - started:.2f} s")
    if browser is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "page.html"
            path.write_text(page, encoding="utf-8")
            every = [used(browser, path, report.cells[-1].id) for _ in range(TIMES)]
        row += [f"{statistics.median(one[name] for one in every):.2f} s" for name in USES]
    return row


def main() -> None:
    """Measure the page of one run folder, print a table, and write ``page_size.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[200, 10_000])
    parser.add_argument("--report-dir", type=Path, default=Path("reports/page_size"))
    arguments = parser.parse_args()
    machine = _common.machine()
    report, folder = read(arguments.run)
    with _common.chromium() as browser:
        rows = [measured("the run", report, Behind.of(folder, report, {}), browser)]
        rows += [measured("made up", many(report, count), Behind(), browser) for count in arguments.cells]
    headers = ["page", "cells", "size", "written in", *(USES if browser is not None else [])]
    parts = [
        "# How large the page is, and how long a browser takes",
        machine,
        f"Chromium, headless; medians of {TIMES}. *loaded* is when the browser says that it was; *open* is two frames "
        "later; *work* is the processor's time of its main thread until then, which other programs hardly change.",
        _common.table(headers, rows),
    ]
    _common.write(arguments.report_dir, "page_size.md", parts)


if __name__ == "__main__":
    main()
