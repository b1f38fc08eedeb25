"""Run what every ``*_worker.py`` does around its work: read a job, die with the parent process, and reserve standard
output for the result.

Imports nothing that NumPy does not, because what :mod:`quantbench.measure.memory_worker` imports is part of the peak
that it measures: :mod:`quantbench.core.signals` alone would add 0.9 MiB to 13.7.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG, SIGKILL = 1, 9  # Linux's numbers; importing ``signal`` for them would add to the peak

Job = dict[str, Any]


def worker_main(run: Callable[[Job], Any]) -> None:
    """Do the one job given as JSON on standard input, and write its result as JSON to standard output."""
    parent = os.getppid()
    own = _own_stdout()
    job = json.load(sys.stdin)
    bind_to(parent)
    result = run(job)
    with os.fdopen(own, "w") as out:
        json.dump(result, out)


def answer_lines(begin: Callable[[Job], Callable[[str], Any]], ready: str = "") -> None:
    """Answer each line of standard input with a line of JSON until the input ends; the first line is the job.

    Args:
        begin: takes the job, and returns the function that answers the following lines.
        ready: written when that function is ready.
    """
    parent = os.getppid()
    with os.fdopen(_own_stdout(), "w") as out:
        job = json.loads(sys.stdin.readline())
        bind_to(parent)
        answer = begin(job)
        if ready:
            print(ready, file=out, flush=True)
        while line := sys.stdin.readline():
            print(json.dumps(answer(line)), file=out, flush=True)


def bind_to(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux only).

    Called once the job is read: the kernel binds a process to the thread that started it, and the thread that starts a
    confined process has ended by then.
    """
    import ctypes

    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def _own_stdout() -> int:
    """Return a descriptor for the result alone; what libraries print to standard output goes to standard error."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return own
