"""Load the float model from any form: code with weights, a file saved by Keras 2 or 3, a SavedModel, a .tflite.

This module is the only way to the converter, which always gets a SavedModel with batch size 1.
"""

import re
import tempfile
from functools import partial
from typing import Any

import numpy as np

from quantbench.core import tensorflow
from quantbench.core.arrays import Array, Inputs, length, rows
from quantbench.errors import BadInput, Unsupported, disk_is_full, ran_short
from quantbench.reference import precision, training
from quantbench.reference.model import ReferenceModel
from quantbench.safety import keras_config
from quantbench.safety import saved_model as safe_saved_model
from quantbench.tflite.litert import LiteRT

_TEMPORARY: list[tempfile.TemporaryDirectory[str]] = []  # kept until the process ends, then removed
NOT_KERAS_2 = {  # form -> why it cannot be loaded as Keras 2, to be trained
    "keras3": "it was saved by Keras 3, and tfmot trains Keras 2 models only",
    "saved_model": "a SavedModel is not a Keras model that tfmot can train",
    "tflite": "a .tflite cannot be trained",
}
NOT_CONVERTED_TWICE = "the TFLite converter takes Keras models and SavedModels; this is already a .tflite"
SIGNATURE = "serving_default"
BATCH = 250
# Inputs of a batch in bytes. The values between the layers take a hundred times as much: 250 images of 224 x 224
# took 4.6 GiB, 13 of them take 0.4.
BATCH_BYTES = 2**23


def temporary_folder() -> str:
    """Create a folder that is removed when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="quantbench-")
    _TEMPORARY.append(folder)
    return folder.name


def keras2(model: ReferenceModel) -> Any:
    """Load the float model as a Keras 2 model with its pinned weights; one of half precision, as its float32 clone.

    Raises:
        BadInput: it cannot be loaded, or has no float32 clone.
        Unsupported: the model's form cannot be loaded as Keras 2.
    """
    if model.form == "keras2":
        return _in_float32(_original_keras2(model), model)
    return _original_keras2(model)


def _original_keras2(model: ReferenceModel) -> Any:
    if model.form == "code":
        return training.load_pinned(model)
    if model.form == "keras2":
        return _load(tensorflow.tensorflow().keras.models.load_model, model)
    raise Unsupported(NOT_KERAS_2[model.form])


def keras3(model: ReferenceModel) -> Any:
    """Load a model saved by Keras 3 as that."""
    tensorflow.tensorflow()
    import keras

    return _load(keras.saving.load_model, model)


def saved_model(model: ReferenceModel) -> str:
    """Export the float model as a SavedModel with batch size 1.

    Raises:
        Unsupported: the model is a ``.tflite``.
    """
    if model.form == "tflite":
        raise Unsupported(NOT_CONVERTED_TWICE)
    if model.form in ("code", "keras2"):
        return export(keras2(model))
    return with_batch_of_one(float32_saved_model(model))


def float32_saved_model(model: ReferenceModel) -> str:
    """Return the original SavedModel, or the one that Keras 3 exports, of half precision as its float32 clone."""
    return _keras3_saved_model(model) if model.form == "keras3" else original_saved_model(model)


def original_saved_model(model: ReferenceModel) -> str:
    """Return the original SavedModel, checked again just before it is loaded, or the one that Keras 3 exports.

    Raises:
        BadInput: it is not safe to load.
    """
    path = model.file.parent / model.weights
    if model.form == "saved_model":
        safe_saved_model.check(path)
        return str(path)
    return _keras3_saved_model(model, heal=False)


def _keras3_saved_model(model: ReferenceModel, heal: bool = True) -> str:
    """Let Keras 3 export a model; one of half precision as its float32 clone, unless it is to be run as it is."""
    # Keras 3 tracks variables itself: a tf.Module around the model silently loses its weights (outputs became NaN), so
    # its own exporter has to write the SavedModel.
    folder = temporary_folder()
    loaded = keras3(model)
    (_in_float32(loaded, model) if heal else loaded).export(folder, format="tf_saved_model", verbose=False)
    return folder


def _in_float32(loaded: Any, model: ReferenceModel) -> Any:
    """Return the float32 clone of a half-precision model, any other model itself. Raises BadInput."""
    try:
        return precision.healed(loaded)
    except Exception as error:  # layers of others can fail in many ways when they are built again
        if ran_short(error):
            raise
        path, policy = model.file.parent / model.weights, precision.policies(loaded.get_config())[0]
        raise BadInput(
            f"{path}: it computes in half precision (dtype policy {policy}), which TFLite does not, and a float32 "
            f"clone of it cannot be built ({' '.join(str(error).split())[:200]}); save it with the dtype policy float32"
        ) from error


def _load(load: Any, model: ReferenceModel) -> Any:
    """Load a Keras file, checked just before, as it may be in a shared folder and be loaded days after `try`."""
    path = model.file.parent / model.weights
    assert model.form in ("keras2", "keras3")
    keras_config.check(path, model.form, model.trusted)
    try:
        return load(str(path), compile=False, safe_mode=not model.trusted)
    except Exception as error:
        words = " ".join(str(error).split())
        raise BadInput(
            f"{path}: Keras cannot load it ({type(error).__name__}: {words[:300]}); a model with layers of your own "
            "can be given as file.py:NAME"
        ) from error


def export(keras_model: Any) -> str:
    """Export a Keras model as a SavedModel with batch size 1."""
    tf = tensorflow.tensorflow()
    named = zip(keras_model.inputs, input_names(keras_model), strict=True)
    specs = [tf.TensorSpec([1, *t.shape[1:]], t.dtype, name=name) for t, name in named]

    def forward(*tensors: Any) -> Any:
        return keras_model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

    return _saved(tf.function(forward).get_concrete_function(*specs), keras_model)


def input_names(keras_model: Any) -> list[str]:
    """Return the names of a model's inputs; where Keras 3 made them up, those that Keras 2 makes up."""
    names = [tensor.name.split(":")[0] for tensor in keras_model.inputs]
    first = f"{keras_model.layers[0].name}_input" if type(keras_model).__name__ == "Sequential" else ""
    found = [
        (first or f"input_{place}") if re.fullmatch(r"keras_tensor(_\d+)?", name) else name
        for place, name in enumerate(names, 1)
    ]
    return found if len({*found}) == len(found) else names


def _saved(function: Any, owner: Any) -> str:
    """Save one traced function as a SavedModel.

    Args:
        owner: of what the function uses besides variables, such as tables.
    """
    tf = tensorflow.tensorflow()
    module = tf.Module()
    module.forward = function
    # Saving the model itself would save every layer with several functions, all of which the converter loads twice
    # without using them. The artifact is the same, and MobileNetV2 converts in a quarter of the time.
    module.variables_used = list(function.graph.variables)
    handles = {id(variable.handle) for variable in module.variables_used}
    if any(held.dtype == tf.resource and id(held) not in handles for held in function.captured_inputs):
        module.owner = owner
    folder = temporary_folder()
    tf.saved_model.save(module, folder, signatures=function)
    return folder


def load_saved_model(folder: str) -> Any:
    """Load a SavedModel as TensorFlow's object.

    Raises:
        BadInput: TensorFlow cannot load it.
    """
    try:
        return tensorflow.tensorflow().saved_model.load(folder)
    except Exception as error:  # a damaged SavedModel can fail in many ways
        if ran_short(error) or disk_is_full(error):
            raise
        words = " ".join(str(error).split())
        raise BadInput(f"{folder}: TensorFlow cannot load it ({type(error).__name__}: {words[:300]})") from error


def with_batch_of_one(folder: str) -> str:
    """Save a SavedModel's serving signature again, with its free batch dimension fixed to 1.

    Raises:
        BadInput: no serving signature, or another free dimension.
    """
    tf = tensorflow.tensorflow()
    loaded = load_saved_model(folder)
    signature = serving_signature(loaded, folder)
    specs = {}
    for name, spec in sorted(signature.structured_input_signature[1].items()):
        check_shape(folder, name, spec.shape)
        specs[name] = tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name=name)
    return _saved(tf.function(lambda **inputs: signature(**inputs)).get_concrete_function(**specs), loaded)


def serving_signature(loaded: Any, folder: str) -> Any:
    """Return the signature ``serving_default``, or the only one. Raises BadInput where there is none with inputs."""
    signatures = dict(getattr(loaded, "signatures", {}))
    if SIGNATURE not in signatures and len(signatures) != 1:
        raise BadInput(f"{folder}: the SavedModel has {len(signatures)} signatures and none is called {SIGNATURE!r}")
    name = SIGNATURE if SIGNATURE in signatures else next(iter(signatures))
    signature = signatures[name]
    if not signature.structured_input_signature[1] or not signature.structured_outputs:
        raise BadInput(f"{folder}: the SavedModel's signature {name!r} has no inputs, or no outputs")
    return signature


def check_shape(where: object, name: str, shape: Any) -> None:
    """Raise BadInput where a dimension besides the batch is free, or the batch is fixed to more than 1."""
    dimensions = list(shape)
    if dimensions and dimensions[0] not in (None, 1, -1):
        raise BadInput(
            f"{where}: input {name!r} has a fixed batch size of {dimensions[0]}; save the model with a free batch "
            "dimension, or one of 1"
        )
    if any(size in (None, -1) for size in dimensions[1:]):
        raise BadInput(
            f"{where}: input {name!r} has shape {tuple(dimensions)}; every dimension but the first must be fixed: "
            "save the model with the shape that you deploy"
        )


def predict(model: ReferenceModel, inputs: Inputs, as_saved: bool = False) -> Inputs:
    """Compute the float model's outputs before any conversion, shape (n, ...), see :class:`Predictor`."""
    return Predictor(model, inputs, as_saved)(inputs)


def _wide(outputs: Array) -> Array:
    return outputs.astype(np.float32) if outputs.dtype.name in ("float16", "bfloat16") else outputs


class Predictor:
    """Compute the float model's outputs before any conversion, loaded once.

    Args:
        like: examples of the shapes that follow; their values do not matter.
        as_saved: whether a model of half precision computes in it, instead of its float32 clone; the outputs are
            float32 in any case.

    Attributes:
        batch: examples that are computed together.
    """

    def __init__(self, model: ReferenceModel, like: Inputs, as_saved: bool = False) -> None:
        usual = batch_of(like)
        if model.form == "tflite":
            self.batch = 1
            self._run = LiteRT(model.file.parent / model.weights, stateful=model.stateful).run
        elif model.form in ("code", "keras2"):
            keras_model = _original_keras2(model) if as_saved else keras2(model)
            self.batch = (getattr(keras_model, "inputs", None) and keras_model.inputs[0].shape[0]) or usual
            self._run = partial(training.answers, keras_model, batch_size=self.batch)
        else:
            folder = original_saved_model(model) if as_saved else float32_saved_model(model)
            self._loaded = load_saved_model(folder)  # what it loads lives as long as this
            signature = serving_signature(self._loaded, folder)
            specs = signature.structured_input_signature[1]
            self.batch = next(iter(specs.values())).shape[0] or usual
            self._run = partial(_signature_outputs, signature, specs, self.batch)

    def __call__(self, inputs: Inputs) -> Inputs:
        """Return the outputs of every example, shape (n, ...)."""
        outputs = self._run(inputs)
        return {name: _wide(part) for name, part in outputs.items()} if isinstance(outputs, dict) else _wide(outputs)


def batch_of(like: Inputs) -> int:
    """Return how many such examples are computed together."""
    arrays = list(like.values()) if isinstance(like, dict) else [like]
    each = sum(array.nbytes // max(1, len(array)) for array in arrays)
    return max(1, min(BATCH, BATCH_BYTES // max(1, each)))


def _signature_outputs(signature: Any, specs: Any, batch: int, inputs: Inputs) -> Inputs:
    tf = tensorflow.tensorflow()
    named = inputs if isinstance(inputs, dict) else {next(iter(specs)): inputs}
    parts = []
    for start in range(0, length(inputs), batch):
        part = rows(named, slice(start, start + batch))
        assert isinstance(part, dict)
        given = {name: tf.constant(values, dtype=specs[name].dtype) for name, values in part.items()}
        parts.append({name: value.numpy() for name, value in signature(**given).items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return next(iter(joined.values())) if len(joined) == 1 else joined
