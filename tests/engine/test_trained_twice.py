"""One cheap cell is trained twice: which, at what price, and what is said of it."""

from concurrent.futures import Future
from pathlib import Path

import pytest
from made_up_cells import model
from quantbench.engine.cell import Planned
from quantbench.engine.trained_twice import TrainedTwice, cheapest
from quantbench.engine.workers.task import Outcome, Task
from quantbench.records import Kind
from quantbench.variants import VARIANTS

TUNED = "float32_finetuned"


def planned(variant: str, name: str = "m") -> tuple[Planned, Task]:
    of = model(name)
    cell = Planned(of, VARIANTS[variant], frozenset({Kind.ACCURACY}), True, (0,))
    return cell, Task(Path("m.py"), name, variant, 0, None, Path("store"), Path("logs") / f"{name}.{variant}.0.log")


MANY = [planned(name) for name in VARIANTS]


def test_the_cheapest_model_is_trained_twice() -> None:
    took = {f"m/{TUNED}": 40.0, f"small/{TUNED}": 10.0}
    chosen = cheapest([*MANY, planned(TUNED, "small")], took.get)
    assert chosen is not None
    assert chosen[0].id == f"small/{TUNED}"


@pytest.mark.parametrize(("seconds", "trained"), [(10.0, True), (12.0, False)])
def test_it_costs_no_more_than_a_tenth_of_the_run(seconds: float, trained: bool) -> None:
    took = {f"m/{TUNED}": seconds, "m/ptq_float16": 90.0}
    chosen = cheapest([planned(TUNED), planned("ptq_float16")], took.get)
    assert (chosen is not None) is trained


def test_nothing_is_trained_twice_where_nothing_trains_or_all_is_stored() -> None:
    assert cheapest([planned("ptq_float16")], {}.get) is None
    assert cheapest([], {}.get) is None


class Executor:
    """Replace the workers: answer at once with these weights."""

    workers = 1

    def __init__(self, weights: str | None) -> None:
        self.weights = weights
        self.task: Task | None = None

    def submit(self, task: Task, timeout: float) -> "Future[Outcome]":
        self.task = task
        done: Future[Outcome] = Future()
        done.set_result(Outcome(0, trained_sha256=self.weights))
        return done

    def close(self) -> None: ...

    def stop(self) -> None: ...


@pytest.mark.parametrize(("weights", "said"), [("a", False), ("b", True), (None, False)])
def test_a_training_that_does_not_repeat_is_said(weights: str | None, said: bool) -> None:
    executor = Executor(weights)
    twice = TrainedTwice(*planned(TUNED), executor, 1.0)
    assert executor.task is not None
    assert executor.task.store != Path("store")
    assert executor.task.store.is_dir()
    assert executor.task.log.name == f"m.{TUNED}.0.again.log"
    note = twice.note(Outcome(0, trained_sha256="a"))
    assert (note is not None) is said
    assert note is None or note.startswith(f"training is not reproducible on this machine: m/{TUNED}, trained twice")
    twice.close()
    assert not executor.task.store.exists()
