"""Stop a run on a signal, and end everything that belongs to it.

A signal is recorded in its handler, and later decisions ask :func:`stop_asked`: it does not matter where the exception
raised by the first signal is caught or lost. Later signals raise nothing, so that the code that ends the run is never
interrupted itself; they only make it faster, see :func:`hurried_by`.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

# A signal at a bad moment is postponed, and raised again as the last of these.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_SOON_SECONDS = 0.05
_PATIENCE = 100  # times; an import that never ends is interrupted after all
# An exception ignored for this long was lost, as in a destructor; then the next signal raises again.
_LOST_SECONDS = 2.0


@dataclass
class _State:
    """Hold what this process knows of received signals.

    Attributes:
        came: number of signals received.
        raised: when the last exception was raised for one, on this process's clock; None where none was.
        held: nesting depth of code that no exception may interrupt.
        settled: the run is being ended because of it, or is over: nothing is raised any more.
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
    """Make SIGTERM and SIGHUP act like SIGINT, which ends the run with a partial report.

    None of them interrupts an import, or pydantic where it completes a class at its first use: what is half made stays
    so, and the report could not be written with it.
    Does nothing where signals cannot be set; what is already ignored (``nohup``) or handled by others stays so.
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
    """Reset for another run in a process owned by others: what ended an earlier run here does not end the next.

    Has no effect where :func:`stop_in_order` has made signals end the process's only run.
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
    if _half_made(frame) and state.put_off < _PATIENCE:
        state.put_off += 1
        # Does not start a waiting thread: the interrupted code may hold the locks needed to start one.
        signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)
        return
    if state.raised is not None and time.monotonic() - state.raised < _LOST_SECONDS:
        return
    state.raised = time.monotonic()
    raise KeyboardInterrupt


def _half_made(frame: FrameType | None) -> bool:
    """Check whether a module is being imported, or a class of pydantic completed."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith("<frozen importlib") or code.co_name == "complete_model_class":
            return True
        frame = frame.f_back
    return False


def stop_asked() -> bool:
    """Return whether a signal was received, even if its exception was lost."""
    return _state.came > 0


def in_a_hurry() -> bool:
    """Return whether several signals were received, so that optional steps of an ending are skipped."""
    return _state.came > 1


def check() -> None:
    """Stop here if a signal was received; called in waiting loops, so that none is lost.

    Raises:
        KeyboardInterrupt: a signal was received, and no undisturbed code is running.
    """
    if _state.came and not _state.held and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def settle() -> None:
    """Raise nothing for signals from now on: the run is being ended by code that reads :func:`stop_asked`."""
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


def ends_only_this(work: Callable[[], None]) -> bool:
    """Do what a run can do without, so that a first signal ends this work and not the run; return whether it was done.

    A signal that came before ends the run as ever.

    Raises:
        KeyboardInterrupt: a signal had been received before.
    """
    check()
    try:
        work()
        check()  # one whose exception was lost
    except KeyboardInterrupt:
        _state.came, _state.raised = 0, None
        return False
    return True


@contextmanager
def hurried_by(call: Callable[[], None]) -> Iterator[None]:
    """Call this for each signal after the first; from the handler, so it must be quick and raise nothing."""
    _state.faster.append(call)
    try:
        if _state.came > 1:
            call()
        yield
    finally:
        _state.faster.remove(call)


def nothing_left_to_stop() -> None:
    """Ignore signals from now on: the run has ended, and its exit status is known.

    For a process that ends now: what it starts afterwards would ignore them too.
    """
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def undisturbed(then_stop: bool = False) -> Iterator[None]:
    """Let no signal interrupt what is quick, such as writing the last report.

    Args:
        then_stop: a signal received meanwhile interrupts afterwards; otherwise it is only recorded.
    """
    state = _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = {number: signal.getsignal(number) for number in STOPPING}
    theirs = {
        number: handler for number, handler in others.items() if handler not in (_on_signal, signal.SIG_IGN, None)
    }
    before = state.came
    state.held += 1
    for number in theirs:  # a program that uses this package as a library has not called stop_in_order
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
    """Make this worker process die with the process that started it; called once.

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
