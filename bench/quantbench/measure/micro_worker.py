"""Run examples through an artifact on TFLite-Micro, in an interpreter that :mod:`quantbench.measure.micro` starts.

Reads a job as JSON from standard input, ``{"artifact": FILE, "examples": FILE.npz, "names": [NAME, ...] or null,
"stateful": false, "arena": BYTES, "outputs": FILE.npz}``. Writes the outputs to that file, and their names as JSON to
standard output, ``{"names": [NAME, ...] or null}``; or ``{"refused": WORDS}`` where the artifact does not load, or a
call fails. TFLite-Micro's own words follow the line ``BEGIN`` on standard error, and what its allocator used is there.

TFLite-Micro trusts a file, and ends the process where one of its checks fails.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import worker_main
from quantbench.tflite.litert_micro import Stored, TFLiteMicro

BEGIN = "quantbench: TFLite-Micro begins"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the artifact, and run every example."""
    with np.load(job["examples"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    inputs = arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True))
    artifact = Path(job["artifact"])
    reader = Stored(artifact)
    print(BEGIN, file=sys.stderr, flush=True)
    try:
        runner = TFLiteMicro(artifact, reader, job["arena"], job["stateful"])
        outputs = runner.run(inputs)
    except RuntimeError as error:
        return {"refused": str(error)}
    runner.print_allocations()
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    np.savez(job["outputs"], *named.values())
    return {"names": list(named) if isinstance(outputs, dict) else None}


if __name__ == "__main__":
    worker_main(run)
