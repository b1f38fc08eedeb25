"""Time a model in TensorFlow, in a short-lived interpreter that :mod:`quantbench.measure.keras` starts.

Reads a job as JSON from standard input and writes a result to standard output:

    {"file": MODEL.py, "model": NAME, "variant": "", "inputs": FILE.npz, "seconds": 1.0, "gpu": false}
    {"seconds": seconds per call, "device": name of TensorFlow's first GPU, or empty}
    {"refused": why nothing can be timed}

The model is the SavedModel with batch size 1 that the converter gets, so that both sides run the same graph. For a
variant, it is the fake-quantized model with the float model's weights: the time of a call does not depend on them, so
nothing is trained.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import StoreWorkbench
from quantbench.build.store import Store
from quantbench.core import tensorflow
from quantbench.core.worker import worker_main
from quantbench.errors import Unsupported
from quantbench.measure.latency_worker import read_inputs
from quantbench.reference import float_model
from quantbench.reference.model import Recipe, ReferenceModel, load_file
from quantbench.variants import VARIANTS, Workbench

LEAST_CALLS, WARMUP_CALLS = 20, 10


class _Reached(Exception):
    """Raised with the fake-quantized model when a variant is about to convert it."""


class _Untrained(StoreWorkbench):
    """Provide a workbench that trains nothing, and stops before the trained model would be converted."""

    def stage(self, make: Callable[[Workbench], Any]) -> Any:
        """Return the stage's model before training."""
        return make(self)

    def fit(self, keras_model: Any, model: ReferenceModel, recipe: Recipe, callbacks: Sequence[Any]) -> None:
        """Train nothing."""

    def expect_answers_of(self, keras_model: Any) -> None:
        """Stop here."""
        raise _Reached(keras_model)


def fake_quantized(model: ReferenceModel, variant: str) -> Any:
    """Return the Keras model that a variant would train and convert.

    Raises:
        Unsupported: the tools refuse it, or the variant trains none.
    """
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        try:
            VARIANTS[variant].make(_Untrained(model, 0, None, Store(Path(folder))))
        except _Reached as reached:
            return reached.args[0]
    raise Unsupported("it has no fake-quantized model")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return seconds per call: the lower quartile, as for LiteRT's blocks."""
    tempfile.tempdir = str(Path(job["inputs"]).parent)  # removed with the inputs, even if this process is killed
    tf = tensorflow.tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name) if gpus else ""
    if not job["gpu"]:
        tf.config.set_visible_devices([], "GPU")
    model = next(model for model in load_file(Path(job["file"])) if model.name == job["model"])
    try:
        folder = (
            float_model.export(fake_quantized(model, job["variant"]))
            if job["variant"]
            else float_model.saved_model(model)
        )
    except Unsupported as refusal:
        return {"refused": str(refusal)}
    loaded = tf.saved_model.load(folder)  # has to live as long as its function
    forward = float_model.serving_signature(loaded, folder)
    specs = forward.structured_input_signature[1]
    inputs = read_inputs(job["inputs"])
    named = inputs if isinstance(inputs, dict) else {next(iter(specs)): inputs}
    n = len(next(iter(named.values())))
    examples = [
        {name: tf.constant(x[i : i + 1], dtype=specs[name].dtype) for name, x in named.items()} for i in range(n)
    ]

    def call(i: int) -> None:
        # A GPU's call returns before its work is done, so the output is read before the time ends.
        for output in forward(**examples[i % n]).values():
            output.numpy()

    for i in range(WARMUP_CALLS):
        call(i)
    times: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call(len(times))
        times.append(time.perf_counter() - start)
    return {"seconds": float(np.quantile(times, 0.25)), "device": device}


if __name__ == "__main__":
    worker_main(run)
