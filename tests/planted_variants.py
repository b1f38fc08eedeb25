"""Declare variants that crash their process, each in its own way.

The tests append this to the text of a model file, so that a run and its workers load it like any model file.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from quantbench.build import artifact as building
from quantbench.variants import VARIANTS, Taxonomy, Variant, Workbench
from quantbench.variants.declare import QuantizationSpec

HERE = Path(__file__).parent


def _abort(bench: Workbench) -> bytes:
    bench.float_artifact()
    os.write(2, b"LLVM ERROR: planted in a converter\n")
    os.abort()


def _segfault_in_runtime(bench: Workbench) -> bytes:
    building.LiteRT.run = lambda *_: ctypes.string_at(0)  # the process dies at the first evaluation
    return bench.float_artifact() + b"planted"  # an artifact that has not been evaluated yet


def _exit(bench: Workbench) -> bytes:
    sys.exit(3)


def _leave(bench: Workbench) -> bytes:
    os._exit(0)


def _hang(bench: Workbench) -> bytes:
    print("planted: waiting for ever", flush=True)
    time.sleep(3600)
    return b""


def _killed(bench: Workbench) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def _killed_once(bench: Workbench) -> bytes:
    if _first("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    return bench.float_artifact()


def _out_of_memory_once(bench: Workbench) -> bytes:
    if _first("memory"):
        # It must not change for anything else that this process computes.
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**26, resource.RLIM_INFINITY))
        bytearray(2**32)
    return bench.float_artifact()


def _no_threads_once(bench: Workbench) -> bytes:
    if _first("threads"):
        raise RuntimeError("can't start new thread")  # Python's own message; a refusing converter raises the same type
    return bench.float_artifact()


def _first(name: str) -> bool:
    marker = HERE / f"{name}.marker"
    first = not marker.exists()
    marker.touch()
    return first


def _planted(name: str, make: Any) -> Variant:
    return Variant(name, "planted", "ptq", "none", make, Taxonomy("-", "-", "-"), QuantizationSpec())


for _name, _make in {
    "planted_abort": _abort,
    "planted_segfault": _segfault_in_runtime,
    "planted_exit": _exit,
    "planted_leave": _leave,
    "planted_hang": _hang,
    "planted_hang_too": _hang,
    "planted_killed": _killed,
    "planted_killed_once": _killed_once,
    "planted_memory_once": _out_of_memory_once,
    "planted_threads_once": _no_threads_once,
}.items():
    VARIANTS[_name] = _planted(_name, _make)
