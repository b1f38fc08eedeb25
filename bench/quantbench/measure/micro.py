"""Load an artifact on TFLite-Micro and run examples, through the store: does it load, in what arena, and its answers.

Each artifact gets a fresh process behind walls, whatever the model: TFLite-Micro verifies no file, and a damaged one or
a failed check of its own ends the process. Its package (extra ``micro``) holds the reference kernels, compiled for this
machine: the kernels of a vendor (CMSIS-NN and the like) are not in it.
"""

import json
import platform
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store
from quantbench.core import child_process, walls
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.core.environment import cpu
from quantbench.measure import micro_log, side
from quantbench.measure.micro_worker import BEGIN
from quantbench.measure.work import operations
from quantbench.records import MicroRefusal
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.model import ReferenceModel
from quantbench.tflite import edit, litert_micro

PACKAGE, MODULE = "tflite-micro", "tflite_micro"
NOT_INSTALLED = "the package tflite-micro is not installed: pip install 'quantbench[micro]'"
# No microcontroller has as much; pages that the plan does not use are never touched.
ARENA = 256 * 2**20
# The reference kernels take a nanosecond or two a multiplication.
START_SECONDS, SECONDS_PER_OPERATION = 120.0, 1e-8
_FACTS, _PREDICTIONS = "micro.json", "predictions.npy"
# A process that ends so, does so again with the same file; one that was killed, or was late, may not.
_CRASHES = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}


class MicroFailed(Exception):
    """Raised when nothing was found out: a process hung, was killed or wrote nonsense; the message says which."""


@dataclass(frozen=True)
class OnMicro:
    """Hold what TFLite-Micro made of an artifact.

    Attributes:
        version: of the package.
        arena: None where it does not load.
        refusal: why it does not load, or a call fails; None where it runs.
        predictions: of the first test examples, as the model's metric makes them.
        failure: why nothing was found out; empty where something was.
        cached: whether it came from the store.
    """

    version: str = ""
    arena: micro_log.Arena | None = None
    refusal: MicroRefusal | None = None
    predictions: Array | None = None
    failure: str = ""
    cached: bool = False


@cache
def unavailable() -> str:
    """Return why nothing can be run on TFLite-Micro here; empty where something can."""
    if util.find_spec(MODULE) is not None:
        return ""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return f"tflite-micro has wheels for Linux and x86-64 alone, not for {sys.platform} and {platform.machine()}"
    return NOT_INSTALLED


def version() -> str:
    """Return the installed package's version; empty where it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


def through_store(artifact: Path, sha256: str, model: ReferenceModel, store: Store) -> OnMicro:
    """Run an artifact once; a failure is returned but not stored, so that the next run tries again."""

    def make() -> Mapping[str, bytes]:
        found = measure(artifact, model)
        facts = {
            "version": found.version,
            "arena": found.arena,
            "refusal": found.refusal.model_dump() if found.refusal else None,
        }
        stored = {_FACTS: json.dumps(facts).encode()}
        if found.predictions is not None:
            buffer = BytesIO()
            np.save(buffer, found.predictions)
            stored[_PREDICTIONS] = buffer.getvalue()
        return stored

    if reason := unavailable():
        return OnMicro(failure=reason)
    try:
        return store.remember(recipe(sha256, model), make, _read)
    except MicroFailed as error:
        return OnMicro(failure=str(error))


def _read(folder: Path, cached: bool) -> OnMicro:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    predictions = folder / _PREDICTIONS
    return OnMicro(
        version=str(facts["version"]),
        arena=micro_log.Arena(*facts["arena"]) if facts["arena"] else None,
        refusal=MicroRefusal.model_validate(facts["refusal"]) if facts["refusal"] else None,
        predictions=np.load(predictions, allow_pickle=False) if predictions.is_file() else None,
        cached=cached,
    )


def measure(artifact: Path, model: ReferenceModel) -> OnMicro:
    """Run an artifact on as many examples as the reference kernels of LiteRT do.

    Raises:
        MicroFailed: its process hung, was killed from outside, or wrote nonsense.
    """
    cost = operations(artifact)
    count = side.examples_beside(cost, len(model.pack().test))
    limit = START_SECONDS + SECONDS_PER_OPERATION * (cost or 0) * count
    found = _measured(artifact, model, count, limit)
    apart = 0 if found.refusal is not None else litert_micro.behind(artifact.read_bytes())
    if not apart:
        return found
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        (whole := Path(folder) / "packed.tflite").write_bytes(edit.repacked(artifact.read_bytes()))
        packed = _measured(whole, model, 1, limit)
    if found.arena == packed.arena:  # it reads them
        return found
    return OnMicro(version(), refusal=_unread(apart, packed))


def _measured(artifact: Path, model: ReferenceModel, count: int, limit: float) -> OnMicro:
    """Run an artifact on the first examples in a process of its own. Raises MicroFailed."""
    inputs = model.prepare(rows(model.pack().test.x, slice(0, count)))
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        done, outputs = _run(artifact, inputs, model.stateful, limit, Path(folder))
    log = done.stderr.partition(BEGIN)[2]
    if isinstance(outputs, str):
        return OnMicro(version(), refusal=micro_log.refusal(log, outputs))
    arena = micro_log.arena(log)
    if arena is None:
        raise MicroFailed("its allocator wrote nothing about the arena: is it another version of tflite-micro?")
    return OnMicro(version(), arena, predictions=model.metric.predict(outputs, inputs))


def _unread(apart: int, packed: OnMicro) -> MicroRefusal:
    """Say that TFLite-Micro does not read these constants, and what would: seen as it plans memory for them.

    It looks for constants within the flatbuffer alone, takes these tensors for results of operators, and computes with
    whatever was in their memory.
    """
    arena = f"; packed into it, the file needs an arena of {packed.arena.total:,} bytes" if packed.arena else ""
    return MicroRefusal(
        reason=f"{apart:,} bytes of constants lie behind the flatbuffer, where it does not read them, so that its "
        f"answers come from uninitialized memory{arena}"
    )


def _run(
    artifact: Path, inputs: Inputs, stateful: bool, limit: float, folder: Path
) -> tuple[child_process.Done, Inputs | str]:
    """Run the worker; return how it ended, and the outputs, or why there are none."""
    names = list(inputs) if isinstance(inputs, dict) else None
    examples, answers = folder / "examples.npz", folder / "outputs.npz"
    np.savez(examples, *(inputs.values() if isinstance(inputs, dict) else [inputs]))
    job = {
        "artifact": str(artifact),
        "examples": str(examples),
        "names": names,
        "stateful": stateful,
        "arena": ARENA,
        "outputs": str(answers),
    }
    room = walls.Room(write=(folder,), read=(artifact,))
    try:
        done = child_process.start("quantbench.measure.micro_worker", job, limit, child_process.ONE_THREAD, room=room)
        if done.returncode in _CRASHES and BEGIN in done.stderr:
            return done, f"its process {child_process.ended(done.returncode)}"
        result = child_process.result(done)
    except child_process.ChildFailed as error:
        raise MicroFailed(f"the process of TFLite-Micro {error}") from None
    if "refused" in result:
        return done, str(result["refused"])
    with np.load(answers, allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    return done, arrays[0] if result["names"] is None else dict(zip(result["names"], arrays, strict=True))


def recipe(sha256: str, model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects the result."""
    return {
        "what": "micro",
        "artifact": sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "packages": {name: package_contents(name) for name in (PACKAGE, "ai-edge-litert", "numpy")},
        "code": code_sha256(
            "quantbench.measure.micro",
            "quantbench.measure.micro_log",
            "quantbench.measure.micro_worker",
            "quantbench.tflite.edit",
            "quantbench.tflite.litert_micro",
            "quantbench.tflite.litert_gpu",
            "quantbench.tflite.litert",
            *METRICS,
        ),
        "cpu": cpu(),
    }
