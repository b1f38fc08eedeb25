"""Which worker of a cluster gets which cell, by a client that computes nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from quantbench.build.store import Store
from quantbench.engine.workers import cluster_executor
from quantbench.engine.workers.cluster_executor import ClusterExecutor
from quantbench.engine.workers.cluster_worker import Files, Job, Reply
from quantbench.engine.workers.task import Outcome, Task


class Client:
    """Take the place of Dask's: keeps what is sent, until a test finishes it."""

    status = "running"

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.sent: list[str] = []
        self.futures: dict[str, SimpleNamespace] = {}
        self.topic: Any = None

    def subscribe_topic(self, _name: str, handler: Any) -> None:
        self.topic = handler

    def nthreads(self, **_: Any) -> dict[str, int]:
        return self.places

    def submit(self, _function: Any, job: Job, _timeout: float, *_: Any, workers: list[str], **options: Any) -> Any:
        assert options["allow_other_workers"], "the cell of a worker that is lost would wait for it"
        cell = f"{job.task.model}/{job.task.variant}"
        self.sent.append(f"{workers[0]} {cell}")
        reply = Reply(Outcome(0), [], "")
        self.futures[cell] = SimpleNamespace(status="pending", key=job.key, result=lambda **_: reply)
        return self.futures[cell]

    def finish(self, cell: str) -> None:
        self.futures[cell].status = "finished"

    def begin(self, cell: str, worker: str) -> None:
        self.topic((0.0, {"key": self.futures[cell].key, "worker": worker}))

    def cancel(self, *_: Any, **__: Any) -> None:
        pass

    def wait_for(self, *sent: str) -> None:
        """Wait until just this was sent, in this order."""
        deadline = time.monotonic() + 10
        while len(self.sent) < len(sent) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.sent == list(sent)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def executor(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterExecutor]:
    monkeypatch.setattr(cluster_executor, "model_files", lambda *_: {})
    monkeypatch.setattr(cluster_executor, "travelling", lambda *_: Files({}, "m.py"))
    monkeypatch.setattr(cluster_executor, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(cluster_executor, "_LOOK_SECONDS", 0.0)
    cluster: Any = SimpleNamespace(workers=2, client=client, is_lost=False, address="tcp://made-up:1")
    made = ClusterExecutor(cluster, Store(tmp_path / "store"), "run", False, lambda _: None)
    yield made
    made.stop()


def submit(executor: ClusterExecutor, folder: Path, *cells: str) -> None:
    for cell in cells:
        model, _, variant = cell.partition("/")
        task = Task(folder / f"{model}.py", model, variant, 0, None, folder, folder / f"{model}.{variant}.log")
        executor.submit(task, 60)


def test_a_worker_keeps_to_its_models_and_helps_others_at_the_end(
    client: Client, executor: ClusterExecutor, tmp_path: Path
) -> None:
    submit(executor, tmp_path, "a/1", "a/2", "b/1", "a/3")
    client.places = {"one": 1, "two": 1}
    sent = ["one a/1", "two b/1"]
    client.wait_for(*sent)
    for finished, next_one in (("a/1", "one a/2"), ("b/1", "two a/3")):
        client.finish(finished)
        sent.append(next_one)
        client.wait_for(*sent)


def test_a_cell_that_dask_has_begun_elsewhere_takes_its_place_there(
    client: Client, executor: ClusterExecutor, tmp_path: Path
) -> None:
    submit(executor, tmp_path, "a/1")
    client.places = {"one": 1, "two": 1}
    client.wait_for("one a/1")
    client.begin("a/1", "two")
    submit(executor, tmp_path, "b/1", "c/1")
    client.wait_for("one a/1", "one b/1")
    client.finish("a/1")
    client.wait_for("one a/1", "one b/1", "two c/1")


def test_a_worker_of_several_places_gets_as_many_cells_and_the_others_theirs_first(
    client: Client, executor: ClusterExecutor, tmp_path: Path
) -> None:
    submit(executor, tmp_path, "a/1", "b/1", "c/1", "d/1")
    client.places = {"one": 2, "two": 1}
    client.wait_for("one a/1", "two b/1", "one c/1")
