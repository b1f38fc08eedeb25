"""Count the instructions of one call of each artifact, under valgrind's callgrind: the same number in every process.

Valgrind runs programs on a synthetic processor with AVX2, whatever the host has, so that the runtime chooses the same
kernels on every host with AVX2; what it shows is the profile that counts are kept under. Load, clock and caches do not
matter. What it cannot see: kernels for AVX-512, VNNI and AMX, memory bandwidth, threads and waits.

Starting an interpreter under valgrind takes most of the time, so that one process counts many artifacts.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from quantbench import files
from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store
from quantbench.core import child_process
from quantbench.core.environment import cpu
from quantbench.errors import BadInput
from quantbench.measure import callgrind, memory
from quantbench.measure.work import operations
from quantbench.records import BETWEEN, Counted
from quantbench.reference.model import ReferenceModel

NO_VALGRIND = "valgrind is not installed; apt-get install valgrind"
_WORKER = "quantbench.measure.instructions_worker"
_CODE = ("quantbench.measure.instructions", _WORKER, "quantbench.measure.callgrind", "quantbench.measure.valgrind")
_FACTS = "instructions.json"
# The function whose calls are counted; those that run one operator of XNNPACK, and one of the builtin kernels. A
# question mark stands for any character, such as the asterisk of a pointer.
CALL, XNNPACK = "tflite::Subgraph::Invoke()", "xnn_run_operator_with_index"
BUILTIN = "*tflite::ops::*::*Eval*(TfLiteContext?, TfLiteNode?)"
_DONE = re.compile(rf"{re.escape(callgrind.REQUEST)}artifact (\S+)")
# A whole network's call of 5e9 multiplications is 6e8 instructions of an AVX2 kernel, or 2e10 of a plain loop, of which
# callgrind runs some 5e7 a second.
MOST_OPERATIONS = 5_000_000_000
START_SECONDS, SECONDS_PER_OPERATION, LEAST_SECONDS = 120.0, 2e-7, 20.0
BATCH = 32  # artifacts of one process at most, so that one that crashes costs little


@dataclass(frozen=True)
class Wanted:
    """Name an artifact whose call is to be counted."""

    artifact: Path
    sha256: str
    model: ReferenceModel


@dataclass(frozen=True)
class Count:
    """Hold the instructions of one call of an artifact.

    Attributes:
        profile: what valgrind showed as the processor, and the C library.
        operators: (kernel, instructions) of each operator in order, and of what ran between them last.
        failure: why nothing was counted; empty where something was.
        cached: whether it came from the store.
    """

    profile: str = ""
    operators: list[tuple[str, int]] = field(default_factory=list)
    failure: str = ""
    cached: bool = False

    def total(self) -> int:
        """Return the instructions of the whole call."""
        return sum(count for _, count in self.operators)

    def counted(self) -> Counted:
        """Return what a report says of it."""
        return Counted(profile=self.profile, operators=self.operators)


@cache
def unavailable() -> str:
    """Return why nothing can be counted on this machine; empty where something can."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return f"instructions are counted on Linux and x86-64 alone, not on {sys.platform} and {platform.machine()}"
    return "" if version() else NO_VALGRIND


@cache
def version() -> str:
    """Return the installed valgrind's version, such as ``valgrind-3.19.0``; empty where there is none."""
    program = shutil.which("valgrind")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def find(wanted: Wanted, store: Store) -> Count | None:
    """Return the count of an artifact; None where the store lacks it."""
    return store.recall(recipe(wanted.sha256, wanted.model), _read)


def _read(folder: Path, cached: bool) -> Count:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    operators = [(str(kernel), int(count)) for kernel, count in facts["operators"]]
    return Count(str(facts["profile"]), operators, cached=cached)


def through_store(wanted: Sequence[Wanted], store: Store, processes: int) -> list[Count]:
    """Count each artifact once, in so many processes; a failure is returned but not stored, and tried again later."""
    found = {one.sha256: count for one in wanted if (count := find(one, store)) is not None}
    new = {one.sha256: one for one in wanted if one.sha256 not in found}
    made = measure(list(new.values()), processes)
    for (sha256, one), count in zip(new.items(), made, strict=True):
        found[sha256] = count if count.failure else _stored(one, count, store)
    return [found[one.sha256] for one in wanted]


def _stored(wanted: Wanted, count: Count, store: Store) -> Count:
    facts = {"profile": count.profile, "operators": count.operators}
    return store.remember(recipe(wanted.sha256, wanted.model), lambda: {_FACTS: json.dumps(facts).encode()}, _read)


def measure(wanted: Sequence[Wanted], processes: int = 1) -> list[Count]:
    """Count the instructions of one call of each artifact, on a real test example, batch 1 and one thread."""
    shares, running = list(batches(wanted, processes)), Running()
    with ThreadPoolExecutor(max(1, processes)) as pool:
        try:
            done = list(pool.map(lambda batch: _batch([wanted[i] for i in batch], running), shares))
        except BaseException:  # a signal above all: no process of ours outlives it, and none is started any more
            running.end()
            raise
    by_place = dict(zip(chain(*shares), chain(*done), strict=True))
    return [by_place[i] for i in range(len(wanted))]


def batches(wanted: Sequence[Wanted], processes: int) -> Iterator[list[int]]:
    """Divide the artifacts, untrusted ones apart; each process gets as many, and as large ones, as the others."""
    for trusted in (True, False):
        places = [i for i, one in enumerate(wanted) if (one.model.form == "code") is trusted]
        places.sort(key=lambda i: (operations(wanted[i].artifact) or 0, i))
        parts = max(min(processes, len(places)), -(-len(places) // BATCH))
        yield from (places[i::parts] for i in range(parts))


class Running:
    """Hold the processes that count, so that a signal ends them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._ended = False
        self._lock = threading.Lock()

    def add(self, process: "subprocess.Popen[str]") -> None:
        """Take a process that has just started."""
        with self._lock:
            self._processes.append(process)
            if self._ended:
                process.kill()

    def end(self) -> None:
        """End all processes, and each that starts later."""
        with self._lock:
            self._ended = True
            for process in self._processes:
                process.kill()

    @property
    def ended(self) -> bool:
        """Return whether they were ended."""
        return self._ended


def _batch(wanted: Sequence[Wanted], running: Running) -> list[Count]:
    """Count some artifacts, all in one process and its children."""
    costs = [operations(one.artifact) or 0 for one in wanted]
    counts = {
        i: Count(failure=f"a call takes {cost:,} multiplications, which is too slow under valgrind")
        for i, cost in enumerate(costs)
        if cost > MOST_OPERATIONS
    }
    rest = [i for i in range(len(wanted)) if i not in counts]
    if not rest or running.ended:
        return [counts.get(i, Count(failure="it was stopped")) for i in range(len(wanted))]
    limit = START_SECONDS + sum(LEAST_SECONDS + SECONDS_PER_OPERATION * costs[i] for i in rest)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quantbench-")))
        jobs = {}
        for i in rest:
            try:
                jobs[i] = stack.enter_context(memory.prepared_job(wanted[i].artifact, wanted[i].model))
            except (RuntimeError, ValueError, memory.MemoryFailed) as error:
                counts[i] = Count(failure=f"its inputs could not be prepared: {' '.join(str(error).split())[:300]}")
        job = {"artifacts": list(jobs.values()), "threads": 1, "folder": str(folder)}
        ended = _run(job, folder, wanted[rest[0]].model.form, limit, running)
        failures = [ended] * len(jobs) if isinstance(ended, str) else ended["failures"]
        for number, (i, failure) in enumerate(zip(jobs, failures, strict=True)):
            counts[i] = count(list(_parts(folder, number)), str(failure))
    return [counts[i] for i in range(len(wanted))]


def _run(job: dict[str, Any], folder: Path, form: str, limit: float, running: Running) -> dict[str, Any] | str:
    """Run a process under valgrind, which leaves its dumps in the folder; return its result, or how it failed."""
    read = [Path(file) for one in job["artifacts"] for file in (one["artifact"], *one["inputs"])]
    room = child_process.room(form, *read)
    compiled = memory.compiled_modules()
    # Everything that could differ between processes without our doing is fixed.
    same = {**child_process.ONE_THREAD, "PYTHONHASHSEED": "0"}
    if compiled is not None:
        same["PYTHONPYCACHEPREFIX"] = str(compiled)
    if room is not None:
        room = replace(room, write=(folder,), read=(*room.read, *([compiled] if compiled is not None else [])))
    try:
        done = child_process.start(_WORKER, job, limit, same, room=room, under=command(folder), started=running.add)
        result: dict[str, Any] = child_process.result(done)
    except child_process.ChildFailed as error:
        return f"the process under valgrind {error}"
    return result


def command(folder: Path) -> list[str]:
    """Return the command that runs another one under callgrind, with its dumps in a folder."""
    options = ["--tool=callgrind", "--quiet", "--vgdb=no", "--instr-atstart=no", "--collect-atstart=no"]
    options += [f"--toggle-collect={CALL}", "--dump-line=no"]
    options += [f"--dump-before={XNNPACK}", f"--dump-after={XNNPACK}", f"--dump-before={BUILTIN}"]
    return ["valgrind", *options, f"--callgrind-out-file={folder / 'dump'}"]


def _parts(folder: Path, number: int) -> Iterator[callgrind.Profile]:
    """Yield the dumps of an artifact in their order; the rest of one that was being written when it died is none."""
    found = folder.glob(f"{number}-dump.*")
    numbered = {int(path.suffix[1:]): path for path in found if path.suffix[1:].isdecimal()}
    for _, path in sorted(numbered.items()):
        try:
            yield callgrind.parse(files.read_text(path, "profile", files.LARGEST_RECORD, inside=folder).splitlines())
        except (BadInput, ValueError):
            return


def count(dumps: Sequence[callgrind.Profile], failure: str) -> Count:
    """Return the count of an artifact from its dumps, up to the one with which its call ended.

    Args:
        failure: why its process failed; it counts only where the call did not end.
    """
    for place, dump in enumerate(dumps):
        if (match := _DONE.match(dump.trigger)) is not None:
            found, between = callgrind.operators(dumps[: place + 1])
            if not found and not between:
                return Count(failure=f"no instructions were counted: the runtime here has no function {CALL}")
            return Count(f"{match[1]}_{'-'.join(platform.libc_ver())}", [*found, (BETWEEN, between)])
    return Count(failure=failure or "callgrind left no counts")


def recipe(artifact_sha256: str, model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects the measurement."""
    return {
        "what": "instructions",
        "artifact": artifact_sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "packages": {name: package_contents(name) for name in ("ai-edge-litert", "numpy")},
        "valgrind": version(),
        "system": [platform.system(), *platform.libc_ver()],
        "code": code_sha256(*_CODE, "quantbench.measure.memory_worker"),
        "cpu": cpu(),
    }
