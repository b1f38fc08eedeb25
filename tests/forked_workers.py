"""Fork the processes that load TensorFlow from a command that has it imported, for tests in which that is not tested.

A command starts a process to load a stranger's model, and others to convert and train. A fresh interpreter imports
TensorFlow for seconds, each time. Here such a process is forked instead, by the thread that would have started it: it
is a child of the same process and behind the same walls, with its own streams, environment and folder, and with the
state that the interpreter had before the command began. TensorFlow has no threads before it computes; where there are
some, or another thread is importing something, a fresh interpreter is started as ever.
"""

import atexit
import faulthandler
import gc
import io
import logging
import multiprocessing.util
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import _bootstrap  # type: ignore[attr-defined]
from multiprocessing import resource_tracker
from typing import Any, NoReturn

# Those that load TensorFlow. What measures, or computes with LiteRT alone, is a fresh interpreter as ever.
MODULES = ("quantbench.adopt.loading_worker", "quantbench.adopt.tuning_worker")
_SPAWNED = "--multiprocessing-fork"  # an argument of what multiprocessing spawns for work, and of nothing else
TELL = signal.SIGUSR2  # asks a process where in Python it is
traces: int | None = None  # the descriptor of the file for its answer
_kept: list[object] = []  # not to be collected in a forked process, where their descriptors are somebody else's


def tell_where() -> None:
    """Write where each thread is when asked, for who finds that this process hangs."""
    if traces is not None:
        faulthandler.register(TELL, traces, all_threads=True)


def imported() -> None:
    """Import what those processes import, before anything else is done.

    Raises:
        RuntimeError: it started threads, which no fork survives.
    """
    from quantbench.core.renamed import quantizer
    from quantbench.core.tensorflow import tensorflow

    shown, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # absl's first words, whatever TF_CPP_MIN_LOG_LEVEL says
    try:
        tf = tensorflow()
        for name in (
            "tf_keras",
            "keras",
            "tensorflow_model_optimization.python.core.api",
            "quantbench.adopt.loading_worker",
            "quantbench.engine.workers.task",
        ):
            __import__(name)
        _kept.extend([tf.keras.layers, tf.lite.TFLiteConverter, quantizer("quantizer")])
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nothing)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"importing TensorFlow has started {threads - 1} threads")


class _State:
    """Remember what a fresh interpreter has, as far as a command changes it."""

    def __init__(self) -> None:
        root = logging.getLogger()
        self._filters, self._show = list(warnings.filters), warnings.showwarning
        self._handlers, self._level = list(root.handlers), root.level

    def restore(self) -> None:
        """Give it to a forked process."""
        warnings.filters[:] = self._filters  # type: ignore[index]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        warnings.showwarning = self._show
        logging.getLogger().handlers[:] = self._handlers
        logging.getLogger().setLevel(self._level)
        sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
        threading.excepthook = threading.__excepthook__
        faulthandler.disable()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        atexit._clear()
        multiprocessing.util._finalizer_registry.clear()  # type: ignore[attr-defined]
        resource_tracker._resource_tracker._pid = None  # type: ignore[attr-defined]
        tempfile.tempdir = None  # looked up again, by its own environment
        random.seed()
        sys.modules["numpy"].random.seed()


def install() -> None:
    """Fork from now on what this process would start afresh to load TensorFlow."""
    from quantbench.core.child_process import HERE

    state, home = _State(), str(HERE.home)
    spawn, usual = multiprocessing.util.spawnv_passfds, subprocess.Popen  # type: ignore[attr-defined]

    def spawned(path: Any, arguments: Sequence[Any], descriptors: Sequence[int]) -> int:
        words = [os.fsdecode(one) for one in arguments]
        if _SPAWNED not in words or _is_busy():
            return int(spawn(path, arguments, descriptors))
        code = words[words.index("-c") + 1]
        sys.argv, before = ["-c", _SPAWNED], sys.argv
        try:
            return _forked(state, os.environ, (0, 1, 2), descriptors, lambda: exec(code, {}))
        finally:
            sys.argv = before

    class Popen(usual):  # type: ignore[misc, valid-type]
        def _execute_child(self, args: Any, *more: Any) -> None:
            folder, environment = more[4], more[5]
            words = args if isinstance(args, list) else []
            known = len(words) == 3 and words[:2] == [sys.executable, "-m"] and words[2] in MODULES
            if not known or str(folder) != home or _is_busy():
                super()._execute_child(args, *more)
                return

            def run() -> None:
                os.chdir(home)
                sys.path[0] = home
                sys.argv = [words[2]]
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)

            streams = tuple(
                usual if given == -1 else given for usual, given in enumerate((more[9], more[12], more[14]))
            )
            self.pid = _forked(state, os.environ if environment is None else environment, streams, (), run)
            self._child_created = True
            self._close_pipe_fds(*more[9:15])

    multiprocessing.util.spawnv_passfds = spawned  # type: ignore[attr-defined]
    subprocess.Popen = Popen  # type: ignore[misc]


def _is_busy() -> bool:
    """Whether something would be missed in a forked process, or never be released.

    Those are a library's threads (TensorFlow's, once it has computed), and a module that another thread is importing:
    whoever imports it too would wait for that thread.
    """
    if len(os.listdir("/proc/self/task")) > threading.active_count():
        return True
    locks = [lock() for lock in list(_bootstrap._module_locks.values())]  # type: ignore[attr-defined]
    return any(lock is not None and lock.owner not in (None, threading.get_ident()) for lock in locks)


def _forked(
    state: _State,
    environment: Mapping[str, str],
    streams: Sequence[int],
    passed: Collection[int],
    run: Callable[[], object],
) -> int:
    """Run something in a forked process, and return the process id."""
    given = dict(environment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads are not in the forked process
        pid = os.fork()
        if pid == 0:
            _child(state, given, streams, passed, run)
    return pid


def _child(
    state: _State,
    environment: Mapping[str, str],
    streams: Sequence[int],
    passed: Collection[int],
    run: Callable[[], object],
) -> NoReturn:
    with ending_at_once():
        gc.freeze()
        _kept.extend([sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__])
        _take(streams, [*passed, *([] if traces is None else [traces])])
        os.environ.clear()
        os.environ.update(environment)
        state.restore()
        tell_where()
        run()
    raise AssertionError("it has ended")


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End this process as the interpreter does, but for taking its modules apart."""
    status = 0
    try:
        yield
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _take(streams: Sequence[int], passed: Collection[int]) -> None:
    """Make these the standard streams, and let go of all other descriptors of the process that this one is forked from.

    Their numbers stay taken: an object that closes its own later must not close another.
    """
    aside = [os.dup(one) for one in streams]
    for number, one in enumerate(aside):
        os.dup2(one, number)
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in passed and number != nothing:
            with suppress(OSError):  # that of the list itself
                os.fstat(number)
                os.dup2(nothing, number, inheritable=False)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        raw = os.fdopen(number, f"{mode}b", closefd=False)
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=name == "stderr")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
