"""Call artifacts under valgrind, in an interpreter that :mod:`quantbench.measure.instructions` starts.

Reads a job as JSON from standard input:

    {"artifacts": [{"artifact": FILE, "inputs": [FILE.npy, ...], "stateful": false}, ...], "threads": 1,
     "folder": FOLDER}

Writes ``{"failures": [...]}``, a reason or an empty string for each artifact. The counts are in the dumps that
callgrind writes into the folder: those of artifact 3 are named ``3-dump.1`` and so on, and end with one that the client
request ``artifact PROCESSOR`` triggers.

Each artifact has a process of its own, forked once everything is imported, and in it a thread whose memory comes from a
heap of its own: so its count does not depend on the artifacts before it, whose freed memory some kernels allocate in a
few instructions more or less. The first call is not counted: kernels set up then what they keep. Only the counted call
runs with callgrind's instrumentation, so that imports and loading cost a third of what they would with it.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.worker import bind_to, worker_main
from quantbench.measure import valgrind
from quantbench.measure.memory_worker import in_fresh_heap, invoke, load

ARTIFACT, DUMP = "artifact", "dump"
_LONGEST = 1000  # bytes of a reason


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Call each artifact once for itself and once counted."""
    if not valgrind.running():
        raise RuntimeError("valgrind does not run this interpreter: is it a script that starts another program?")
    failures, folder = [], Path(job["folder"])
    for number, one in enumerate(job["artifacts"]):
        failures.append(_in_a_child(partial(_count, one | {"threads": job["threads"]})))
        for dump in sorted(folder.glob(f"{DUMP}*")):
            dump.rename(folder / f"{number}-{dump.name}")
    return {"failures": failures}


def _in_a_child(work: Callable[[], None]) -> str:
    """Do the work in a forked process; return why it failed, or nothing."""
    read, write = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        bind_to(parent)
        status = 1
        with suppress(BaseException):
            try:
                in_fresh_heap(work)
                status = 0
            except (RuntimeError, ValueError, OSError, MemoryError) as refusal:
                reason = f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:300]}"
                os.write(write, reason.encode()[:_LONGEST])
        os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        reason = pipe.read(_LONGEST).decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"its process died of {signal.Signals(os.WTERMSIG(status)).name}"
    return reason or ("" if status == 0 else "its process ended without a result")


def _count(job: dict[str, Any]) -> None:
    name = f"{ARTIFACT} {valgrind.processor()}".encode()
    inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]
    interpreter = load(job)
    invoke(interpreter, inputs, 0, job["stateful"])
    valgrind.request(valgrind.START)
    invoke(interpreter, inputs, 1 % len(inputs[0]), job["stateful"])
    valgrind.request(valgrind.DUMP_AT, name)
    valgrind.request(valgrind.STOP)


if __name__ == "__main__":
    worker_main(run)
