"""What judging costs in a run where nothing changed: CPU seconds of one small run, with and without it, in turns.

Each run starts with an empty cache, and its CPU seconds are those of all its processes, so that load from others
changes little. Compared are

- *as usual*;
- *no second looks*: no further seeds on suspicion, nothing in turns with accepted artifacts;
- *no instructions*: none counted by valgrind, where that is installed;
- *not judged*: without baselines, so that nothing is compared with accepted values at all.

What measuring itself takes more than it once did (repeated calls, other kernels) is in all of them.

    python -m studies.judging_cost --models seed_cnn --variants ptq_float16,ptq_static_wi8_ai8 --times 3
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from studies import _common

WAYS = {
    "as usual": [],
    "no second looks": ["--seeds-on-suspicion", "1", "--no-turns"],
    "no instructions": ["--no-instructions"],
    "not judged": ["--baseline-dir", "none"],
}
MEASURED = (0, 1, 3)  # exit statuses: green, red, and without a baseline


def cpu_seconds(arguments: list[str], way: list[str]) -> float:
    """Run once with an empty cache; return the CPU seconds of the command and of all processes that it waited for."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        report_dir = ["--report-dir", str(Path(folder) / "reports")]
        command = [sys.executable, "-m", "quantbench", "run", *arguments, *way, "--no-latency", "--no-gpu", *report_dir]
        environment = {**os.environ, "QUANTBENCH_CACHE": str(Path(folder) / "cache")}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in MEASURED:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return used.ru_utime + used.ru_stime


def rows(seconds: dict[str, list[float]]) -> list[list[str]]:
    """Return a row for each way: its seconds, and the range of its ratio to the usual run beside it."""
    found = []
    for way, taken in seconds.items():
        ratios = [usual / other for usual, other in zip(seconds["as usual"], taken, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        found.append([way, ", ".join(f"{one:.1f}" for one in taken), "" if way == "as usual" else spread])
    return found


def main() -> None:
    """Run in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="seed_cnn", help="default: %(default)s")
    parser.add_argument("--variants", default="ptq_float16,ptq_static_wi8_ai8", help="default: %(default)s")
    parser.add_argument("--times", type=int, default=3, help="of each; default: %(default)s")
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.times):
        for way, options in WAYS.items():
            seconds[way].append(cpu_seconds(["--models", given.models, "--variants", given.variants], options))
            print(f"{way}: {seconds[way][-1]:.1f} CPU seconds", file=sys.stderr, flush=True)
    print(f"{given.models}, {given.variants}, each run with an empty cache. {_common.machine()}\n")
    print(_common.table(["run", "CPU seconds", "as usual / this, pair by pair"], rows(seconds)))


if __name__ == "__main__":
    main()
