"""Crashes, hangs and errors of a worker cost one cell and say what happened."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from quantbench.engine.workers import local, process
from quantbench.engine.workers.task import Outcome, Task, failure


def _task(tmp_path: Path, variant: str) -> Task:
    return Task(tmp_path / "m.py", "m", variant, 0, None, tmp_path, tmp_path / "logs" / f"{variant}.log")


def _first(task: Task) -> bool:
    marker = task.store / "killed once"
    first = not marker.exists()
    marker.touch()
    return first


def misbehave(task: Task) -> Outcome:
    """Stands in for computing a cell."""
    if task.variant == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task.variant == "hang":
        time.sleep(60)
    if task.variant == "leave":
        os._exit(0)
    if task.variant == "killed" or (task.variant == "killed once" and _first(task)):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.variant == "beside":
        time.sleep(1.0)
    (task.store / f"{task.variant} ended").touch()
    if task.variant == "raise":
        raise RuntimeError("converter said no")
    return Outcome(task.seed, score=0.5)


def test_each_misfortune_costs_its_own_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "compute", misbehave)
    with local.LocalExecutor(workers=2) as pool:
        futures = {name: pool.submit(_task(tmp_path, name), 5.0) for name in ("crash", "hang", "raise", "fine")}
        outcomes = {name: future.result(timeout=60) for name, future in futures.items()}
    assert outcomes["fine"].failure is None
    assert outcomes["fine"].score == 0.5
    failures = {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure}
    assert failures["crash"].what == "crash"
    assert "died of SIGSEGV" in failures["crash"].reason
    assert failures["hang"].what == "timeout"
    assert "no result within 5 s (--cell-timeout)" in failures["hang"].reason
    assert failures["raise"].what == "error"
    assert "converter said no" in failures["raise"].reason


def test_who_is_killed_from_outside_gets_one_more_chance_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "compute", misbehave)
    with local.LocalExecutor(workers=2) as pool:
        futures = {name: pool.submit(_task(tmp_path, name), 30.0) for name in ("killed once", "killed", "beside")}
        outcomes = {name: future.result(timeout=60) for name, future in futures.items()}
    assert outcomes["killed once"].failure is None
    assert outcomes["killed once"].retried == (
        "the worker process died of SIGKILL, as the system does where memory runs out, with no output; retried once, "
        "alone",
    )
    assert outcomes["killed"].failure is not None
    assert "died of SIGKILL" in outcomes["killed"].failure.reason
    assert len(outcomes["killed"].retried) == 1
    assert outcomes["beside"].failure is None
    assert outcomes["beside"].retried == ()


def test_a_process_that_leaves_without_a_word_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "compute", misbehave)
    with local.LocalExecutor(workers=1) as pool:
        left, fine = pool.submit(_task(tmp_path, "leave"), 600.0), pool.submit(_task(tmp_path, "fine"), 30.0)
        assert left.result(timeout=60).failure == failure(
            "crash", "the worker process ended with status 0, with no output", tmp_path / "none"
        )
        assert fine.result(timeout=60).failure is None


def test_stopping_gives_up_what_runs_and_what_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "compute", misbehave)
    pool = local.LocalExecutor(workers=1)
    running, queued = pool.submit(_task(tmp_path, "hang"), 600.0), pool.submit(_task(tmp_path, "fine"), 600.0)
    while not running.running():
        time.sleep(0.05)
    pool.stop()
    assert not running.done()
    assert not queued.done()
    assert not (tmp_path / "fine ended").exists()


def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "compute", misbehave)
    with local.LocalExecutor(workers=1, logs=tmp_path / "workers") as pool:
        assert pool.submit(_task(tmp_path, "fine"), 30.0).result(timeout=60).failure is None
        [log] = (tmp_path / "workers" / "0").iterdir()
        os.kill(int(log.stem), signal.SIGKILL)
        time.sleep(0.5)  # so that it has been noticed
        assert pool.submit(_task(tmp_path, "fine"), 30.0).result(timeout=60).failure is None


class SlowToLoad:
    """Hangs while a worker reads it, before its first cell."""

    def __call__(self, task: Task) -> Outcome:
        return misbehave(task)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[float]]:
        return time.sleep, (60.0,)


def test_a_worker_that_never_begins_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_START_SECONDS", 0.5)
    with local.LocalExecutor(workers=1, how=SlowToLoad()) as pool:
        outcome = pool.submit(_task(tmp_path, "fine"), 600.0).result(timeout=60)
    assert outcome.failure == failure("crash", "the worker process did not begin, with no output", tmp_path / "none")
    assert len(outcome.retried) == 1


def test_a_worker_that_dies_before_its_cell_is_known_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pebble then has no cell to blame, and leaves the one that comes next waiting."""
    monkeypatch.setattr(process.ProcessPool, "schedule", lambda *_, **__: Future())
    monkeypatch.setattr(process.ProcessPool, "active", False)
    with local.LocalExecutor(workers=1) as pool:
        outcome = pool.submit(_task(tmp_path, "fine"), 600.0).result(timeout=60)
    assert outcome.failure is not None
    assert outcome.failure.reason.startswith("the worker process did not begin")


def whose(task: Task) -> Outcome:
    """Tells the process that computed it."""
    return Outcome(task.seed, seconds=os.getpid())


_HOARD: list[bytes] = []


def hoards(task: Task) -> Outcome:
    """Keeps 200 MiB more of each task but the first, as if it leaked."""
    _HOARD.append(b"x" * (200 * 2**20 if _HOARD else 1))
    return whose(task)


@pytest.mark.parametrize(
    ("most", "most_of_large", "how", "workers"),
    [
        (2**60, 0, whose, 1),
        (0, 0, whose, 3),
        (0, 2**60, whose, 1),  # a large model: its worker holds as much as after its first cell
        (0, 2**60, hoards, 2),  # and one that grows does not
    ],
)
def test_a_worker_that_holds_too_much_memory_is_replaced(
    most: int,
    most_of_large: int,
    how: Callable[[Task], Outcome],
    workers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_MOST_RESIDENT", most)
    monkeypatch.setattr(process, "_MOST_OF_LARGE", most_of_large)
    with local.LocalExecutor(workers=1, how=how) as pool:
        tasks = [pool.submit(_task(tmp_path, name), 30.0) for name in ("a", "b", "c")]
        pids = {task.result(timeout=60).seconds for task in tasks}
    assert len(pids) == workers
