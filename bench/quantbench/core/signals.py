"""How a run is stopped from outside, and how nothing of it outlives it.

A signal is recorded in its handler, and whoever decides anything later asks :func:`stop_asked`: what the exception that
the first one raises is caught by, or on which way it is lost, changes nothing. Those that follow raise nothing, so that
what ends the run is never ended itself; they only make it faster, see :func:`hurried_by`.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

# What comes at a bad moment is put off, and comes again as the last of these.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_SOON_SECONDS = 0.05
_PATIENCE = 100  # times; a file that never stops being imported is interrupted after all
# What was raised and is not heeded for so long was lost, as in a destructor; then the next signal raises again.
_LOST_SECONDS = 2.0


@dataclass
class _State:
    """What this process knows of the signals that came.

    Attributes:
        came: how many.
        raised: when the last exception was raised for one, on this process's clock; None: for none yet.
        held: how deep in what no exception may interrupt.
        settled: somebody ends the run because of it, or it is over: nothing is raised any more.
        faster: called for each signal after the first.
    """

    came: int = 0
    raised: float | None = None
    put_off: int = 0
    held: int = 0
    settled: bool = False
    faster: list[Callable[[], None]] = field(default_factory=list)


_state = _State()


def stop_in_order() -> None:
    """Let SIGTERM and SIGHUP do what SIGINT does, which is to end the run with a partial report.

    None of them interrupts an import: the module would stay half there, and the report could not be written with it.
    Where signals can be set at all; what is ignored already (``nohup``) or handled by others stays so.
    """
    global _state
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not _on_signal:  # the command line and its pytest each call this
        _state = _State()
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGALRM, _on_signal)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_signal)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _on_signal)


def forget() -> None:
    """Begin anew in a process that others own: what ended an earlier run here does not end the next.

    Nothing is forgotten where :func:`stop_in_order` has made signals end the process's only run.
    """
    global _state
    if signal.getsignal(signal.SIGTERM) is not _on_signal and not _state.held:
        _state = _State()


def _on_signal(number: int, frame: FrameType | None) -> None:
    state = _state
    if number != signal.SIGALRM:
        state.came += 1
        if state.came > 1:
            for call in list(state.faster):
                call()
    if not state.came or state.held or state.settled:
        return
    if _importing(frame) and state.put_off < _PATIENCE:
        state.put_off += 1
        # No thread that waits: what is interrupted may hold the locks that starting one takes.
        signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)
        return
    if state.raised is not None and time.monotonic() - state.raised < _LOST_SECONDS:
        return
    state.raised = time.monotonic()
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def stop_asked() -> bool:
    """Whether a signal has come, whatever became of the exception that it raised."""
    return _state.came > 0


def in_a_hurry() -> bool:
    """Whether several have come: what can be left out of an ending is left out."""
    return _state.came > 1


def check() -> None:
    """Stop here if a signal has come; for what waits, so that none is lost.

    Raises:
        KeyboardInterrupt: one has come, and nothing undisturbed is under way.
    """
    if _state.came and not _state.held and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def settle() -> None:
    """From now on signals raise nothing: somebody has begun to end the run, and reads :func:`stop_asked`."""
    _state.settled = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a first signal raise again, for what may take long after :func:`settle`."""
    if _state.came:
        raise KeyboardInterrupt
    _state.settled = False
    try:
        yield
    finally:
        _state.settled = True


@contextmanager
def hurried_by(call: Callable[[], None]) -> Iterator[None]:
    """Call this for each signal after the first; in the handler, so it must take a moment only and raise nothing."""
    _state.faster.append(call)
    try:
        if _state.came > 1:
            call()
        yield
    finally:
        _state.faster.remove(call)


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
        then_stop: one that came meanwhile interrupts afterwards; otherwise it is only recorded.
    """
    state = _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = {number: signal.getsignal(number) for number in STOPPING}
    theirs = {number: one for number, one in others.items() if one not in (_on_signal, signal.SIG_IGN, None)}
    before = state.came
    state.held += 1
    for number in theirs:  # whoever uses this package as a library has not called stop_in_order
        signal.signal(number, _on_signal)
    try:
        yield
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)
        state.held -= 1
    if then_stop and state.came > before:
        check()


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
