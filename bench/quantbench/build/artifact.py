"""Make artifacts through the store, in a worker; TensorFlow is only imported where the store lacks one."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import files
from quantbench.build import preflight, refusals
from quantbench.build.divergence import first_divergent_tensor
from quantbench.build.fingerprint import source_fingerprint
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store, digest
from quantbench.core import tensorflow
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.core.environment import cpu
from quantbench.core.renamed import installed_name
from quantbench.errors import DiskFull, Unsupported, disk_is_full, ran_short
from quantbench.reference import float_model as floats
from quantbench.reference import training
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import CODE as METRICS
from quantbench.reference.metrics import CONVERSION_AGREEMENT, ROUNDING
from quantbench.reference.model import Recipe, ReferenceModel
from quantbench.tflite.litert import LiteRT
from quantbench.variants import Variant, Workbench

ARTIFACT = "artifact.tflite"
FLOAT_ARTIFACT = "float.tflite"  # next to the export that it was converted from
REFUSAL = "unsupported.txt"
BEFORE_CONVERSION = "before_conversion.npy"
FIRST_DIVERGENT = "parting.txt"
STEPS = "steps.txt"
FACTS = "training.json"
TRAINED = "trained.txt"
PARTING_EXAMPLES = 1000
STAGE_PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization")
_WEIGHTS = "weights.npz"
Facts = list[dict[str, str]]  # of each training, in order
_Trained = tuple[list[Array], int, Facts]  # weights, how many steps they were fine-tuned, and how


@lru_cache
def code_sha256(*modules: str) -> dict[str, str]:
    """Hash the source files of modules, by dotted name, without importing any.

    Raises:
        ModuleNotFoundError: there is no such module, for instance because it was moved.
    """
    # An installer may have installed them as links.
    return {module: file_sha256(_source_file(module), follow=True) for module in modules}


def _source_file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module}, whose source is part of a cache key")
    return Path(spec.origin)


@dataclass(frozen=True)
class Built:
    """Hold an artifact of the store, or the tools' refusal.

    Attributes:
        path: the ``.tflite`` file; None where the tools refused.
        sha256: of its bytes.
        refusal: what the tools said, see :mod:`quantbench.build.refusals` for a sentence of it.
        cached: whether it came from the store.
    """

    path: Path | None
    sha256: str | None
    refusal: str | None
    cached: bool


# What the converters and LiteRT raise for what they do not support; equal inputs raise it again.
REFUSING = (RuntimeError, ValueError, NotImplementedError, AssertionError)


_CODE = (
    "quantbench.build.artifact",
    "quantbench.core.arrays",
    "quantbench.reference.datasets",
    "quantbench.reference.npy_folder",
    "quantbench.build.divergence",
    "quantbench.build.preflight",
    "quantbench.reference.float_model",
    "quantbench.reference.precision",
    *METRICS,
    "quantbench.reference.model",
    "quantbench.tflite.litert",
    "quantbench.tflite.graph",
    "quantbench.core.tensorflow",
    "quantbench.reference.training",
    "quantbench.reference.training_facts",
)
# What counts the figures of a compiled file, which lie beside it in the store.
_FIGURES = tuple(f"quantbench.tflite.{name}" for name in ("compiled", "vela", "work"))


def refusal_words(error: Exception) -> str:
    """Reduce a tool's reason to one line: its type and its first words, as a dump of the model often follows."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _machine() -> dict[str, Any]:
    # Sums of floats depend on the instruction set, and so do the results of training and calibration.
    return {"cpu": cpu(), "numpy": package_contents("numpy")}


def model_source(model: ReferenceModel) -> dict[str, Any]:
    """Collect what can affect a result from a model's file, functions as hashes; floors and descriptions cannot.

    A model that consists of more than functions and plain data is identified by the whole file.
    """
    parts = {
        name: _declared(getattr(model, name))
        for name in ("build", "prepare", "training", "loss", "train", "finetune", "stateful", "form", "trusted")
    }
    if model.trained_outputs:
        parts["trained outputs"] = repr(model.trained_outputs)
    parts |= {f"metric {name}": _declared(getattr(model.metric, name)) for name in ("name", "predict", "value")}
    for head in model.heads:
        of_head = [_declared(part) for part in (head.metric.name, head.metric.predict, head.metric.value, head.loss)]
        whole = None if None in of_head else digest({"metric": of_head, "outputs": head.metric.outputs})
        parts[f"head {head.name} {head.labels}"] = whole
    return parts if None not in parts.values() else {"file": file_sha256(model.file)}


def _declared(value: object) -> str | dict[str, str] | None:
    if inspect.isfunction(value):
        return source_fingerprint(value)
    text = repr(value)
    return None if " at 0x" in text else text  # an object's address does not identify it


def _float_ingredients(model: ReferenceModel, train_seed: int | None) -> dict[str, Any]:
    common = {"model": model.name, "source": model_source(model), "data": model.data_sha256}
    if train_seed is None:
        by_keras3 = model.form == "keras3" or (model.form in ("code", "keras2") and not tensorflow.has_keras2())
        loader = package_contents("keras") if by_keras3 else None
        return {**common, "weights": model.weights_sha256, "loaded by Keras": loader}
    packages = {name: package_contents(name) for name in ("tensorflow", "tf-keras")}
    code = code_sha256(*_CODE)
    return {**common, "trained with seed": train_seed, "packages": packages, "code": code, **_machine()}


def ingredients(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None) -> dict[str, Any]:
    """List everything that affects an artifact's bytes, and the figures of a compiled one."""
    return {
        "what": "artifact",
        "float model": _float_ingredients(model, train_seed),
        "variant": variant.name,
        "variant code": source_fingerprint(variant.make),
        "packages": {installed_name(name): package_contents(name) for name in variant.packages},
        "seed": seed if variant.trained else None,
        "code": code_sha256(*_CODE, *(_FIGURES if variant.compiled else ())),
        **_machine(),
    }


def find(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> Built | None:
    """Return the artifact of a cell, None where the store lacks it; never imports TensorFlow."""
    return store.recall(ingredients(model, variant, seed, train_seed), _built)


def artifact(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> Built:
    """Return the artifact of a cell, from the store or made now.

    Raises:
        BadInput: data or weights are wrong.
        Exception: any error of the converter.
    """
    recipe = ingredients(model, variant, seed, train_seed)
    return store.remember(recipe, lambda: _make(model, variant, seed, train_seed, store), _built)


def _built(folder: Path, cached: bool) -> Built:
    if (folder / REFUSAL).exists():
        return Built(None, None, (folder / REFUSAL).read_text(encoding="utf-8"), cached)
    path = folder / ARTIFACT
    return Built(path, file_sha256(path), None, cached)


def _make(model: ReferenceModel, variant: Variant, seed: int, train_seed: int | None, store: Store) -> dict[str, bytes]:
    training.seed_everything(seed)
    workbench = StoreWorkbench(model, seed, train_seed, store)
    try:
        made = variant.make(workbench)
        return {ARTIFACT: made, **workbench.kept(made)}
    except Unsupported as refusal:
        return {REFUSAL: refusals.kept(str(refusal)).encode()}
    except Exception as refusal:
        if disk_is_full(refusal):  # whatever the tools make of it, this says nothing about the model
            raise DiskFull(str(refusal)) from refusal
        if ran_short(refusal):  # it may succeed another time
            raise
        if isinstance(refusal, REFUSING) or type(refusal).__name__ == "ConverterError":
            return {REFUSAL: refusals.raw_words(refusal).encode()}
        raise


class StoreWorkbench:
    """Implement :class:`quantbench.variants.declare.Workbench` on the store."""

    def __init__(self, model: ReferenceModel, seed: int, train_seed: int | None, store: Store) -> None:
        self.model = model
        self.seed = seed
        self.expected: tuple[Any, Array] | None = None
        self.steps = 0
        self.facts: Facts = []
        self.trained: str | None = None  # hash of all weights that training has left, one stage after the other
        self._train_seed = train_seed
        self.store = store

    def tensorflow(self) -> Any:
        return tensorflow.tensorflow()

    def float_model(self) -> Any:
        if self._train_seed is None:
            return floats.keras2(self.model)
        keras_model = training.untrained(self.model)
        keras_model.set_weights(_trained_weights(self.model, self._train_seed, self.store))
        return keras_model

    def saved_float_model(self) -> str:
        # Tracing a model again for each variant costs more than converting it, so all variants of a worker share one
        # export and one float artifact.
        key = (self.model.name, self.model.weights_sha256, self.model.file, self._train_seed)
        if key not in _EXPORTED:
            retrained = self._train_seed is not None
            _EXPORTED[key] = self.export(self.float_model()) if retrained else floats.saved_model(self.model)
        return _EXPORTED[key]

    def float_artifact(self) -> bytes:
        if self.model.form == "tflite":
            return files.read_bytes(self.model.file.parent / self.model.weights, "weights", files.LARGEST_MODEL)
        kept = Path(self.saved_float_model()) / FLOAT_ARTIFACT
        if not kept.exists():
            converter = self.tensorflow().lite.TFLiteConverter.from_saved_model(str(kept.parent))
            part = kept.with_suffix(".part")  # so that a file cut short by a full disk is never used
            part.write_bytes(converter.convert())
            part.replace(kept)
        return kept.read_bytes()

    def export(self, keras_model: Any) -> str:
        return floats.export(keras_model)

    def calibration(self) -> Iterator[Inputs]:
        split = self.model.pack().calibration
        if split is None:
            raise Unsupported(preflight.NO_CALIBRATION)
        inputs, _ = self.model.fit_inputs(split.x, split.y)
        _check_calibration(inputs)
        return (rows(inputs, slice(i, i + 1)) for i in range(length(inputs)))

    def stage(self, make: Callable[[Workbench], Any]) -> Any:
        recipe = {
            "what": "stage",
            "float model": _float_ingredients(self.model, self._train_seed),
            "stage": make.__name__,
            "stage code": source_fingerprint(make),
            "packages": {name: package_contents(name) for name in STAGE_PACKAGES},
            "seed": self.seed,
            "code": code_sha256(*_CODE),
            **_machine(),
        }
        before, trained_before, facts_before = self.steps, self.trained, list(self.facts)

        def train() -> _Trained:
            weights = make(self).get_weights()
            return weights, self.steps - before, self.facts[len(facts_before) :]

        weights, steps, facts = _shared_weights(self.store, recipe, train)
        self.steps = before + steps  # the same whether it was trained now or long ago
        self.facts = [*facts_before, *facts]
        self.trained = _chained(trained_before, weights)
        keras_model = self.float_model()
        keras_model.set_weights(weights)
        return keras_model

    def finetune(self, keras_model: Any, callbacks: Sequence[Any] = ()) -> None:
        self.fit(keras_model, self.model, self.model.finetune, callbacks)

    def fit(self, keras_model: Any, model: ReferenceModel, recipe: Recipe, callbacks: Sequence[Any]) -> None:
        """Train by a recipe, count the steps actually taken, and keep the facts of the training."""
        self.facts.append(training.fit(keras_model, model, recipe, self.seed, list(callbacks)))
        self.steps += int(keras_model.optimizer.iterations)
        self.trained = _chained(self.trained, keras_model.get_weights())

    def finetune_steps(self) -> int:
        return training.steps(self.model, self.model.finetune)

    def expect_answers_of(self, keras_model: Any) -> None:
        inputs = self.model.prepare(self.model.pack().test.x)
        outputs = training.answers(keras_model, inputs, floats.BATCH)
        self.expected = keras_model, self.model.metric.predict(outputs, inputs)

    def kept(self, artifact: bytes) -> dict[str, bytes]:
        """Return the files stored with the artifact: fine-tuning steps and facts, the outputs before conversion, and
        where the two first diverge if they do.
        """
        files = {STEPS: str(self.steps).encode(), FACTS: json.dumps(self.facts).encode()}
        if self.trained is not None:
            files[TRAINED] = self.trained.encode()
        if self.expected is None:
            return files
        keras_model, answers = self.expected
        buffer = BytesIO()
        np.save(buffer, answers)
        files[BEFORE_CONVERSION] = buffer.getvalue()
        few = self.model.prepare(rows(self.model.pack().test.x, slice(0, PARTING_EXAMPLES)))
        predictions = self.model.metric.predict(LiteRT(artifact, stateful=self.model.stateful).run(few), few)
        agreement = self.model.metric.agreement(predictions, answers[:PARTING_EXAMPLES], ROUNDING)
        if agreement < CONVERSION_AGREEMENT:
            try:
                words = first_divergent_tensor(keras_model, self.tensorflow(), artifact, few, self.model.stateful)
            except Exception as error:  # a failing diagnosis must not fail the cell
                words = f"the layers could not be compared ({refusal_words(error)})"
            files[FIRST_DIVERGENT] = words.encode()
        return files


def _chained(before: str | None, weights: Sequence[Array]) -> str:
    """Hash weights and what was trained before them."""
    found = hashlib.sha256((before or "").encode())
    for array in weights:
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _check_calibration(inputs: Inputs) -> None:
    """Raise Unsupported where ranges found on these examples could not hold for others."""
    if length(inputs) < 2:
        raise Unsupported(f"it needs calibration data; {length(inputs)} example gives no range that holds for others")
    named = inputs if isinstance(inputs, dict) else {"x": inputs}
    for name, values in named.items():
        if values.dtype.kind == "f" and float(values.min()) == float(values.max()):
            raise Unsupported(f"the calibration data is {values.flat[0]:g} throughout ({name}): its range is empty")


_EXPORTED: dict[tuple[str, str, Path, int | None], str] = {}


def _trained_weights(model: ReferenceModel, train_seed: int, store: Store) -> list[Array]:
    """Train weights from scratch."""
    recipe = {"what": "float weights", **_float_ingredients(model, train_seed)}
    return _shared_weights(
        store, recipe, lambda: (training.train_from_scratch(model, train_seed).get_weights(), 0, [])
    )[0]


def _shared_weights(store: Store, recipe: dict[str, Any], train: Callable[[], _Trained]) -> _Trained:
    """Train weights once for all variants and workers that need them."""

    def make() -> dict[str, bytes]:
        buffer = BytesIO()
        weights, steps, facts = train()
        np.savez(buffer, *weights)
        return {_WEIGHTS: buffer.getvalue(), STEPS: str(steps).encode(), FACTS: json.dumps(facts).encode()}

    with store.making(digest(recipe)):
        return store.remember(recipe, make, _weights)


def _weights(folder: Path, _cached: bool) -> _Trained:
    with np.load(folder / _WEIGHTS, allow_pickle=False) as file:
        weights = [file[name] for name in file.files]
    facts: Facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return weights, int((folder / STEPS).read_text(encoding="utf-8")), facts
