"""Find and run stored cells in one side's environment, started by :mod:`quantbench.ab.mixed`. Reads a job as JSON.

``{"find": ["model/variant", ...], "model_dir": DIR}`` returns the path of each artifact, with its hash and its hash
without the converter's stamp. ``{"run": FILE, "sha256": HASH, "cell": "model/variant", "model_dir": DIR, "to": FILE}``
evaluates an artifact of either side with this side's runtime, and saves its predictions.
"""

from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build import artifact
from quantbench.build.store import Store, default_root
from quantbench.core.worker import worker_main
from quantbench.measure import accuracy
from quantbench.records import parts
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.variants import VARIANTS


def _find(cells: list[str], models: dict[str, ReferenceModel]) -> dict[str, Any]:
    import hashlib

    from quantbench.tflite.edit import without_stamp

    store, artifacts = Store(default_root()), {}
    for cell in cells:
        model, variant = parts(cell)
        built = artifact.find(models[model], VARIANTS[variant], 0, None, store)
        if built is not None and built.path is not None:
            plain = hashlib.sha256(without_stamp(built.path.read_bytes())).hexdigest()
            artifacts[cell] = {"path": str(built.path), "sha256": built.sha256, "plain": plain}
    return artifacts


def _run(job: dict[str, Any], models: dict[str, ReferenceModel]) -> dict[str, Any]:
    model = models[parts(job["cell"])[0]]
    evaluation = accuracy.evaluate(Path(job["run"]), job["sha256"], model, Store(default_root()))
    if evaluation.predictions is None:
        return {"refusal": evaluation.refusal}
    np.save(job["to"], evaluation.predictions, allow_pickle=False)
    return {"score": None if evaluation.nonfinite else evaluation.score, "nonfinite": evaluation.nonfinite}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job, see the module."""
    models = load_models(Path(job["model_dir"]))
    return _find(job["find"], models) if "find" in job else _run(job, models)


if __name__ == "__main__":
    worker_main(run)
