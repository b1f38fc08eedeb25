"""Recognize and check saved models: the form of a file, whether it is safe to load, and its inputs.

Files are data, not code: a file that would run its own code when loaded is refused before anything is loaded.
A ``.py`` model is code that the user trusts.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core import child_process, walls
from quantbench.errors import BadInput
from quantbench.reference import float_model, precision
from quantbench.reference.model import Form, ReferenceModel
from quantbench.safety import archive, hdf5, keras_config, saved_model, tflite
from quantbench.tflite import graph as structure
from quantbench.tflite.litert import LiteRT

FORMS = "a .keras, an .h5, a SavedModel folder, a float .tflite, or file.py:NAME"
_TFLITE = b"TFL3"
_LIMIT_SECONDS = 600
Specs = dict[str, tuple[tuple[int, ...], Any]]


class AlreadyQuantized(BadInput):
    """Raised where a float model is wanted and a quantized one given."""


def detect(path: Path) -> Form:
    """Detect the form of a saved model, by its content instead of its name.

    Raises:
        BadInput: it does not exist, or is damaged.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise BadInput(f"{path}: the folder holds no saved_model.pb; expected {FORMS}")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); expected {FORMS}") from None
    if head[4:8] == _TFLITE:
        return "tflite"
    if head == hdf5.SIGNATURE:
        return _keras_form(path, hdf5.attribute(path, "keras_version"))
    if zipfile.is_zipfile(path):
        archive.check(path)
        return _keras_form(path, keras_config.read_member(path, "metadata.json").get("keras_version"))
    raise BadInput(f"{path}: is none of {FORMS}, or it is truncated")


def _keras_form(path: Path, version: Any) -> Form:
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    major = text.split(".")[0]
    if major in ("1", "2"):
        return "keras2"
    if major == "3":
        return "keras3"
    raise BadInput(f"{path}: does not say which Keras saved it (keras_version: {text}); is it a whole model?")


def check_safe(path: Path, form: Form, allow_code: bool = False, quantized: bool = False) -> None:
    """Refuse a file that would run code, before anything is loaded.

    tf-keras only applies ``safe_mode`` to ``.keras`` files and Lambdas: see :mod:`quantbench.safety.keras_config`.

    Args:
        quantized: whether a ``.tflite`` may be quantized, as it stands for a float model that nobody has.

    Raises:
        BadInput: a Keras file with code or an unknown class, an operator that may do more than compute, a quantized
            ``.tflite``, or damage.
    """
    if form == "keras2" or form == "keras3":
        keras_config.check(path, form, allow_code)
    if form == "saved_model":
        saved_model.check(path)
    if form == "tflite":
        graph, _ = tflite_graph(path)
        if not quantized:
            _check_float(path, graph)


def tflite_graph(path: Path) -> tuple[structure.Graph, Specs]:
    """Read a ``.tflite``, and let LiteRT load it in a process behind walls; return its graph and inputs.

    Raises:
        BadInput: it is damaged, has no inputs, outputs or operators, or LiteRT lacks an operator or cannot load it.
    """
    try:
        graph = structure.read(tflite.content(path))
    except ValueError as error:
        raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None
    for ports, what in ((graph.inputs, "inputs"), (graph.outputs, "outputs"), (graph.operators, "operators")):
        if not ports:
            raise BadInput(f"{path}: the model has no {what}; convert it again from the float model")
    try:
        tflite.check_runs((operator.name for operator in graph.operators), structure.builtin_operators())
    except tflite.Unfit as error:
        raise BadInput(f"{path}: {error}") from None
    for tensor in graph.inputs:
        float_model.check_shape(path, tensor.name, tensor.declared_shape)
    return graph, _tflite_inputs(path)


def is_quantized(graph: structure.Graph) -> bool:
    """Check whether a scale, or a narrow constant, shows that a model is quantized: a float one may take uint8 too."""
    return any(t.scales or (t.data is not None and t.dtype in ("float16", "int4", "int2")) for t in graph.tensors)


def _check_float(path: Path, graph: structure.Graph) -> None:
    if is_quantized(graph):
        dtypes = [tensor.dtype for tensor in graph.tensors]
        census = ", ".join(f"{dtypes.count(name)} of {name}" for name in sorted(set(dtypes)))
        ports = [*graph.inputs, *graph.outputs]
        looks = "although its inputs and outputs are float32 " if all(one.dtype == "float32" for one in ports) else ""
        raise AlreadyQuantized(
            f"{path}: is already quantized {looks}(tensors: {census}); give the float model that it was made from"
        )


def _tflite_inputs(path: Path) -> Specs:
    """Read the inputs of a ``.tflite`` by LiteRT. Raises BadInput where LiteRT cannot load the file, or crashes."""
    result = _in_child({"artifact": str(path.absolute())}, path)
    return {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in result["specs"].items()}


def _in_child(job: dict[str, Any], path: Path) -> Any:
    """Inspect an untrusted ``.tflite`` in another process, as LiteRT trusts what it loads, and may crash on it."""
    room = walls.Room(read=(path.absolute(),))
    try:
        return child_process.result(
            child_process.start("quantbench.measure.tflite_worker", job, _LIMIT_SECONDS, {}, room=room)
        )
    except child_process.ChildFailed as error:
        words = str(error).removeprefix("ended with status 1: ")
        raise BadInput(f"{path}: LiteRT cannot load and run it: {words}") from None


def input_specs(model: ReferenceModel, load: Callable[[ReferenceModel], Any] = float_model.keras2) -> Specs:
    """Return input name -> (shape with the batch first, dtype), as in the float ``.tflite`` of the model.

    The model is loaded in a process behind walls, see :mod:`quantbench.adopt.loading`.

    Args:
        load: loads a model as Keras 2.

    Raises:
        BadInput: the model cannot be loaded, or a dimension is free.
    """
    if model.form == "tflite":
        path = model.file.parent / model.weights
        return fed_as_float(path, LiteRT(path).input_specs())
    if model.form in ("code", "keras2"):
        keras_model = load(model)
        if not getattr(keras_model, "inputs", None):
            raise BadInput(
                f"{model.file.parent / model.weights}: a subclassed model has no fixed inputs; wrap it into a "
                "functional one: keras.Model(inputs, model(inputs))"
            )
        specs = {}
        for tensor in keras_model.inputs:
            name = tensor.name.split(":")[0]
            float_model.check_shape(model.file.parent / model.weights, name, tensor.shape)
            specs[name] = ((1, *tensor.shape[1:]), np.dtype(tensor.dtype.as_numpy_dtype))
        return specs
    folder = float_model.float32_saved_model(model)
    signature = float_model.serving_signature(float_model.load_saved_model(folder), folder)
    specs = {}
    for name, spec in sorted(signature.structured_input_signature[1].items()):
        float_model.check_shape(model.file.parent / model.weights, name, spec.shape)
        specs[name] = ((1, *spec.shape[1:]), np.dtype(spec.dtype.as_numpy_dtype))
    return specs


def fed_as_float(path: Path, specs: Specs) -> Specs:
    """Return the inputs of a ``.tflite``; one with a scale takes real numbers, which are quantized on the way."""
    scaled = [bool(port.scales) for port in structure.read(tflite.content(path)).inputs]
    return {
        name: (shape, np.dtype(np.float32) if real and np.dtype(dtype).kind in "iu" else dtype)
        for (name, (shape, dtype)), real in zip(specs.items(), scaled, strict=True)
    }


def half_precision(path: Path, form: Form) -> str:
    """Return the dtype policy of a Keras file that computes in half precision; empty for any other. Raises BadInput."""
    if form not in ("keras2", "keras3"):
        return ""
    return next(iter(precision.policies(keras_config.configuration(path))), "")
