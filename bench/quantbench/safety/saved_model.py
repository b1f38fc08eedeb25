"""Check whether an untrusted SavedModel may be loaded: its operators, its calls, and the files that it names.

``tf.saved_model.load`` runs the functions that initialize tables and resources, and calling a signature runs the rest,
so every function of the file is read here before. Of TensorFlow, this only loads its protocol buffers.
"""

import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from quantbench.errors import BadInput
from quantbench.safety.operators import ALLOWED, SAVER, TABLE_FROM_FILE

_LARGEST_GRAPH = 2**31 - 1  # bytes; the limit of protocol buffers
_MOST_FILES = 10_000  # a model has one file per shard of its weights, and its assets
_REPEATED = 2**28  # bytes that constants may fill by repeating a value, enough for a mask of 8192 x 8192 float32
_DEEPEST = 100  # levels of functions that call each other, or of attributes in attributes
_NAMED = 5  # operators named in a sentence
_SHARD = re.compile(r"variables\.data-\d{5}-of-\d{5}")
_OTHER_FORMS = ("saved_model.pbtxt", "saved_model.cpb")
# Objects that TensorFlow builds from a saved one by itself: its own two registered classes, and its own containers.
_CLASSES = ("", "tf.StaticHashTable", "tf.TrackableConstant")
_OBJECTS = re.compile(
    r"_generic_user_object|signature_map|optimizer|tf_keras_optimizer|experimentalOptimizer|trackable_\w+_wrapper"
    r"|_tf_keras_\w+"
)
_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 16, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8}
_RESOURCE, _VARIANT = 20, 21
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_MAIN = ""  # the scope of nodes outside any function
_INIT_SIGNATURE = "__saved_model_init_op"


class _Unsafe(Exception):
    """Raised with what is wrong, without the name of the folder."""


def check(folder: Path) -> None:
    """Refuse, before TensorFlow loads it, a SavedModel that could do more than compute.

    Raises:
        BadInput: an operator that is not listed, a file outside the folder, or a damaged or oversized file.
    """
    try:
        _files(folder)
        _graph(_parsed(folder), folder)
    except _Unsafe as error:
        raise BadInput(f"{folder}: {error}") from None
    except OSError as error:
        raise BadInput(f"{folder}: the SavedModel cannot be read ({error.strerror})") from None


def _files(folder: Path) -> None:
    """Check that there are only regular files, no links, and no more than fits into memory."""
    total = count = 0
    for path in _below(folder):
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode):
            continue
        name = _word(path.relative_to(folder))
        if not stat.S_ISREG(state.st_mode):
            what = "a link" if stat.S_ISLNK(state.st_mode) else "no regular file"
            raise _Unsafe(f"{name} is {what}; a SavedModel has to hold its own files")
        total, count = total + state.st_size, count + 1
        if count > _MOST_FILES:
            raise _Unsafe(f"the SavedModel holds more than {_MOST_FILES} files")
    if total > psutil.virtual_memory().total // 2:
        raise _Unsafe(f"the SavedModel takes {total / 2**30:.1f} GiB, more than half of this machine's memory")
    for other in _OTHER_FORMS:
        if (folder / other).exists():
            raise _Unsafe(f"holds {other}; expected saved_model.pb alone, save the model again")
    if not (folder / "saved_model.pb").is_file():
        raise _Unsafe("the folder holds no saved_model.pb")
    for path in (folder / "variables").glob("variables.data*"):
        if not _SHARD.fullmatch(path.name):
            raise _Unsafe(f"variables/{_word(path.name)} is not a shard of weights")


def _below(folder: Path) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))


def _parsed(folder: Path) -> Any:
    """Parse the only graph of the file."""
    from quantbench.core import tensorflow

    path = folder / "saved_model.pb"
    if path.stat().st_size > _LARGEST_GRAPH:
        raise _Unsafe(f"saved_model.pb has {path.stat().st_size} bytes; expected at most {_LARGEST_GRAPH}")
    tensorflow.tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise _Unsafe(f"saved_model.pb is damaged ({error})") from None
    if len(saved.meta_graphs) != 1:
        raise _Unsafe(f"saved_model.pb holds {len(saved.meta_graphs)} graphs; expected one, save the model for serving")
    return saved.meta_graphs[0]


@dataclass
class _Contents:
    """Collect what the nodes of a graph use.

    Attributes:
        refused: operators that are not allowed.
        called: function -> (scope, node) of each call, in an attribute or as the node's operator.
        words: every string in attributes of nodes within functions.
        saving: scope -> its operators for checkpoints.
        from_file: (scope, node) of each node that fills a table from a file.
        repeated: bytes that constants would fill beyond those that are stored.
    """

    refused: set[str] = field(default_factory=set)
    called: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    saving: dict[str, set[str]] = field(default_factory=dict)
    from_file: list[tuple[str, Any]] = field(default_factory=list)
    repeated: int = 0


def _graph(meta: Any, folder: Path) -> None:
    functions = _functions(meta)
    contents = _Contents()
    for node in meta.graph_def.node:
        _node(node, _MAIN, functions, contents)
    for name, function in functions.items():
        for node in function.node_def:
            _node(node, name, functions, contents)
        _attributes(function.attr, functions, contents, (name, None), 0)
        for definition in function.signature.attr:
            _attributes({definition.name: definition.default_value}, functions, contents, (name, None), 0)
    if contents.refused:
        raise _Unsafe(
            f"the SavedModel uses operators that a model of others may not use: {_names(contents.refused)}; a model "
            "that computes needs none that reads or writes files, prints, calls Python, or is unknown to TensorFlow"
        )
    assets = _assets(meta, folder)
    fed = {_base(asset.tensor_info.name) for asset in assets}
    if meta.HasField("object_graph_def"):
        _objects(meta, len(assets))
        _saver_is_apart(meta, functions, contents)
    else:
        _old_saver_is_apart(meta, contents, fed)
    for scope, node in contents.from_file:
        _Origin(meta, functions, contents, fed).asset(scope, node)


def _functions(meta: Any) -> dict[str, Any]:
    from tensorflow.python.framework import op_def_registry

    functions: dict[str, Any] = {}
    for function in meta.graph_def.library.function:
        name = function.signature.name
        # TensorFlow looks up functions first: one with an operator's name would be called instead of the operator.
        if name in functions or op_def_registry.get(name) is not None:
            raise _Unsafe(f"the SavedModel has a function that is called as another, or as an operator: {_word(name)}")
        functions[name] = function
    for gradient in meta.graph_def.library.gradient:
        _known(gradient.function_name, functions)
        _known(gradient.gradient_func, functions)
    for registered in meta.graph_def.library.registered_gradients:
        _known(registered.gradient_func, functions)
    return functions


def _known(name: str, functions: dict[str, Any]) -> None:
    if name not in functions:
        raise _Unsafe(f"the SavedModel calls a function that it does not hold: {_word(name)}")


def _node(node: Any, scope: str, functions: dict[str, Any], contents: _Contents) -> None:
    operator = node.op
    if operator in functions:
        contents.called.setdefault(operator, []).append((scope, node))
    elif operator in SAVER:
        contents.saving.setdefault(scope, set()).add(node.name)
    elif operator in TABLE_FROM_FILE:
        contents.from_file.append((scope, node))
    elif operator not in ALLOWED:
        contents.refused.add(operator)
    _attributes(node.attr, functions, contents, (scope, node), 0)


def _attributes(
    attributes: Any, functions: dict[str, Any], contents: _Contents, where: tuple[str, Any], depth: int
) -> None:
    if depth > _DEEPEST:
        raise _Unsafe(f"the SavedModel has attributes nested more than {_DEEPEST} levels deep")
    for name in attributes:
        value = attributes[name]
        kind = value.WhichOneof("value")
        if kind == "tensor":
            _tensor(value.tensor, contents)
        elif kind == "func":
            _call(value.func, functions, contents, where, depth)
        elif kind == "s" and where[0] != _MAIN:
            contents.words.add(value.s.decode(errors="replace"))
        elif kind == "list":
            for tensor in value.list.tensor:
                _tensor(tensor, contents)
            for function in value.list.func:
                _call(function, functions, contents, where, depth)
            if where[0] != _MAIN:
                contents.words.update(word.decode(errors="replace") for word in value.list.s)


def _call(call: Any, functions: dict[str, Any], contents: _Contents, where: tuple[str, Any], depth: int) -> None:
    if call.name:
        _known(call.name, functions)
        contents.called.setdefault(call.name, []).append(where)
    _attributes(call.attr, functions, contents, where, depth + 1)


def _tensor(tensor: Any, contents: _Contents) -> None:
    """Count the bytes that a constant fills; resources and variants are refused, as they are objects of TensorFlow."""
    if tensor.dtype in (_RESOURCE, _VARIANT):
        raise _Unsafe("the SavedModel has a constant that is no array of numbers or strings")
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    if any(size < 0 for size in sizes) or tensor.tensor_shape.unknown_rank:
        raise _Unsafe("the SavedModel has a constant without a whole shape")
    declared = math.prod(sizes) * _BYTES.get(tensor.dtype % 100, 8)
    if declared > 4096:  # most constants are smaller, and too small to fill anything
        contents.repeated += max(0, declared - tensor.ByteSize())
    if contents.repeated > _REPEATED:
        raise _Unsafe(f"the SavedModel has constants that would unpack to more than {_REPEATED // 2**20} MiB")


def _assets(meta: Any, folder: Path) -> list[Any]:
    """List the definitions of asset files. Raises where one is outside the folder's ``assets``."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import meta_graph_pb2

    assets = list(meta.asset_file_def)
    for packed in (
        meta.collection_def["saved_model_assets"].any_list.value
        if "saved_model_assets" in (meta.collection_def)
        else ()
    ):
        asset = meta_graph_pb2.AssetFileDef()
        try:
            unpacked = packed.Unpack(asset)
        except DecodeError:
            unpacked = False
        if not unpacked:
            raise _Unsafe("the SavedModel names an asset in a form that no SavedModel has")
        assets.append(asset)
    for asset in assets:
        parts = PurePosixPath(asset.filename).parts
        if not parts or ".." in parts or "\\" in asset.filename or asset.filename.startswith("/"):
            raise _Unsafe(f"names an asset outside of its folder: {_word(asset.filename)}")
        try:
            regular = stat.S_ISREG((folder / "assets" / asset.filename).lstat().st_mode)
        except (OSError, ValueError):
            regular = False
        if not regular:
            raise _Unsafe(f"lacks its asset assets/{_word(asset.filename)}")
    return assets


def _objects(meta: Any, assets: int) -> None:
    """Check that all objects are TensorFlow's own, as registered classes would run somebody's Python code."""
    for thing in meta.object_graph_def.nodes:
        kind = thing.WhichOneof("kind")
        if thing.registered_name not in _CLASSES or thing.registered_saver:
            name = thing.registered_saver or thing.registered_name
            raise _Unsafe(f"the SavedModel asks for a class of somebody's own: {_word(name)}")
        if kind == "user_object" and not _OBJECTS.fullmatch(thing.user_object.identifier):
            raise _Unsafe(f"the SavedModel holds an object of an unknown kind: {_word(thing.user_object.identifier)}")
        if kind == "asset" and not 0 <= thing.asset.asset_file_def_index < assets:
            raise _Unsafe("the SavedModel has an asset without a file")
        for child in thing.children:
            if child.local_name.startswith("__") and child.local_name != "__call__":
                raise _Unsafe(f"the SavedModel would replace {_word(child.local_name)} of an object")
    for function in meta.object_graph_def.concrete_functions.values():
        for signature in (function.canonicalized_input_signature, function.output_signature):
            _structure(signature, 0)


def _structure(value: Any, depth: int) -> None:
    """Check a signature, whose bounds are constants too."""
    if depth > _DEEPEST:
        raise _Unsafe(f"the SavedModel has a signature nested more than {_DEEPEST} levels deep")
    kind = value.WhichOneof("kind")
    if kind == "bounded_tensor_spec_value":
        for tensor in (value.bounded_tensor_spec_value.minimum, value.bounded_tensor_spec_value.maximum):
            _tensor(tensor, _Contents())
    elif kind in ("list_value", "tuple_value"):
        for inner in getattr(value, kind).values:
            _structure(inner, depth + 1)
    elif kind == "dict_value":
        for name in value.dict_value.fields:
            _structure(value.dict_value.fields[name], depth + 1)
    elif kind == "named_tuple_value":
        for pair in value.named_tuple_value.values:
            _structure(pair.value, depth + 1)
    elif kind == "type_spec_value":
        _structure(value.type_spec_value.type_state, depth + 1)


def _saver_is_apart(meta: Any, functions: dict[str, Any], contents: _Contents) -> None:
    """Check that only the main graph, which loading never runs, calls functions that read and write checkpoints."""
    if _MAIN in contents.saving:
        raise _saving(contents.saving[_MAIN])
    apart, waiting = set(contents.saving), list(contents.saving)
    while waiting:
        for scope, _ in contents.called.get(waiting.pop(), ()):
            if scope not in apart and scope != _MAIN:
                apart.add(scope)
                waiting.append(scope)
    used = set(meta.object_graph_def.concrete_functions) | contents.words
    used |= {gradient.function_name for gradient in meta.graph_def.library.gradient}
    used |= {gradient.gradient_func for gradient in meta.graph_def.library.gradient}
    used |= {gradient.gradient_func for gradient in meta.graph_def.library.registered_gradients}
    for thing in meta.object_graph_def.nodes:
        used.update(thing.function.concrete_functions)
        used |= {thing.bare_concrete_function.concrete_function_name, thing.captured_tensor.concrete_function}
    for name in apart:
        # TensorFlow may call another function with the same interface instead of the named one.
        if name in used or {"api_implements", "_implements"} & set(functions[name].attr):
            raise _saving(contents.saving.get(name, {name}))


def _saving(names: Iterable[str]) -> _Unsafe:
    return _Unsafe(f"the SavedModel reads or writes checkpoints when it is loaded or called: {_names(names)}")


def _old_saver_is_apart(meta: Any, contents: _Contents, fed: set[str]) -> None:
    """Check a graph of TensorFlow 1, with all in the main graph: nothing that loading runs may need writes or reads."""
    if any(scope != _MAIN for scope in contents.saving) or any(scope != _MAIN for scope, _ in contents.from_file):
        raise _saving(name for scope, names in contents.saving.items() if scope != _MAIN for name in names)
    nodes = {node.name: node for node in meta.graph_def.node}
    filename = meta.saver_def.filename_tensor_name.split(":")[0]
    for name in contents.saving.get(_MAIN, ()):
        if nodes[name].op == "RestoreV2":
            _restores_itself(nodes, name, filename)
    restoring = {name for name in contents.saving.get(_MAIN, ()) if nodes[name].op == "RestoreV2"}
    writing = _needing(nodes, contents.saving.get(_MAIN, set()) - restoring)
    tables = _needing(nodes, {node.name for _, node in contents.from_file})
    restores = _needing(nodes, restoring)
    listed, initial = _mentioned_in_collections(meta)
    # Fed with assets where it runs as the initializer; elsewhere a table would read any path that the graph contains.
    unfed = _mentioned_in_signatures(meta) | initial | {_base(meta.saver_def.restore_op_name), filename}
    if bad := writing & (unfed | listed | fed) or (tables & unfed) or (restores & _mentioned_in_signatures(meta)):
        raise _saving(bad)


def _needing(nodes: dict[str, Any], wanted: set[str]) -> set[str]:
    """Find the nodes that cannot run without one of these."""
    users: dict[str, list[str]] = {}
    for node in nodes.values():
        for reference in node.input:
            users.setdefault(_base(reference), []).append(node.name)
    needing, waiting = set(wanted), list(wanted)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in needing:
                needing.add(user)
                waiting.append(user)
    return needing


def _restores_itself(nodes: dict[str, Any], name: str, filename: str) -> None:
    """Check the prefix that the loader feeds; unfed it is ``model``, as TensorFlow writes it."""
    at = _base(nodes[name].input[0]) if nodes[name].input else ""
    if not filename or at != filename or at not in nodes:
        raise _saving([name])
    node = nodes[at]
    for _ in nodes:
        if node.op == "Placeholder":
            return
        if node.op == "Const":
            if list(node.attr["value"].tensor.string_val) != [b"model"]:
                raise _saving([name])
            return
        if node.op not in ("PlaceholderWithDefault", "Identity") or not node.input:
            break
        node = nodes.get(_base(node.input[0]), nodes[name])
    raise _saving([name])


def _mentioned_in_collections(meta: Any) -> tuple[set[str], set[str]]:
    """Return the nodes that collections list, including the initializer, and those of variables' first values."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import variable_pb2

    listed: set[str] = set()
    initial: set[str] = set()
    for key in meta.collection_def:
        collection = meta.collection_def[key]
        listed |= {_base(name) for name in collection.node_list.value}
        for blob in collection.bytes_list.value:
            definition = variable_pb2.VariableDef()
            try:
                definition.ParseFromString(blob)
            except DecodeError:
                continue  # a collection of another kind, without names of nodes that loading runs
            names = (
                definition.variable_name,
                definition.initial_value_name,
                definition.initializer_name,
                definition.snapshot_name,
            )
            initial |= {_base(name) for name in names}
    return listed, initial


def _mentioned_in_signatures(meta: Any) -> set[str]:
    # The initializer's own signature is fed with the assets; as the only one, it would be called as the model.
    keys = [key for key in meta.signature_def if key != _INIT_SIGNATURE] or list(meta.signature_def)
    names = set()
    for key in keys:
        signature = meta.signature_def[key]
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            sparse = info.coo_sparse
            parts = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
            names |= {_base(name) for name in parts}
            names |= {_base(component.name) for component in info.composite_tensor.components}
    return names


@dataclass
class _Origin:
    """Trace where the name of a table's file comes from.

    Attributes:
        fed: names of the nodes of the main graph that the loader feeds with the paths of assets.
    """

    meta: Any
    functions: dict[str, Any]
    contents: _Contents
    fed: set[str]
    seen: set[tuple[str, str]] = field(default_factory=set)

    def asset(self, scope: str, node: Any) -> None:
        """Raise where it may be anything but one of the model's assets."""
        at = node.input[1] if len(node.input) > 1 else ""
        if not self._is_asset(scope, at, 0):
            raise _Unsafe(f"{_word(node.name)} fills a table from a file that is not one of the model's assets")

    def _is_asset(self, scope: str, reference: str, depth: int) -> bool:
        name = _base(reference)
        if depth > _DEEPEST or reference.startswith("^"):
            return False
        if (scope, name) in self.seen:  # functions may call each other in too many ways to follow each
            return True  # one that is not an asset would have ended the search
        self.seen.add((scope, name))
        if scope == _MAIN:
            return self._is_main_asset(name, depth)
        function = self.functions[scope]
        arguments = [argument.name for argument in function.signature.input_arg]
        if name in arguments:
            return self._is_argument_asset(scope, arguments.index(name), len(arguments), depth)
        made_by = next((node for node in function.node_def if node.name == name), None)
        return self._passes(scope, made_by, depth)

    def _is_main_asset(self, name: str, depth: int) -> bool:
        if name in self.fed:
            return True
        made_by = next((node for node in self.meta.graph_def.node if node.name == name), None)
        return self._passes(_MAIN, made_by, depth)

    def _passes(self, scope: str, made_by: Any, depth: int) -> bool:
        passing = made_by is not None and made_by.op == "Identity" and len(made_by.input) > 0
        return passing and self._is_asset(scope, made_by.input[0], depth + 1)

    def _is_argument_asset(self, scope: str, index: int, count: int, depth: int) -> bool:
        """Check that every caller passes an asset, and the model binds one where the function is its own."""
        objects = self.meta.object_graph_def
        if scope in objects.concrete_functions:
            bound = objects.concrete_functions[scope].bound_inputs
            position = index - (count - len(bound))
            if position < 0 or not 0 <= bound[position] < len(objects.nodes):
                return False
            if objects.nodes[bound[position]].WhichOneof("kind") != "asset":
                return False
        for caller, node in self.contents.called.get(scope, ()):
            if caller == _MAIN and self.meta.HasField("object_graph_def"):
                continue  # with an object graph, the main graph is never run
            if node is None or (node.op not in _CALLS and node.op != scope) or index >= len(node.input):
                return False
            if not self._is_asset(caller, node.input[index], depth + 1):
                return False
        return True


def _base(reference: str) -> str:
    return reference.removeprefix("^").split(":")[0]


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(_word(name) for name in ordered[:_NAMED]) + more


def _word(text: object) -> str:
    """Shorten an untrusted name, and replace characters that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in str(text))[:100]
