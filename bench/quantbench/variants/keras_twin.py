"""Carry the float model over to Keras 3, and check that it still gives the same outputs.

The reference models are built by Keras 2 (tf-keras), which tfmot needs. Keras 3 builds the same architecture from the
same function, and its weights come in the same order.
"""

import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Inputs, rows
from quantbench.errors import Unsupported
from quantbench.reference import float_model, precision, training
from quantbench.variants.declare import Workbench

CHECKED = 64  # examples on which both models must agree
# Of float32 sums in another order: the seven models differ by at most 2e-5 where outputs reach 1.
RELATIVE, ABSOLUTE = 1e-3, 1e-4
NOT_KERAS_3 = {  # form -> why Keras 3 cannot quantize it
    "keras2": "it was saved by Keras 2, and Keras 3 quantizes its own models only",
    "saved_model": "a SavedModel is not a Keras model that Keras 3 can quantize",
    "tflite": "a .tflite is not a Keras model that Keras 3 can quantize",
}


def keras3(bench: Workbench) -> Any:
    """Import Keras 3, beside the Keras 2 that TensorFlow is told to use."""
    bench.tensorflow()  # sets the threads, and which Keras TensorFlow itself means
    import keras

    return keras


def of_float_model(bench: Workbench) -> Any:
    """Return the float model of this run as a Keras 3 model with the same weights.

    Raises:
        Unsupported: the model's form is not Keras, its code does not build in Keras 3, or the outputs differ.
    """
    if bench.model.form == "keras3":
        return precision.healed(float_model.keras3(bench.model))
    if bench.model.form != "code":
        raise Unsupported(NOT_KERAS_3[bench.model.form])
    twin = _built(bench)  # first: it resets Keras 3, and with it TensorFlow's default graph
    keras2_model = bench.float_model()
    weights = keras2_model.get_weights()
    _carry_over(weights, twin)
    checked = (bench.model.file, bench.model.name, _digest(weights))
    if checked not in _CHECKED:  # tracing both models takes longer than quantizing one
        _check_outputs(bench, keras2_model, twin)
        _CHECKED.add(checked)
    return twin


_CHECKED: set[tuple[Path, str, str]] = set()  # in this process


def _digest(weights: list[Any]) -> str:
    found = hashlib.sha256()
    for array in weights:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _built(bench: Workbench) -> Any:
    keras = keras3(bench)
    assert bench.model.build is not None
    keras.backend.clear_session()  # layers are numbered within a process, and their names are part of the file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Keras 3 prefers an Input to input_shape
            return bench.model.build(keras)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:  # what Keras 3 has not, or elsewhere
        raise Unsupported(f"its code does not build in Keras 3: {' '.join(str(error).split())[:200]}") from error


def _carry_over(weights: list[Any], twin: Any) -> None:
    shapes = [tuple(array.shape) for array in weights]
    expected = [tuple(variable.shape) for variable in twin.weights]
    if shapes != expected:
        place = next((i for i, pair in enumerate(zip(shapes, expected, strict=False)) if pair[0] != pair[1]), "last")
        raise Unsupported(
            f"its weights do not fit the model that Keras 3 builds: {len(shapes)} arrays for {len(expected)}, other "
            f"shapes from number {place} on"
        )
    twin.set_weights(weights)


def _check_outputs(bench: Workbench, keras2_model: Any, twin: Any) -> None:
    x = bench.model.prepare(rows(bench.model.pack().test.x, slice(0, CHECKED)))
    theirs = _named(training.answers(keras2_model, x, CHECKED))
    ours = _named(training.named(twin.predict(x, batch_size=CHECKED, verbose=0)))
    for one, other in zip(theirs, ours, strict=True):
        if one.shape != other.shape or not np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE):
            apart = f"by up to {np.max(np.abs(one - other)):.2g}" if one.shape == other.shape else "in shape"
            raise Unsupported(f"with the same weights, the model that Keras 3 builds gives other outputs, {apart}")


def _named(given: Inputs) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else [given]


def litert(bench: Workbench, keras_model: Any) -> bytes:
    """Let Keras 3 export a model to LiteRT as it is, with batch size 1."""
    tf = bench.tensorflow()
    specs = [tf.TensorSpec([1, *t.shape[1:]], t.dtype, name=t.name.split(":")[0]) for t in keras_model.inputs]
    with tempfile.TemporaryDirectory(prefix="quantbench-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "exported.tflite"
        signature = [specs] if len(specs) > 1 else specs
        keras_model.export(str(path), format="litert", input_signature=signature, verbose=False)
        return path.read_bytes()
