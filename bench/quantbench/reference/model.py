"""Define reference models, which ``models/*.py`` files declare, and find and check these files.

TensorFlow is not imported here: a model's ``build`` gets the Keras module as its argument.
"""

import importlib.machinery
import importlib.util
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.core.nearest import nearest
from quantbench.errors import BadInput
from quantbench.records import NAME
from quantbench.reference.datasets import Pack, checked_bytes_hash, checked_npz, load_pack
from quantbench.reference.metrics import ACCURACY, Metric


@dataclass(frozen=True)
class Scaled:
    """Scale raw data to what the model takes, as a ``prepare`` function.

    Attributes:
        how: ``as_given``; ``unit``: 0 to 255 becomes 0 to 1; ``symmetric``: 0 to 255 becomes -1 to 1.
        dtypes: input name -> dtype; for a single input, the name is ignored.
    """

    how: Literal["as_given", "unit", "symmetric"]
    dtypes: Mapping[str, str]

    def __call__(self, x: Inputs) -> Inputs:
        """Convert raw examples to model inputs."""
        if isinstance(x, dict):
            return {name: self._one(values, self.dtypes[name]) for name, values in x.items()}
        return self._one(x, next(iter(self.dtypes.values())))

    def _one(self, values: Array, dtype: str) -> Array:
        if self.how == "unit" and np.dtype(dtype).kind == "f":
            return np.asarray(values / np.float32(255), dtype=dtype)
        if self.how == "symmetric" and np.dtype(dtype).kind == "f":
            return np.asarray(values / np.float32(127.5) - 1, dtype=dtype)
        return np.asarray(values, dtype=dtype)


def logits_loss(keras: Any) -> Any:
    """Return cross-entropy for a model that ends without softmax."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Rebuilt:
    """Train a model to rebuild its input, as a ``training`` function: on normal examples, where they are told apart.

    Attributes:
        prepare: raw examples -> model inputs.
        normal: label of the examples to train on.
    """

    prepare: Scaled
    normal: int = 0

    def __call__(self, x: Array, y: Array) -> tuple[Inputs, Array]:
        """Return inputs, and the same as targets."""
        kept = y == self.normal
        inputs = self.prepare(x[kept] if kept.any() else x)
        assert isinstance(inputs, np.ndarray)
        return inputs, inputs


def binary_logits_loss(keras: Any) -> Any:
    """Return cross-entropy for a model whose single output, or each one, is a logit: no sigmoid."""
    return keras.losses.BinaryCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Recipe:
    """Specify how long and how fast to train, as data, so that a control can be trained identically.

    Attributes:
        epochs: passes over the training split.
        batch_size: examples per step.
        learning_rate: of Adam, at the first step.
        schedule: ``constant``, or ``cosine`` decay to zero over all steps.
        flip: whether to also train on horizontally mirrored images (twice the steps).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    flip: bool = False


@dataclass(frozen=True)
class Floor:
    """Limit the drop from the same-run float control that a release may have; this is policy.

    Attributes:
        max_drop: in the unit of the model's metric (pp for accuracy).
        reason: why this limit; shown in the report.
    """

    max_drop: float
    reason: str


def as_unit_floats(x: Inputs) -> Inputs:
    """Convert uint8 images (n, h, w) to float32 (n, h, w, 1) in [0, 1]."""
    assert isinstance(x, np.ndarray)
    return np.asarray(x[..., None] / np.float32(255), dtype=np.float32)


@dataclass(frozen=True)
class Head:
    """Describe a further output that is scored by itself, beside the model's main one.

    Attributes:
        name: as reports show it; its predictions are stored as ``VARIANT@NAME``.
        metric: of this output alone, see :meth:`quantbench.reference.metrics.Metric.of`.
        labels: key of its labels in the data pack, where they are ``y_test.KEY`` and ``y_train.KEY``; empty: it has
            those of the main output, and learns nothing by itself.
        loss: as of a model; empty: it is not trained.
        floors: largest drops of this output that a release may have, as of a model; empty: no limit.
    """

    name: str
    metric: Metric
    labels: str = ""
    loss: str | Callable[[Any], Any] = ""
    floors: Mapping[str, Floor] = field(default_factory=dict)


Form = Literal["code", "keras2", "keras3", "saved_model", "tflite"]


@dataclass(frozen=True)
class ReferenceModel:
    """Describe a float Keras model with its data, training recipe, pinned weights and metric.

    Attributes:
        name: first half of every cell's key.
        description: one line.
        weights: ``.npz`` of plain arrays, relative to the model's file; or the saved model, depending on ``form``.
        weights_sha256: of that file or folder.
        data: data pack, an ``.npz`` or a folder of ``.npy`` files, relative to the model's file.
        data_sha256: of that file or folder.
        build: Keras module -> untrained model; the architecture is code only. None where ``form`` is not ``code``.
        train: recipe from scratch.
        finetune: recipe of all further training from the float weights (QAT, its control).
        form: kind of ``weights``: arrays for ``build``'s model, or a model saved by some tool.
        trusted: whether a saved Keras model may run its own code (Lambda layers) when loaded.
        trains_in_gate: whether it is small enough for the pull-request gate to run all variants, including trained
            ones; otherwise the gate runs the core variants, and the nightly run the rest.
        floors: by variant name, pattern of names (``*wi4*``), family (``ptq`` / ``qat`` / ``control``) or ``default``;
            the first match in this order applies.
        loss: Keras loss name, or a function from the Keras module to a loss; empty: the main output is not trained.
        metric: how outputs become a score.
        prepare: raw examples -> model inputs (float32).
        training: (raw x, y) -> (inputs, targets) to fit on; default: prepared x and y.
        trained_outputs: outputs that ``training`` gives targets for, as one row of values in their order; empty: those
            of the metric.
        stateful: whether the runtime keeps state between calls, which is then reset before each example.
        smallest_drop: smallest drop of the score that matters, in the metric's unit; None: the metric's own.
        gate_variants: variants that a run measures where ``--variants`` names none; empty: all.
        heads: further outputs with a metric each.
        seed_scores: scores of the recipe with seeds 0, 1, ..., by which a retrained model is judged.
        classes: names of the classes 0, 1, ..., where the data has names.
        file: the model's file, set by the loader.
    """

    name: str
    description: str
    weights: str
    weights_sha256: str
    data: str
    data_sha256: str
    floors: Mapping[str, Floor]
    build: Callable[[Any], Any] | None = None
    train: Recipe = Recipe(epochs=5, batch_size=32, learning_rate=1e-3)
    finetune: Recipe = Recipe(epochs=3, batch_size=32, learning_rate=1e-4)
    form: Form = "code"
    trusted: bool = False
    trains_in_gate: bool = False
    loss: str | Callable[[Any], Any] = "sparse_categorical_crossentropy"
    metric: Metric = ACCURACY
    prepare: Callable[[Inputs], Inputs] = as_unit_floats
    training: Callable[[Array, Array], tuple[Inputs, Array]] | None = None
    trained_outputs: tuple[str, ...] = ()
    stateful: bool = False
    smallest_drop: float | None = None
    gate_variants: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()
    seed_scores: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    file: Path = field(default=Path(), compare=False)

    def pack(self) -> Pack:
        """Load the model's data, hash-checked. Raises BadInput."""
        return load_pack(self.file.parent / self.data, self.data_sha256)

    def check_metric(self) -> None:
        """Raise BadInput where the metric has no value on the test labels, or the smallest drop is no size."""
        why = self.metric.undefined(self.pack().test.y) if self.metric.undefined else ""
        if why:
            raise BadInput(f"{self.file}: metric: {why}; add such examples to {self.data}, or choose another metric")
        if self.smallest_drop is not None and not 0 <= self.smallest_drop < math.inf:
            raise BadInput(
                f"{self.file}: smallest_drop: expected a number of {self.metric.unit}, 0 or more, found "
                f"{self.smallest_drop!r}"
            )

    def check_weights(self) -> None:
        """Raise BadInput unless the weights, or the saved model, have the recorded hash."""
        checked_bytes_hash(self.file.parent / self.weights, self.weights_sha256, "weights")

    def weight_arrays(self) -> list[Array]:
        """Load pinned weights in ``model.get_weights()`` order, hash-checked. Raises BadInput."""
        return list(checked_npz(self.file.parent / self.weights, self.weights_sha256, "weights").values())

    def fit_inputs(self, x: Inputs, y: Array) -> tuple[Inputs, Array]:
        """Return inputs and targets to fit on, from raw examples."""
        if self.training is not None:
            assert isinstance(x, np.ndarray)
            return self.training(x, y)
        return self.prepare(x), y

    def floor(self, variant: str, family: str) -> Floor | None:
        """Return the floor of a variant: its own, else the first matching pattern's, its family's, or the default."""
        patterns = [key for key in self.floors if "*" in key and fnmatchcase(variant, key)]
        for key in (variant, *patterns, family, "default"):
            if key in self.floors:
                return self.floors[key]
        return None


class _FromSource(importlib.machinery.SourceFileLoader):
    """Compile a file each time: Python takes its kept bytecode for one that was edited within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled file; no bytecode is read or written."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_file(path: Path) -> list[ReferenceModel]:
    """Run a model file (code that the user trusts) and return the reference models it defines.

    Raises:
        BadInput: the file cannot be imported, or defines no ReferenceModel.
    """
    path = path.resolve()
    name = f"quantbench_models.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"{path}: not a Python file; a model file defines a quantbench.ReferenceModel")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name != "bench":
            raise BadInput(f"{path}: the model file failed to import: {type(error).__name__}: {error}") from error
        raise BadInput(
            f"{path}: imports from 'bench', as this package was called before; replace its imports of bench.* by "
            "'from quantbench import ...'"
        ) from error
    except Exception as error:
        raise BadInput(f"{path}: the model file failed to import: {type(error).__name__}: {error}") from error
    models = [value for value in vars(module).values() if isinstance(value, ReferenceModel)]
    if not models:
        raise BadInput(f"{path}: defines no quantbench.ReferenceModel; see models/seed_cnn.py for one")
    for model in models:
        if not re.fullmatch(NAME, model.name):
            raise BadInput(
                f"{path}: name: expected letters, digits, '_', '.' and '-', found {model.name!r}; it becomes part of "
                "cell ids and file names"
            )
        object.__setattr__(model, "file", path)
    return models


_ADOPT = "adopt a model first: quantbench adopt MODEL --name NAME --data FILE"


@lru_cache(maxsize=8)
def load_models(folder: Path) -> dict[str, ReferenceModel]:
    """Load every reference model of a folder by name, sorted; files starting with ``_`` are helpers.

    Raises:
        BadInput: no such folder, no model in it, or a duplicate name.
    """
    if not os.path.lexists(folder):
        raise BadInput(f"--model-dir: no such folder: {folder}; give a folder of model files, or {_ADOPT}")
    if not folder.is_dir():
        raise BadInput(f"--model-dir: {folder} is not a folder; give a folder of model files like models/seed_cnn.py")
    models: dict[str, ReferenceModel] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for model in load_file(path):
            if model.name in models:
                raise BadInput(f"{path}: model {model.name} is already defined in {models[model.name].file}")
            models[model.name] = model
    if not models:
        raise BadInput(f"--model-dir: {folder} holds no model file; give a folder of model files, or {_ADOPT}")
    return dict(sorted(models.items()))


def pick(names: str | None, entries: Mapping[str, Any], option: str, where: str = "") -> list[str]:
    """Select the named entries of a comma-separated option, in the order of ``entries``; all where it is empty.

    Args:
        where: what else to say of a name that resembles none, such as the folder that the entries are from.

    Raises:
        BadInput: an unknown name, with the closest valid one.
    """
    if not names:
        return list(entries)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise BadInput(f"{option}: names nothing; known: {', '.join(entries)}")
    for name in wanted:
        if name not in entries:
            near = nearest(name, entries)
            hint = f"did you mean {near}?" if near else f"{where}known: {', '.join(entries)}"
            raise BadInput(f"{option}: unknown name {name!r}; {hint}")
    return [name for name in entries if name in wanted]
