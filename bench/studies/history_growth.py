"""Measure what ``quantbench history`` costs over many nights: folders of made-up nights, and the command on them.

    python -m studies.history_growth --from-report reports/latest --nights 100,1000,10000 --report-dir reports/reference

Each night is a real report's summary with other noise: scores and sizes repeat, the ratios vary, and half way an
upgrade takes some examples from every twentieth cell and makes every twentieth slower. The reports next to the
summaries are empty, as a report with a matching summary is never read. Costs are CPU seconds of the command's process
with its start.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.comparison.history_index import INDEX
from quantbench.comparison.summary import NOISY, SUMMARY, Summary, read_summary
from quantbench.errors import BadInput
from quantbench.records.run_folder import REPORT

from studies import _common

START = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
NOISE = {"memory_ratio": 0.0004, "latency_ratio": 0.004, "yardstick": 0.004}  # standard deviations, relative
LEVELS = {"memory_ratio": 0.98, "latency_ratio": 0.85}  # of a report that was made without timing
LOST, SLOWER = 0.01, 1.05  # by the upgrade, in every twentieth cell each
_EMPTY = "{}\n"


def make(folder: Path, of: Summary, nights: int, cells: int, first: int = 0, upgrade: int | None = None) -> None:
    """Write the summaries of ``nights`` nights, a day apart.

    Args:
        of: a real night.
        cells: number of its cells to keep.
        first: number of the first night.
        upgrade: number of the first night after the upgrade (default: half way).
    """
    kept = of.model_dump(mode="json")
    for name in ("cells", "verdicts", "artifacts"):
        kept[name] = kept[name][:cells]
    for name in ("values", "errors", "accepted", "kinds"):
        kept[name] = {key: column[:cells] for key, column in kept[name].items()}
    for name, level in LEVELS.items():
        kept["values"].setdefault(name, [level] * len(kept["cells"]))
    kept["report_bytes"] = len(_EMPTY)
    upgraded = first + nights // 2 if upgrade is None else upgrade
    for day in range(first, first + nights):
        _write(folder, kept, day, day >= upgraded)


def widened(of: Summary, cells: int) -> Summary:
    """Repeat the cells of a night under the names of more models, until there are at least so many."""
    times = -(-cells // len(of.cells))
    kept = of.model_dump(mode="json")

    def named(name: str, copy: int) -> str:
        model, _, rest = name.partition("/")
        return f"{model}_{copy}{'/' if rest else ''}{rest}" if copy else name

    copies = range(times)
    kept["cells"] = [named(cell, copy) for copy in copies for cell in of.cells]
    kept["scoring"] = {named(name, copy): scoring for copy in copies for name, scoring in kept["scoring"].items()}
    for name in ("verdicts", "artifacts"):
        kept[name] = kept[name] * times
    for name in ("values", "errors", "accepted", "kinds"):
        kept[name] = {key: column * times for key, column in kept[name].items()}
    return Summary.model_validate(kept)


def _write(folder: Path, kept: dict[str, Any], day: int, after: bool) -> None:
    random = np.random.default_rng(day)
    started = START + datetime.timedelta(days=day)
    run = folder / started.strftime("%Y-%m-%dT%H-%M-%SZ")
    run.mkdir(parents=True)
    (run / REPORT).write_text(_EMPTY, encoding="utf-8")
    values = dict(kept["values"])
    for name in NOISY:
        if name in values:
            varied = random.normal(1, NOISE.get(name, 0.004), len(kept["cells"]))
            if after and name != "memory_ratio":
                varied[1::20] *= SLOWER
            values[name] = _varied(values[name], varied)
    if after:
        values["score"] = [
            value - LOST if value is not None and place % 20 == 0 else value
            for place, value in enumerate(values["score"])
        ]
    packages = kept["environment"]["packages"] | {"tensorflow": "2.21.0" if after else "2.20.0"}
    commit = f"{started:%Y%m%d}".ljust(40, "0")
    environment = kept["environment"] | {"packages": packages, "git_commit": commit}
    night = kept | {"run": run.name, "started": started.isoformat(), "values": values, "environment": environment}
    (run / SUMMARY).write_text(json.dumps(night), encoding="utf-8")


def _varied(column: list[float | None], factors: np.ndarray[Any, Any]) -> list[float | None]:
    return [None if value is None else round(value * factor, 9) for value, factor in zip(column, factors, strict=True)]


def cost(folder: Path, *cell: str) -> float:
    """Return the CPU seconds of the command, in a process of its own.

    Raises:
        BadInput: it failed.
    """
    command = [sys.executable, "-m", "quantbench", "history", *cell, "--report-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BadInput(f"history ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def row(folder: Path, of: Summary, nights: int, cells: int) -> list[str]:
    """Measure one length of history."""
    make(folder, of, nights, cells)
    cell = of.cells[1]
    first = cost(folder)
    again, one = (min(cost(folder, *chosen) for _ in range(3)) for chosen in ([], [cell]))
    make(folder, of, 1, cells, first=nights, upgrade=0)
    added = cost(folder, cell)
    size = sum(path.stat().st_size for path in (folder / INDEX).iterdir()) / 2**20
    return [f"{nights:,}", f"{first:.2f}", f"{again:.2f}", f"{one:.2f}", f"{added:.2f}", f"{size:.1f} MiB"]


def main(arguments: list[str] | None = None) -> None:
    """Make, measure, print, and write ``history_growth.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from-report", type=Path, required=True, help="folder of the run that the nights are made of")
    parser.add_argument("--nights", default="100,1000,10000", help="comma-separated (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=300, help="of a night (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/growth"))
    given = parser.parse_args(arguments)
    machine = _common.machine()
    of = widened(read_summary(given.from_report / REPORT), given.cells)
    rows = []
    for nights in (int(count) for count in given.nights.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="quantbench-"))
        try:
            rows.append(row(folder, of, nights, given.cells))
        finally:
            shutil.rmtree(folder)
        print(" | ".join(rows[-1]), flush=True)
    cells = min(given.cells, len(of.cells))
    parts = [
        "# What a long history costs",
        machine,
        f"Nights of {cells} cells, made from a real report's summary. CPU seconds of the `history` command with the "
        "start of its process: the first time, which also writes the index; again (least of three); for one cell "
        f"(least of three); and for one cell after a night was added. Load at the end: {os.getloadavg()[0]:.1f}.",
        _common.table(["nights", "first time", "again", "one cell", "one cell, a night added", "index"], rows),
    ]
    _common.write(given.report_dir, "history_growth.md", parts)


if __name__ == "__main__":
    main()
