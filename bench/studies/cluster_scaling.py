"""Measure how much faster several workers of a cluster are than one.

    python -m studies.cluster_scaling --report-dir reports/reference

Starts a scheduler and workers on this machine (an existing cluster cannot be used, as the number of workers varies),
computes the same cells from nothing with one worker and with several, interleaved, and compares the times from the
first cell submitted to the last one finished. Each run gets new workers with an empty store, and a new client store.

A worker takes a core: the figure is only meaningful on an idle machine with a core per worker. The one-time work of a
worker, importing TensorFlow, is part of each run, as it is without a cluster.

    python -m studies.cluster_scaling --waiting reports/latest --workers 1,2,4 --megabits 100 --milliseconds 2

With fewer cores, cells can wait instead: each for as long as it took in a finished run, whose results lie in the store.
What is left is what a cluster adds: sending, storing, giving out cells. Beside it stands what the same durations would
take if that were nothing. With ``--megabits``, each worker is in a network namespace of its own, behind a wire of that
bandwidth and delay (needs root).
"""

import argparse
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantbench.build.store import Store, default_root
from quantbench.core.options import RunOptions
from quantbench.engine.scheduler import order
from quantbench.engine.workers import cluster
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.task import Task
from quantbench.errors import BadInput
from quantbench.records.run_folder import read
from quantbench.reference.model import load_models, pick
from quantbench.variants import VARIANTS

from studies import _common, _waiting, _wire
from studies._wire import Wire

TARGETS = {2: 1.7, 4: 3.0}
CHOSEN = (
    "float32,ptq_float16,ptq_dynamic_wi8_afp32,ptq_static_wi8_ai8,ptq_static_wi8_ai8_int_io,ptq_static_wi8_ai16,"
    "ptq_static_wi8_ai8_uint8_io,ptq_static_wi8_ai8_int_only,ptq_static_wi8_ai8_per_tensor,aeq_dynamic_wi8_afp32,"
    "aeq_weight_only_wi8_afp32,aeq_static_wi8_ai8"
)
LIMIT_SECONDS = 600
SECONDS = "seconds.json"


@dataclass(frozen=True)
class Run:
    """Describe a run of the same cells with a given number of workers.

    Attributes:
        seconds: from the first cell submitted to the last one finished.
        computing: seconds that the processes of all cells report, in total.
        failed: cells without a result.
    """

    workers: int
    seconds: float
    computing: float
    failed: int


@dataclass(frozen=True)
class Cell:
    """Name a cell, and how long it took in a finished run; nothing where it is to be computed."""

    file: Path
    model: str
    variant: str
    seconds: float | None = None


@contextmanager
def workers(number: int, folder: Path, wire: Wire | None, waiting: bool) -> Iterator[str]:
    """Start a scheduler and workers, each in its own process, and yield its address."""
    file = folder / "scheduler.json"
    store = default_root() if waiting else folder / "workers"
    own_variables = {"QUANTBENCH_CACHE": str(store), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    own_variables[_waiting.SECONDS] = str(folder / SECONDS)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "dask.log").open("wb"))
        if wire is not None:
            stack.enter_context(_wire.joined(number, wire))

        def start(what: str, place: int, *options: str) -> "subprocess.Popen[bytes]":
            host = _wire.address(place) if wire is not None else "127.0.0.1"
            run = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(file)]
            return subprocess.Popen(
                [*(_wire.inside(place) if wire is not None else []), *run, "--host", host, "--no-dashboard", *options],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=os.environ | own_variables,
            )

        processes = [start("scheduler", 0, "--port", "0")]
        try:
            while not file.exists():
                time.sleep(0.1)
                if processes[0].poll() is not None:
                    raise RuntimeError(f"the scheduler did not start; see {log.name}")
            own = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
            own += ["--preload", _waiting.__name__] if waiting else []
            processes += [start("worker", place, *own) for place in range(1, number + 1)]
            from distributed import Client

            with Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(number, timeout=60)
                address = str(client.scheduler.address)
            yield address
        finally:
            for process in reversed(processes):  # a worker that loses its scheduler while it ends may hang
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def measure(number: int, cells: list[Cell], wire: Wire | None = None) -> Run:
    """Compute the cells from nothing, or wait as long as they took."""
    waiting = any(cell.seconds is not None for cell in cells)
    with tempfile.TemporaryDirectory(prefix="quantbench-scaling-") as name:
        folder = Path(name)
        known = {f"{cell.model}/{cell.variant}": cell.seconds for cell in cells}
        (folder / SECONDS).write_text(json.dumps(known), encoding="utf-8")
        with workers(number, folder, wire, waiting) as address:
            connected = cluster.connect(address)
            executor = ClusterExecutor(connected, Store(folder / "client"), "scaling", not waiting, print)
            start = time.perf_counter()
            futures = [executor.submit(_task(cell, folder), LIMIT_SECONDS) for cell in cells]
            outcomes = [future.result() for future in futures]
            seconds = time.perf_counter() - start
            executor.close()
            connected.close()
    failures = [one.failure.reason for one in outcomes if one.failure and one.failure.what != "unsupported"]
    failed = len(failures)
    if failed and waiting:  # nobody waited for these
        raise BadInput(f"{failed} of {len(cells)} cells failed: {failures[0]}")
    return Run(number, seconds, sum(outcome.seconds for outcome in outcomes), failed)


def _task(cell: Cell, folder: Path) -> Task:
    log = folder / f"{cell.model}.{cell.variant}.log"
    return Task(cell.file, cell.model, cell.variant, 0, None, folder / "client", log)


def on_paper(seconds: list[float], number: int) -> float:
    """Simulate how long workers take that are given the next cell when they have finished one, and lose no time."""
    free = [0.0] * number
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def report(runs: list[Run], cells: list[Cell], wire: Wire | None = None) -> list[str]:
    """Write the report's paragraphs and table."""
    numbers = sorted({run.workers for run in runs})
    usual = {number: statistics.median(run.seconds for run in runs if run.workers == number) for number in numbers}
    taken = [cell.seconds for cell in cells if cell.seconds is not None]
    rows = [
        [
            str(number),
            ", ".join(f"{run.seconds:.1f}" for run in runs if run.workers == number),
            f"{usual[numbers[0]] / usual[number]:.2f}×",
            *([f"{on_paper(taken, numbers[0]) / on_paper(taken, number):.2f}×"] if taken else []),
            f"{statistics.median(run.computing for run in runs if run.workers == number):.1f}",
            str(sum(run.failed for run in runs if run.workers == number)),
        ]
        for number in numbers
    ]
    what = "computing"
    how = (
        "from nothing, Dask workers of one thread on this machine, by turns; medians. *computing* is what the cells' "
        "own processes took together: where it grows with the workers, they were in each other's way."
    )
    if taken:
        what = "waiting"
        how = (
            "that wait as long as each took once, instead of computing, so that there may be more workers than cores; "
            "medians. What is sent, stored and given out is real. *on paper* is what the same durations would take if "
            "that were nothing."
        )
    if wire is not None:
        how += (
            f" Each worker is in a network namespace of its own, behind a wire of {wire.megabits:g} Mbit/s and "
            f"{wire.milliseconds:g} ms each way."
        )
    told = [
        f"{number} workers are {usual[1] / usual[number]:.2f} times as fast as one; the target is {TARGETS[number]}."
        for number in numbers
        if number in TARGETS and 1 in numbers
    ]
    headers = ["workers", "seconds, each run", "faster", *(["on paper"] if taken else []), f"{what}, s", "failed"]
    return [f"{len(cells)} cells {how}", _common.table(headers, rows), " ".join(told)]


def chosen(models: str, variants: str, waiting: Path | None) -> list[Cell]:
    """List the cells; those that a finished run computed, with their seconds, in the order in which it sends them."""
    known = load_models(RunOptions().model_dir)
    if waiting is None:
        names, of = pick(models, known, "--models"), pick(variants, VARIANTS, "--variants")
        return [Cell(known[name].file, name, variant) for variant in of for name in names]
    cells = [cell for cell in read(waiting)[0].cells if not cell.cached and cell.failure is None]
    of_models = pick(models, known, "--models")
    place = order(of_models)
    cells = sorted(
        (one for one in cells if one.model in of_models), key=lambda one: place(one.model, VARIANTS[one.variant])
    )
    return [Cell(known[one.model].file, one.model, one.variant, one.seconds) for one in cells]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``cluster_scaling.md``, or ``cluster_wire.md`` where cells wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="seed_cnn,ds_cnn", help="comma-separated (default: %(default)s)")
    parser.add_argument("--variants", default=CHOSEN, help="comma-separated (default: PTQ of both tools)")
    parser.add_argument("--workers", default="1,2", help="numbers to compare (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each number (default: %(default)s)")
    parser.add_argument("--waiting", type=Path, help="a finished run, for whose durations its cells wait")
    parser.add_argument("--megabits", type=float, help="a second, of the wire to each worker")
    parser.add_argument("--milliseconds", type=float, default=2.0, help="delay one way (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/cluster_scaling"))
    given = parser.parse_args(arguments)
    cells = chosen(given.models, given.variants, given.waiting)
    wire = Wire(given.megabits, given.milliseconds) if given.megabits else None
    machine, runs = _common.machine(), []
    for _ in range(given.repeats):
        for number in (int(word) for word in given.workers.split(",")):
            runs.append(measure(number, cells, wire))
            print(f"{number} workers: {runs[-1].seconds:.1f} s", flush=True)
    name = "cluster_scaling.md" if given.waiting is None else "cluster_wire.md"
    parts = ["# How much faster more workers are", machine, *report(runs, cells, wire)]
    _common.write(given.report_dir, name, parts)


if __name__ == "__main__":
    _common.quietly(main)
