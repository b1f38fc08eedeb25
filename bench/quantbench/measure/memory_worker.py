"""One short-lived interpreter that loads and runs an artifact and says what that took; started by
:mod:`quantbench.measure.memory`.

Reads a job as JSON from standard input, writes bytes and seconds as JSON to standard output:

    {"artifact": FILE, "inputs": [FILE.npy, ...], "threads": 1, "arena": true, "start_up": false, "held": 0}

Imports NumPy and LiteRT and nothing else of weight, for what it imports is part of the peak. ``held`` is how many
bytes it takes and holds on to before it loads anything: a planted leak.
"""

import ctypes
import mmap
import resource
import sys
import time
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from quantbench.core.worker import worker_main

ALIGNMENT = 64  # of the memory planner
PR_SET_THP_DISABLE = 41  # of Linux's prctl


def small_pages() -> None:
    """Take memory in small pages whatever the machine is set to: a huge page is 2 MiB, and by luck half empty."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def resident() -> tuple[int, int]:
    """(peak resident set, how much of the present one are pages of files), in bytes; no files where there is no /proc.

    Linux counts the starting process's own peak into ``ru_maxrss`` of what it starts, so that is the second choice.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        peak, files = (1024 * int(lines[name].split()[0]) for name in ("VmHWM", "RssFile"))
    except (OSError, KeyError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    return peak, files


def hold(size: int) -> mmap.mmap | None:
    """Memory that stays resident: every page of it is written to."""
    if not size:
        return None
    held = mmap.mmap(-1, size)
    for offset in range(0, size, mmap.PAGESIZE):
        held[offset] = 1
    return held


def load(job: dict[str, Any]) -> Any:
    """The interpreter of ``litert-cpu``, with its tensors allocated."""
    interpreter = Interpreter(
        model_path=job["artifact"],
        num_threads=job["threads"],
        experimental_op_resolver_type=OpResolverType.AUTO,
    )
    interpreter.allocate_tensors()
    return interpreter


def invoke(interpreter: Any, inputs: list[Any], example: int) -> None:
    """Run one example; returns when the result can be read."""
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values[example : example + 1])
    interpreter.invoke()
    for detail in interpreter.get_output_details():
        interpreter.get_tensor(detail["index"])


def start_up(job: dict[str, Any], inputs: list[Any]) -> float:
    """Seconds from nothing loaded to the first result."""
    start = time.perf_counter()
    invoke(load(job), inputs, 0)
    return time.perf_counter() - start


def arena(artifact: str) -> int:
    """Bytes that the memory planner of the builtin kernels takes for everything that is no constant of the file.

    There is no public figure. Tensors share memory where they are not needed at once, so what their addresses cover,
    each rounded up to the planner's alignment, is what was planned: neither their sum nor a guess from their shapes.
    Constants lie in the file's own bytes. A delegate keeps its tensors to itself, so there is none here.
    """
    with open(artifact, "rb") as file:
        content = file.read()
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    first = np.frombuffer(content, dtype=np.uint8).__array_interface__["data"][0]
    spans = []
    for detail in interpreter.get_tensor_details():
        try:
            view = interpreter.tensor(detail["index"])()
        except ValueError:  # nothing is allocated for it: its size is known only when it is computed
            continue
        address, size = view.__array_interface__["data"][0], view.nbytes
        if size and not first <= address < first + len(content):
            spans.append((address, address + -(-size // ALIGNMENT) * ALIGNMENT))
    return covered(spans)


def covered(spans: list[tuple[int, int]]) -> int:
    """How many addresses lie in any of the (start, end) spans."""
    total = last = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, last))
        last = max(last, end)
    return total


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Bytes, each time the peak so far and its pages of files: ``empty`` before loading, ``peak`` after running;
    ``arena`` (bytes) or ``no_arena`` (why); for a start-up ``cold`` and ``warm`` (seconds).
    """
    small_pages()
    found: dict[str, Any] = {"empty": resident()}
    held = hold(job.get("held", 0))
    inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]
    if job.get("start_up"):
        return {"cold": start_up(job, inputs), "warm": start_up(job, inputs)}
    interpreter = load(job)
    for example in range(len(inputs[0])):
        invoke(interpreter, inputs, example)
    found["peak"] = resident()
    del interpreter, held
    if job.get("arena"):
        try:
            found["arena"] = arena(job["artifact"])
        except (RuntimeError, ValueError) as refusal:
            found["no_arena"] = f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:300]}"
    return found


if __name__ == "__main__":
    worker_main(run)
