"""Measure how much faster several workers of a cluster are than one.

    python -m studies.cluster_scaling --report-dir reports/reference

Starts a scheduler and workers on this machine (an existing cluster cannot be used, as the number of workers varies),
computes the same cells from nothing with one worker and with several, interleaved, and compares the times from the
first cell submitted to the last one finished. Each run gets new workers with an empty store, and a new client store.

A worker takes a core: the figure is only meaningful on an idle machine with a core per worker. The one-time work of a
worker, importing TensorFlow, is part of each run, as it is without a cluster.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quantbench.build.store import Store
from quantbench.core.options import RunOptions
from quantbench.engine.workers import cluster
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.task import Task
from quantbench.reference.model import load_models, pick
from quantbench.variants import VARIANTS

from studies import _common

TARGET = 1.7
CHOSEN = (
    "float32,ptq_float16,ptq_dynamic_wi8_afp32,ptq_static_wi8_ai8,ptq_static_wi8_ai8_int_io,ptq_static_wi8_ai16,"
    "ptq_static_wi8_ai8_uint8_io,ptq_static_wi8_ai8_int_only,ptq_static_wi8_ai8_per_tensor,aeq_dynamic_wi8_afp32,"
    "aeq_weight_only_wi8_afp32,aeq_static_wi8_ai8"
)
LIMIT_SECONDS = 600


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


@contextmanager
def workers(number: int, folder: Path) -> Iterator[str]:
    """Start a scheduler and workers, each in its own process, and yield its address."""
    file = folder / "scheduler.json"
    with (folder / "dask.log").open("wb") as log:

        def start(what: str, *options: str) -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(file), *options],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=os.environ
                | {"QUANTBENCH_CACHE": str(folder / "workers"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

        local = ["--host", "127.0.0.1", "--no-dashboard"]
        processes = [start("scheduler", *local, "--port", "0")]
        try:
            while not file.exists():
                time.sleep(0.1)
                if processes[0].poll() is not None:
                    raise RuntimeError(f"the scheduler did not start; see {log.name}")
            own = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
            processes += [start("worker", *local, *own) for _ in range(number)]
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


def measure(number: int, cells: list[tuple[Path, str, str]]) -> Run:
    """Compute the cells from nothing.

    Args:
        cells: (model file, model, variant).
    """
    with tempfile.TemporaryDirectory(prefix="quantbench-scaling-") as name, workers(number, Path(name)) as address:
        folder = Path(name)
        connected = cluster.connect(address)
        executor = ClusterExecutor(connected, Store(folder / "client"), "scaling", True, print)
        start = time.perf_counter()
        tasks = [
            Task(file, model, variant, 0, None, folder / "client", folder / f"{model}.{variant}.log")
            for file, model, variant in cells
        ]
        futures = [executor.submit(task, LIMIT_SECONDS) for task in tasks]
        outcomes = [future.result() for future in futures]
        seconds = time.perf_counter() - start
        executor.close()
        connected.close()
    failed = sum(outcome.failure is not None and outcome.failure.what != "unsupported" for outcome in outcomes)
    return Run(number, seconds, sum(outcome.seconds for outcome in outcomes), failed)


def report(runs: list[Run], cells: int, machine: str) -> list[str]:
    """Write the report's paragraphs and table."""
    numbers = sorted({run.workers for run in runs})
    usual = {number: statistics.median(run.seconds for run in runs if run.workers == number) for number in numbers}
    rows = [
        [
            str(number),
            ", ".join(f"{run.seconds:.1f}" for run in runs if run.workers == number),
            f"{usual[numbers[0]] / usual[number]:.2f}×",
            f"{statistics.median(run.computing for run in runs if run.workers == number):.1f}",
            str(sum(run.failed for run in runs if run.workers == number)),
        ]
        for number in numbers
    ]
    faster = usual[numbers[0]] / usual[numbers[-1]]
    return [
        "# How much faster more workers are",
        machine,
        f"{cells} cells from nothing, Dask workers of one thread on this machine, by turns; medians. *computing* is"
        " what the cells' own processes took together: where it grows with the workers, they were in each other's way.",
        _common.table(["workers", "seconds, each run", "faster", "computing, s", "failed"], rows),
        f"{numbers[-1]} workers are {faster:.2f} times as fast as {numbers[0]}; the target for two against one is"
        f" {TARGET}.",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write ``cluster_scaling.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="seed_cnn,ds_cnn", help="comma-separated (default: %(default)s)")
    parser.add_argument("--variants", default=CHOSEN, help="comma-separated (default: PTQ of both tools)")
    parser.add_argument("--workers", default="1,2", help="numbers to compare (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each number (default: %(default)s)")
    parser.add_argument("--report-dir", type=Path, default=Path("reports/cluster_scaling"))
    given = parser.parse_args(arguments)
    models = load_models(RunOptions().model_dir)
    names, variants = pick(given.models, models, "--models"), pick(given.variants, VARIANTS, "--variants")
    cells = [(models[name].file, name, variant) for variant in variants for name in names]
    machine, runs = _common.machine(), []
    for _ in range(given.repeats):
        for number in (int(word) for word in given.workers.split(",")):
            runs.append(measure(number, cells))
            print(f"{number} workers: {runs[-1].seconds:.1f} s", flush=True)
    _common.write(given.report_dir, "cluster_scaling.md", report(runs, len(cells), machine))


if __name__ == "__main__":
    _common.quietly(main)
