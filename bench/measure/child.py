"""A fresh interpreter that does one job: started here, and what becomes of it told in words.

The job goes in as JSON on standard input, the result comes out as JSON on standard output.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# One thread for NumPy too: what spreads over the cores depends on their load, and every helper thread has a stack.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
Done = subprocess.CompletedProcess[str]


class Interpreter(NamedTuple):
    """Which Python, and the folder from which it imports this package."""

    executable: Path
    home: Path


HERE = Interpreter(Path(sys.executable), Path(__file__).parents[2])


class ChildFailed(Exception):
    """How a child ended without a result; the message goes on from its name: ``did not finish within 60 s``."""


def start(
    module: str, job: Mapping[str, Any], limit: float, environment: Mapping[str, str], python: Interpreter | None = None
) -> Done:
    """Run ``python -m module`` on a job to its end, however it ends.

    Args:
        limit: seconds after which it is given up.
        environment: variables of it alone, besides those of this process.
        python: another interpreter than this process's own.

    Raises:
        ChildFailed: it did not finish in time.
    """
    python = python or Interpreter(Path(sys.executable), HERE.home)
    try:
        return subprocess.run(
            [str(python.executable), "-m", module],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=limit,
            env=os.environ | environment,
            cwd=python.home,
        )
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"did not finish within {limit:.0f} s") from None


def result(done: Done) -> Any:
    """What a child wrote.

    Raises:
        ChildFailed: it crashed, or wrote no JSON.
    """
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ChildFailed(f"{ended(done.returncode)}: {last[:300]}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise ChildFailed(f"wrote no result but {done.stdout[:80]!r}") from None


def ended(status: int) -> str:
    """How a process ended, with the name of the signal where one killed it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:
        return f"died of signal {-status}"
