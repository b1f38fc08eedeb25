"""An artifact with a larger batch: its inputs are resized, which not every artifact bears.

Each process checks that the batch answers as its examples do one by one before it times anything: an artifact with a
fixed reshape inside may run, and mix its examples.
"""

import tempfile
from pathlib import Path

from quantbench.core import child_process
from quantbench.measure.latency import START_LIMIT_SECONDS, LatencyFailed, run_worker, save_inputs
from quantbench.reference.model import ReferenceModel

BATCH = 32
PROCESSES = 3
SECONDS = 0.2


def measure(artifact: Path, model: ReferenceModel) -> list[float]:
    """Seconds a call with :data:`BATCH` examples on one thread, one value a process.

    Raises:
        LatencyFailed: it cannot be run so, or a process did not finish; the message says why.
    """
    if model.stateful:
        raise LatencyFailed("the runtime keeps state from one example to the next, and a batch would share it")
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        job = {
            "artifact": str(artifact),
            "inputs": str(save_inputs(model, Path(folder))),
            "batch": BATCH,
            "seconds": SECONDS,
        }
        room = child_process.room(model.form, artifact, Path(folder))
        found = []
        for _ in range(PROCESSES):
            told = run_worker("quantbench.measure.batch_worker", job, START_LIMIT_SECONDS, room)
            if "refused" in told:
                raise LatencyFailed(told["refused"])
            found.append(float(told["seconds"]))
    return found
