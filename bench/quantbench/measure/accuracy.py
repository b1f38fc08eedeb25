"""Compute the score and per-example predictions of an artifact on the whole test split, through the store.

The examples run chunk by chunk, see :mod:`quantbench.measure.chunks`; the first of them also on LiteRT's other kernels,
see :mod:`quantbench.measure.side`.
"""

import json
import os
import time
from collections.abc import Callable
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
from quantbench.measure import chunks, side, work
from quantbench.records.origins import DATA, HARNESS, INPUTS, METRIC, PREPARE, RUNTIME
from quantbench.reference import float_model
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.metrics import flat_outputs
from quantbench.reference.model import ReferenceModel
from quantbench.tflite.litert import LiteRT

OTHER_RUNTIMES = side.OTHER_RUNTIMES
FLOAT_EXAMPLES = 100  # of the float model itself, at the least: a wrong conversion changes more than one of them
PREDICTIONS = "predictions.npy"
_OUTPUTS = "outputs.npy"
FACTS = "facts.json"
KERNELS = tuple(f"{runtime}.npy" for runtime in OTHER_RUNTIMES)
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
        others: other runtime -> predictions of the first examples, see
            :func:`quantbench.measure.side.examples_beside`; runtimes that cannot run it are omitted.
        sources: what the answers come from besides the artifact -> its hash or version.
        refusal: the runtime's reason, where it cannot run the artifact.
        findings: what went wrong beside the result, one sentence each.
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
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pace:
    """Say how an evaluation uses the machine, and hear how far it is.

    Attributes:
        interpreters: asked before each chunk how many share its examples, each in its own thread; the outputs are
            bit-identical whatever their number.
        done: called after each chunk with the examples so far, and all of them.
    """

    interpreters: Callable[[], int] = lambda: 1
    done: Callable[[int, int], object] = lambda _done, _total: None


def find(artifact_sha256: str, model: ReferenceModel, store: Store) -> Evaluation | None:
    """Return the evaluation of an artifact; None where the store lacks it."""
    return store.recall(recipe(artifact_sha256, model), partial(_read, model))


def evaluate(
    artifact: Path, artifact_sha256: str, model: ReferenceModel, store: Store, pace: Pace | None = None
) -> Evaluation:
    """Run every test example through the artifact, one at a time, on ``litert-cpu`` with one thread.

    Variants may be equal: who comes second waits for the first one's evaluation.
    """
    made_of = recipe(artifact_sha256, model)
    make = partial(_evaluated, artifact, model, store, pace or Pace())
    with store.making(digest(made_of)):
        return store.remember(made_of, make, partial(_read, model))


def _evaluated(artifact: Path, model: ReferenceModel, store: Store, pace: Pace) -> dict[str, bytes]:
    x, since = model.pack().test.x, time.perf_counter()
    try:
        found = chunks.answer(x, model.prepare, _Runners(artifact, model, pace), partial(_predicted, model), pace.done)
    except REFUSING as refusal:
        if ran_short(refusal):
            raise
        return {FACTS: json.dumps({"refusal": f"LiteRT cannot run it: {refusal_words(refusal)}"}).encode()}
    facts: dict[str, Any] = {
        "sources": _sources(model, found.inputs_sha256[:_DIGITS]),
        "nonfinite": found.nonfinite,
    }
    files = {f"{name}.npy": _npy(values) for name, values in found.predictions.items()}
    files[_OUTPUTS] = _npy(found.first)
    files |= _on_other_runtimes(artifact, model, store, time.perf_counter() - since, facts)
    return files | {FACTS: json.dumps(facts).encode()}


def _head(number: int) -> str:
    """Name the predictions of a further output, by its place in the model's file."""
    return f"head{number}"


def _predicted(model: ReferenceModel, outputs: Inputs, inputs: Inputs) -> dict[str, Array]:
    """Return everything that is predicted of some examples, by its name in the store."""
    heads = {_head(number): head.metric.predict(outputs, inputs) for number, head in enumerate(model.heads)}
    return {Path(PREDICTIONS).stem: model.metric.predict(outputs, inputs), **heads}


class _Runners:
    """Run chunks of examples with as many interpreters as may be used at the moment.

    Those that were loaded stay, as state that an artifact keeps must not depend on the chunks.
    """

    def __init__(self, artifact: Path, model: ReferenceModel, pace: Pace) -> None:
        self._make = partial(LiteRT, artifact, stateful=model.stateful)
        self._pace = pace
        self._loaded = [self._make()]

    def __call__(self, inputs: Inputs) -> Inputs:
        wanted = max(1, min(self._pace.interpreters(), os.cpu_count() or 1, length(inputs)))
        while len(self._loaded) < wanted:
            self._loaded.append(self._make())
        return in_threads(self._loaded[:wanted], inputs)


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


def _sources(model: ReferenceModel, inputs_sha256: str) -> dict[str, str]:
    """Hash what the answers come from besides the artifact, each by itself, so that a change can be named."""
    made_of, declared = recipe("", model), model_source(model)
    metric = {name: value for name, value in declared.items() if name.startswith("metric ")}
    return {
        INPUTS: inputs_sha256,
        DATA: model.data_sha256[:_DIGITS],
        PREPARE: digest({"prepare": declared.get("prepare", declared)})[:_DIGITS],
        METRIC: digest({"metric": metric or declared})[:_DIGITS],
        HARNESS: digest(made_of["code"])[:_DIGITS],
        RUNTIME: made_of["packages"]["ai-edge-litert"],
    }


def _npy(array: Array) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def first_outputs(outputs: Inputs) -> Array:
    """Return the outputs of the first examples, as many as are kept, as float32 rows."""
    return chunks.first_rows(flat_outputs(outputs, {}))


def _on_other_runtimes(
    artifact: Path, model: ReferenceModel, store: Store, seconds: float, facts: dict[str, Any]
) -> dict[str, bytes]:
    """Predict the first examples on the other kernels, through the store: it is a measurement of its own.

    Args:
        seconds: that the default kernels took.
        facts: gets why kernels refused, and what went wrong.
    """
    made_of = kernels_recipe(file_sha256(artifact), model)
    files = store.recall(made_of, _contents)
    if files is None:
        files = _beside(artifact, model, store.root, seconds)
        if not json.loads(files[FACTS])["findings"]:  # what went wrong may go well another time
            store.put(digest(made_of), files, made_of)
    facts |= json.loads(files.pop(FACTS))
    return files


def _contents(folder: Path, _cached: bool) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (FACTS, *KERNELS) if (folder / name).is_file()}


def _beside(artifact: Path, model: ReferenceModel, home: Path, seconds: float) -> dict[str, bytes]:
    count = side.examples_beside(work.operations(artifact), len(model.pack().test))
    inputs = model.prepare(rows(model.pack().test.x, slice(0, count)))
    below = home if artifact.absolute().is_relative_to(home.absolute()) else artifact.absolute().parent
    read = None if model.form == "code" else below.absolute()
    found = side.on_other_kernels(artifact, inputs, model.stateful, read, seconds)
    facts = {**found.refusals, "findings": list(found.findings)}
    answers = {runtime: model.metric.predict(outputs, inputs) for runtime, outputs in found.outputs.items()}
    return {FACTS: json.dumps(facts).encode()} | {f"{runtime}.npy": _npy(of) for runtime, of in answers.items()}


def kernels_recipe(artifact_sha256: str, model: ReferenceModel) -> dict[str, Any]:
    """List everything that affects the answers of the other kernels; how many they give is the same everywhere."""
    made_of = recipe(artifact_sha256, model)
    return {**made_of, "what": "other kernels", "runtime": list(OTHER_RUNTIMES)}


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
            "quantbench.measure.chunks",
            "quantbench.measure.side",
            "quantbench.measure.side_worker",
            "quantbench.measure.work",
            *METRICS,
            "quantbench.tflite.litert",
            "quantbench.reference.model",
            "quantbench.core.arrays",
            "quantbench.reference.datasets",
            "quantbench.reference.npy_folder",
        ),
        "cpu": cpu(),
    }


def _read(model: ReferenceModel, folder: Path, cached: bool) -> Evaluation:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
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
        if (folder / f"{runtime}.npy").exists()
    }
    findings = tuple(str(finding) for finding in facts["findings"])
    heads: dict[str, Array] = {
        head.name: np.load(folder / f"{_head(number)}.npy", allow_pickle=False)
        for number, head in enumerate(model.heads)
    }
    return Evaluation(
        predictions, score, nonfinite, cached, outputs, others, facts["sources"], heads=heads, findings=findings
    )


def float_predictions_known(model: ReferenceModel, train_seed: int | None, store: Store) -> bool:
    """Check whether :func:`float_predictions` needs no computation: it is stored, or is None anyway."""
    return not has_own(model, train_seed) or store.get(digest(float_recipe(model))) is not None


def float_predictions(model: ReferenceModel, train_seed: int | None, store: Store) -> Array | None:
    """Compute the predictions of the float model before conversion, of as many examples as fit in a chunk.

    They only tell whether the conversion is right, and take as long as the artifact's. None where it came as a
    ``.tflite``, or was retrained in this run, as its weights then differ from ``model``'s.
    """
    if not has_own(model, train_seed):
        return None

    def make() -> dict[str, bytes]:
        x = model.pack().test.x
        like = model.prepare(rows(x, slice(0, 1)))
        predictor = float_model.Predictor(model, like)
        few = rows(x, slice(0, max(FLOAT_EXAMPLES, chunks.fitting(chunks.CHUNK_BYTES, like))))
        found = chunks.answer(few, model.prepare, predictor, partial(_predicted, model), multiple=predictor.batch)
        return {f"{name}.npy": _npy(values) for name, values in found.predictions.items()}

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
            "quantbench.measure.chunks",
            *METRICS,
            "quantbench.reference.float_model",
            "quantbench.reference.precision",
            "quantbench.core.tensorflow",
            "quantbench.reference.training",
            "quantbench.reference.model",
            "quantbench.core.arrays",
            "quantbench.reference.datasets",
            "quantbench.reference.npy_folder",
        ),
        "cpu": cpu(),
    }


def nonfinite_examples(outputs: Inputs) -> int:
    """Count the examples that have a NaN or infinite value in any output."""
    return chunks.nonfinite_rows(outputs)
