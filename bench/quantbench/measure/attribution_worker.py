"""Attribute an artifact's error to its operators, in a process that may crash.

Reads a job as JSON, ``{"artifact": FILE, "control": FILE, "accepted": FILE or null, "examples": FILE.npz, "names":
[NAME, ...] or null, "stateful": false, "scored": FILE.npz, "model": [FILE, NAME] or null, "output": NAME, "outputs":
[NAME, ...]}``, and writes a :class:`quantbench.records.Attribution` as JSON. Scores need the model's own file, which is
code that the user trusts; they are of the named further output, and errors of those that are listed, or of all.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Inputs, length
from quantbench.core.worker import worker_main
from quantbench.measure import attribution, repairs
from quantbench.tflite.litert import LiteRT


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the errors, repair the suspects, and score what explains most."""
    inputs, _ = _read(Path(job["examples"]), job["names"])
    control, artifact = (Path(job[name]).read_bytes() for name in ("control", "artifact"))
    accepted = Path(job["accepted"]).read_bytes() if job["accepted"] else None
    score, examples = _scorer(job)
    found = attribution.errors(control, artifact, inputs, job["stateful"])
    beside = repairs.Beside(control, attribution.examples(artifact, inputs), job["stateful"], tuple(job["outputs"]))
    found = repairs.explained(found, artifact, beside, accepted, score)
    if score is not None:
        scores = {"float_score": score(control), "score": score(artifact), "scored": examples}
        found = found.model_copy(update=scores)
    return found.model_dump(mode="json")


def _read(path: Path, names: list[str] | None) -> tuple[Inputs, Any]:
    with np.load(path, allow_pickle=False) as file:
        arrays = [file[f"arr_{i}"] for i in range(len(file.files) - ("y" in file.files))]
        labels = file["y"] if "y" in file.files else None
    return (arrays[0] if names is None else dict(zip(names, arrays, strict=True))), labels


def _scorer(job: dict[str, Any]) -> tuple[repairs.Scorer | None, int]:
    """Return what scores an artifact by the model's metric, and on how many examples."""
    if not job["model"]:
        return None, 0
    from quantbench.reference.heads import by_output
    from quantbench.reference.model import load_file

    file, name = job["model"]
    model = next(model for model in load_file(Path(file)) if model.name == name)
    metric = by_output(model)[job["output"]].metric
    inputs, labels = _read(Path(job["scored"]), job["names"])

    def score(artifact: bytes) -> float:
        outputs = LiteRT(artifact, stateful=job["stateful"]).run(inputs)
        return float(metric.value(metric.predict(outputs, inputs), labels))

    return score, length(inputs)


if __name__ == "__main__":
    worker_main(run)
