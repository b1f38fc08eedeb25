"""Measure how much faster several workers of a cluster are than one.

    python -m studies.cluster_scaling --report-dir reports/reference

Starts a scheduler and workers on this machine (an existing cluster cannot be used, as the number of workers varies),
computes the same cells from nothing with one worker and with several, interleaved, and compares the times from the
first cell submitted to the last one finished. Each run gets new workers with an empty store, and a new client store.

A worker takes a core: the figure is only meaningful on an idle machine with a core per worker. The one-time work of a
worker, importing TensorFlow, is part of each run, as it is without a cluster.

    python -m studies.cluster_scaling --waiting reports/latest --workers 1,2,4 --megabits 100 --milliseconds 2

With fewer cores, cells can wait instead: each for as long as it took in a finished run, whose results lie in the store.
What is left is what a cluster adds: sending, storing, giving out cells, and training again what another worker has
trained. Beside it stands what :mod:`studies.cluster_simulation` makes of the same durations. With ``--megabits``, each
worker is in a network namespace of its own, behind a wire of that bandwidth and delay (needs root).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from quantbench.build.store import Store, default_root
from quantbench.core.options import RunOptions
from quantbench.engine.scheduler import order, turn_of
from quantbench.engine.workers import cluster
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.task import Task
from quantbench.errors import BadInput
from quantbench.reference.model import load_models, pick
from quantbench.variants import VARIANTS

from studies import _common, _waiting, _wire, cluster_simulation
from studies._wire import Wire
from studies.cluster_simulation import TARGETS, Recorded

CHOSEN = (
    "float32,ptq_float16,ptq_dynamic_wi8_afp32,ptq_static_wi8_ai8,ptq_static_wi8_ai8_int_io,ptq_static_wi8_ai16,"
    "ptq_static_wi8_ai8_uint8_io,ptq_static_wi8_ai8_int_only,ptq_static_wi8_ai8_per_tensor,aeq_dynamic_wi8_afp32,"
    "aeq_weight_only_wi8_afp32,aeq_static_wi8_ai8"
)
LIMIT_SECONDS = 600
START_SECONDS = 180  # of all workers, on a busy machine
SECONDS = "seconds.json"


@dataclass(frozen=True)
class Run:
    """Describe a run of the same cells with a given number of workers.

    Attributes:
        seconds: from the first cell submitted to the last one finished.
        computing: seconds that the processes of all cells report, in total.
        trained: number of stages that the workers trained; None where cells wait.
        failed: cells without a result.
    """

    workers: int
    seconds: float
    computing: float
    trained: int | None
    failed: int


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
                client.wait_for_workers(number, timeout=START_SECONDS)
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


def measure(number: int, tasks: list[Task], wire: Wire | None = None, took: list[Recorded] | None = None) -> Run:
    """Compute cells from nothing, or wait as long as they took."""
    waiting = took is not None
    with tempfile.TemporaryDirectory(prefix="quantbench-scaling-") as name:
        folder = Path(name)
        (folder / SECONDS).write_text(_waiting.written(took or []), encoding="utf-8")
        with workers(number, folder, wire, waiting) as address:
            connected = cluster.connect(address)
            executor = ClusterExecutor(connected, Store(folder / "client"), "scaling", not waiting, print)
            here = [replace(task, store=folder / "client", log=folder / task.log) for task in tasks]
            start = time.perf_counter()
            futures = [executor.submit(task, LIMIT_SECONDS) for task in here]
            outcomes = [future.result() for future in futures]
            seconds = time.perf_counter() - start
            trained = None if waiting else _trainings(folder)
            executor.close()
            connected.close()
    failures = [one.failure.reason for one in outcomes if one.failure and one.failure.what != "unsupported"]
    failed = len(failures)
    if failed and waiting:  # nobody waited for these
        raise BadInput(f"{failed} of {len(tasks)} cells failed: {failures[0]}")
    return Run(number, seconds, sum(outcome.seconds for outcome in outcomes), trained, failed)


def _trainings(folder: Path) -> int:
    """Count the stages in the stores of the workers."""
    entries = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("stores/*/*/*/entry.json")]
    return sum(entry["ingredients"].get("what") == "stage" for entry in entries)


def report(runs: list[Run], count: int, wire: Wire | None = None, took: list[Recorded] | None = None) -> list[str]:
    """Write the report's paragraphs and table."""
    numbers = sorted({run.workers for run in runs})
    usual = {number: statistics.median(run.seconds for run in runs if run.workers == number) for number in numbers}
    ways = {"on paper": None, **({"simulated": wire} if wire else {})} if took else {}
    rows = [
        [
            str(number),
            ", ".join(f"{run.seconds:.1f}" for run in runs if run.workers == number),
            f"{usual[numbers[0]] / usual[number]:.2f}×",
            *(_simulated(took, numbers[0], number, way) for way in ways.values() if took),
            f"{statistics.median(run.computing for run in runs if run.workers == number):.1f}",
            *([] if took else [_counts(runs, number)]),
            str(sum(run.failed for run in runs if run.workers == number)),
        ]
        for number in numbers
    ]
    if took:
        how = (
            "that wait as long as each took once, instead of computing, so that there may be more workers than cores; "
            "medians. What is sent, stored and given out is real. *on paper* is what the same durations would take if "
            "that were nothing, and *simulated* with what it should take; see `cluster_simulation.md`. A training that "
            "cells share takes its time once a worker."
        )
    else:
        how = (
            "from nothing, Dask workers of one thread on this machine, by turns; medians. *computing* is what the "
            "cells' own processes took together: where it grows with the workers, they were in each other's way. "
            "*trainings* are the stages in their stores, which cells of one worker share."
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
    headers = ["workers", "seconds, each run", "faster", *ways, "waiting, s" if took else "computing, s"]
    headers += [*([] if took else ["trainings"]), "failed"]
    return [f"{count} cells {how}", _common.table(headers, rows), " ".join(told)]


def _simulated(took: list[Recorded], first: int, number: int, wire: Wire | None) -> str:
    alone, together = (cluster_simulation.simulate(took, workers, wire).seconds for workers in (first, number))
    return f"{together:.1f} s, {alone / together:.2f}×"


def _counts(runs: list[Run], number: int) -> str:
    return ", ".join(str(run.trained) for run in runs if run.workers == number)


def chosen(models: str, variants: str) -> list[Task]:
    """List the cells in the order in which a run sends them."""
    known = load_models(RunOptions().model_dir)
    names, of = pick(models, known, "--models"), pick(variants, VARIANTS, "--variants")
    place = order(names)
    cells = sorted(((name, VARIANTS[variant]) for variant in of for name in names), key=lambda cell: place(*cell))
    return [
        Task(known[name].file, name, of.name, 0, None, Path(), Path(f"{name}.{of.name}.log"), turn=turn_of(of))
        for name, of in cells
    ]


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
    took = cluster_simulation.of_run(given.waiting, given.models.split(",")) if given.waiting else None
    tasks = [one.task for one in took] if took else chosen(given.models, given.variants)
    wire = Wire(given.megabits, given.milliseconds) if given.megabits else None
    machine, runs = _common.machine(), []
    for _ in range(given.repeats):
        for number in (int(word) for word in given.workers.split(",")):
            runs.append(measure(number, tasks, wire, took))
            print(f"{number} workers: {runs[-1].seconds:.1f} s", flush=True)
    name = "cluster_scaling.md" if given.waiting is None else "cluster_wire.md"
    parts = ["# How much faster more workers are", machine, *report(runs, len(tasks), wire, took)]
    _common.write(given.report_dir, name, parts)


if __name__ == "__main__":
    _common.quietly(main)
