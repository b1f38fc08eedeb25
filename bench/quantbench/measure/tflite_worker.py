"""Load an untrusted ``.tflite`` behind walls, in an interpreter that :mod:`quantbench.adopt.formats` starts.

LiteRT trusts the files that it loads, so that a damaged one may crash the process; here it only crashes this one. Reads
a job as JSON from standard input, ``{"artifact": FILE}``, and writes the model's inputs as JSON to standard output.
With ``"examples": FILE.npz, "names": [NAME, ...] or null, "inputs": FOLDER`` it also writes what the input tensors
take, one file ``0.npy``, ``1.npy``, ... for each.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import worker_main
from quantbench.tflite.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the file, and return the specs of its inputs."""
    model = LiteRT(Path(job["artifact"]))
    specs = model.input_specs()
    if "examples" in job:
        with np.load(job["examples"], allow_pickle=False) as file:
            arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
        named = arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True))
        for i, values in enumerate(model.prepare(named)):
            np.save(Path(job["inputs"]) / f"{i}.npy", values)
    return {"specs": {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in specs.items()}}


if __name__ == "__main__":
    worker_main(run)
