"""What every ``*_worker.py`` does around its work: it reads a job, dies with the process that started it, and keeps
standard output for its result.

Imports nothing that NumPy does not, for what :mod:`quantbench.measure.memory_worker` imports is part of the peak that
it measures: :mod:`quantbench.core.signals` alone would add 0.9 MiB to 13.7.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG, SIGKILL = 1, 9  # Linux's numbers; the module ``signal`` is not imported for one of them

Job = dict[str, Any]


def worker_main(run: Callable[[Job], Any]) -> None:
    """Do the one job that comes as JSON on standard input, and write its result as JSON to standard output."""
    parent = os.getppid()
    own = _own_stdout()
    job = json.load(sys.stdin)
    _bind_to(parent)
    result = run(job)
    with os.fdopen(own, "w") as out:
        json.dump(result, out)


def answer_lines(begin: Callable[[Job], Callable[[str], Any]], ready: str = "") -> None:
    """Answer each line of standard input with a line of JSON until there are no more; the first is the job.

    Args:
        begin: makes of the job what answers the lines after it.
        ready: what is written when that is made.
    """
    parent = os.getppid()
    with os.fdopen(_own_stdout(), "w") as out:
        job = json.loads(sys.stdin.readline())
        _bind_to(parent)
        answer = begin(job)
        if ready:
            print(ready, file=out, flush=True)
        while line := sys.stdin.readline():
            print(json.dumps(answer(line)), file=out, flush=True)


def _bind_to(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux only).

    Called once the job is here: the kernel binds a process to the thread that started it, and the one that starts a
    walled process is gone by then.
    """
    import ctypes

    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it died before the kernel knew of it
        os._exit(1)


def _own_stdout() -> int:
    """A descriptor for the result alone: what libraries print to standard output goes to standard error from now on."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    return own
