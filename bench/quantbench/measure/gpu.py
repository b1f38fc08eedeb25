"""What an artifact answers on the GPU, and how long that takes until it can be read; through the store.

A fresh process an artifact and a repeat: a driver that crashes or hangs, or a device that is lost, costs that cell. The
first process answers the first test examples, as many as a software device gets through in seconds; each of them times
calls of the artifact and of its float control in turns.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quantbench.build.artifact import code_sha256, model_source
from quantbench.build.store import Store
from quantbench.core import child_process
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.core.environment import cpu, package_version
from quantbench.errors import BadInput
from quantbench.measure import gpu_devices
from quantbench.measure.accuracy import nonfinite_examples
from quantbench.measure.gpu_worker import END_OF_VARIANT
from quantbench.records import Device
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.litert_gpu import Reader, adapter, lost, on_cpu, refusal, trouble

SECONDS = 0.3  # of timing in each process
LIMIT_SECONDS = 120
_FACTS = "gpu.json"
_PREDICTIONS = "predictions.npy"


class Effort(NamedTuple):
    """How much of a device's time a cell is worth: test examples that are answered, and fresh processes."""

    examples: int
    processes: int


# A software device takes up to 30 ms an example, a GPU (untested here) is expected to take one or two.
SOFTWARE, REAL = Effort(200, 2), Effort(1000, 3)


class GpuFailed(Exception):
    """A GPU process crashed, hung, lost its device or wrote nonsense; the message says which, in one line."""


class Refused(Exception):
    """LiteRT's GPU accelerator does not take the artifact; the message is its own."""


class Artifact(NamedTuple):
    """A file with its hash."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class OnGpu:
    """What the processes of one artifact found.

    Attributes:
        predictions: of the first test examples, as the model's metric makes them.
        nonfinite: examples with a NaN or infinite output.
        left: operators that the GPU left to the CPU, of all ``operators``; both 0 where it left none.
        left_why: operators that it left, each with the accelerator's own reason.
        seconds: median until read-back, one value a process.
        ratios: of it to the float control's, one value a process; empty for the control itself.
        refusal: why LiteRT does not take the artifact at all; empty where it does.
        failure: why nothing was measured; empty where it was.
        cached: taken from the store.
    """

    predictions: Array | None = None
    nonfinite: int = 0
    left: int = 0
    operators: int = 0
    left_why: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    refusal: str = ""
    failure: str = ""
    cached: bool = False


def usual_effort(device: Device) -> Effort:
    """By whether it is a GPU at all."""
    return SOFTWARE if device.software else REAL


def through_store(artifact: Artifact, control: Artifact, model: ReferenceModel, device: Device, store: Store) -> OnGpu:
    """What the GPU makes of an artifact, measured once; a failure is told and not kept: the next run tries again.

    Args:
        control: the float control; the artifact itself where that is it.
    """
    made_of = recipe(artifact, control, model, device)

    def make() -> dict[str, bytes]:
        measured = measure(artifact.path, control.path, model, device)
        apart = ("predictions", "refusal", "failure", "cached")
        facts = {name: value for name, value in asdict(measured).items() if name not in apart}
        buffer = BytesIO()
        np.save(buffer, measured.predictions)  # type: ignore[arg-type]
        return {_FACTS: json.dumps(facts).encode(), _PREDICTIONS: buffer.getvalue()}

    try:
        return store.remember(made_of, make, _read)
    except Refused as error:
        return OnGpu(refusal=str(error))
    except (GpuFailed, BadInput) as error:
        return OnGpu(failure=str(error))


def _read(folder: Path, cached: bool) -> OnGpu:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    facts["left_why"] = [(name, why) for name, why in facts["left_why"]]
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
        device: the one that is meant; LiteRT chooses for itself, so its choice is checked.
        effort: by default, what the kind of device is worth.

    Raises:
        Refused: LiteRT does not take the artifact.
        GpuFailed: a process did not finish, the device was lost, or LiteRT chose another device.
        BadInput: ``$QUANTBENCH_VULKAN`` asks for a driver that is not there.
    """
    examples, processes = effort or usual_effort(device)
    inputs = model.prepare(rows(model.pack().test.x, slice(0, examples)))
    alone = artifact == control
    with _job(artifact, None if alone else control, inputs) as job:
        done = [_run_worker(job | {"seed": i, "answers": job["answers"] if i == 0 else None}) for i in range(processes)]
        with np.load(job["answers"], allow_pickle=False) as file:
            outputs = Reader(artifact).real({name.removeprefix("y_"): file[name] for name in file.files})
    log = done[0].log
    if adapter(log) != device.name:
        raise GpuFailed(
            f"LiteRT ran it on {adapter(log) or 'an adapter that it did not name'}, not on {device.name}; name the "
            f"driver of the one that is meant: {gpu_devices.CHOICE}=FILE.json"
        )
    left, operators, why = on_cpu(log)
    medians = [{name: float(np.median(times)) for name, times in one.seconds.items()} for one in done]
    return OnGpu(
        predictions=model.metric.predict(outputs, inputs),
        nonfinite=nonfinite_examples(outputs),
        left=left,
        operators=operators,
        left_why=why,
        seconds=[one["variant"] for one in medians],
        ratios=[] if alone else [one["variant"] / one["control"] for one in medians],
    )


@contextmanager
def _job(artifact: Path, control: Path | None, inputs: Inputs) -> Iterator[dict[str, Any]]:
    """A job for the worker, with the examples as each artifact's own input tensors take them."""
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
        }


class _Done(NamedTuple):
    """What a process wrote: seconds of each call by artifact, and its log up to the variant's loading."""

    seconds: dict[str, list[float]]
    log: str


def _run_worker(job: dict[str, Any]) -> _Done:
    """One fresh process.

    Raises:
        Refused: LiteRT does not take the artifact.
        GpuFailed: it did not finish, or the device was lost.
    """
    try:
        done = child_process.start("quantbench.measure.gpu_worker", job, LIMIT_SECONDS, gpu_devices.child_environment())
    except child_process.ChildFailed as error:
        raise GpuFailed(f"the GPU process {error}: the driver hangs") from None
    if gone := lost(done.stderr):
        raise GpuFailed(f"the device was lost: {gone[:300]}")
    if done.returncode > 0 and (words := refusal(done.stderr)):
        raise Refused(words)
    if done.returncode != 0:  # LiteRT's log ends with what went wrong only if one knows which of its lines to skip
        raise GpuFailed(f"the GPU process {child_process.ended(done.returncode)}: {trouble(done.stderr)[:300]}")
    try:
        seconds: dict[str, list[float]] = child_process.result(done)
    except child_process.ChildFailed as error:
        raise GpuFailed(f"the GPU process {error}") from None
    return _Done(seconds, done.stderr.partition(END_OF_VARIANT)[0])


def recipe(artifact: Artifact, control: Artifact, model: ReferenceModel, device: Device) -> dict[str, Any]:
    """Everything that decides what a GPU makes of an artifact."""
    return {
        "what": "gpu",
        "artifact": artifact.sha256,
        "control": control.sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "runtime": "litert-gpu",
        "packages": {"ai-edge-litert": package_version("ai-edge-litert")},
        "device": [device.model_dump(), gpu_devices.driver_sha256()],
        "effort": [*usual_effort(device), SECONDS],
        "code": code_sha256(
            "quantbench.measure.gpu",
            "quantbench.measure.gpu_worker",
            "quantbench.tflite.litert_gpu",
            "quantbench.tflite.litert",
            "quantbench.reference.metrics",
        ),
        "cpu": cpu(),
    }
