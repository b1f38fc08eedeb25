"""One short-lived interpreter that loads somebody's ``.tflite``, behind walls; started by :mod:`bench.foreign`.

LiteRT trusts what it loads: a damaged file may crash the process. So it is this process that crashes. Reads a job as
JSON from standard input, ``{"artifact": FILE}``, and writes the model's inputs as JSON to standard output.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.interruption import die_with_parent
from bench.runtimes.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the file."""
    found = LiteRT(Path(job["artifact"])).input_specs()
    return {"specs": {name: [list(shape), np.dtype(dtype).str] for name, (shape, dtype) in found.items()}}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    die_with_parent()  # once the job is here, for the thread that starts a walled process is gone by then
    json.dump(run(job), sys.stdout)
