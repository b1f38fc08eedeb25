"""Check Keras files before anything is loaded: their whole configuration against an allow-list, as the first wall.

A configuration names classes, functions and modules, and Keras looks up each of them while it rebuilds the model. Names
that are missing on the lists of :mod:`quantbench.safety.keras_names` are refused, whatever would resolve them: a
Lambda, a custom class, a TensorFlow function with effects, a module outside of Keras, a file to read words from.

``--allow-code`` (a trusted model) skips all of these lists, because a file that may run its own Python can do
everything that they prevent: Lambda layers, functions in wrappers, custom classes, imports, any TensorFlow function,
files named in layers. It does not skip the depth of a configuration, :mod:`quantbench.safety.archive` and
:mod:`quantbench.safety.hdf5`.
"""

import json
import zipfile
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantbench.errors import BadInput
from quantbench.safety import archive, hdf5
from quantbench.safety import keras_names as names

KerasForm = Literal["keras2", "keras3"]
_DEEPEST = 1000  # levels; some versions of Python read more, but later code may not handle them
_WEIGHTS = "model.weights.h5"
_CONFIGURATION = "config.json"
_TRUST = "if you trust whoever made it, say --allow-code"
_OWN = "a model with layers of your own can be given as file.py:NAME, or, " + _TRUST

# Keras' own classes that still run code of the file, or access other files; all other refused classes are unknown ones.
REFUSED = {
    "Lambda": "runs Python code stored in the file when it is loaded",
    "__lambda__": "runs Python code stored in the file when it is loaded",
    "TFSMLayer": "loads another SavedModel",
    "TorchModuleWrapper": "unpickles a PyTorch module",
    "JaxLayer": "carries functions of JAX",
    "FlaxLayer": "carries a module of Flax",
    "DenseFeatures": "builds feature columns, which read files",
    "SequenceFeatures": "builds feature columns, which read files",
    "LinearModel": "builds feature columns, which read files",
    "DynamicEmbedding": "is an experiment of Keras that reads words from files",
    "DynamicLookup": "is an experiment of Keras that reads words from files",
    "FeatureSpace": "preprocesses tables, which no converter takes",
    "CompositeTensor": "builds a tensor of a type that the file names",
    **dict.fromkeys(
        (
            *("Map", "Scan", "AssociativeScan", "WhileLoop", "ForiLoop", "Cond", "Switch", "VectorizedMap"),
            *("JVP", "Function", "Operation"),
        ),
        "calls functions that are given to it",
    ),
}
# Values that JSON cannot express, given as a dictionary; they are rebuilt without looking up a name.
_VALUES = {
    *("__tensor__", "__numpy__", "__bytes__", "__tuple__", "__ellipsis__", "__slice__", "__keras_tensor__"),
    "TensorShape",
}
_SPECS = {"TensorSpec", "tf.TensorSpec"}
_SPEC_MODULES = {"tensorflow.python.framework.tensor", "tensorflow.python.framework.tensor_spec"}
_FUNCTION_MODULES = {
    *("builtins", "keras.activations", "keras.losses", "keras.metrics", "keras.ops", "keras.ops.nn"),
    *(f"tensorflow.python.ops.{name}" for name in ("nn_ops", "gen_nn_ops", "nn_impl", "math_ops", "gen_math_ops")),
}
_FUNCTION_ATTRIBUTES = ("residual_fn", "dropout_state_filter_visitor")
_CODE_TYPES = ("lambda", "function")
_SUFFIXES = ("_initializer", "_regularizer", "_constraint")
_ATTRIBUTES = {"InstanceProperty": names.RAGGED_VALUES, "InstanceMethod": names.RAGGED_METHODS}


@dataclass(frozen=True)
class _Lists:
    """List what a file may request from one version of Keras."""

    version: str
    classes: frozenset[str]
    modules: frozenset[str]
    activations: frozenset[str]


_LISTS = {
    "keras2": _Lists("Keras 2", names.CLASSES_2, names.MODULES_2, names.ACTIVATIONS_2),
    "keras3": _Lists("Keras 3", names.CLASSES_3, names.MODULES_3, names.ACTIVATIONS_3),
}


def check(path: Path, form: KerasForm, allow_code: bool = False) -> None:
    """Refuse a ``.keras`` or ``.h5`` file that could do more than rebuild a model of Keras' own layers and its weights.

    Its kind follows from content and name, as for Keras: a ``.keras`` archive, HDF5, or both.

    Args:
        form: which Keras will load it.
        allow_code: whether the user trusts its code; see above for what this skips.

    Raises:
        BadInput: code, an unknown class, an impure function, a module outside of Keras, a bomb, a link, or damage.
    """
    for config in _configurations(path):
        if _depth(config) > _DEEPEST:
            raise BadInput(f"{path}: its configuration is nested more than {_DEEPEST} levels deep, which no model is")
        if not allow_code:
            check_configuration(path, config, form)


def configuration(path: Path) -> Any:
    """Read the configuration of a Keras file; it may name anything, and nothing of it is looked up. Raises BadInput."""
    return next(_configurations(path))


def check_configuration(path: Path, config: Any, form: KerasForm) -> None:
    """Check one parsed configuration against the lists. Raises BadInput."""
    if isinstance(config, dict):  # models are loaded with compile=False, which only drops this from the outermost one
        config = {key: part for key, part in config.items() if key != "compile_config"}
    for layer, wrong in _findings(config, _LISTS[form]):
        raise BadInput(f"{path}: layer {layer[:200]!r} {wrong}")


def _configurations(path: Path) -> Iterator[Any]:
    """Yield the configuration of a Keras file; of both parts where it is both kinds at once, whatever its name."""
    try:
        zipped, hdf = zipfile.is_zipfile(path), hdf5.is_hdf5(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    if not (zipped or hdf):
        raise BadInput(f"{path}: is neither a whole .keras archive nor a whole HDF5 file")
    if zipped and (path.suffix in (".keras", "") or not hdf):
        yield _of_archive(path)
    if hdf and not (zipped and path.suffix == ".keras"):
        yield _of_hdf5(path)


def _of_archive(path: Path) -> Any:
    archive.check(path)
    config = read_member(path, _CONFIGURATION)
    try:
        with zipfile.ZipFile(path) as opened:
            weights = next((member for member in opened.infolist() if member.filename == _WEIGHTS), None)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise archive.damaged(path, error) from None
    if weights is None:
        raise BadInput(f"{path}: holds no {_WEIGHTS}; give the file as Keras saved it")
    hdf5.check(path, _WEIGHTS, weights.file_size if weights.compress_type else 0)
    return config


def read_member(path: Path, member: str) -> dict[str, Any]:
    """Read a JSON object of a checked ``.keras`` archive. Raises BadInput."""
    try:
        with zipfile.ZipFile(path) as opened:
            loaded = _parsed(opened.read(member))
    except Exception as error:  # a damaged archive can fail in many ways
        raise archive.damaged(path, error) from None
    if not isinstance(loaded, dict):
        raise BadInput(f"{path}: {member} is not a JSON object")
    return loaded


def _of_hdf5(path: Path) -> Any:
    text = hdf5.check(path, text="model_config")
    if text is None:
        raise BadInput(f"{path}: holds weights without a model; save the whole model, or give it as file.py:NAME")
    try:
        return _parsed(text.decode() if isinstance(text, bytes) else text)  # as Keras decodes it, by UTF-8 alone
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: model_config is not JSON ({error})") from None


def _parsed(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Create a dictionary, refusing duplicate keys: Keras acts on each value that it reads, also on a later one."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a key is there twice")
    return unique


def _depth(config: Any) -> int:
    """Count the levels of a nested configuration, without recursion."""
    depth, level = 0, [config]
    while level:
        depth += 1
        inside = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [part for parts in inside for part in parts]
    return depth


# ---------------------------------------------------------------- findings


def _findings(config: Any, lists: _Lists) -> Iterator[tuple[str, str]]:
    """Yield (name of the layer, what is wrong with it), in the order of the file."""
    waiting: list[tuple[str, Any]] = [("?", config)]
    while waiting:  # without recursion, as the depth is checked elsewhere
        layer, part = waiting.pop()
        if isinstance(part, dict):
            layer = _layer_name(part, layer)
            wrong = _wrong_class(part, lists) if "class_name" in part else None
            wrong = wrong or next(filter(None, (_wrong_value(key, value, lists) for key, value in part.items())), None)
            if wrong:
                yield layer, wrong
            waiting += [(layer, inner) for inner in reversed(part.values())]
        elif isinstance(part, list):
            waiting += [(layer, inner) for inner in reversed(part)]


def _layer_name(part: dict[str, Any], outer: str) -> str:
    """Return the name of a layer's own dictionary; without one, as in an initializer's, the outer layer's."""
    inner = part.get("config")
    name = inner.get("name", part.get("name")) if isinstance(inner, dict) else part.get("name")
    return name if "class_name" in part and isinstance(name, str) else outer


def _wrong_class(part: dict[str, Any], lists: _Lists) -> str | None:
    name = part["class_name"]
    if not isinstance(name, str):
        return f"has a class_name that is no name ({str(name)[:80]})"
    if name in ("Lambda", "__lambda__"):
        return f"is a Lambda, which {REFUSED[name]}; {_TRUST}"
    if name in _VALUES:
        return None
    if name in ("TypeSpec", "__typespec__"):
        return _wrong_spec(part)
    if name == "function":
        return _wrong_function(part, lists)
    if name in REFUSED:
        return f"is a {name}, which {REFUSED[name]}; {_TRUST}"
    if names.REGISTERED.get(name, name) not in lists.classes:
        return f"is of the class {name[:200]!r}, which is not one of {lists.version}'s own; {_OWN}"
    module, registered = part.get("module"), part.get("registered_name")
    of_tensorflow = module in names.INITIALIZER_MODULES and name in names.INITIALIZERS
    if module is not None and _own_module(module) not in lists.modules and not of_tensorflow:
        return f"({name}) is to be imported from {str(module)[:200]!r}, not a module of {lists.version}; {_OWN}"
    if registered not in (None, name) and name != names.REGISTERED.get(str(registered)):
        return f"({name}) is registered as {str(registered)[:200]!r}, which is not {lists.version}'s own; {_OWN}"
    return _wrong_operation(name, part.get("config"))


def _own_module(module: Any) -> str:
    """Remove the prefixes of some versions from a module of Keras: ``tf_keras.src.layers`` is ``keras.layers``."""
    text = str(module).removeprefix("tf_")
    return "keras." + text.removeprefix("keras.src.") if text.startswith("keras.src.") else text


def _wrong_operation(name: str, config: Any) -> str | None:
    """Describe what is wrong with a layer that calls a TensorFlow function named in the file."""
    inner = config if isinstance(config, dict) else {}
    if name in ("TFOpLambda", "SlicingOpLambda"):
        symbol = inner.get("function")
        if isinstance(symbol, str) and symbol.removeprefix("compat.v1.") in names.PURE_SYMBOLS:
            return None
        words = f"calls tf.{symbol}" if isinstance(symbol, str) else f"calls {symbol}"
        return f"({name}) {words[:200]}, which is not a pure function of tensors; {_TRUST}"
    if name == "TensorFlowOpLayer":
        node = inner.get("node_def")
        operator = node.get("op") if isinstance(node, dict) else None
        if _is_one(operator, names.NODE_OPERATORS):
            return None
        shown = str(operator or "an operator that cannot be read")[:200]
        return f"({name}) runs {shown}, which is not a pure operator on tensors; {_TRUST}"
    if name == "ClassMethod":
        kind, method = inner.get("cls_symbol"), inner.get("method_name")
        if kind == "RaggedTensor" and _is_one(method, names.RAGGED_MAKERS):
            return None
        return f"({name}) calls {f'tf.{kind}.{method}'[:200]}, which is not a pure function of tensors; {_TRUST}"
    if name in _ATTRIBUTES and inner.get("attr_name") not in _ATTRIBUTES[name]:
        return (
            f"({name}) uses {str(inner.get('attr_name'))[:200]!r} of a tensor, which is not one of its values; {_TRUST}"
        )
    return None


def _wrong_spec(part: dict[str, Any]) -> str | None:
    spec = part.get("spec_name", part.get("type_spec"))
    if _is_one(spec, _SPECS) and part.get("module") in (None, *_SPEC_MODULES) and part.get("registered_name") is None:
        return None
    return f"has an input of the type {str(spec)[:200]!r}, which is not a plain tensor; {_TRUST}"


def _wrong_function(part: dict[str, Any], lists: _Lists) -> str | None:
    name, module, registered = part.get("config"), part.get("module"), part.get("registered_name")
    listed = _is_one(name, lists.activations | names.COMPILED)
    if listed and registered in (None, name) and _own_module(module) in _FUNCTION_MODULES:
        return None
    shown = f"{module}.{name}" if registered in (None, name) else f"{module}.{registered}"
    return f"calls the function {shown[:200]!r}, which is not one of {lists.version}'s activations; {_OWN}"


def _wrong_value(key: str, value: Any, lists: _Lists) -> str | None:
    """Describe what is wrong with a value that Keras looks up or opens, in any layer."""
    if key.endswith("_type") and value in _CODE_TYPES:
        return f"has a {key} of {value!r}: a function stored in the file, which runs when it is loaded; {_TRUST}"
    if key in _FUNCTION_ATTRIBUTES and value is not None:
        return f"has a {key} of its own, a function stored in the file; {_TRUST}"
    if key == "vocabulary" and not _is_list(value):
        return (
            f"reads its vocabulary from a file ({str(value)[:100]!r}), which is not part of the model; save it with "
            f"the words in it, or, {_TRUST}"
        )
    if key.endswith("activation") and isinstance(value, str) and value not in lists.activations:
        return f"has the {key} {value[:200]!r}, which is not one of {lists.version}'s; {_OWN}"
    if key.endswith(_SUFFIXES) and isinstance(value, str) and value not in names.GIVEN:
        return f"has the {key} {value[:200]!r}, which is not one of {lists.version}'s; {_OWN}"
    return None


def _is_one(value: Any, of: AbstractSet[str]) -> bool:
    return isinstance(value, str) and value in of


def _is_list(value: Any) -> bool:
    if isinstance(value, dict):
        inner = value.get("config", value)
        value = inner.get("value", inner.get("items")) if isinstance(inner, dict) else None
        return isinstance(value, list)
    return value is None or isinstance(value, list)
