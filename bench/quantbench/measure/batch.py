"""Time an artifact with a larger batch, for which its inputs are resized; not every artifact supports that.

Before it times anything, each process checks that the batch gives the same outputs as its examples one by one: an
artifact with a fixed reshape inside may run, and mix its examples.
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
    """Measure seconds per call with :data:`BATCH` examples on one thread, one value per process.

    Raises:
        LatencyFailed: the artifact cannot run with this batch, or a process did not finish; the message says why.
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
        seconds = []
        for _ in range(PROCESSES):
            result = run_worker("quantbench.measure.batch_worker", job, START_LIMIT_SECONDS, room)
            if "refused" in result:
                raise LatencyFailed(result["refused"])
            seconds.append(float(result["seconds"]))
    return seconds
