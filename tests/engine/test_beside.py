"""What happens beside a cell: its worker's death after the result, its share of the cores, and how far it is."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_cells import FLOAT, outcome, run
from measure.test_side import dense
from quantbench.build import artifact
from quantbench.build.store import Store, digest
from quantbench.core import counters
from quantbench.engine import on_micro
from quantbench.engine.progress import Counts, Lines
from quantbench.engine.workers import local
from quantbench.engine.workers.task import Outcome, Task, compute, from_store, model_of
from quantbench.measure import memory, micro
from quantbench.reference.datasets import file_sha256
from quantbench.variants import VARIANTS

MODEL = """
from quantbench import Floor, ReferenceModel, by_name

MODEL = ReferenceModel("m", "one-hot digits", "w.npz", {weights!r}, "d.npz", {data!r},
    floors={{"default": Floor(1.0, "a test")}}, metric=by_name("accuracy"), prepare=lambda x: x)
"""


def a_task(folder: Path) -> Task:
    """A cell whose artifact is in the store, so that nothing is built."""
    labels = np.arange(2000) % 10
    np.savez(folder / "w.npz", weights=np.eye(10))
    np.savez(folder / "d.npz", x_test=np.eye(10, dtype=np.float32)[labels], y_test=labels)
    hashes = {"weights": file_sha256(folder / "w.npz"), "data": file_sha256(folder / "d.npz")}
    (folder / "m.py").write_text(MODEL.format(**hashes))
    (folder / "logs").mkdir()
    task = Task(folder / "m.py", "m", "ptq_float16", 0, None, folder / "store", folder / "logs" / "m.log")
    recipe = artifact.ingredients(model_of(task), VARIANTS[task.variant], 0, None)
    Store(task.store).put(digest(recipe), {artifact.ARTIFACT: dense()}, recipe)
    return task


def dies_beside(task: Task) -> Outcome:
    """Computes a cell, and aborts where its memory is measured."""

    def measured(*_: Any) -> Any:
        print("a kernel's last words", flush=True)
        os.abort()

    memory.through_store = measured
    return compute(task)


def test_a_worker_that_dies_after_the_result_does_not_take_it_along(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    with local.LocalExecutor(1, tmp_path / "workers", dies_beside) as pool:
        outcome = pool.submit(task, 60).result(timeout=90)
    assert outcome.failure is None
    assert outcome.score == 1.0
    assert outcome.memory is not None
    assert "died of SIGABRT" in outcome.memory.failure
    [finding] = outcome.findings
    assert "only its score was measured" in finding
    assert "a kernel's last words" in finding
    assert counters.read(task.progress) == [2000, 2000]


@pytest.mark.skipif(bool(micro.unavailable()), reason=micro.unavailable())
def test_a_worker_runs_tflite_micro_too_so_that_judging_finds_it_in_the_store(tmp_path: Path) -> None:
    task = replace(a_task(tmp_path), memory=False)
    assert not compute(task).cached
    assert from_store(task) is not None
    wanted = replace(task, micro=True)
    assert from_store(wanted) is None  # a cell that lacks it is not finished
    assert not compute(wanted).cached
    known = from_store(wanted)
    assert known is not None
    assert known.cached
    ran = micro.through_store(Path("gone"), known.artifact_sha256 or "", model_of(task), Store(task.store))
    assert ran.cached
    assert ran.predictions is not None


def dies_on_micro(task: Task) -> Outcome:
    """Computes a cell, and aborts where it runs on TFLite-Micro."""
    micro.through_store = lambda *_: os.abort()
    return compute(task)


def test_a_worker_that_dies_on_tflite_micro_costs_that_alone_and_it_is_not_tried_again(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    taken = memory.Memory(peaks=[200], resident=[300], empty=[50], arena=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "measure", lambda *_: taken)
        compute(task)
    with local.LocalExecutor(1, tmp_path / "workers", dies_on_micro) as pool:
        outcome = pool.submit(replace(task, micro=True), 60).result(timeout=90)
    assert (outcome.failure, outcome.findings, outcome.score) == (None, (), 1.0)
    assert outcome.memory is not None
    assert outcome.memory.arena == 100
    assert "died of SIGABRT" in outcome.micro_failure
    assert on_micro.runner(Store(task.store))(outcome, model_of(task)).failure == outcome.micro_failure


def test_what_tflite_micro_did_not_tell_a_worker_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro, "through_store", lambda *_: micro.OnMicro(failure="its process hung"))
    task = replace(a_task(tmp_path), memory=False, micro=True)
    found = compute(task)
    monkeypatch.setattr(micro, "through_store", lambda *_: pytest.fail("it was asked again"))
    assert on_micro.runner(Store(task.store))(found, model_of(task)).failure == "its process hung"


def dies_at_once(task: Task) -> Outcome:
    os.abort()


def test_a_worker_that_dies_before_its_result_is_a_failed_cell(tmp_path: Path) -> None:
    with local.LocalExecutor(1, tmp_path / "workers", dies_at_once) as pool:
        outcome = pool.submit(a_task(tmp_path), 60).result(timeout=90)
    assert outcome.failure is not None
    assert outcome.failure.what == "crash"


def shares(task: Task) -> Outcome:
    """Reports the number of interpreters that it may use once the others are done."""
    assert task.share is not None
    seen = counters.read(task.share)
    if task.seed:  # the long one
        for _ in range(600):
            if counters.read(task.share) == [3]:
                break
            __import__("time").sleep(0.05)
    return Outcome(task.seed, steps=seen[0], nonfinite=counters.read(task.share)[0])


def test_the_last_cell_gets_the_cores_of_those_that_are_done(tmp_path: Path) -> None:
    with local.LocalExecutor(3, tmp_path / "workers", shares) as pool:
        tasks = [
            Task(tmp_path / "m.py", "m", f"v{i}", int(i == 2), None, tmp_path, tmp_path / f"{i}.log") for i in range(3)
        ]
        outcomes = [future.result(timeout=90) for future in [pool.submit(task, 60) for task in tasks]]
    assert outcomes[2].nonfinite == 3


def test_numbers_of_a_hostile_process_are_no_numbers(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    assert counters.read(file) == []
    counters.write(file, 400, 1000)
    counters.write(file, 5)
    assert counters.read(file) == [5]
    for content in (b"\xff" * 1000, b"9" * 5000 + b" x", b"1 2 nonsense"):
        file.write_bytes(content)
        assert counters.read(file) == [] or len(counters.read(file)) == 1
    file.unlink()
    os.mkfifo(file)
    counters.write(file, 1)
    assert counters.read(file) == []  # and neither waits
    file.unlink()
    (tmp_path / "kept").write_text("7 7")
    file.symlink_to(tmp_path / "kept")
    counters.write(file, 1)
    assert counters.read(file) == []
    assert (tmp_path / "kept").read_text() == "7 7"


def test_something_is_shown_at_once_and_how_far_a_long_cell_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines = Lines(said.append)
    lines.show(Counts("cells", 0, 3))
    assert not said
    lines.show(Counts("cells", 0, 3, running=2))
    assert said == ["cells: 0 of 3 done, 2 running"]
    within = ("m/ptq_float16: 400 of 1,000 examples",)
    for now[0] in (5.0, 14.0, 16.0, 20.0, 40.0):
        lines.show(Counts("cells", 0, 3, running=2, within=within))
    assert said[1:] == ["cells: 0 of 3 done, 2 running, m/ptq_float16: 400 of 1,000 examples"] * 2


def test_findings_beside_a_result_are_told_once() -> None:
    found = "LiteRT's reference kernels were not compared: their process died of SIGABRT"
    made = run({FLOAT: [outcome(findings=(found,)), outcome(seed=1, findings=(found,))]})
    assert made.results.of(FLOAT).findings == [found]
    assert made.results.of(FLOAT).failure is None
