"""Score and per-example predictions of an artifact on the whole test split, through the store."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bench.build import code_sha256
from bench.datasets import Array, Inputs, file_sha256
from bench.environment import cpu, package_version
from bench.reference import ReferenceModel
from bench.runtimes.litert import LiteRT
from bench.store import Store, digest

_PREDICTIONS = "predictions.npy"
_FACTS = "facts.json"


@dataclass(frozen=True)
class Evaluation:
    """What an artifact answers.

    Attributes:
        predictions: one stored prediction an example, shape (n,), as the model's metric makes them.
        score: the metric's value; NaN where an output was not finite.
        nonfinite: examples with a NaN or infinite output.
        cached: taken from the store.
    """

    predictions: Array
    score: float
    nonfinite: int
    cached: bool


def find(artifact_sha256: str, model: ReferenceModel, store: Store) -> Evaluation | None:
    """The evaluation of an artifact if the store has it."""
    folder = store.get(digest(_ingredients(artifact_sha256, model)))
    return None if folder is None else _read(folder, model, cached=True)


def evaluate(artifact: Path, artifact_sha256: str, model: ReferenceModel, store: Store) -> Evaluation:
    """Run every test example through the artifact, one at a time, on ``litert-cpu`` with one thread."""
    found = find(artifact_sha256, model, store)
    if found is not None:
        return found
    predictions, nonfinite = _predict(artifact, model)
    buffer = BytesIO()
    np.save(buffer, predictions)
    facts = json.dumps({"nonfinite": nonfinite}).encode()
    recipe = _ingredients(artifact_sha256, model)
    folder = store.put(digest(recipe), {_PREDICTIONS: buffer.getvalue(), _FACTS: facts}, recipe)
    return _read(folder, model, cached=False)


def _ingredients(artifact_sha256: str, model: ReferenceModel) -> dict[str, Any]:
    return {
        "what": "evaluation",
        "artifact": artifact_sha256,
        "model": model.name,
        "source": file_sha256(model.file),
        "data": model.data_sha256,
        "runtime": f"litert-cpu {package_version('ai-edge-litert')}",
        "code": code_sha256("measure/accuracy.py", "metrics.py", "runtimes/litert.py", "datasets.py"),
        "cpu": cpu(),
    }


def _read(folder: Path, model: ReferenceModel, cached: bool) -> Evaluation:
    predictions = np.load(folder / _PREDICTIONS, allow_pickle=False)
    nonfinite = int(json.loads((folder / _FACTS).read_text())["nonfinite"])
    score = float("nan") if nonfinite else model.metric.value(predictions, model.pack().test.y)
    return Evaluation(predictions, score, nonfinite, cached)


def _predict(artifact: Path, model: ReferenceModel) -> tuple[Array, int]:
    inputs = model.prepare(model.pack().test.x)
    outputs = LiteRT(artifact, stateful=model.stateful).run(inputs)
    return model.metric.predict(outputs, inputs), nonfinite_examples(outputs)


def nonfinite_examples(outputs: Inputs) -> int:
    """How many examples have a NaN or infinite value in any output."""
    arrays = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    bad = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        bad |= ~np.isfinite(array.reshape(len(array), -1).astype(np.float64)).all(axis=1)
    return int(np.count_nonzero(bad))
