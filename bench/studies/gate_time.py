"""Say where the time of a run from nothing goes: core seconds of all its processes, by part.

    python -m studies.gate_time -m "not nightly" --report-dir reports/reference
    python -m studies.gate_time --models seed_cnn,detector -m "not nightly"

All options except ``--report-dir`` and ``--name`` go to ``quantbench run``, without any latency and without a GPU. The
functions of each part are in :mod:`studies._parts`; adding them up costs less than a hundredth.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantbench.core.options import CHECKOUT
from quantbench.core.threads import cores
from quantbench.errors import BadInput

from studies import _common, _parts

_INSIDE, RUN, WHOLE = "--inside", "run", "own-seconds.json"


def inside(arguments: list[str]) -> None:
    """Run ``quantbench run`` in this process, with its parts added up here and in its workers."""
    from quantbench.cli.app import main as quantbench
    from quantbench.engine.workers import local

    vars(local)["compute"] = _parts.compute  # which its executor takes where it is given no other
    _parts.install(_parts.IN_THE_RUN, time.process_time)
    sys.argv = ["quantbench", "run", *arguments]
    since = time.time()
    try:
        quantbench()
    finally:
        own = time.process_time()
        _parts.leave(RUN, since)
        (Path(os.environ[_parts.FOLDER]) / WHOLE).write_text(json.dumps(own), encoding="utf-8")


def run(arguments: list[str]) -> tuple[float, float, list[dict[str, Any]]]:
    """Return the wall time of a run from nothing, the seconds of its own process, and what each cell's parts took."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as temporary:
        folder = Path(temporary)
        (parts := folder / "parts").mkdir()
        command = [sys.executable, "-m", "studies.gate_time", _INSIDE, "--no-latency", "--no-gpu", "-q"]
        command += [f"--report-dir={folder / 'reports'}", "--model-dir", str(CHECKOUT / "models")]
        command += ["--baseline-dir", str(CHECKOUT / "baselines"), *arguments]
        seen = os.environ | {"QUANTBENCH_CACHE": str(folder / "store"), _parts.FOLDER: str(parts)}
        begin = time.perf_counter()
        done = subprocess.run(command, env=seen, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - begin
        if done.returncode not in (0, 1, 3) or not (parts / WHOLE).exists():
            raise BadInput(f"the run ended with status {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
        lines = [
            {**json.loads(line), "process": file.stem}
            for file in sorted(parts.glob("*.jsonl"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        return wall, float((parts / WHOLE).read_text(encoding="utf-8")), lines


def report(arguments: Sequence[str], wall: float, own_seconds: float, lines: list[dict[str, Any]]) -> list[str]:
    """Write the report's paragraphs and tables."""
    spent, calls = _added([line["seconds"] for line in lines]), _added([line["calls"] for line in lines])
    own = _added([line["seconds"] for line in lines if line["what"] == RUN])
    of_run = sum(own.values())
    in_workers = sum(spent.values()) - of_run
    spent["the run's own process, besides"] = own_seconds - of_run + own.get(_parts.VALGRIND, 0.0)
    total = sum(spent.values())
    rows = [
        [part, f"{seconds:.1f}", f"{seconds / total:.1%}", f"{calls[part]:.0f}" if part in calls else ""]
        for part, seconds in sorted(spent.items(), key=lambda one: -one[1])
    ]
    cells = len([line for line in lines if line["what"] != RUN])
    return [
        "# Where the time of a run goes",
        _common.machine(),
        f"`{shlex.join(['quantbench', 'run', '--no-latency', '--no-gpu', *arguments])}` from nothing: {cells} cells in"
        f" {wall:.0f} s on {cores()} cores: {total:.0f} core seconds, {in_workers:.0f} of them in workers;"
        f" {max(0.0, wall * cores() - total):.0f} were idle or went to other programs. A part's seconds are those of"
        " its processes, without those of the parts within it.",
        _common.table(["part", "core seconds", "share", "times"], rows),
        "How long each worker was busy, and the longest cells:",
        _common.table(["worker", "cells", "busy", "first cell begun", "last cell ended"], _busy(lines)),
        _common.table(["cell", "seconds"], _longest(lines)),
    ]


def _added(counts: Sequence[dict[str, float]]) -> dict[str, float]:
    added: defaultdict[str, float] = defaultdict(float)
    for one in counts:
        for name, value in one.items():
            added[name] += value
    return dict(added)


def _busy(lines: list[dict[str, Any]]) -> list[list[str]]:
    begun = min(line["begun"] for line in lines)
    workers = defaultdict(list)
    for line in lines:
        if line["what"] != RUN:
            workers[line["process"]].append(line)
    rows = []
    for number, cells in enumerate(workers.values(), 1):
        busy = sum(line["ended"] - line["begun"] for line in cells)
        first, last = min(line["begun"] for line in cells) - begun, max(line["ended"] for line in cells) - begun
        rows.append([str(number), str(len(cells)), f"{busy:.0f} s", f"{first:.0f} s", f"{last:.0f} s"])
    return rows


def _longest(lines: list[dict[str, Any]]) -> list[list[str]]:
    cells = [(line["ended"] - line["begun"], line["what"]) for line in lines if line["what"] != RUN]
    return [[f"`{name}`", f"{seconds:.1f}"] for seconds, name in sorted(cells, reverse=True)[:12]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``gate_time.md``."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == [_INSIDE]:
        inside(given[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report-dir", type=Path, default=Path("reports/gate_time"))
    parser.add_argument("--name", default="gate_time.md", help="file in that folder (default: %(default)s)")
    options, rest = parser.parse_known_args(given)
    _common.write(options.report_dir, options.name, report(rest, *run(rest)))


if __name__ == "__main__":
    main()
