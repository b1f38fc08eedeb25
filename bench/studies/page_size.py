"""How large ``report.html`` gets and how long it takes to write: of a run as it is, and of one with many cells.

    python -m bench.studies.page_size reports/latest --cells 10000

The many cells are those of the run again, under the names of more models; their pictures are left out.
"""

import argparse
import time
from pathlib import Path

from bench.records import Report
from bench.report.behind import Behind
from bench.report.folder import read
from bench.report.html import render


def many(report: Report, count: int) -> Report:
    """A report with ``count`` cells, made of copies."""
    cells = [
        cell.model_copy(update={"model": f"{cell.model}_{i}", "id": f"{cell.model}_{i}/{cell.variant}"})
        for i in range(-(-count // len(report.cells)))
        for cell in report.cells
    ]
    return report.model_copy(update={"cells": cells[:count]})


def tell(what: str, report: Report, folder: Path | None) -> None:
    """Write the page nowhere, and print how large it is."""
    started = time.perf_counter()
    page = render(report, Behind() if folder is None else Behind.of(folder, report, {}))
    seconds = time.perf_counter() - started
    print(f"{what}: {len(report.cells)} cells, {len(page.encode()) / 2**20:.1f} MiB, {seconds:.2f} s")


def main() -> None:
    """Of one run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, default=10_000)
    arguments = parser.parse_args()
    report, folder = read(arguments.run)
    tell("the run", report, folder)
    tell("many", many(report, arguments.cells), None)


if __name__ == "__main__":
    main()
