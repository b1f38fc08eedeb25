"""A real Dask scheduler with two worker processes: the same verdicts as locally, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT, THREE_VARIANTS, Quantbench, ThreeCells, command, surroundings
from dask_processes import DaskProcesses, cells_under_way
from quantbench.engine.workers.cluster import connect
from quantbench.measure.latency import LatencyFailed
from quantbench.records import Report, read_record
from system.test_isolation import planted_models

from engine.test_merge import lose

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
    left_out = ("seconds", "cached", "measurements", "judgements", "retried", "drift")
    kept = {name: value for name, value in cell.items() if name not in left_out}
    of_processes = ("memory", "peak", "leak")
    values = {n: m["value"] for n, m in cell["measurements"].items() if not any(word in n for word in of_processes)}
    return kept | {"values": values}


@pytest.mark.slow
def test_the_verdicts_are_those_of_a_local_run_and_resuming_knows_no_difference(
    quantbench: Quantbench, dask: DaskProcesses, three_cells: ThreeCells, tmp_path: Path
) -> None:
    own = {"QUANTBENCH_CACHE": str(tmp_path / "clients")}
    there = quantbench("run", *SELECTION, "--variants", THREE_VARIANTS, "--no-gpu", "--cluster", dask.address, **own)
    assert there.status == 0, there.output
    report = there.report()
    assert not any(cell["cached"] for cell in report["cells"])
    assert any(f"computed by the workers of {dask.address}" in note for note in report["notes"])
    logs = [log.read_text() for log in (there.reports / "latest" / "logs").glob("*.log")]
    assert len(logs) == 3
    assert "XNNPACK" in "".join(logs)
    again = quantbench("run", *SELECTION, "--variants", THREE_VARIANTS, **own)
    assert all(cell["cached"] for cell in again.report()["cells"]), "the client's store lacks what workers computed"
    here = [three_cells.cell(cell["id"]) for cell in report["cells"]]
    assert [without_time(cell) for cell in report["cells"]] == [without_time(cell) for cell in here]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_red_cell_that_was_computed_there_has_a_cause(
    quantbench: Quantbench, dask: DaskProcesses, baselines: Path, three_cells: ThreeCells
) -> None:
    lose(baselines, {"ptq_static_wi8_ai8": 80})
    folders = ["--baseline-dir", str(baselines), "--cluster", dask.address]
    done = quantbench("run", *SELECTION, "--variants", "ptq_static_wi8_ai8", "--no-gpu", *folders)
    assert done.status == 1, done.output
    assert "looking for the cause: seed_cnn/ptq_static_wi8_ai8" in done.output
    assert done.cell("seed_cnn/ptq_static_wi8_ai8")["attribution"]["matched"] == 1


@pytest.mark.nightly
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_and_is_told(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    victim = dask.worker()
    dask.wait_for(3)
    reports = tmp_path / "reports"
    arguments = ["run", *SELECTION, "--variants", THREE_VARIANTS, "--no-cache", "--cluster", dask.address]
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
    assert "GREEN (3 cells" in output


@pytest.mark.nightly
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


@pytest.mark.nightly
@pytest.mark.slow
def test_latency_is_timed_by_the_worker_that_offers_it(
    quantbench: Quantbench, dask: DaskProcesses, tmp_path: Path
) -> None:
    options = ["--models", "seed_cnn", "--variants", "ptq_float16", "-k", "latency", "--latency-budget", "0.3"]
    done = quantbench("run", *options, "--no-turns", "--cluster", dask.address)
    assert done.status == 0, done.output
    cell = done.cell("seed_cnn/ptq_float16")
    assert cell["measurements"]["latency_ratio"]["n"] == 6
    assert cell["measurements"]["start_up_cold"]["n"] == 3
    assert cell["verdicts"] == {"latency": "unjudged"}


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_cell_behind_on_the_workers(dask: DaskProcesses, tmp_path: Path) -> None:
    models = planted_models(tmp_path / "models")
    arguments = ["run", "-v", *SELECTION, "--variants", "planted_hang", "--model-dir", str(models)]
    arguments += ["--cluster", dask.address]
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


LOST = "was lost; start it and its workers again and run again: finished cells are taken from the cache"


def broken_run(*arguments: str, after: str, by: Callable[[], None], store: Path) -> tuple[int, str, float]:
    """A run that is broken after a line with these words: its status, its output, and the seconds that it took then."""
    with subprocess.Popen(
        command("run", "-v", *arguments),  # with a line as soon as a cell is computed
        cwd=ROOT,
        env=surroundings(QUANTBENCH_CACHE=str(store)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        since = 0.0
        for line in process.stdout:
            lines.append(line)
            if not since and after in line:
                by()
                since = time.monotonic()
        process.wait(timeout=60)
    return process.returncode, "".join(lines), time.monotonic() - since


def all_ended(processes: list[psutil.Process], seconds: float) -> bool:
    """Whether these are gone by themselves within so many seconds."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.mark.nightly
@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_what_is_finished(quantbench: Quantbench, tmp_path: Path) -> None:
    models, reports, store = planted_models(tmp_path / "models"), tmp_path / "reports", tmp_path / "clients"
    finished, unfinished = "float32,ptq_float16", "planted_hang,planted_hang_too,planted_killed"
    options = [*SELECTION, "--model-dir", str(models), "--report-dir", str(reports)]
    dask = DaskProcesses(tmp_path)
    involved: list[psutil.Process] = []

    def die() -> None:
        time.sleep(2)  # so that both workers are at what hangs
        for worker in dask.processes[1:]:
            involved.extend([psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)])
        dask.processes[0].kill()

    try:
        dask.worker()
        dask.worker()
        dask.wait_for(2)
        variants = ["--variants", f"{finished},{unfinished}", "--cluster", dask.address]
        status, output, seconds = broken_run(*options, *variants, after="[2/5]", by=die, store=store)
        assert (status, "Traceback" in output) == (3, False), output
        assert seconds < 30
        assert len(involved) >= 4
        assert all_ended(involved, 30)
    finally:
        dask.stop()
    found = read_record(reports / "latest" / "report.json", Report, "report")
    assert (found.state, found.exit_status) == ("complete", 3)
    cells = {cell.variant: cell for cell in found.cells}
    assert all(cells[name].failure is None and cells[name].verdicts for name in finished.split(","))
    told = {cells[name].failure.reason for name in unfinished.split(",")}  # type: ignore[union-attr]
    assert told == {f"the scheduler at {dask.address} {LOST}"}
    again = quantbench("run", *options, "--variants", finished, QUANTBENCH_CACHE=str(store))
    assert all(cell["cached"] for cell in again.report()["cells"])


@pytest.mark.nightly
@pytest.mark.slow
def test_a_scheduler_that_dies_while_a_cell_is_timed_costs_the_timing_alone(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    options = ["--models", "seed_cnn", "--variants", "float32,ptq_float16", "-k", "latency", "--latency-budget", "8"]
    dask = DaskProcesses(tmp_path)

    def die() -> None:
        time.sleep(2)  # so that the first one is being timed
        dask.processes[0].kill()

    try:
        worker = dask.worker("--resources", "latency=1")
        dask.wait_for(1)
        options += ["--report-dir", str(reports), "--cluster", dask.address]
        status, output, seconds = broken_run(*options, after="[2/2]", by=die, store=tmp_path / "clients")
        assert (status, "Traceback" in output) == (3, False), output
        assert seconds < 30
        assert all_ended([psutil.Process(worker.pid)] if psutil.pid_exists(worker.pid) else [], 40)
    finally:
        dask.stop()
    found = read_record(reports / "latest" / "report.json", Report, "report")
    assert found.state == "complete"
    for cell in found.cells:
        assert cell.failure is None
        assert f"the scheduler at {dask.address} {LOST}" in cell.judgements[0].message


@pytest.mark.slow
def test_nothing_waits_for_a_scheduler_that_is_gone(tmp_path: Path) -> None:
    """Whatever state Dask's client is in: it looks for the scheduler again, closes, and is closed."""
    dask = DaskProcesses(tmp_path)
    worker = dask.worker("--resources", "latency=1")
    states, longest = set(), 0.0
    try:
        dask.wait_for(1)
        cluster = connect(dask.address, seconds=3)
        threading.Timer(1, dask.processes[0].kill).start()
        while "closed" not in states:
            since = time.monotonic()
            with pytest.raises(LatencyFailed, match="was lost; start it"):
                cluster.call(time.sleep, 60)
            longest = max(longest, time.monotonic() - since)
            states.add(cluster.client.status)
            time.sleep(0.01)
    finally:
        worker.kill()  # it would look for the scheduler for a while
        dask.stop()
    assert "connecting" in states
    assert longest < 10  # a second of it before the scheduler dies


def test_a_scheduler_that_does_not_answer_is_told_in_a_sentence(quantbench: Quantbench) -> None:
    done = quantbench("run", *SELECTION, "--variants", "float32", "--cluster", "tcp://127.0.0.1:9")
    assert done.status == 4
    assert "--cluster: no scheduler answers at tcp://127.0.0.1:9 within 10 s" in done.output
    assert "Traceback" not in done.output
    done = quantbench("run", *SELECTION, "--variants", "float32", "--cluster", "nonsense://there", "--workers", "2")
    assert done.status == 4
    assert "--cluster has workers of its own" in done.output


@pytest.mark.nightly
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
        worker = dask.worker(PYTHONPATH=f"{other.parent}{os.pathsep}{ROOT / 'bench'}")
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
    usual = surroundings(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT / 'bench'}")
    arguments = ["run", "--models", "seed_cnn", "--cluster", "tcp://127.0.0.1:9", "--report-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "quantbench", *arguments],
        cwd=ROOT,
        env=usual,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert "pip install 'quantbench[cluster]'" in done.stdout + done.stderr
