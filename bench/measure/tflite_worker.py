"""One short-lived interpreter that loads somebody's ``.tflite`` and runs it; started by :mod:`bench.foreign`.

LiteRT trusts what it loads: a damaged file may crash the process. So it is this process that crashes. Reads a job as
JSON from standard input, writes the model's inputs as JSON to standard output; with examples, their outputs to a file:

    {"artifact": FILE, "names": [NAME, ...] or null, "inputs": FILE.npz or null, "outputs": FILE.npz}
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.interruption import die_with_parent
from bench.runtimes.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the file, and run the examples if there are any."""
    model = LiteRT(Path(job["artifact"]))
    specs = {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in model.input_specs().items()}
    if job["inputs"] is None:
        return {"specs": specs, "outputs": None}
    with np.load(job["inputs"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    outputs = model.run(arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True)))
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    np.savez(job["outputs"], *named.values())
    return {"specs": specs, "outputs": list(named)}


if __name__ == "__main__":
    die_with_parent()
    json.dump(run(json.load(sys.stdin)), sys.stdout)
