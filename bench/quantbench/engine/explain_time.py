"""Time a cell, or two files, by operator: collect the artifacts and one example, and time in children."""

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from quantbench.core import child_process, walls
from quantbench.core.arrays import Inputs
from quantbench.engine import artifacts, explain
from quantbench.errors import BadInput
from quantbench.measure import latency, operator_times
from quantbench.records import FLOAT_CONTROL, OperatorTimes, Report
from quantbench.reference.model import ReferenceModel

LIMIT_SECONDS = 180.0


def of_cell(
    report: Report, folder: Path, name: str, model_dir: Path, baseline_dir: Path, against: Path | None = None
) -> OperatorTimes:
    """Time a cell of a run by operator; for arguments and errors, see :func:`quantbench.engine.explain.subject`."""
    subject, model = explain.subject(report, folder, name, model_dir, baseline_dir, against)
    float32 = f"{model.name}/{FLOAT_CONTROL}"
    if subject.control is None and name != float32:  # what is trained has its own weights, which take no other time
        with suppress(BadInput):
            subject = replace(subject, control=artifacts.find(report, folder, float32)[1])
    return timed(subject, model)


def timed(subject: explain.Subject, model: ReferenceModel, seconds: float = LIMIT_SECONDS) -> OperatorTimes:
    """Time an artifact beside the accepted one; where that is not at hand or is the same, beside the float one.

    Args:
        seconds: that it may take.

    Raises:
        BadInput: there is nothing to compare it with, or it cannot be timed by operator.
    """
    explain.check_reference(subject)
    reference = subject.accepted if subject.accepted is not None else subject.control
    assert reference is not None
    with tempfile.TemporaryDirectory(prefix="quantbench-explain-") as place:
        folder = Path(place)
        paths = _written(folder, subject.artifact, reference)
        inputs = latency.save_inputs(model, folder)
        found = _measured(subject.name, *paths, inputs, child_process.room(model.form, *paths, inputs), seconds)
    named = "float32" if subject.accepted is None else "the accepted artifact"
    return found.model_copy(update={"subject": subject.name, "reference": named})


def of_files(artifact: Path, against: Path, examples: Inputs) -> OperatorTimes:
    """Time an artifact by operator beside another one of the same model, float or quantized.

    Args:
        examples: prepared as the float model takes them.

    Raises:
        BadInput: a file is no ``.tflite``, is of another model, or cannot be timed by operator.
    """
    explain.check_one_model(str(artifact), explain.read_tflite(artifact), against)
    with tempfile.TemporaryDirectory(prefix="quantbench-explain-") as place:
        folder = Path(place)
        paths = _written(folder, artifact.read_bytes(), against.read_bytes())
        inputs = folder / "inputs.npz"
        np.savez(inputs, **latency.named_for_npz(examples))  # type: ignore[arg-type]
        room = child_process.room("tflite", folder)
        found = _measured(f"{artifact} and {against}", *paths, inputs, room)
    return found.model_copy(update={"subject": str(artifact), "reference": str(against)})


def _written(folder: Path, artifact: bytes, reference: bytes) -> tuple[Path, Path]:
    paths = folder / "artifact.tflite", folder / "reference.tflite"
    for path, content in zip(paths, (artifact, reference), strict=True):
        path.write_bytes(content)
    return paths


def _measured(
    name: str, artifact: Path, reference: Path, inputs: Path, room: walls.Room | None, seconds: float = LIMIT_SECONDS
) -> OperatorTimes:
    try:
        return operator_times.measure(artifact, reference, inputs, room, seconds)
    except (latency.LatencyFailed, ValueError) as error:
        raise BadInput(f"{name}: cannot be timed by operator: {error}") from None
