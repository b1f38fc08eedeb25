"""Call artifacts under valgrind, in an interpreter that :mod:`quantbench.measure.instructions` starts.

Reads a job as JSON from standard input:

    {"artifacts": [{"artifact": FILE, "inputs": [FILE.npy, ...], "stateful": false}, ...], "threads": 1}

Writes ``{"failures": [...]}``, a reason or an empty string for each artifact. The counts are in the dumps that
callgrind writes: those of an artifact end with one that the client request ``artifact NUMBER PROCESSOR`` triggers.

The first call of an artifact is not counted: kernels set up then what they keep. Only the counted call runs with
callgrind's instrumentation, so that imports and loading cost a third of what they would with it.
"""

from typing import Any

import numpy as np

from quantbench.core.worker import worker_main
from quantbench.measure import valgrind
from quantbench.measure.memory_worker import invoke, load

ARTIFACT = "artifact"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Call each artifact once for itself and once counted."""
    if not valgrind.running():
        raise RuntimeError("valgrind does not run this interpreter: is it a script that starts another program?")
    failures, processor = [], valgrind.processor()
    for number, one in enumerate(job["artifacts"]):
        try:
            _count(one | {"threads": job["threads"]}, f"{ARTIFACT} {number} {processor}")
            failures.append("")
        except (RuntimeError, ValueError) as refusal:
            failures.append(f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:300]}")
    return {"failures": failures}


def _count(job: dict[str, Any], name: str) -> None:
    inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]
    interpreter = load(job)
    invoke(interpreter, inputs, 0, job["stateful"])
    valgrind.request(valgrind.START)
    invoke(interpreter, inputs, 1 % len(inputs[0]), job["stateful"])
    valgrind.request(valgrind.DUMP_AT, name.encode())
    valgrind.request(valgrind.STOP)


if __name__ == "__main__":
    worker_main(run)
