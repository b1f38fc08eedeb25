"""Which worker gets which task: models stay together, long tasks come first."""

import threading
from pathlib import Path

from quantbench.engine.scheduler import OTHERS, SLOW, TRAINED, order
from quantbench.engine.workers.task import Task
from quantbench.engine.workers.task_queue import TaskQueue
from quantbench.variants import VARIANTS


def queue(*names: str, turn: int = OTHERS) -> TaskQueue[Task]:
    made: TaskQueue[Task] = TaskQueue(lambda task: task)
    add(made, *names, turn=turn)
    return made


def add(to: TaskQueue[Task], *names: str, turn: int = OTHERS) -> None:
    for name in names:
        model, _, variant = name.partition("/")
        to.put(Task(Path(f"{model}.py"), model, variant, 0, None, Path(), Path(), turn=turn))


def taken(waiting: TaskQueue[Task], worker: int) -> str:
    task = waiting.take(worker)
    assert task is not None
    return f"{task.model}/{task.variant}"


def test_a_worker_stays_with_its_models_then_begins_new_ones_then_helps_others() -> None:
    waiting = queue("a/1", "a/2", "a/3", "b/1", "b/2")
    assert [taken(waiting, 0), taken(waiting, 1), taken(waiting, 0)] == ["a/1", "b/1", "a/2"]
    assert [taken(waiting, 1), taken(waiting, 1)] == ["b/2", "a/3"]


def test_models_of_one_name_in_two_files_are_two() -> None:
    waiting = queue("a/1")
    waiting.put(Task(Path("other.py"), "a", "2", 0, None, Path(), Path(), turn=OTHERS))
    add(waiting, "a/3")
    assert [taken(waiting, 0), taken(waiting, 0), taken(waiting, 1)] == ["a/1", "a/3", "a/2"]


def test_what_takes_long_begins_first_whatever_the_worker_has_had() -> None:
    waiting = queue("a/short", "a/short too")
    assert taken(waiting, 0) == "a/short"
    add(waiting, "b/int16", turn=SLOW)
    add(waiting, "c/trained", turn=TRAINED)
    assert [taken(waiting, 0), taken(waiting, 0), taken(waiting, 0)] == ["c/trained", "b/int16", "a/short too"]


def test_who_waits_gets_what_comes_and_ends_when_the_queue_is_closed() -> None:
    waiting, got = queue(), list[str | None]()

    def serve() -> None:
        while (task := waiting.take(0)) is not None:
            got.append(task.variant)
        got.append(None)

    thread = threading.Thread(target=serve)
    thread.start()
    add(waiting, "a/1", "a/2")
    waiting.close()
    thread.join(timeout=10)
    assert got == ["1", "2", None]


def test_what_is_calibrated_comes_first_of_its_model_and_what_trains_first_of_all() -> None:
    cells = [
        (m, v) for m in ("a", "b") for v in ("float32", "aeq_static_wi8_ai8", "ptq_static_wi8_ai16", "qat_wi8_ai8")
    ]
    place = order([model for model, _ in cells])
    found = [f"{m}/{v}" for m, v in sorted(cells, key=lambda cell: place(cell[0], VARIANTS[cell[1]]))]
    assert found == [
        *("a/qat_wi8_ai8", "b/qat_wi8_ai8", "a/ptq_static_wi8_ai16", "b/ptq_static_wi8_ai16"),
        *("a/aeq_static_wi8_ai8", "a/float32", "b/aeq_static_wi8_ai8", "b/float32"),
    ]
