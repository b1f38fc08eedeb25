"""The first wall for Keras files: an allow-list that their whole configuration is held to before anything is loaded.

A configuration names classes, functions and modules, and Keras looks each of them up while it rebuilds the model. What
is not on the lists of :mod:`quantbench.safety.keras_names` is refused, whoever would resolve it: a Lambda, a custom
class, a TensorFlow function with effects, a module that is not Keras' own, a file to read words from.

``--allow-code`` (a trusted model) skips these lists as a whole, for a file that may run its own Python can do all that
they keep out: Lambda layers, functions in wrappers, custom classes, imports, any TensorFlow function, files named in
layers. It skips neither the depth of a configuration nor :mod:`quantbench.safety.archive` and
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
_DEEPEST = 1000  # levels; some versions of Python read more, and what walks them later may not
_WEIGHTS = "model.weights.h5"
_CONFIGURATION = "config.json"
_TRUST = "if you trust whoever made it, say --allow-code"
_OWN = "a model with layers of your own can be given as file.py:NAME, or, " + _TRUST

# Classes that are Keras' own and still run what the file carries, or reach outside of it; the rest is just unknown.
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
# What JSON cannot say, said by a dictionary: values, rebuilt without a look-up.
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
    """What one version of Keras may be asked for."""

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

    What the file is follows from its content and name as Keras takes them: a ``.keras`` archive, HDF5, or both.

    Args:
        form: which Keras will load it.
        allow_code: whether the user trusts its code; see above for what is then skipped.

    Raises:
        BadInput: code, an unknown class, an impure function, a foreign module, a bomb, a link, or damage.
    """
    for config in _configurations(path):
        if _depth(config) > _DEEPEST:
            raise BadInput(f"{path}: its configuration is nested more than {_DEEPEST} levels deep, which no model is")
        if not allow_code:
            check_configuration(path, config, form)


def check_configuration(path: Path, config: Any, form: KerasForm) -> None:
    """Hold one parsed configuration to the lists. Raises BadInput."""
    if isinstance(config, dict):  # models are loaded with compile=False, which drops this of the outermost one alone
        config = {key: part for key, part in config.items() if key != "compile_config"}
    for layer, wrong in _findings(config, _LISTS[form]):
        raise BadInput(f"{path}: layer {layer[:200]!r} {wrong}")


def _configurations(path: Path) -> Iterator[Any]:
    """The configuration of a Keras file; of both where it is two files in one, and its name does not decide."""
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
    """A JSON object of a ``.keras`` archive that has been checked. Raises BadInput."""
    try:
        with zipfile.ZipFile(path) as opened:
            loaded = _parsed(opened.read(member))
    except Exception as error:  # a damaged archive fails in as many ways as it has fields
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
    """A dictionary without a key that is there twice: Keras acts on each value as it reads, on a later one's too."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _depth(config: Any) -> int:
    """Levels of a nested configuration; counted without recursion."""
    depth, level = 0, [config]
    while level:
        depth += 1
        inside = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list))
        level = [part for parts in inside for part in parts]
    return depth


# ---------------------------------------------------------------- what is wrong


def _findings(config: Any, lists: _Lists) -> Iterator[tuple[str, str]]:
    """(name of the layer, what is wrong with it), in the order of the file."""
    waiting: list[tuple[str, Any]] = [("?", config)]
    while waiting:  # no recursion: how deep it is nested is for others to say
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
    """The name of a layer's own dictionary; what has none, such as an initializer, belongs to the layer around it."""
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
        return f"({name}) is to be imported from {str(module)[:200]!r}, which is no module of {lists.version}; {_OWN}"
    if registered not in (None, name) and name != names.REGISTERED.get(str(registered)):
        return f"({name}) is registered as {str(registered)[:200]!r}, which is not {lists.version}'s own; {_OWN}"
    return _wrong_operation(name, part.get("config"))


def _own_module(module: Any) -> str:
    """A module of Keras without what versions put before it: ``tf_keras.src.layers`` is ``keras.layers``."""
    text = str(module).removeprefix("tf_")
    return "keras." + text.removeprefix("keras.src.") if text.startswith("keras.src.") else text


def _wrong_operation(name: str, config: Any) -> str | None:
    """What is wrong with a layer that calls a TensorFlow function, which the file names."""
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
    found = part.get("spec_name", part.get("type_spec"))
    if _is_one(found, _SPECS) and part.get("module") in (None, *_SPEC_MODULES) and part.get("registered_name") is None:
        return None
    return f"has an input of the type {str(found)[:200]!r}, which is not a plain tensor; {_TRUST}"


def _wrong_function(part: dict[str, Any], lists: _Lists) -> str | None:
    name, module, registered = part.get("config"), part.get("module"), part.get("registered_name")
    known = _is_one(name, lists.activations | names.COMPILED)
    if known and registered in (None, name) and _own_module(module) in _FUNCTION_MODULES:
        return None
    shown = f"{module}.{name}" if registered in (None, name) else f"{module}.{registered}"
    return f"calls the function {shown[:200]!r}, which is not one of {lists.version}'s activations; {_OWN}"


def _wrong_value(key: str, value: Any, lists: _Lists) -> str | None:
    """What is wrong with a value that Keras looks up or reads by, whatever layer it is in."""
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
