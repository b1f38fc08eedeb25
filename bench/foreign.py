"""Models that others saved: which form a file has, whether it is safe to load, what its inputs are.

Files are data, not code: what would run code of its own when loaded is refused before anything is loaded.
A ``.py`` model is code that the user trusts.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import floats, structure, training
from bench.errors import BadInput
from bench.measure import child
from bench.reference import Form, ReferenceModel
from bench.runtimes.litert import LiteRT
from bench.safety import walls

FORMS = "a .keras, an .h5, a SavedModel folder, a float .tflite, or file.py:NAME"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_TFLITE = b"TFL3"
# Operators that call back into Python: they are registered, and still not part of the model.
_LARGEST_JSON = 2**26  # bytes; the configuration of a model with thousands of layers takes a tenth
_DEEPEST_JSON = 1000  # levels; some versions of Python read more, and what walks them later may not
_LIMIT_SECONDS = 600
_CODE_OPERATORS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
Specs = dict[str, tuple[tuple[int, ...], Any]]


def detect(path: Path) -> Form:
    """The form of a saved model, by its content rather than by its name.

    Raises:
        BadInput: there is none, or it is damaged.
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
    if head == _HDF5:
        return _keras_form(path, _h5_attribute(path, "keras_version"))
    if zipfile.is_zipfile(path):
        return _keras_form(path, _zip_json(path, "metadata.json").get("keras_version"))
    raise BadInput(f"{path}: is none of {FORMS}, or it is truncated")


def _keras_form(path: Path, version: Any) -> Form:
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    major = text.split(".")[0]
    if major in ("1", "2"):
        return "keras2"
    if major == "3":
        return "keras3"
    raise BadInput(f"{path}: does not say which Keras saved it (keras_version: {text}); is it a whole model?")


def _h5_attribute(path: Path, name: str) -> Any:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get(name)
    except Exception as error:  # as many ways as the format has fields
        raise BadInput(f"{path}: is not a whole HDF5 file ({error})") from None


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == _HDF5


def _zip_json(path: Path, member: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            loaded = json.loads(archive.read(member))
    except Exception as error:  # a damaged archive fails in as many ways as it has fields
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{path}: is not a whole .keras file ({words})") from None
    if not isinstance(loaded, dict):
        raise BadInput(f"{path}: {member} is not a JSON object")
    return loaded


def _check_members(archive: zipfile.ZipFile) -> None:
    """Raises ValueError where a member would be unpacked outside of its folder, or JSON is no model's."""
    for member in archive.infolist():
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or member.filename.startswith(("/", "\\")) or ":" in parts[0]:
            raise ValueError(f"member {member.filename!r} would be unpacked outside of its folder")
        if member.filename.endswith(".json") and member.file_size > _LARGEST_JSON:
            raise ValueError(f"member {member.filename!r} unpacks to {member.file_size} bytes")


def check_safe(path: Path, form: Form, allow_code: bool = False) -> None:
    """Refuse, before anything is loaded, what would run code from the file.

    tf-keras honours ``safe_mode`` for ``.keras`` files only, so the configuration of every Keras file is read here.

    Raises:
        BadInput: a Lambda layer, a custom operator, a quantized ``.tflite``, or a damaged file.
    """
    if form in ("keras2", "keras3") and not allow_code:
        config = _keras_config(path)
        if _depth(config) > _DEEPEST_JSON:
            raise BadInput(
                f"{path}: its configuration is nested more than {_DEEPEST_JSON} levels deep, which no model is"
            )
        for name in _lambdas(config):
            raise BadInput(
                f"{path}: layer {name!r} is a Lambda, which runs Python code stored in the file when it is loaded; "
                "if you trust whoever made it, say --allow-code"
            )
    if form == "saved_model":
        unknown = _foreign_operators(path)
        if unknown:
            names = ", ".join(unknown)
            raise BadInput(
                f"{path}: the SavedModel needs operators that TensorFlow lacks, or that call Python: {names}"
            )
    if form == "tflite":
        _check_float_tflite(path)


def _keras_config(path: Path) -> Any:
    # By its first bytes, as `detect` and the loaders choose: an HDF5 file with a zip behind it is an HDF5 file.
    if not _is_hdf5(path):
        return _zip_json(path, "config.json")
    text = _h5_attribute(path, "model_config")
    if text is None:
        raise BadInput(f"{path}: holds weights without a model; save the whole model, or give it as file.py:NAME")
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: model_config is not JSON ({error})") from None


def _depth(config: Any) -> int:
    """Levels of a nested configuration; counted without recursion."""
    depth, level = 0, [config]
    while level:
        depth += 1
        inside = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [part for parts in inside for part in parts]
    return depth


def _lambdas(config: Any) -> Iterator[str]:
    """Names of everything in a Keras configuration that carries code: Lambda layers and serialized lambdas."""
    waiting = [config]
    while waiting:  # no recursion: how deep it is nested is for others to say
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("class_name") in ("Lambda", "__lambda__"):
                inner = part.get("config")
                yield str(inner.get("name", "?") if isinstance(inner, dict) else part["class_name"])
            waiting += reversed(part.values())
        elif isinstance(part, list):
            waiting += reversed(part)


def _foreign_operators(path: Path) -> list[str]:
    training.tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise BadInput(f"{path}: saved_model.pb is damaged ({error})") from None
    operators, functions = set(), set()
    for meta in saved.meta_graphs:
        operators |= {node.op for node in meta.graph_def.node}
        for function in meta.graph_def.library.function:
            functions.add(function.signature.name)
            operators |= {node.op for node in function.node_def}
    own = operators - functions
    return sorted(op for op in own if op in _CODE_OPERATORS or op_def_registry.get(op) is None)


def _check_float_tflite(path: Path) -> None:
    try:
        graph = structure.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())[:300]}") from None
    for tensor in graph.inputs:
        floats.check_shape(path, tensor.name, tensor.declared_shape)
    _tflite_inputs(path)
    # A float model may well take uint8 pixels; what makes it quantized is a scale, or a narrow constant.
    if any(t.scales or (t.data is not None and t.dtype in ("float16", "int4", "int2")) for t in graph.tensors):
        dtypes = [tensor.dtype for tensor in graph.tensors]
        census = ", ".join(f"{dtypes.count(name)} of {name}" for name in sorted(set(dtypes)))
        raise BadInput(f"{path}: is already quantized (tensors: {census}); give the float model that it was made from")


def _tflite_inputs(path: Path) -> Specs:
    """Inputs of a ``.tflite``, as LiteRT sees them. Raises BadInput where it cannot load the file, or crashes."""
    told = _in_child({"artifact": str(path.absolute())}, path)
    return {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in told["specs"].items()}


def _in_child(job: dict[str, Any], path: Path) -> Any:
    """What another process says of somebody's ``.tflite``: LiteRT trusts what it loads, and may crash on it."""
    room = walls.Room(read=(path.absolute(),))
    try:
        return child.result(child.start("bench.measure.tflite_worker", job, _LIMIT_SECONDS, {}, room=room))
    except child.ChildFailed as error:
        words = str(error).removeprefix("ended with status 1: ")
        raise BadInput(f"{path}: LiteRT cannot load and run it: {words}") from None


def input_specs(model: ReferenceModel) -> Specs:
    """Input name -> (shape with the batch first, dtype), as the float ``.tflite`` of the model will have them.

    It loads the model, so it is asked in a process behind walls, see :mod:`bench.loading`.

    Raises:
        BadInput: the model cannot be loaded, or a dimension is free.
    """
    if model.form == "tflite":
        return dict(LiteRT(model.file.parent / model.weights).input_specs())
    if model.form in ("code", "keras2"):
        keras_model = floats.keras2(model)
        if not getattr(keras_model, "inputs", None):
            raise BadInput(
                f"{model.file.parent / model.weights}: a subclassed model has no fixed inputs; wrap it into a "
                "functional one: keras.Model(inputs, model(inputs))"
            )
        specs = {}
        for tensor in keras_model.inputs:
            name = tensor.name.split(":")[0]
            floats.check_shape(model.file.parent / model.weights, name, tensor.shape)
            specs[name] = ((1, *tensor.shape[1:]), np.dtype(tensor.dtype.as_numpy_dtype))
        return specs
    tf = training.tensorflow()
    folder = floats.original_saved_model(model)
    signature = floats.serving_signature(tf.saved_model.load(folder), folder)
    specs = {}
    for name, spec in sorted(signature.structured_input_signature[1].items()):
        floats.check_shape(model.file.parent / model.weights, name, spec.shape)
        specs[name] = ((1, *spec.shape[1:]), np.dtype(spec.dtype.as_numpy_dtype))
    return specs
