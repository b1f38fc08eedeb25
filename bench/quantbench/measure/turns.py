"""Time an artifact in turns with the accepted one, on the runtime that this was accepted with.

On one runtime both are in one process, block by block, as a variant and its float control are
(:mod:`quantbench.measure.latency`): that is the most precise. Two runtimes need two processes, which take turns on one
core (:mod:`quantbench.measure.interleaved`).
"""

import tempfile
from pathlib import Path

from quantbench.core import child_process
from quantbench.measure import latency
from quantbench.measure.interleaved import Contestant, time_interleaved
from quantbench.measure.latency import Latency
from quantbench.reference.model import ReferenceModel


def measure(
    artifact: Path,
    accepted: Path,
    model: ReferenceModel,
    seconds: float,
    threads: int = 1,
    packages: Path | None = None,
    times: int = 1,
    longer: int = 1,
) -> Latency:
    """Time ``artifact``, as the variant, against ``accepted``, as the control, on real test examples, batch 1.

    Args:
        seconds: total timing of a first stage.
        packages: folder of the accepted runtime, for one thread only; None: it is the installed one.
        times, longer: processes of a later stage, and how long they time, see :func:`.latency.measure`.

    Raises:
        LatencyFailed: a timing process did not finish.
    """
    if packages is None:
        return latency.measure(artifact, accepted, model, seconds, threads, times, longer)
    here = child_process.HERE
    both = {"accepted": Contestant(here, accepted, packages), "now": Contestant(here, artifact)}
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        inputs = latency.save_inputs(model, Path(folder))
        room = child_process.room(model.form, artifact, accepted, inputs, packages)
        timed = time_interleaved(both, inputs, seconds, room, times, longer)
    # Nothing but the two is timed: what would compare with the reference load compares with the accepted artifact.
    return Latency(
        [
            {"variant": group["now"], "control": group["accepted"], "yardstick": group["accepted"]}
            for group in timed.groups
        ]
    )
