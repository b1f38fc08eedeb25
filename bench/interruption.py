"""How a run is stopped from outside, and how nothing of it outlives it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM)


def terminate_as_interrupt() -> None:
    """Let SIGTERM do what SIGINT does: end the run with a partial report. Where signals can be set at all."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def undisturbed(then_stop: bool = False) -> Iterator[None]:
    """Neither signal interrupts what takes a moment only, such as writing the last report.

    Args:
        then_stop: one that came meanwhile interrupts afterwards; otherwise it came too late to change anything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came and then_stop:
            signal.raise_signal(came[0])


def end_with_parent() -> None:
    """Call once in a worker process: when the process that started it dies, however it dies, so does this one.

    A pool's workers notice by themselves only when they ask for the next task, which may be half an hour later.
    """
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    import psutil

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    os._exit(1)


def die_with_parent() -> None:
    """Call first in a child of :mod:`bench.measure.child`: the kernel kills it when its parent dies (Linux only)."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return
