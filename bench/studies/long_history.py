"""Measure how long ``quantbench history`` takes over many runs: a synthetic folder of summaries, and the command on it.

The reports next to the summaries are empty: a report with a matching summary is never read.

    python -m studies.long_history --runs 1000 --cells 200
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.comparison.summary import SUMMARY, Scoring, Summary
from quantbench.core.environment import collect
from quantbench.records import Verdict

START = datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC)
ACCEPTED = {"score": 0.87, "size": 58360.0, "arena": 31744.0, "memory_ratio": 0.98, "latency_ratio": 0.85}
_here = lru_cache(collect)  # calls git, and is the same for every run


def make(folder: Path, runs: int, cells: int) -> None:
    """Write ``runs`` run folders, a day apart: scores that mostly repeat, noisy ratios, and one upgrade half way."""
    random = np.random.default_rng(0)
    for day in range(runs):
        started = START + datetime.timedelta(days=day)
        after = day >= runs // 2
        rows = {f"made_up/v{number:03d}": _row(random, number, after) for number in range(cells)}
        _write(folder, started, after, rows, [_verdict(random, number, day - runs // 2) for number in range(cells)])


def _row(random: np.random.Generator, number: int, after: bool) -> dict[str, float]:
    """Make a row in which a few cells lose some examples by the upgrade, some get slower, and every ratio is noisy."""
    score = 0.87 - (0.01 if after and number % 20 == 0 else 0.0)
    slower = 1.05 if after and number % 20 == 1 else 1.0
    memory, latency = random.normal(0.98, 0.0004), random.normal(0.85, 0.004) * slower
    exact = {"score": score, "size": 58360.0, "gzip_size": 45494.0, "arena": 31744.0}
    noisy = {"memory_ratio": memory, "latency_ratio": latency}
    return exact | noisy | {"floor_drop": 100 * (0.8736 - score), "floor_limit": 0.5}


def _verdict(random: np.random.Generator, number: int, since: int) -> Verdict:
    """Make the cells that lost examples red for thirty nights, until accepted, and a few others warn by chance."""
    if number % 20 == 0 and 0 <= since < 30:
        return Verdict.REGRESSED
    if number % 50 == 7:
        return Verdict.UNSUPPORTED
    return Verdict.WARN if random.random() < 0.002 else Verdict.PASS


def _write(
    folder: Path,
    started: datetime.datetime,
    after: bool,
    rows: dict[str, dict[str, float]],
    verdicts: list[Verdict],
) -> None:
    run = folder / started.strftime("%Y-%m-%dT%H-%M-%SZ")
    run.mkdir(parents=True)
    (run / "report.json").write_text("{}\n", encoding="utf-8")
    environment = _here()
    packages = environment.packages | {"tensorflow": "2.21.0" if after else "2.20.0"}
    summary = Summary(
        report_bytes=3,
        run=run.name,
        started=started.isoformat(),
        state="complete",
        trained_from_scratch=False,
        environment=environment.model_copy(update={"packages": packages, "git_commit": f"{started:%Y%m%d}0000"}),
        data_sha256={"made_up": "0" * 64},
        scoring={"made_up": Scoring(metric="accuracy", unit="pp", scale=100.0, higher_is_better=True)},
        trained=[],
        cells=list(rows),
        verdicts=verdicts,
        values={name: [round(row[name], 9) for row in rows.values()] for name in next(iter(rows.values()))},
        errors={name: [half] * len(rows) for name, half in (("memory_ratio", 0.0008), ("latency_ratio", 0.008))},
        accepted={name: [value] * len(rows) for name, value in ACCEPTED.items()},
    )
    text: dict[str, Any] = summary.model_dump(mode="json")
    (run / SUMMARY).write_text(json.dumps(text), encoding="utf-8")


def timed(folder: Path, *cell: str) -> float:
    """Time the command in seconds, in a process of its own, including its start."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "quantbench", "history", *cell, "--report-dir", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - start


def main() -> None:
    """Make, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--cells", type=int, default=200, help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), arguments.runs, arguments.cells)
        for cell in ([], ["made_up/v001"]):
            seconds = sorted(timed(Path(name), *cell) for _ in range(3))
            times = " ".join(f"{second:.2f}" for second in seconds)
            print(f"history {' '.join(cell)}: {times} s ({arguments.runs} runs, {arguments.cells} cells)")


if __name__ == "__main__":
    main()
