"""Let a Dask worker wait as long as a cell took once, instead of computing it; what it sends comes from its store.

Loaded by ``dask worker --preload studies._waiting``. So more workers than cores show what the cluster itself takes:
sending models and results, and giving out cells. A training that cells share takes its time once a worker.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantbench.engine.workers import cluster_worker
from quantbench.engine.workers import task as work
from quantbench.engine.workers.cluster_worker import Job
from quantbench.engine.workers.task import Outcome, Task

from studies.cluster_simulation import Recorded

SECONDS = "QUANTBENCH_STUDY_SECONDS"  # a file: model/variant -> seconds of its own and of trainings
_TRAINED: set[str] = set()  # by this worker


def written(cells: list[Recorded]) -> str:
    """Return the content of that file."""
    return json.dumps({cell.name: {"own": cell.own, "trainings": cell.trainings} for cell in cells})


def wait(job: Job, task: Task, timeout: float, worker: Any) -> Outcome:  # noqa: ARG001 - called as what it replaces
    """Wait, and return what the store holds, with the entries that hold it."""
    took = json.loads(Path(os.environ[SECONDS]).read_text(encoding="utf-8"))[f"{task.model}/{task.variant}"]
    started = time.monotonic()
    store = cluster_worker._Remembering(task.store)
    outcome = work.from_store(task, store)
    if outcome is None:
        raise ValueError(f"the store lacks {task.model}/{task.variant}; run it first")
    missing = {f"{task.model}/{name}": seconds for name, seconds in took["trainings"].items()}
    seconds = took["own"] + sum(one for name, one in missing.items() if name not in _TRAINED)
    _TRAINED.update(missing)
    time.sleep(max(0.0, seconds - (time.monotonic() - started)))
    return replace(outcome, entries=tuple(store.keys), seconds=seconds)


def dask_setup(_worker: Any) -> None:
    """Take the place of computing; called by Dask when the worker starts."""
    cluster_worker._result = wait
