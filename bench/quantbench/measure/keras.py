"""Time a model in Keras, before conversion, in fresh interpreters with TensorFlow."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantbench.core import child_process
from quantbench.measure.latency import LatencyFailed, run_worker, save_inputs
from quantbench.reference.model import ReferenceModel

PROCESSES = 3
LIMIT_SECONDS = 180  # most of it for importing TensorFlow and tracing a model


@dataclass(frozen=True)
class InKeras:
    """Hold seconds per call (``tf.function``, batch 1, until the result can be read), one value per process.

    Attributes:
        cpu: on one thread.
        gpu: on the first GPU that TensorFlow sees; empty where it sees none.
        device: the name of that GPU.
        no_gpu: why a GPU that exists gave no times.
    """

    cpu: list[float]
    gpu: list[float] = field(default_factory=list)
    device: str = ""
    no_gpu: str = ""


def measure(model: ReferenceModel, seconds: float, variant: str = "") -> InKeras:
    """Time the float model, or the fake-quantized model of a variant before its conversion.

    Args:
        seconds: total timing on each device; start-up is not counted.

    Raises:
        LatencyFailed: TensorFlow cannot run the model, or a process did not finish.
    """
    if model.form == "tflite":
        raise LatencyFailed("the float model came as a .tflite, which Keras cannot run")
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        job = {
            "file": str(model.file),
            "model": model.name,
            "variant": variant,
            "inputs": str(save_inputs(model, Path(folder))),
            "seconds": seconds / PROCESSES,
        }
        limit = LIMIT_SECONDS + 10 * seconds
        # An untrusted model is timed on the CPU alone: no GPU's device is within the walls.
        room = child_process.room(model.form, model.file.parent)
        room = room and replace(room, write=(Path(folder),))

        def timed(gpu: bool) -> dict[str, Any]:
            result = run_worker("quantbench.measure.keras_worker", job | {"gpu": gpu}, limit, room)
            if result.get("refused"):
                raise LatencyFailed(result["refused"])
            return result

        done = [timed(gpu=False) for _ in range(PROCESSES)]
        cpu, device = [result["seconds"] for result in done], done[0]["device"]
        if not device:
            return InKeras(cpu)
        try:
            return InKeras(cpu, [timed(gpu=True)["seconds"] for _ in range(PROCESSES)], device)
        except LatencyFailed as error:  # the CPU's times are kept
            return InKeras(cpu, [], device, str(error))
