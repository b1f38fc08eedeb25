"""Run examples through an artifact on LiteRT's reference kernels, in an interpreter of its own.

:mod:`quantbench.measure.flipped` starts it. Reads a job as JSON from standard input, ``{"artifact": FILE, "examples":
FILE.npz, "names": [NAME, ...] or null, "stateful": false, "outputs": FILE.npz}``, writes the outputs to that file, and
their names as JSON to standard output.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import worker_main
from quantbench.tflite.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run every example, and write the outputs."""
    with np.load(job["examples"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    inputs = arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True))
    outputs = LiteRT(Path(job["artifact"]), stateful=job["stateful"], runtime="litert-reference").run(inputs)
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    np.savez(job["outputs"], *named.values())
    return {"names": list(named) if isinstance(outputs, dict) else None}


if __name__ == "__main__":
    worker_main(run)
