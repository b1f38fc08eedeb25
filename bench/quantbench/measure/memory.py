"""Measure the memory that an artifact needs to load and run: planned arena, peak and start-up, in fresh interpreters.

A peak is that of a whole process, including Python, from the end of its imports on. What the same process holds before
it loads the artifact is measured too: the difference is the memory of the model, which is judged. File-backed pages
(libraries, the artifact itself, which is mapped) are excluded where the system counts them separately: how many are
resident depends on how they came into the page cache. A newly installed library was seen to take 1 MiB more than after
its pages were read again; the rest repeats within some KiB. The file itself is measured as size.
"""

import atexit
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store
from quantbench.core import child_process, walls
from quantbench.core.arrays import Inputs, rows
from quantbench.core.environment import cpu
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.litert import LiteRT

PROCESSES = 3
EXAMPLES = 8
LIMIT_SECONDS = 60
CALLS, CALLS_SECONDS = 5000, 1.0
WARM_UP_CALLS, WARM_UP_SHARE = 100, 0.2  # after which the memory may not grow, or this share of fewer calls
_FACTS = "memory.json"
_WORKER = "quantbench.measure.memory_worker"
# Modules that the worker imports, one of each installed package: its folder is compiled, or not, as a whole.
_IMPORTED = ("json", "numpy", "ai_edge_litert.interpreter")


class MemoryFailed(Exception):
    """Raised when a measuring process crashed, hung or wrote nonsense; the message says which, in one line."""


@dataclass(frozen=True)
class Memory:
    """Hold the memory of the processes of one artifact, in bytes.

    Attributes:
        peaks: peak resident set excluding file-backed pages, one value per process.
        resident: peak resident set, including them.
        empty: resident set, excluding file-backed pages, of the same process after its imports and before it loaded the
            artifact.
        arena: planned by the builtin kernels; None where they cannot run the artifact.
        no_arena: their reason.
        failure: why nothing was measured; empty where something was.
        cached: whether it came from the store.
        reset: whether the peaks began after the imports; if not, the memory of the model is not known.
        answers: digest of the outputs of each example, one list per process; each process starts with another example.
        calls, wrong: made after these in one process, and how many of them gave other outputs than the first time.
        by_call: (calls so far, bytes held) of these calls.
        batch: how the examples as one batch compare with each alone: ``same``, ``permuted`` or ``other``; empty where
            the artifact cannot be resized.
    """

    peaks: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    arena: int | None = None
    no_arena: str = ""
    failure: str = ""
    cached: bool = False
    reset: bool = True
    answers: list[list[int]] = field(default_factory=list)
    calls: int = 0
    wrong: int = 0
    by_call: list[tuple[int, int]] = field(default_factory=list)
    batch: str = ""

    def peak(self) -> float:
        """Return the median, which a single outlier does not move."""
        return float(np.median(self.peaks))

    def wrong_answers(self) -> int:
        """Count calls that gave other outputs than another call with the same example, in whatever process."""
        return self.wrong + sum(len(set(of_example)) - 1 for of_example in zip(*self.answers, strict=True))

    def kept(self) -> list[float]:
        """Return bytes kept per call in each quarter of the calls after the warm-up; empty where that is not known."""
        pairs = [pair for pair in self.by_call if pair[0] >= min(WARM_UP_CALLS, WARM_UP_SHARE * self.calls)]
        if len(pairs) < 5 or not pairs[0][1]:
            return []
        ends = [pairs[round(i * (len(pairs) - 1) / 4)] for i in range(5)]
        return [(after[1] - before[1]) / (after[0] - before[0]) for before, after in pairwise(ends)]

    def own(self) -> list[int]:
        """Subtract the empty process from the peak: the share of runtime and artifact, one value per process."""
        return [peak - empty for peak, empty in zip(self.peaks, self.empty, strict=True)]


@dataclass(frozen=True)
class StartUp:
    """Hold milliseconds from nothing loaded to the first result, one value per process; imports are not counted.

    Attributes:
        cold: the first time in a process.
        warm: the second time in it, with the file in the page cache.
        dropped: whether the system was asked to drop the file from its page cache before each process.
    """

    cold: list[float]
    warm: list[float]
    dropped: bool


def find(artifact_sha256: str, model: ReferenceModel, store: Store) -> Memory | None:
    """Return the memory of an artifact; None where the store lacks it."""
    return store.recall(recipe(artifact_sha256, model), _read)


def _read(folder: Path, cached: bool) -> Memory:
    return Memory(**json.loads((folder / _FACTS).read_text(encoding="utf-8")), cached=cached)


def through_store(artifact: Path, artifact_sha256: str, model: ReferenceModel, store: Store) -> Memory:
    """Measure the memory of an artifact once; a failure is returned but not stored, and the next run tries again."""

    def make() -> dict[str, bytes]:
        measured = asdict(measure(artifact, model))
        facts = {name: value for name, value in measured.items() if name not in ("failure", "cached")}
        return {_FACTS: json.dumps(facts).encode()}

    try:
        return store.remember(recipe(artifact_sha256, model), make, _read)
    except MemoryFailed as error:
        return Memory(failure=str(error))


def measure(artifact: Path, model: ReferenceModel, processes: int = PROCESSES, held: int = 0, leak: int = 0) -> Memory:
    """Load and run an artifact in fresh processes, on a few real test examples, with one thread.

    Args:
        held: bytes that each process additionally allocates and keeps.
        leak: bytes that each call after the first ones additionally allocates and keeps.

    Raises:
        MemoryFailed: a process did not finish.
    """
    with prepared_job(artifact, model) as job:
        room = _room(job, model)
        more = {"arena": True, "calls": CALLS, "seconds": CALLS_SECONDS, "leak": leak}
        turns: list[dict[str, Any]] = [{"held": held, "start": i, **({} if i else more)} for i in range(processes)]
        turns[-1]["batch"] = 0 if model.stateful else LIMIT_SECONDS
        done = [_run_worker(job | turn, room, turn.get("batch", 0)) for turn in turns]
    return Memory(
        peaks=[_without_files(process["peak"]) for process in done],
        resident=[process["peak"][0] for process in done],
        empty=[_without_files(process["empty"]) for process in done],
        arena=done[0].get("arena"),
        no_arena=done[0].get("no_arena", ""),
        reset=all(process["reset"] for process in done),
        answers=[process["answers"] for process in done],
        calls=done[0]["calls"],
        wrong=done[0]["wrong"],
        by_call=[tuple(pair) for pair in done[0]["resident"]],
        batch=str(done[-1].get("batch", "")),
    )


def _without_files(peak: list[int]) -> int:
    resident, files = peak
    return resident - files


def start_up(artifact: Path, model: ReferenceModel, processes: int = PROCESSES) -> StartUp:
    """Time the first result in fresh processes, while nothing else runs.

    Raises:
        MemoryFailed: a process did not finish.
    """
    done, dropped = [], True
    with prepared_job(artifact, model) as job:
        for _ in range(processes):
            dropped = _drop_from_page_cache(artifact) and dropped
            done.append(_run_worker(job | {"start_up": True}, _room(job, model)))
    cold, warm = ([1e3 * process[name] for process in done] for name in ("cold", "warm"))
    return StartUp(cold, warm, dropped)


def _drop_from_page_cache(path: Path) -> bool:
    """Ask the system to read the file from disk next time; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())  # pages that are not yet on disk would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


@contextmanager
def prepared_job(artifact: Path, model: ReferenceModel) -> Iterator[dict[str, Any]]:
    """Prepare a job for the worker, with the examples as the artifact's input tensors take them."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        examples = model.prepare(rows(model.pack().test.x, slice(0, EXAMPLES)))
        save = _save_inputs if model.form == "code" else _save_inputs_walled
        inputs = save(artifact, examples, Path(folder))
        yield {"artifact": str(artifact), "inputs": inputs, "threads": 1, "stateful": model.stateful}


def _save_inputs(artifact: Path, examples: Inputs, folder: Path) -> list[str]:
    """Write a file for each input tensor of the artifact."""
    files = []
    for i, values in enumerate(LiteRT(artifact).prepare(examples)):
        files.append(str(folder / f"{i}.npy"))
        np.save(files[-1], values)
    return files


def _save_inputs_walled(artifact: Path, examples: Inputs, folder: Path) -> list[str]:
    """Write the same files in a child behind walls, as artifacts of untrusted models are not loaded here."""
    names = list(examples) if isinstance(examples, dict) else None
    given = folder / "examples.npz"
    np.savez(given, *(examples.values() if isinstance(examples, dict) else [examples]))
    job = {"artifact": str(artifact), "examples": str(given), "names": names, "inputs": str(folder)}
    room = walls.Room(write=(folder,), read=(artifact,))
    try:
        result = child_process.result(
            child_process.start("quantbench.measure.tflite_worker", job, LIMIT_SECONDS, {}, room=room)
        )
    except child_process.ChildFailed as error:
        raise MemoryFailed(f"the process that loads it {error}") from None
    return [str(folder / f"{i}.npy") for i in range(len(result["specs"]))]


def _room(job: dict[str, Any], model: ReferenceModel) -> walls.Room | None:
    return child_process.room(model.form, *(Path(file) for file in (job["artifact"], *job["inputs"])))


def _run_worker(job: dict[str, Any], room: walls.Room | None, longer: float = 0.0) -> dict[str, Any]:
    # The order of hashes is fixed too, as everything that would differ between processes without our doing.
    same = {**child_process.ONE_THREAD, "PYTHONHASHSEED": "0"}
    compiled = compiled_modules()
    if compiled is not None:
        same["PYTHONPYCACHEPREFIX"] = str(compiled)
        room = None if room is None else replace(room, read=(*room.read, compiled))
    try:
        done = child_process.start(_WORKER, job, LIMIT_SECONDS + longer, same, room=room)
        result: dict[str, Any] = child_process.result(done)
    except child_process.ChildFailed as error:
        raise MemoryFailed(f"the measuring process {error}") from None
    return result


@cache
def compiled_modules() -> Path | None:
    """Return a folder of compiled modules for the workers; None where the installed ones are compiled.

    A process that compiles its imports keeps 0.9 MiB more (14.7 of 13.8 MiB), so that all of them get compiled ones.
    An installer may leave that to the first import, and PYTHONDONTWRITEBYTECODE, which is usual in containers, prevents
    it. One import that nothing measures fills the folder, which is removed when this process ends.
    """
    if sys.pycache_prefix is None and all(_is_compiled(name) for name in _IMPORTED):
        return None
    folder = Path(tempfile.mkdtemp(prefix="quantbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [sys.executable, "-c", f"import {_WORKER}"],
        env={**environment, "PYTHONPYCACHEPREFIX": str(folder)},
        cwd=child_process.HERE.home,
        timeout=LIMIT_SECONDS,
        check=False,  # what fails here fails again in the worker, whose error is reported
        capture_output=True,
    )
    return folder


def _is_compiled(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and found.cached is not None and Path(found.cached).is_file()


def recipe(artifact_sha256: str, model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects the measurement."""
    return {
        "what": "memory",
        "artifact": artifact_sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "packages": {name: package_contents(name) for name in ("ai-edge-litert", "numpy")},
        "python": platform.python_version(),
        "system": [platform.system(), platform.release(), *platform.libc_ver()],
        "code": code_sha256(
            "quantbench.measure.memory", _WORKER, "quantbench.measure.many_calls", "quantbench.tflite.litert"
        ),
        "cpu": cpu(),
    }
