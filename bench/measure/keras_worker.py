"""One short-lived interpreter that times the float model in TensorFlow; started by :mod:`bench.measure.keras`.

Reads a job as JSON from standard input and writes ``{"seconds": seconds a call}`` to standard output:

    {"file": MODEL.py, "model": NAME, "inputs": FILE.npz, "seconds": 1.0}

The model is the SavedModel with batch size 1 that the converter gets, so that both sides run the same graph.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import floats, training
from bench.measure.latency_worker import read_inputs
from bench.reference import load_file

LEAST_CALLS, WARMUP_CALLS = 20, 10


def run(job: dict[str, Any]) -> dict[str, float]:
    """Seconds of a call: the lower quartile, as of LiteRT's blocks."""
    tf = training.tensorflow()
    model = next(model for model in load_file(Path(job["file"])) if model.name == job["model"])
    folder = floats.saved_model(model)
    loaded = tf.saved_model.load(folder)  # has to live as long as its function
    forward = floats.serving_signature(loaded, folder)
    specs = forward.structured_input_signature[1]
    inputs = read_inputs(job["inputs"])
    named = inputs if isinstance(inputs, dict) else {next(iter(specs)): inputs}
    n = len(next(iter(named.values())))
    examples = [
        {name: tf.constant(x[i : i + 1], dtype=specs[name].dtype) for name, x in named.items()} for i in range(n)
    ]
    for i in range(WARMUP_CALLS):
        forward(**examples[i % n])
    found: list[float] = []
    end = time.perf_counter() + job["seconds"]
    while len(found) < LEAST_CALLS or time.perf_counter() < end:
        given = examples[len(found) % n]
        start = time.perf_counter()
        forward(**given)
        found.append(time.perf_counter() - start)
    return {"seconds": float(np.quantile(found, 0.25))}


if __name__ == "__main__":
    # What TensorFlow and its exporters print must not get into the result.
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(run(json.load(sys.stdin)), result)
    result.flush()
