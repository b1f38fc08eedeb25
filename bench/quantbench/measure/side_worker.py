"""Run examples through artifacts on LiteRT's other kernels, one job after another, in a process that may abort.

:mod:`quantbench.measure.side` keeps it. Each line of standard input is a job as JSON, ``{"artifact": FILE, "runtime":
NAME, "examples": FILE.npz, "names": [NAME, ...] or null, "stateful": false, "outputs": FILE.npz}``; its answer is a
line of JSON, ``{"names": [NAME, ...] or null}``, the names of the outputs in that file, or ``{"refused": WORDS}``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import Job, answer_lines
from quantbench.tflite.litert import LiteRT


def begin(_: Job) -> Any:
    """Return what answers a line."""
    return lambda line: run(json.loads(line))


def run(job: Job) -> dict[str, Any]:
    """Run every example, and write the outputs; kernels that cannot run the artifact refuse it."""
    with np.load(job["examples"], allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    inputs = arrays[0] if job["names"] is None else dict(zip(job["names"], arrays, strict=True))
    try:
        outputs = LiteRT(Path(job["artifact"]), stateful=job["stateful"], runtime=job["runtime"]).run(inputs)
    except MemoryError:
        raise
    except Exception as error:  # the runtime raises what it likes
        return {"refused": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    np.savez(job["outputs"], *named.values())
    return {"names": list(named) if isinstance(outputs, dict) else None}


if __name__ == "__main__":
    answer_lines(begin)
