"""Run a model on an accelerator for a test, and compare its answers with the CPU's."""

from pathlib import Path
from types import SimpleNamespace

from quantbench.build import artifact as build
from quantbench.build.store import Store
from quantbench.engine import measurements
from quantbench.measure import gpu
from quantbench.measure.gpu import Artifact, Effort, OnGpu
from quantbench.records import Device, Measurement
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS

EXAMPLES = 20


def float_artifact(model: ReferenceModel, store: Path) -> Artifact:
    """Return a model's float artifact."""
    return variant_artifact(model, "float32", store)


def variant_artifact(model: ReferenceModel, variant: str, store: Path) -> Artifact:
    """Return the artifact of a cell."""
    built = build.artifact(model, VARIANTS[variant], 0, None, Store(store))
    assert built.path is not None
    assert built.sha256 is not None
    return Artifact(built.path, built.sha256)


def measured_there(model: ReferenceModel, artifact: Artifact, device: Device) -> tuple[OnGpu, dict[str, Measurement]]:
    """Return what the processes measured, and what a report shows of it."""
    taken = gpu.measure(artifact.path, artifact.path, model, device, Effort(EXAMPLES, 2))
    inputs = model.prepare(model.pack().test.x[:EXAMPLES])
    predictions = model.metric.predict(LiteRT(artifact.path).run(inputs), inputs)
    return taken, measurements.gpu(model, taken, SimpleNamespace(predictions=predictions))  # type: ignore[arg-type]
