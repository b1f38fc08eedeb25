"""Load and run an artifact and measure what that takes, in an interpreter that :mod:`quantbench.measure.memory` starts.

Reads a job as JSON from standard input, writes bytes and seconds as JSON to standard output:

    {"artifact": FILE, "inputs": [FILE.npy, ...], "threads": 1, "stateful": false, "arena": true, "start_up": false,
     "held": 0}

Only imports NumPy and LiteRT, as everything imported is part of the peak. ``held`` is the number of bytes that it
allocates and keeps before it loads anything: injected memory.

The examples are called in turn, from number ``start`` on. With ``calls``, as many more calls follow for at most
``seconds`` (:mod:`quantbench.measure.many_calls`); ``leak`` bytes are kept at each of them: another injected fault.
With ``batch``, the seconds that it may take, follows how the examples as one batch compare with each alone.
"""

import _thread
import ctypes
import gc
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from quantbench.core.worker import bind_to, worker_main

ALIGNMENT = 64  # of the memory planner
PR_SET_THP_DISABLE = 41  # of Linux's prctl


def small_pages() -> None:
    """Allocate small pages only, whatever the machine is set to: a huge page is 2 MiB, and half empty by chance."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def forget_peak() -> bool:
    """Give free memory back to the system and restart the peak at what is resident now; False where that is impossible.

    The memory that imports needed for a moment, such as for compiling them, is then in no peak. Without the first
    step, the model would be placed into memory that imports have freed, and would seem to need none: 32 of 300 KiB
    were seen where modules had to be compiled.
    """
    gc.collect()
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; other C libraries lack it
    if trim is not None:
        trim(0)
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def resident() -> tuple[int, int]:
    """Return (peak resident set, file-backed part of the current one) in bytes; the latter is 0 without /proc.

    ``ru_maxrss`` is the second choice, as Linux includes the peak of the parent process in it.
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
    """Allocate memory that stays resident, by writing to every page."""
    if not size:
        return None
    held = mmap.mmap(-1, size)
    for offset in range(0, size, mmap.PAGESIZE):
        held[offset] = 1
    return held


def in_fresh_heap(work: Callable[[], Any]) -> Any:
    """Return what a function returns, run in a thread of its own: glibc allocates its memory in a heap of its own.

    The main thread's heap has gaps that imports left, of another size wherever Python was installed in another way; a
    small model would fit into them and seem to need nothing.
    """
    result: list[Any] = []
    failure: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # raised again by the thread that waits
            failure.append(error)
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    with done:
        if failure:
            raise failure[0]
        return result[0]


def load(job: dict[str, Any]) -> Any:
    """Create an interpreter of ``litert-cpu``, with allocated tensors."""
    interpreter = Interpreter(
        model_path=job["artifact"],
        num_threads=job["threads"],
        experimental_op_resolver_type=OpResolverType.AUTO,
    )
    interpreter.allocate_tensors()
    return interpreter


def invoke(interpreter: Any, inputs: list[Any], example: int, stateful: bool = False) -> list[Any]:
    """Run one example, and return its outputs."""
    if stateful:
        interpreter.reset_all_variables()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values[example : example + 1])
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def anonymous() -> int:
    """Return the bytes that the process holds now, without file-backed pages; 0 without /proc."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["RssAnon"].split()[0])
    except (OSError, KeyError):
        return 0


def in_a_fork(answer: Callable[[], str], seconds: float) -> str:
    """Return what a function returns in a forked process; empty where that dies, or takes longer.

    Only after everything is measured, and with one thread, so that the fork has all that it needs.
    """
    import select

    reads, writes = os.pipe()
    here, child = os.getpid(), os.fork()
    if child == 0:
        try:
            bind_to(here)
            os.write(writes, answer().encode())
        finally:
            os._exit(0)
    os.close(writes)
    said, _, _ = select.select([reads], [], [], seconds)
    word = os.read(reads, 100).decode() if said else ""  # nothing where the pipe was closed without a word
    os.close(reads)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return word


def in_a_batch(job: dict[str, Any], inputs: list[Any]) -> str:
    """Run all examples one by one and as one batch, and compare; empty where the artifact cannot be resized."""
    from quantbench.measure.many_calls import batched

    alone = load(job)
    single = [invoke(alone, inputs, example) for example in range(len(inputs[0]))]
    interpreter = Interpreter(model_path=job["artifact"], num_threads=job["threads"])
    try:
        for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.resize_tensor_input(detail["index"], values.shape)
        interpreter.allocate_tensors()
        for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], values)
        interpreter.invoke()
    except (RuntimeError, ValueError):
        return ""
    together = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return batched(together, [np.concatenate(rows) for rows in zip(*single, strict=True)])


def more_calls(job: dict[str, Any], interpreter: Any, inputs: list[Any], known: list[int]) -> dict[str, Any]:
    """Call on, and return the facts that :mod:`quantbench.measure.many_calls` lists."""
    from quantbench.measure.many_calls import many_calls

    kept: list[bytes] = []

    def answer(example: int) -> int:
        if job.get("leak"):
            kept.append(bytes(job["leak"]))
        return digest(invoke(interpreter, inputs, example, job["stateful"]))

    return many_calls(answer, known, anonymous, job["calls"], job["seconds"])


def digest(outputs: list[Any]) -> int:
    """Hash the outputs; equal in all processes, as these share their seed of hashes."""
    return hash(b"".join(output.tobytes() for output in outputs))


def start_up(job: dict[str, Any], inputs: list[Any]) -> float:
    """Measure seconds from nothing loaded to the first result."""
    start = time.perf_counter()
    invoke(load(job), inputs, 0)
    return time.perf_counter() - start


def arena(artifact: str) -> int:
    """Compute the bytes that the memory planner of the builtin kernels needs for all non-constant tensors.

    There is no public figure. Tensors that are not needed at once share memory, so the plan is the union of their
    addresses, each rounded up to the planner's alignment, instead of their sum or an estimate from their shapes.
    Constants are in the file's own bytes. A delegate hides its tensors, so that this only works without one.
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
        except ValueError:  # it has no memory yet: its size is only known when it is computed
            continue
        address, size = view.__array_interface__["data"][0], view.nbytes
        if size and not first <= address < first + len(content):
            spans.append((address, address + -(-size // ALIGNMENT) * ALIGNMENT))
    return covered(spans)


def covered(spans: list[tuple[int, int]]) -> int:
    """Count the addresses in any of the (start, end) spans."""
    total = last = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, last))
        last = max(last, end)
    return total


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the peak and its file-backed pages, in bytes: ``empty`` before loading, ``peak`` after running.

    ``reset`` says whether the peak was restarted between the imports and the model.

    Adds ``arena`` (bytes) or ``no_arena`` (why), and ``batch``. For a start-up returns ``cold`` and ``warm`` instead
    (seconds).
    """
    small_pages()
    inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]
    if job.get("start_up"):
        return {"cold": start_up(job, inputs), "warm": start_up(job, inputs)}
    result: dict[str, Any] = {"reset": forget_peak(), "empty": resident()}
    held = hold(job.get("held", 0))

    known = [0] * len(inputs[0])

    def work() -> Any:
        interpreter = load(job)
        for turn in range(len(known)):
            example = (job.get("start", 0) + turn) % len(known)
            known[example] = digest(invoke(interpreter, inputs, example, job["stateful"]))
        return interpreter

    interpreter = in_fresh_heap(work)
    result["peak"] = resident()
    result["answers"] = known
    if job.get("calls"):
        result |= more_calls(job, interpreter, inputs, known)
    del interpreter, held
    if job.get("arena"):
        try:
            result["arena"] = arena(job["artifact"])
        except (RuntimeError, ValueError) as refusal:
            result["no_arena"] = f"{type(refusal).__name__}: {' '.join(str(refusal).split())[:300]}"
    if job.get("batch"):  # kernels that expect one example may crash
        result["batch"] = in_a_fork(lambda: in_a_batch(job, inputs), job["batch"])
    return result


if __name__ == "__main__":
    worker_main(run)
