"""Ask the reference kernels about the examples whose answers changed: they say who changed them.

Where the reference kernels still answer as accepted, the runtime's own kernels changed the answers; where they answer
as now, the artifact itself, or what it is given, is another.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantbench.core import child_process, walls
from quantbench.core.arrays import Array, Inputs, rows
from quantbench.records.origins import Flipped
from quantbench.reference.model import ReferenceModel

MOST = 32  # examples: the reference kernels are up to 50 times slower
LIMIT_S = 60.0

# Answers of the reference kernels to these examples of the test split; None where they cannot be had.
Ask = Callable[[Array], Array | None]


def origin_of(accepted: Array, now: Array, ask: Ask) -> Flipped | None:
    """Compare the changed answers with those of the reference kernels; None where none changed or nothing is known."""
    if accepted.shape != now.shape:
        return None
    places = np.flatnonzero(_differ(accepted, now))[:MOST]
    answers = ask(places) if len(places) else None
    if answers is None or answers.shape != now[places].shape:
        return None
    before, after = _distance(answers, accepted[places]), _distance(answers, now[places])
    return Flipped(asked=len(places), as_accepted=int(np.sum(before < after)), as_now=int(np.sum(after < before)))


def _differ(one: Array, other: Array) -> Array:
    return np.asarray((one != other).reshape(len(one), -1).any(axis=1))


def _distance(one: Array, other: Array) -> Array:
    """How far answers lie apart, shape (n,): for classes 0 or 1, for numbers the largest difference."""
    if one.dtype.kind in "biu":
        return _differ(one, other).astype(float)
    return np.asarray(np.abs(one.astype(float) - other.astype(float)).reshape(len(one), -1).max(axis=1))


def on_reference_kernels(artifact: Path, model: ReferenceModel, places: Array) -> Array | None:
    """Answer examples of the test split on the reference kernels, in a process that may crash alone.

    Args:
        places: of the examples in the test split.
    """
    inputs = model.prepare(rows(model.pack().test.x, places))
    try:
        with tempfile.TemporaryDirectory(prefix="quantbench-") as folder:
            outputs = _run(artifact, model, inputs, Path(folder))
        return np.asarray(model.metric.predict(outputs, inputs))
    except (child_process.ChildFailed, OSError, ValueError, KeyError):  # an explanation is lost, and no verdict
        return None


def _run(artifact: Path, model: ReferenceModel, inputs: Inputs, folder: Path) -> Inputs:
    names = list(inputs) if isinstance(inputs, dict) else None
    examples, outputs = folder / "examples.npz", folder / "outputs.npz"
    np.savez(examples, *(inputs.values() if isinstance(inputs, dict) else [inputs]))
    job = {
        "artifact": str(artifact),
        "examples": str(examples),
        "names": names,
        "stateful": model.stateful,
        "outputs": str(outputs),
    }
    room = None if model.form == "code" else walls.Room(write=(folder,), read=(artifact,))
    done = child_process.start("quantbench.measure.reference_worker", job, LIMIT_S, child_process.ONE_THREAD, room=room)
    named = child_process.result(done)["names"]
    with np.load(outputs, allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    return arrays[0] if named is None else dict(zip(named, arrays, strict=True))
