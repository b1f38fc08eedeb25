"""Compute the score and per-example predictions of an artifact on the whole test split, through the store.

A few fixed examples also run on LiteRT's other kernels, to distinguish a change of the model from one of the runtime.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import REFUSING, code_sha256, model_source, refusal_words
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store, digest
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.core.environment import cpu
from quantbench.errors import ran_short
from quantbench.records.origins import DATA, HARNESS, INPUTS, METRIC, PREPARE, RUNTIME
from quantbench.reference import float_model
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.metrics import flat_outputs
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.litert import LiteRT, Runtime

OTHER_RUNTIMES: tuple[Runtime, ...] = ("litert-builtin", "litert-reference")
OTHER_EXAMPLES = 300  # the reference kernels are up to 50 times slower
KEPT_OUTPUTS = 1000
KEPT_VALUES = 200_000
PREDICTIONS = "predictions.npy"
_OUTPUTS = "outputs.npy"
_HEAD = "head{}.npy"  # by the head's place in the model's file
_FACTS = "facts.json"
_DIGITS = 12


@dataclass(frozen=True)
class Evaluation:
    """Hold the outputs of an artifact, as far as they are kept.

    Attributes:
        predictions: one stored prediction per example, shape (n,), as the model's metric makes them.
        score: the metric's value; NaN where an output was not finite.
        nonfinite: number of examples with a NaN or infinite output.
        cached: whether it came from the store.
        outputs: of the first examples, shape (m, values), all outputs of an example in one row.
        others: other runtime -> predictions of the first 300 examples; runtimes that cannot run it are omitted.
        sources: what the answers come from besides the artifact -> its hash or version.
        refusal: the runtime's reason, where it cannot run the artifact.
        heads: name of a further output -> its predictions.
    """

    predictions: Array | None
    score: float
    nonfinite: int
    cached: bool
    outputs: Array | None = None
    others: dict[str, Array] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    heads: dict[str, Array] = field(default_factory=dict)


def find(artifact_sha256: str, model: ReferenceModel, store: Store) -> Evaluation | None:
    """Return the evaluation of an artifact; None where the store lacks it."""
    return store.recall(recipe(artifact_sha256, model), partial(_read, model))


def evaluate(
    artifact: Path, artifact_sha256: str, model: ReferenceModel, store: Store, interpreters: int = 1
) -> Evaluation:
    """Run every test example through the artifact, one at a time, on ``litert-cpu`` with one thread.

    Args:
        interpreters: how many share the examples, each in its own thread; the outputs are bit-identical.
    """
    make = partial(_evaluated, artifact, model, interpreters)
    return store.remember(recipe(artifact_sha256, model), make, partial(_read, model))


def _evaluated(artifact: Path, model: ReferenceModel, interpreters: int) -> dict[str, bytes]:
    inputs = model.prepare(model.pack().test.x)
    facts: dict[str, Any] = {"sources": _sources(model, inputs)}
    files: dict[str, bytes] = {}
    try:
        outputs = answers(artifact, model.stateful, inputs, interpreters)
        facts["nonfinite"] = nonfinite_examples(outputs)
        files[PREDICTIONS] = _npy(model.metric.predict(outputs, inputs))
        for number, head in enumerate(model.heads):
            files[_HEAD.format(number)] = _npy(head.metric.predict(outputs, inputs))
        files[_OUTPUTS] = _npy(first_outputs(outputs))
        files |= _on_other_runtimes(artifact, model, inputs, facts)
    except REFUSING as refusal:
        if ran_short(refusal):
            raise
        facts["refusal"] = f"LiteRT cannot run it: {refusal_words(refusal)}"
    return files | {_FACTS: json.dumps(facts).encode()}


def answers(artifact: Path, stateful: bool, inputs: Inputs, interpreters: int) -> Inputs:
    """Compute the outputs of every example, shape (n, ...), with the examples divided among the interpreters."""
    count = max(1, min(interpreters, os.cpu_count() or 1, length(inputs)))
    return in_threads([LiteRT(artifact, stateful=stateful) for _ in range(count)], inputs)


def in_threads(runners: list[LiteRT], inputs: Inputs) -> Inputs:
    """Compute the outputs of every example; each runner computes its own share in its own thread."""
    if len(runners) == 1:
        return runners[0].run(inputs)
    bounds = np.linspace(0, length(inputs), len(runners) + 1).astype(int)
    shares = [rows(inputs, slice(a, b)) for a, b in pairwise(bounds)]
    with ThreadPoolExecutor(len(runners)) as pool:
        parts = [part if isinstance(part, dict) else {"": part} for part in pool.map(LiteRT.run, runners, shares)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined.get("", joined)


def _sources(model: ReferenceModel, inputs: Inputs) -> dict[str, str]:
    """Hash what the answers come from besides the artifact, each by itself, so that a change can be named."""
    made_of, declared = recipe("", model), model_source(model)
    metric = {name: value for name, value in declared.items() if name.startswith("metric ")}
    return {
        INPUTS: _inputs_digest(inputs),
        DATA: model.data_sha256[:_DIGITS],
        PREPARE: digest({"prepare": declared.get("prepare", declared)})[:_DIGITS],
        METRIC: digest({"metric": metric or declared})[:_DIGITS],
        HARNESS: digest(made_of["code"])[:_DIGITS],
        RUNTIME: made_of["packages"]["ai-edge-litert"],
    }


def _inputs_digest(inputs: Inputs) -> str:
    """Hash the inputs that the artifact is given, after the model's ``prepare``."""
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    hashed = hashlib.sha256()
    for name, array in sorted(named.items()):
        hashed.update(f"{name} {array.dtype.str} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()[:_DIGITS]


def _npy(array: Array) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def first_outputs(outputs: Inputs) -> Array:
    """Return the outputs of the first examples, as many as are kept, as float32 rows."""
    flat = flat_outputs(outputs, {})
    return flat[: max(50, min(KEPT_OUTPUTS, KEPT_VALUES // max(1, flat.shape[1])))]


def _on_other_runtimes(
    artifact: Path, model: ReferenceModel, inputs: Inputs, facts: dict[str, Any]
) -> dict[str, bytes]:
    few = rows(inputs, slice(0, OTHER_EXAMPLES))
    files = {}
    for runtime in OTHER_RUNTIMES:
        try:
            outputs = LiteRT(artifact, stateful=model.stateful, runtime=runtime).run(few)
            files[f"{runtime}.npy"] = _npy(model.metric.predict(outputs, few))
        except REFUSING as refusal:
            if ran_short(refusal):
                raise
            facts[runtime] = refusal_words(refusal)
    return files


def recipe(artifact_sha256: str, model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects an evaluation."""
    return {
        "what": "evaluation",
        "artifact": artifact_sha256,
        "model": model.name,
        "source": model_source(model),
        "data": model.data_sha256,
        "runtime": "litert-cpu",
        "packages": {"ai-edge-litert": package_contents("ai-edge-litert")},
        "code": code_sha256(
            "quantbench.measure.accuracy",
            *METRICS,
            "quantbench.tflite.litert",
            "quantbench.reference.model",
            "quantbench.core.arrays",
            "quantbench.reference.datasets",
        ),
        "cpu": cpu(),
    }


def _read(model: ReferenceModel, folder: Path, cached: bool) -> Evaluation:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    if "refusal" in facts:
        return Evaluation(None, float("nan"), 0, cached, refusal=str(facts["refusal"]))
    predictions = np.load(folder / PREDICTIONS, allow_pickle=False)
    if len(predictions) != len(model.pack().test):
        raise ValueError(f"{folder.name[:12]} holds {len(predictions)} answers to {len(model.pack().test)} examples")
    nonfinite = int(facts["nonfinite"])
    score = float("nan") if nonfinite else model.metric.value(predictions, model.pack().test.y)
    outputs = np.load(folder / _OUTPUTS, allow_pickle=False)
    others: dict[str, Array] = {
        runtime: np.load(folder / f"{runtime}.npy", allow_pickle=False)
        for runtime in OTHER_RUNTIMES
        if runtime not in facts
    }
    heads: dict[str, Array] = {
        head.name: np.load(folder / _HEAD.format(number), allow_pickle=False) for number, head in enumerate(model.heads)
    }
    return Evaluation(predictions, score, nonfinite, cached, outputs, others, facts["sources"], heads=heads)


def float_predictions_known(model: ReferenceModel, train_seed: int | None, store: Store) -> bool:
    """Check whether :func:`float_predictions` needs no computation: it is stored, or is None anyway."""
    return not has_own(model, train_seed) or store.get(digest(float_recipe(model))) is not None


def float_predictions(model: ReferenceModel, train_seed: int | None, store: Store) -> Array | None:
    """Compute the predictions of the float model before conversion.

    None where it came as a ``.tflite``, or was retrained in this run, as its weights then differ from ``model``'s.
    """
    if not has_own(model, train_seed):
        return None

    def make() -> dict[str, bytes]:
        inputs = model.prepare(model.pack().test.x)
        return {PREDICTIONS: _npy(model.metric.predict(float_model.predict(model, inputs), inputs))}

    def read(folder: Path, _cached: bool) -> Array:
        return np.asarray(np.load(folder / PREDICTIONS, allow_pickle=False))

    return store.remember(float_recipe(model), make, read)


def has_own(model: ReferenceModel, train_seed: int | None) -> bool:
    """Check whether the float model has predictions of its own, see :func:`float_predictions`."""
    return model.form != "tflite" and train_seed is None


def float_recipe(model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects the float model's own predictions."""
    return {
        "what": "float predictions",
        "model": model.name,
        "source": model_source(model),
        "weights": model.weights_sha256,
        "data": model.data_sha256,
        "packages": {name: package_contents(name) for name in ("tensorflow", "tf-keras", "keras")},
        "code": code_sha256(
            "quantbench.measure.accuracy",
            *METRICS,
            "quantbench.reference.float_model",
            "quantbench.core.tensorflow",
            "quantbench.reference.training",
            "quantbench.reference.model",
            "quantbench.core.arrays",
            "quantbench.reference.datasets",
        ),
        "cpu": cpu(),
    }


def nonfinite_examples(outputs: Inputs) -> int:
    """Count the examples that have a NaN or infinite value in any output."""
    arrays = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    bad = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        bad |= ~np.isfinite(array.reshape(len(array), -1).astype(np.float64)).all(axis=1)
    return int(np.count_nonzero(bad))
