"""Put what TFLite-Micro made of a run's artifacts into one table, and count what keeps the others from running.

    quantbench run -m "micro and not nightly"
    python -m studies.micro_artifacts reports/latest --report-dir reports/reference

Arena: bytes that its own allocator used on this 64-bit machine. Otherwise: examples that it answers otherwise than
LiteRT's reference kernels, of those that both ran; newly wrong and newly right ones among them.
"""

import argparse
from collections import Counter
from pathlib import Path

from quantbench.errors import BadInput
from quantbench.records import Cell, Report, read_record
from quantbench.records.run_folder import REPORT
from quantbench.report import micro
from quantbench.report.formatting import escape

from studies import _common

HEADERS = ["artifact", "runs", "arena", "reused by calls", "stays", "otherwise", "newly wrong / right", "why not"]


def rows(cells: list[Cell]) -> list[list[str]]:
    """Return a row for each artifact."""
    return [[cell.id, *micro.row(cell, cell.micro)] for cell in cells if cell.micro is not None]


def reasons(cells: list[Cell]) -> list[list[str]]:
    """Count the artifacts by what keeps them from running, the most frequent first."""
    found = Counter(
        cell.micro.refusal.operator or "constants behind the flatbuffer"
        for cell in cells
        if cell.micro is not None and cell.micro.refusal is not None
    )
    return [[escape(what), str(count)] for what, count in found.most_common()]


def summary(cells: list[Cell]) -> str:
    """Say how many run, and how many of those answer otherwise."""
    found = [cell.micro for cell in cells if cell.micro is not None]
    run = [one for one in found if one.refusal is None]
    compared = [one.answers for one in run if one.answers is not None]
    otherwise = [one for one in compared if one.differing]
    return (
        f"{len(run)} of {len(found)} artifacts run. {len(otherwise)} of {len(compared)} that were compared answer at "
        f"least one example otherwise; {sum(len(one.differing) for one in compared):,} of "
        f"{sum(one.examples for one in compared):,} answers differ."
    )


def main() -> None:
    """Read a run's report, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--report-dir", type=Path, default=Path("reports"))
    given = parser.parse_args()
    report = read_record(given.run / REPORT, Report, "report")
    versions = sorted({cell.micro.version for cell in report.cells if cell.micro is not None})
    if not versions:
        raise BadInput(f"{given.run}: nothing was run on TFLite-Micro; run with -m micro")
    words = (__doc__ or "").strip().split("\n\n")[-1]
    parts = [
        f"# Artifacts on TFLite-Micro {', '.join(versions)}",
        words,
        summary(report.cells),
        _common.table(HEADERS, rows(report.cells)),
        "## What keeps the others from running",
        _common.table(["operator that stops it", "artifacts"], reasons(report.cells)),
        _common.machine().rpartition("; ")[0] + ".",
    ]
    _common.write(given.report_dir, "micro.md", parts)


if __name__ == "__main__":
    main()
