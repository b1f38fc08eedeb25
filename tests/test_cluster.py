"""A real Dask scheduler with two worker processes: the same verdicts as locally, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, THREE_VARIANTS, Quantbench, command, surroundings
from dask_processes import DaskProcesses, cells_under_way
from test_isolation import planted_models

VARIANTS = f"{THREE_VARIANTS},ptq_dynamic_wi8_afp32,aeq_dynamic_wi8_afp32"
SELECTION = ["--models", "seed_cnn", "--no-latency"]


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """A scheduler and two workers; the second one times too."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.worker()
    processes.worker("--resources", "latency=1")
    processes.wait_for(2)
    yield processes
    processes.stop()


def without_time(cell: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same wherever a cell is computed: not what processes took, which differs a little."""
    left_out = ("seconds", "cached", "measurements", "judgements", "retried")
    kept = {name: value for name, value in cell.items() if name not in left_out}
    values = {n: m["value"] for n, m in cell["measurements"].items() if "memory" not in n and "peak" not in n}
    return kept | {"values": values}


@pytest.mark.slow
def test_the_verdicts_are_those_of_a_local_run_and_resuming_knows_no_difference(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    own = {"QUANTBENCH_CACHE": str(tmp_path / "clients")}
    there = quantbench("run", *SELECTION, "--variants", VARIANTS, "--cluster", dask.address, **own)
    assert there.status == 0, there.output
    report = there.report()
    assert not any(cell["cached"] for cell in report["cells"])
    assert f"computed by the workers of {dask.address}" in report["notes"][0]
    logs = [log.read_text() for log in (there.reports / "latest" / "logs").glob("*.log")]
    assert len(logs) == 5
    assert "XNNPACK" in "".join(logs)
    again = quantbench("run", *SELECTION, "--variants", VARIANTS, **own)
    assert all(cell["cached"] for cell in again.report()["cells"]), "the client's store lacks what workers computed"
    here = quantbench("run", *SELECTION, "--variants", VARIANTS, "--no-cache")
    assert [without_time(cell) for cell in report["cells"]] == [without_time(cell) for cell in here.report()["cells"]]


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_and_is_told(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    victim = dask.worker()
    dask.wait_for(3)
    reports = tmp_path / "reports"
    arguments = ["run", *SELECTION, "--variants", VARIANTS, "--no-cache", "--cluster", dask.address]
    usual = surroundings(QUANTBENCH_CACHE=str(tmp_path / "clients"))
    lines = []
    with subprocess.Popen(
        command(*arguments, "--report-dir", str(reports)), cwd=ROOT, env=usual, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not cells_under_way(victim) and time.monotonic() < deadline:
            time.sleep(0.1)
        victim.kill()
        assert process.stdout is not None
        lines = list(process.stdout)
    output = "".join(lines)
    assert process.returncode == 0, output
    assert "begun again: the cluster lost the worker at tcp://127.0.0.1" in output
    assert "note: seed_cnn/" in output
    assert "GREEN (5 cells" in output


@pytest.mark.slow
def test_crashes_and_time_limits_mean_the_same_there(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    models = planted_models(tmp_path / "models")
    variants = "planted_abort,planted_hang,planted_killed_once"
    options = ["--variants", variants, "--model-dir", str(models), "--cell-timeout", "30", "--cluster", dask.address]
    done = quantbench("run", *SELECTION, *options, QUANTBENCH_CACHE=str(tmp_path / "clients"))
    assert done.status == 3, done.output
    aborted, hung, killed = (done.cell(f"seed_cnn/{name}") for name in variants.split(","))
    assert "died of SIGABRT; its last output: LLVM ERROR: planted in a converter" in aborted["failure"]["reason"]
    assert "in _abort" in (done.reports / "latest" / "logs" / "seed_cnn.planted_abort.0.log").read_text()
    assert "no result within 30 s (--cell-timeout)" in hung["failure"]["reason"]
    assert killed.get("failure") is None
    assert "SIGKILL" in killed["retried"][0]


@pytest.mark.slow
def test_latency_is_timed_by_the_worker_that_offers_it(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    options = ["--models", "seed_cnn", "--variants", "ptq_float16", "-k", "latency", "--latency-budget", "0.3"]
    done = quantbench("run", *options, "--cluster", dask.address)
    assert done.status == 0, done.output
    cell = done.cell("seed_cnn/ptq_float16")
    assert cell["measurements"]["latency_ratio"]["n"] == 6
    assert cell["measurements"]["start_up_cold"]["n"] == 3
    assert cell["verdicts"] == {"latency": "unjudged"}


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_cell_behind_on_the_workers(dask: DaskProcesses, tmp_path: Path) -> None:
    models = planted_models(tmp_path / "models")
    arguments = ["run", *SELECTION, "--variants", "planted_hang", "--model-dir", str(models), "--cluster", dask.address]
    usual = surroundings(QUANTBENCH_CACHE=str(tmp_path / "clients"))
    process = subprocess.Popen(
        command(*arguments, "--report-dir", str(tmp_path / "reports")),
        cwd=ROOT,
        env=usual,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith("[1/2]"):
            break
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2, output
    assert "Traceback" not in output
    deadline = time.monotonic() + 30
    workers = dask.processes[1:]
    while any(cells_under_way(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(cells_under_way(worker) for worker in workers)


def test_a_scheduler_that_does_not_answer_is_told_in_a_sentence(quantbench: Quantbench) -> None:
    done = quantbench("run", *SELECTION, "--variants", "float32", "--cluster", "tcp://127.0.0.1:9")
    assert done.status == 4
    assert "--cluster: no scheduler answers at tcp://127.0.0.1:9 within 10 s" in done.output
    assert "Traceback" not in done.output
    done = quantbench("run", *SELECTION, "--variants", "float32", "--cluster", "nonsense://there", "--workers", "2")
    assert done.status == 4
    assert "--cluster has workers of its own" in done.output


def test_a_scheduler_without_workers_and_a_worker_that_does_not_fit_are_refused(
    quantbench: Quantbench, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere" / "tensorflow-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorflow\nVersion: 9.9.9\n")
    dask = DaskProcesses(tmp_path)
    run = ["run", "--models", "seed_cnn", "--variants", "float32", "--cluster", dask.address]
    try:
        done = quantbench(*run, "--no-latency")
        assert done.status == 4
        assert f"the scheduler at {dask.address} has had no worker for 10 s" in done.output
        worker = dask.worker(PYTHONPATH=f"{other.parent}{os.pathsep}{ROOT}")
        dask.wait_for(1)
        done = quantbench(*run, "--no-latency")
        assert done.status == 4
        assert "has tensorflow 9.9.9, this machine 2." in done.output
        worker.terminate()
        worker.wait(timeout=20)
        dask.worker()
        dask.wait_for(1)
        done = quantbench(*run)
        assert done.status == 4
        assert "offers the resource latency" in done.output
        assert "Traceback" not in done.output
    finally:
        dask.stop()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError('planted')\n")
    usual = surroundings(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    arguments = ["run", "--models", "seed_cnn", "--cluster", "tcp://127.0.0.1:9", "--report-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, env=usual, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 4
    assert "pip install 'quantbench[cluster]'" in done.stdout + done.stderr
