"""The float model before any conversion: what a call takes in Keras, in fresh interpreters with TensorFlow."""

import tempfile
from pathlib import Path

from bench.measure.latency import LatencyFailed, run_worker, save_inputs
from bench.reference import ReferenceModel

PROCESSES = 3
LIMIT_SECONDS = 180  # importing TensorFlow and tracing a model takes most of it


def measure(model: ReferenceModel, seconds: float) -> list[float]:
    """Seconds a call (``tf.function``, batch 1, one thread), one value a process.

    Args:
        seconds: of timing in all; start-up is not counted.

    Raises:
        LatencyFailed: the model is not one that TensorFlow runs, or a process did not finish.
    """
    if model.form == "tflite":
        raise LatencyFailed("the float model came as a .tflite, which Keras does not run")
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        job = {
            "file": str(model.file),
            "model": model.name,
            "inputs": str(save_inputs(model, Path(folder))),
            "seconds": seconds / PROCESSES,
        }
        done = [run_worker("bench.measure.keras_worker", job, LIMIT_SECONDS + 10 * seconds) for _ in range(PROCESSES)]
    return [float(one["seconds"]) for one in done]
