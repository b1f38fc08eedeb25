"""How a run is stopped from outside, and how nothing of it outlives it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# One of the first two that comes at a bad moment is put off, and comes again as the third.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
_SOON_SECONDS = 0.05
_PATIENCE = 100  # times; a file that never stops being imported is interrupted after all


def stop_in_order() -> None:
    """Let SIGTERM do what SIGINT does, which is to end the run with a partial report. Where signals can be set at all.

    Neither interrupts an import: the module would stay half there, and the report could not be written with it.
    """
    if threading.current_thread() is threading.main_thread():
        handler = _Interrupt()
        signal.signal(signal.SIGTERM, handler)
        signal.signal(signal.SIGALRM, handler)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it otherwise
            signal.signal(signal.SIGINT, handler)


class _Interrupt:
    def __init__(self) -> None:
        self._waited = 0

    def __call__(self, _: int, frame: FrameType | None) -> None:
        if _importing(frame) and self._waited < _PATIENCE:
            self._waited += 1
            # No thread that waits: what is interrupted may hold the locks that starting one takes.
            signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)
            return
        self._waited = 0
        raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def nothing_left_to_stop() -> None:
    """From now on they come too late: what they stop has ended, and its exit status is known.

    For a process that ends now: whatever it started afterwards would not hear of them either.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def undisturbed(then_stop: bool = False) -> Iterator[None]:
    """No signal interrupts what takes a moment only, such as writing the last report.

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
