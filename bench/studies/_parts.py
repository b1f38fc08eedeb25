"""Add up the processor's seconds of a run by part: what each function took besides those that it called.

:mod:`studies.gate_time` installs this in the run's own process, and :func:`compute` in its workers. Processes that a
part waits for count to it; the standing process of the other kernels is asked for its time.
"""

import importlib
import json
import os
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from quantbench.core import tensorflow as core_tensorflow
from quantbench.engine.workers import task as tasks

FOLDER = "QUANTBENCH_STUDY_PARTS"  # an environment variable of this study alone: where processes leave what they spent
START, ELSE = "start of processes, and imports", "everything else"
OTHER_KERNELS, VALGRIND = "answers of the other kernels", "instructions under valgrind"
# (module, function or Class.method, part). A part's own seconds: those of the parts within it count there.
IN_WORKERS = (
    ("quantbench.engine.workers.task", "model_of", "model files read"),
    ("quantbench.reference.model", "ReferenceModel.pack", "data read and hashed"),
    ("quantbench.core.tensorflow", "tensorflow", "TensorFlow imported"),
    ("quantbench.reference.training", "seed_everything", "TensorFlow imported"),
    ("quantbench.reference.float_model", "saved_model", "float models loaded and exported"),
    ("quantbench.reference.float_model", "keras2", "float models loaded and exported"),
    ("quantbench.reference.float_model", "export", "float models loaded and exported"),
    ("quantbench.build.artifact", "StoreWorkbench.float_artifact", "float models converted"),
    ("quantbench.build.artifact", "_make", "converted and quantized"),
    ("quantbench.reference.training", "fit", "trained"),
    ("quantbench.build.artifact", "StoreWorkbench.expect_answers_of", "answers of trained models before conversion"),
    ("quantbench.build.artifact", "StoreWorkbench.kept", "answers of trained models before conversion"),
    ("quantbench.measure.accuracy", "_evaluated", "answers of the test split"),
    ("quantbench.measure.accuracy", "_predicted", "predictions and scores"),
    ("quantbench.measure.accuracy", "_read", "predictions and scores"),
    ("quantbench.measure.side", "on_other_kernels", OTHER_KERNELS),
    ("quantbench.reference.float_model", "Predictor.__init__", "float models loaded and exported"),
    ("quantbench.reference.float_model", "Predictor.__call__", "answers of the float model"),
    ("quantbench.measure.memory", "measure", "memory"),
    ("quantbench.measure.micro", "measure", "TFLite-Micro"),
    ("quantbench.measure.census", "through_store", "census"),
    ("quantbench.build.store", "Store.remember", "store: keys, hashes, files"),
    ("quantbench.build.artifact", "ingredients", "store: keys, hashes, files"),
    ("quantbench.measure.accuracy", "recipe", "store: keys, hashes, files"),
    ("quantbench.measure.memory", "recipe", "store: keys, hashes, files"),
    ("quantbench.measure.micro", "recipe", "store: keys, hashes, files"),
    ("quantbench.measure.census", "recipe", "store: keys, hashes, files"),
)
IN_THE_RUN = (
    ("quantbench.measure.instructions", "through_store", VALGRIND),
    ("quantbench.engine.drive", "Drive._judge", "judged"),
    ("quantbench.engine.scheduler", "Computing._wait_for", "waited for workers"),
    ("quantbench.engine.scheduler", "Computing.submit", "looked up in the store"),
    ("quantbench.engine.interim_report", "Recording.save", "reports"),
    ("quantbench.report.run_folder", "RunFolder.finish", "reports"),
)
# Calibration is a part of each tool's own code, which is imported late.
_CALIBRATION = (
    ("tensorflow.lite.python.optimize.calibrator", "Calibrator._feed_tensors", "calibrated"),
    ("litert_quantizer.calibrator", "Calibrator.calibrate", "calibrated"),
    ("ai_edge_quantizer.calibrator", "Calibrator.calibrate", "calibrated"),
)

spent: defaultdict[str, float] = defaultdict(float)
calls: Counter[str] = Counter()
_installed: list[bool] = []
_calibrators: list[tuple[str, str, str]] = []
_open: list[float] = []  # seconds of the parts within each part that has begun


def clock() -> float:
    """Return the processor's seconds of this process, and of its processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _timed(
    function: Callable[..., Any], part: str, now: Callable[[], float], around: Callable[[], float]
) -> Callable[..., Any]:
    """Add up a function's seconds by a clock, and by another one what the parts around it are not to count."""

    @wraps(function)
    def timed(*given: Any, **named: Any) -> Any:
        _open.append(0.0)
        begin, begin_around = now(), around()
        try:
            return function(*given, **named)
        finally:
            spent[part] += now() - begin - _open.pop()
            calls[part] += 1
            if _open:
                _open[-1] += around() - begin_around

    return timed


def _with_standing() -> float:
    """Return what :func:`clock` says, and the seconds of the children that have not ended, which it does not count."""
    total = clock()
    for child in psutil.Process().children():
        try:
            times = child.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def install(parts: Sequence[tuple[str, str, str]], now: Callable[[], float]) -> None:
    """Add up what these functions take by a clock from now on."""
    for module, path, part in parts:
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for one in outer:
            owner = getattr(owner, one)
        clock_of = {OTHER_KERNELS: _with_standing, VALGRIND: clock}.get(part, now)
        setattr(owner, name, _timed(getattr(owner, name), part, clock_of, now))


def _with_calibration(tensorflow: Callable[[], Any]) -> Callable[[], Any]:
    """Import the tools' calibrators with TensorFlow, which a worker imports when it converts first."""

    def imported() -> Any:
        found = tensorflow()
        if not _calibrators:
            _calibrators.extend(one for one in _CALIBRATION if find_spec(one[0].partition(".")[0]) is not None)
            install(_calibrators, clock)
        return found

    return imported


def compute(task: tasks.Task) -> tasks.Outcome:
    """Compute a cell in a worker, and leave what its parts took in the folder."""
    if not _installed:
        _installed.append(True)
        spent[START] += clock()
        core_tensorflow.tensorflow = _with_calibration(core_tensorflow.tensorflow)
        install(IN_WORKERS, clock)
    begin, since = clock(), time.time()
    _open.append(0.0)
    try:
        return tasks.compute(task)
    finally:
        spent[ELSE] += clock() - begin - _open.pop()
        leave(f"{task.model}/{task.variant}", since)


def leave(what: str, since: float) -> None:
    """Append what was spent since the last time to this process's file."""
    line = {"what": what, "begun": since, "ended": time.time(), "seconds": dict(spent), "calls": dict(calls)}
    spent.clear()
    calls.clear()
    file = Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl"
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
