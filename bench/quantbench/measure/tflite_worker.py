"""One short-lived interpreter that loads somebody's ``.tflite``, behind walls; started by
:mod:`quantbench.adopt.formats`.

LiteRT trusts what it loads: a damaged file may crash the process. So it is this process that crashes. Reads a job as
JSON from standard input, ``{"artifact": FILE}``, and writes the model's inputs as JSON to standard output. With
``"examples": FILE.npz, "names": [NAME, ...] or null, "inputs": FOLDER`` it also writes what its input tensors take, a
file ``0.npy``, ``1.npy``, ... each.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import worker_main
from quantbench.tflite.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the file."""
    model = LiteRT(Path(job["artifact"]))
    found = model.input_specs()
    if "examples" in job:
        with np.load(job["examples"], allow_pickle=False) as file:
            arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
        named = arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True))
        for i, values in enumerate(model.prepare(named)):
            np.save(Path(job["inputs"]) / f"{i}.npy", values)
    return {"specs": {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in found.items()}}


if __name__ == "__main__":
    worker_main(run)
