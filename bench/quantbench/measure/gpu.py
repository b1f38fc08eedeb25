"""Compute an artifact's outputs on the GPU, and time calls until the outputs are read back; through the store.

Each artifact and repetition gets a fresh process, so that a driver that crashes or hangs, or a lost device, only fails
that cell. The first process computes the first test examples, as many as a software device can in seconds, and fewer on
a device that is slower. Each process times calls of the artifact and of its float control, interleaved.
"""

import json
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store, digest
from quantbench.core import child_process
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.core.environment import cpu
from quantbench.core.threads import cores
from quantbench.errors import BadInput
from quantbench.measure import gpu_devices
from quantbench.measure.accuracy import nonfinite_examples
from quantbench.measure.gpu_worker import END_OF_VARIANT
from quantbench.measure.openvino_devices import driver_of, is_adapter
from quantbench.records import Device
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.model import ReferenceModel
from quantbench.tflite import graph, work
from quantbench.tflite.litert_gpu import Reader, adapter, lost, no_adapter, on_cpu, refusal, trouble

SECONDS = 0.3  # of timing in each process
ANSWER_SECONDS = 60.0  # for the examples after the first one
STEP_SECONDS = 120.0  # to load a file, or for one call
LIMIT_SECONDS = 600.0  # for a whole process, which is six calls on the slowest device
_OWN_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
# Load for each core from which others are to blame: a software device alone makes one of about 1.
_BUSY_LOAD = 2.0
_COMPUTING = 0.5  # of the time of a process: then it does not wait for a driver
_FACTS = "gpu.json"
_PREDICTIONS = "predictions.npy"


class Effort(NamedTuple):
    """Limit the device time of a cell: the number of test examples with outputs, and of fresh processes."""

    examples: int
    processes: int


# A software device takes up to 30 ms per example; a GPU (not tested here) is expected to take one or two.
SOFTWARE, REAL = Effort(200, 2), Effort(1000, 3)


class GpuFailed(Exception):
    """Raised when a GPU process crashed, hung, lost its device or wrote nonsense; the message says which."""


class Refused(Exception):
    """Raised when LiteRT's GPU accelerator refuses the artifact; the message is LiteRT's."""


class Crashed(Refused):
    """Raised when LiteRT crashed while it loaded the artifact, and again in a second process."""


class Artifact(NamedTuple):
    """Pair a file with its hash."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class OnGpu:
    """Hold what the processes of one artifact measured.

    Attributes:
        predictions: of the first test examples, as the model's metric makes them.
        asked: number of test examples that a faster device would have answered.
        nonfinite: number of examples with a NaN or infinite output.
        left: operators that the GPU left to the CPU, of all ``operators``; both 0 where it left none.
        left_why: operators that it left, each with the accelerator's reason.
        left_macs: multiplications of those that it left, at least and at most, of all ``macs``.
        seconds: median until read-back, one value per process.
        ratios: ``seconds`` divided by the float control's, one value per process; empty for the control itself.
        refusal: why LiteRT refuses the artifact; empty where it accepts it.
        crashed: whether it refuses by crashing, twice.
        failure: why nothing was measured; empty where something was.
        cached: whether it came from the store.
    """

    predictions: Array | None = None
    asked: int = 0
    nonfinite: int = 0
    left: int = 0
    operators: int = 0
    left_why: list[tuple[str, str]] = field(default_factory=list)
    left_macs: tuple[int, int] = (0, 0)
    macs: int = 0
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    refusal: str = ""
    crashed: bool = False
    failure: str = ""
    cached: bool = False


def usual_effort(device: Device) -> Effort:
    """Choose the effort by whether the device is a real GPU."""
    return SOFTWARE if device.software else REAL


def through_store(artifact: Artifact, control: Artifact, model: ReferenceModel, device: Device, store: Store) -> OnGpu:
    """Measure an artifact on the GPU once; a failure is returned but not stored, so that the next run tries again.

    Nor is it stored where too little time was left for all examples: other programs may have taken it.

    Args:
        control: the float control; the artifact itself where it is the control.
    """
    made_of = recipe(artifact, control, model, device)
    recalled = store.recall(made_of, _read)
    if recalled is not None:
        return recalled
    try:
        measured = measure(artifact.path, control.path, model, device)
    except Refused as error:
        return OnGpu(refusal=str(error), crashed=isinstance(error, Crashed))
    except (GpuFailed, BadInput) as error:
        return OnGpu(failure=str(error))
    if measured.predictions is not None and len(measured.predictions) >= measured.asked:
        store.put(digest(made_of), _files(measured), made_of)
    return measured


def _files(measured: OnGpu) -> dict[str, bytes]:
    """Make the files of an entry, which :func:`_read` reads."""
    apart = ("predictions", "refusal", "crashed", "failure", "cached")
    facts = {name: value for name, value in asdict(measured).items() if name not in apart}
    buffer = BytesIO()
    np.save(buffer, measured.predictions)  # type: ignore[arg-type]
    return {_FACTS: json.dumps(facts).encode(), _PREDICTIONS: buffer.getvalue()}


def _read(folder: Path, cached: bool) -> OnGpu:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    facts["left_why"] = [(name, why) for name, why in facts["left_why"]]
    facts["left_macs"] = tuple(facts["left_macs"])
    return OnGpu(np.load(folder / _PREDICTIONS, allow_pickle=False), **facts, cached=cached)


def measure(
    artifact: Path,
    control: Path,
    model: ReferenceModel,
    device: Device,
    effort: Effort | None = None,
) -> OnGpu:
    """Run an artifact on the GPU in fresh processes.

    Args:
        device: the intended one; LiteRT chooses by itself, so its choice is checked.
        effort: by default, what suits the kind of device.

    Raises:
        Refused: LiteRT refuses the artifact.
        GpuFailed: a process did not finish, the device was lost, or LiteRT chose another device.
        BadInput: ``$QUANTBENCH_VULKAN`` requests a driver that is not installed.
    """
    examples, processes = effort or usual_effort(device)
    inputs = model.prepare(rows(model.pack().test.x, slice(0, examples)))
    alone = artifact == control
    with _job(artifact, None if alone else control, inputs, gpu_devices.driver_of(device)) as job:
        done = [_run_worker(job | {"seed": 0})]
        done += [_run_again(job | {"seed": i, "answers": None}) for i in range(1, processes)]
        with np.load(job["answers"], allow_pickle=False) as file:
            outputs = Reader(artifact).real({name.removeprefix("y_"): file[name] for name in file.files})
    asked, inputs = length(inputs), rows(inputs, slice(0, length(outputs)))
    log = done[0].log
    left, operators, why = on_cpu(log)
    taken = adapter(log)
    if not is_adapter(taken, device) and not (operators and left == operators):
        words = f"LiteRT ran it on {taken or 'an adapter that it did not name'}, not on {device.name}"
        hint = f"; choose the driver of the intended device: {gpu_devices.CHOICE}=FILE.json"
        raise GpuFailed(words + hint * (driver_of(device) is None))
    left_macs, macs = _work_left(artifact, left, operators, [name.removeprefix("CUSTOM ") for name, _ in why])
    medians = [{name: float(np.median(times)) for name, times in process.seconds.items()} for process in done]
    return OnGpu(
        predictions=model.metric.predict(outputs, inputs),
        asked=asked,
        nonfinite=nonfinite_examples(outputs),
        left=left,
        operators=operators,
        left_why=why,
        left_macs=left_macs,
        macs=macs,
        seconds=[median["variant"] for median in medians],
        ratios=[] if alone else [median["variant"] / median["control"] for median in medians],
    )


def _work_left(artifact: Path, left: int, operators: int, refused: list[str]) -> tuple[tuple[int, int], int]:
    """Return the multiplications that were left to the CPU, least and most, and all; 0 where that cannot be known."""
    if not operators:
        return (0, 0), 0
    read = graph.read(artifact.read_bytes()).main()
    if len(read.operators) != operators:
        return (0, 0), 0
    return work.left_macs(read, left, refused), sum(work.macs(read, one) for one in read.operators)


@contextmanager
def _job(artifact: Path, control: Path | None, inputs: Inputs, driver: str | None) -> Iterator[dict[str, Any]]:
    """Prepare a job for the worker, with the examples as each artifact's input tensors take them."""
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
        files = {"variant": artifact} | ({"control": control} if control else {})
        for name, path in files.items():
            stored = {f"x_{key}": values for key, values in Reader(path).stored(inputs).items()}
            np.savez(Path(folder) / f"{name}.npz", **stored)  # type: ignore[arg-type]
        yield {
            "artifacts": {name: str(path) for name, path in files.items()},
            "inputs": {name: str(Path(folder) / f"{name}.npz") for name in files},
            "answers": str(Path(folder) / "answers.npz"),
            "seconds": SECONDS,
            "answer_seconds": ANSWER_SECONDS,
            "step_seconds": STEP_SECONDS,
            "driver": driver,
        }


class _Done(NamedTuple):
    """Hold what a process wrote: seconds of each call by artifact, and its log up to the variant's loading."""

    seconds: dict[str, list[float]]
    log: str


def _run_worker(job: dict[str, Any]) -> _Done:
    """Run one fresh process.

    A crash of LiteRT while it loads the artifact counts as a refusal where a second process crashes too.

    Raises:
        Refused: LiteRT refuses the artifact.
        GpuFailed: the process did not finish, or the device was lost.
    """
    done = _finished(job)
    if words := _crash(done):
        done = _finished(job)
        if _crash(done):  # of what differs: heaps that are damaged end a process in several ways
            raise Crashed(words)
    if gone := lost(done.stderr):
        raise GpuFailed(f"the device was lost: {gone[:300]}")
    if -done.returncode == signal.SIGALRM:
        step = "a call, or loading float32," if END_OF_VARIANT in done.stderr else "loading the file"
        why = why_late(done.cpu_share, _load(), in_a_step=True)
        raise GpuFailed(f"{step} did not finish within {STEP_SECONDS:g} s: {why}")
    if done.returncode > 0 and (words := refusal(done.stderr)):
        raise Refused(words)
    if done.returncode > 0 and (lacks := no_adapter(done.stderr)):
        raise GpuFailed(lacks)
    if done.returncode != 0:  # the cause is near the end of LiteRT's log, after lines that have to be skipped
        raise GpuFailed(f"the GPU process {child_process.ended(done.returncode)}: {trouble(done.stderr)[:300]}")
    try:
        seconds: dict[str, list[float]] = child_process.result(
            child_process.Done([], done.returncode, done.stdout, done.stderr)
        )
    except child_process.ChildFailed as error:
        raise GpuFailed(f"the GPU process {error}") from None
    return _Done(seconds, done.stderr.partition(END_OF_VARIANT)[0])


def _run_again(job: dict[str, Any]) -> _Done:
    """Run a further process of an artifact that ran: what it refuses now is no known limitation. Raises GpuFailed."""
    try:
        return _run_worker(job)
    except Refused as error:
        raise GpuFailed(f"it ran in one process and not in another: {error}") from None


class _Ended(NamedTuple):
    """Hold how a process ended: its status and outputs, and the share of its time in which it computed on a CPU."""

    returncode: int
    stdout: str
    stderr: str
    cpu_share: float


def _finished(job: dict[str, Any]) -> _Ended:
    environment = gpu_devices.child_environment(job["driver"])
    before, since = _cpu_seconds_of_children(), time.monotonic()
    try:
        done = child_process.start("quantbench.measure.gpu_worker", job, LIMIT_SECONDS, environment)
    except child_process.ChildFailed as error:
        raise GpuFailed(f"the GPU process {error}: {why_late(0, _load(), in_a_step=False)}") from None
    share = (_cpu_seconds_of_children() - before) / (time.monotonic() - since)
    return _Ended(done.returncode, done.stdout, done.stderr, share)


def why_late(cpu_share: float, load: float, in_a_step: bool) -> str:
    """Say why a process took too long, and what to do.

    A process that is stopped between its steps, each of which has a limit of its own, was not hanging.

    Args:
        cpu_share: time that it computed on a CPU, as a share of all.
        load: of the machine, for each core.
        in_a_step: whether one call, or loading one file, took too long.
    """
    if load >= _BUSY_LOAD:
        return f"other programs keep the machine busy (load {load:.1f} for each core): run it again when they are done"
    if not in_a_step or cpu_share >= _COMPUTING:
        return "the device computes, but is too slow for this file: choose a faster one, or leave it out with --no-gpu"
    return f"its driver hangs: install another version of it, or choose another driver with ${gpu_devices.CHOICE}"


def _load() -> float:
    return os.getloadavg()[0] / cores()


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _crash(done: _Ended) -> str:
    """Say how LiteRT crashed while it loaded the variant, once it had a device; empty where it did not."""
    log = done.stderr
    if -done.returncode not in _OWN_CRASHES or END_OF_VARIANT in log or not adapter(log) or lost(log):
        return ""
    return f"it crashes while it loads the file: {child_process.ended(done.returncode)}: {trouble(log)[:200]}"


def recipe(artifact: Artifact, control: Artifact, model: ReferenceModel, device: Device) -> dict[str, Any]:
    """List everything that affects a measurement on a GPU."""
    return {
        "what": "gpu",
        "artifact": artifact.sha256,
        "control": control.sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "runtime": "litert-gpu",
        "packages": {"ai-edge-litert": package_contents("ai-edge-litert")},
        "device": [device.model_dump(), gpu_devices.driver_sha256(device)],
        "effort": [*usual_effort(device), SECONDS, ANSWER_SECONDS, STEP_SECONDS],
        "code": code_sha256(
            "quantbench.measure.gpu",
            "quantbench.measure.gpu_worker",
            "quantbench.tflite.litert_gpu",
            "quantbench.tflite.litert_openvino",
            "quantbench.tflite.litert",
            "quantbench.tflite.work",
            *METRICS,
        ),
        "cpu": cpu(),
    }
