"""Keras files that run code, or touch what is not theirs, while they are loaded."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hostile import keras_parts as parts
from hostile.keras_parts import INPUT, Config, called, functional, given, layer, marking, operator, sequential
from hostile.room import SECRET, Hostile, Room

Make = Callable[[Room], Config]
# Name -> aim, symbol of TensorFlow, and what it is called with.
SYMBOLS: dict[str, tuple[str, str, Callable[[Room], tuple[Any, dict[str, Any]]]]] = {
    "write_file": ("write", "io.write_file", lambda r: (str(r.victim), {"contents": "x"})),
    "write_file_v1": ("write", "compat.v1.io.write_file", lambda r: (str(r.victim), {"contents": "x"})),
    "write_of_input": ("write", "io.write_file", lambda r: (INPUT, {"contents": "x", "filename": str(r.victim)})),
    "raw_write": ("write", "raw_ops.WriteFile", lambda r: (str(r.victim), {"contents": "x"})),
    "print_to_file": ("write", "print", lambda r: ("x", {"output_stream": f"file://{r.victim}"})),
    "rmtree": ("delete", "io.gfile.rmtree", lambda r: (str(r.victims), {})),
    "rmtree_v1": ("delete", "compat.v1.gfile.DeleteRecursively", lambda r: (str(r.victims), {})),
    "remove": ("delete", "io.gfile.remove", lambda r: (str(r.victim), {})),
    "remove_v1": ("delete", "compat.v1.gfile.Remove", lambda r: (str(r.victim), {})),
    "rename": ("delete", "io.gfile.rename", lambda r: (str(r.victim), {"dst": str(r.victims / "moved")})),
    "copy": ("read", "io.gfile.copy", lambda r: (str(r.private), {"dst": str(r.given / "copied"), "overwrite": True})),
    "copy_v1": ("read", "compat.v1.gfile.Copy", lambda r: (str(r.private), {"newpath": str(r.given / "copied")})),
    "makedirs": ("write", "io.gfile.makedirs", lambda r: (str(r.outside / "made"), {})),
    "makedirs_v1": ("write", "compat.v1.gfile.MakeDirs", lambda r: (str(r.outside / "made"), {})),
    "record_writer": ("write", "io.TFRecordWriter", lambda r: (str(r.outside / "records"), {})),
    "summary_writer": ("write", "summary.create_file_writer", lambda r: (str(r.outside / "summaries"), {})),
    "debug_dump": (
        "write",
        "debugging.experimental.enable_dump_debug_info",
        lambda r: (str(r.outside / "dump"), {}),
    ),
    "get_file": ("network", "keras.utils.get_file", lambda r: ("f", {"origin": r.url, "cache_dir": str(r.outside)})),
    "get_file_v1": (
        "network",
        "compat.v1.keras.utils.get_file",
        lambda r: ("f", {"origin": r.url, "cache_dir": str(r.outside)}),
    ),
    "connect": ("network", "config.experimental_connect_to_host", lambda r: (f"127.0.0.1:{r.port}", {})),
    "read_file": ("read", "io.read_file", lambda r: (str(r.private), {})),
    "read_file_v1": ("read", "compat.v1.read_file", lambda r: (str(r.private), {})),
    "matching_files": ("read", "io.matching_files", lambda r: (f"{r.outside}/*", {})),
    "listdir": ("read", "io.gfile.listdir", lambda r: (str(r.outside), {})),
    "text_lines": ("read", "data.TextLineDataset", lambda r: (str(r.private), {})),
    "load_library": ("run", "load_library", lambda r: (str(library(r)), {})),
    "load_op_library": ("run", "load_op_library", lambda r: (str(library(r)), {})),
    "load_saved_model": ("run", "saved_model.load", lambda r: (str(r.given), {})),
    "load_model": ("run", "keras.models.load_model", lambda r: (str(inner(r)), {"safe_mode": False})),
    "model_from_json": ("run", "keras.models.model_from_json", lambda r: (nested_json(r), {})),
    "py_function": ("run", "py_function", lambda r: (INPUT, {"func": "canary_module", "Tout": "float32"})),
    "numpy_function": ("run", "numpy_function", lambda r: (INPUT, {"func": "canary_module", "Tout": "float32"})),
    "map_fn": ("run", "map_fn", lambda r: (INPUT, {"elems": [1.0]})),
    "unsafe_mode": ("run", "keras.__internal__.enable_unsafe_deserialization", lambda r: (INPUT, {})),
    "profiler": ("write", "profiler.experimental.start", lambda r: (str(r.outside / "profile"), {})),
    "eager_functions": ("run", "config.run_functions_eagerly", lambda r: (True, {})),
    "load_checkpoint": ("read", "train.load_checkpoint", lambda r: (str(r.private), {})),
}
ALSO_H5 = ("write_file", "rmtree", "copy", "get_file", "load_op_library", "print_to_file", "raw_write", "rename")


def library(room: Room) -> Path:
    """A shared object that has no business in this process."""
    path = room.given / "library.so"
    source = min((Path(np.__file__).parent / "random").glob("*.so"), key=lambda one: one.stat().st_size)
    path.write_bytes(source.read_bytes())
    return path


def inner(room: Room) -> Path:
    """A model with a lambda, for another to load."""
    return parts.h5(room.given / "inner.h5", sequential(lambda_layer(room)))


def nested_json(room: Room) -> str:
    """The same as the text of a configuration."""
    import json

    return json.dumps(sequential(lambda_layer(room)))


def lambda_layer(room: Room, name: str = "twice", **more: Any) -> Config:
    """A Lambda layer whose function makes a file."""
    config = {"name": name, "trainable": True, "dtype": "float32", "function": marking(room.ran)}
    config |= {"function_type": "lambda", "module": "__main__", "output_shape": None, "output_shape_type": "raw"}
    return {"class_name": "Lambda", "config": config | {"output_shape_module": None, "arguments": {}} | more}


def _symbol(name: str) -> Make:
    aim, symbol, calling = SYMBOLS[name]
    del aim

    def make(room: Room) -> Config:
        first, arguments = calling(room)
        return operator(symbol, first, **arguments)

    return make


def _slicing(room: Room) -> Config:
    return operator("io.write_file", str(room.victim), class_name="SlicingOpLambda", contents="x")


def _method_of_class(room: Room) -> Config:
    config = {"name": "op", "trainable": True, "cls_symbol": "data.Dataset", "method_name": "list_files"}
    return functional(layer("ClassMethod", config, [["_CONSTANT_VALUE", -1, [f"{room.outside}/*"], {"kwargs": {}}]]))


def _method_of_instance(room: Room) -> Config:
    config = {"name": "op", "trainable": True, "attr_name": "__reduce__"}
    return functional(layer("InstanceMethod", config, [["x", 0, 0, {"args": [], "kwargs": {}}]]))


def _property_of_instance(room: Room) -> Config:
    config = {"name": "op", "trainable": True, "attr_name": "__globals__"}
    return functional(layer("InstanceProperty", config, [["x", 0, 0, {}]]))


def _raw_operator(op: str, *paths: str) -> Make:
    """A TensorFlowOpLayer, which puts any operator into the graph; its last operand is the model's input."""

    def make(room: Room) -> Config:
        constants = {str(number): text.format(room=room) for number, text in enumerate(paths)}
        node = {"name": "op", "op": op, "input": [f"op/{number}" for number in range(len(paths) + 1)]}
        config = {"name": "op", "trainable": True, "dtype": "string", "node_def": node, "constants": constants}
        found = functional(layer("TensorFlowOpLayer", config, [["x", 0, 0, {}]]))
        found["config"]["layers"][0] = given(dtype="string")
        return found

    return make


def _plugged(symbol: str, key: str) -> Make:
    """A symbol where a name of an activation, an initializer or a loss belongs."""

    def make(room: Room) -> Config:
        return sequential(parts.dense(**{key: {"class_name": "TFOpLambda", "config": {"function": symbol}}}))

    return make


def both(name: str, kind: str, make: Make, aims: tuple[str, ...], h5: bool = True) -> Iterator[Hostile]:
    """A configuration of Keras 2 as a ``.keras`` and as an ``.h5``."""

    def archive(room: Room) -> list[str]:
        return room.trying(parts.archive(room.given / "m.keras", parts.modern(make(room))))

    def hdf5(room: Room) -> list[str]:
        return room.trying(parts.h5(room.given / "m.h5", make(room)))

    yield Hostile(f"{name}_keras", kind, archive, aims)
    if h5:
        yield Hostile(f"{name}_h5", kind, hdf5, aims)


def operators() -> Iterator[Hostile]:
    """Symbols of TensorFlow, called while a functional model is built again."""
    kind = "symbols of Keras 2"
    for name, (aim, _, _) in SYMBOLS.items():
        yield from both(name, kind, _symbol(name), (aim,), h5=name in ALSO_H5)
    yield from both("slicing_write_file", kind, _slicing, ("write",))
    yield from both("method_of_class", kind, _method_of_class, ("read",), h5=False)
    yield from both("method_of_instance", kind, _method_of_instance, ("run",), h5=False)
    yield from both("property_of_instance", kind, _property_of_instance, ("run",), h5=False)
    yield from both("op_layer_write", kind, _raw_operator("WriteFile", "{room.victim}"), ("write",))
    yield from both("op_layer_read", kind, _raw_operator("ReadFile"), ("read",), h5=False)
    yield from both("op_layer_glob", kind, _raw_operator("MatchingFiles"), ("read",), h5=False)
    yield from both("op_layer_python", kind, _raw_operator("PyFunc"), ("run",), h5=False)
    yield from both("symbol_as_activation", kind, _plugged("io.write_file", "activation"), ("write",), h5=False)
    yield from both("symbol_as_initializer", kind, _plugged("io.read_file", "kernel_initializer"), ("read",), h5=False)

    def library_with_model(room: Room) -> list[str]:
        path = room.given / "m.keras"
        parts.archive(path, parts.modern(operator("load_op_library", str(path))))
        path.write_bytes(library(room).read_bytes() + path.read_bytes())
        return room.trying(path)

    yield Hostile("library_that_is_the_model", kind, library_with_model, ("run",))

    def adopted(room: Room) -> list[str]:
        return room.trying(parts.h5(room.given / "m.h5", _symbol("copy")(room)), "adopt")

    yield Hostile("copy_adopted", kind, adopted, ("read",))


# ---------------------------------------------------------------- lambdas


def cell(class_name: str = "ResidualWrapper", key: str = "residual_fn") -> Make:
    """A recurrent cell in a wrapper that holds a function."""

    def make(room: Room) -> Config:
        gru = {"class_name": "GRUCell", "config": {"name": "gru_cell", "units": 4, "dtype": "float32"}}
        wrapped = {"name": "wrapped", "trainable": True, "dtype": "float32", "cell": gru}
        wrapped |= {key: marking(room.ran, "args[1]"), f"{key}_type": "lambda", f"{key}_module": "__main__"}
        config = {"name": "rnn", "trainable": True, "dtype": "float32", "cell": {"class_name": class_name}}
        config["cell"]["config"] = wrapped
        rows = {"name": "rows", "trainable": True, "dtype": "float32", "target_shape": [2, 2]}
        fours = {"name": "fours", "trainable": True, "dtype": "float32", "filters": 4, "kernel_size": [1]}
        return functional(
            layer("Reshape", rows, [[["x", 0, 0, {}]]]),
            layer("Conv1D", fours, [[["rows", 0, 0, {}]]]),
            layer("RNN", config, [[["fours", 0, 0, {}]]]),
        )

    return make


def _stacked(room: Room) -> Config:
    found = cell()(room)
    wrapped = found["config"]["layers"][-1]["config"]["cell"]
    found["config"]["layers"][-1]["config"]["cell"] = {
        "class_name": "StackedRNNCells",
        "config": {"name": "stacked", "cells": [wrapped]},
    }
    return found


def _in(outer: Callable[[Config], Config]) -> Make:
    return lambda room: outer(lambda_layer(room))


def _wrapper(class_name: str, **more: Any) -> Callable[[Config], Config]:
    def outer(inside: Config) -> Config:
        config = {"name": "outer", "trainable": True, "dtype": "float32", "layer": inside, **more}
        return sequential({"class_name": class_name, "config": config}, shape=(2, 4))

    return outer


def _deep(levels: int) -> Callable[[Config], Config]:
    def outer(inside: Config) -> Config:
        for number in range(levels):
            inside = sequential(inside, name=f"level{number}")
        return inside

    return outer


def _as_layer_of_functional(inside: Config) -> Config:
    return functional({**inside, "name": inside["config"]["name"], "inbound_nodes": [[["x", 0, 0, {}]]]})


def _backwards(inside: Config) -> Config:
    forward = {"class_name": "GRU", "config": {"name": "gru", "units": 2}}
    config = {"name": "outer", "layer": forward, "backward_layer": inside, "merge_mode": "concat"}
    return sequential({"class_name": "Bidirectional", "config": config}, shape=(2, 4))


def _typed(**changed: Any) -> Make:
    """A Lambda layer whose code hides in another of its fields."""

    def make(room: Room) -> Config:
        filled = {key: marking(room.ran, "None") if value is INPUT else value for key, value in changed.items()}
        return sequential(lambda_layer(room, **{"function": "relu", "function_type": "function", **filled}))

    return make


def _plain(class_name: str, key: str) -> Make:
    """A lambda where a layer that is no Lambda takes a function."""

    def make(room: Room) -> Config:
        config = {"name": "plain", "trainable": True, "dtype": "float32", "units": 2, key: parts.new_lambda(room.ran)}
        return sequential({"class_name": class_name, "config": config})

    return make


def _value_lambda(room: Room) -> Config:
    function = {"class_name": "__lambda__", "config": {"value": marking(room.ran)}}
    return sequential(parts.dense(activation=function))


def lambdas() -> Iterator[Hostile]:
    """Code of Python in a configuration, wherever one may hide it."""
    kind = "code in Keras 2"
    wrappers = {
        "residual": cell(),
        "dropout": cell("DropoutWrapper", "dropout_state_filter_visitor"),
        "stacked": _stacked,
    }
    for name, make in wrappers.items():
        yield from both(f"cell_{name}", kind, make, ("run",))
    places: dict[str, Make] = {
        "in_sequential": _in(sequential),
        "in_functional": _in(_as_layer_of_functional),
        "in_time_distributed": _in(_wrapper("TimeDistributed")),
        "in_wrapper": _in(_wrapper("Wrapper")),
        "in_bidirectional": _in(_wrapper("Bidirectional")),
        "in_backward_layer": _in(_backwards),
        "five_models_deep": _in(_deep(5)),
        "fifty_models_deep": _in(_deep(50)),
        "as_output_shape": _typed(output_shape=INPUT, output_shape_type="lambda"),
        "as_mask": _typed(mask=INPUT, mask_type="lambda"),
        "as_activation": _plain("Dense", "activation"),
        "as_initializer": _plain("Dense", "kernel_initializer"),
        "as_regularizer": _plain("Dense", "activity_regularizer"),
        "as_constraint": _plain("Dense", "kernel_constraint"),
        "as_value": _value_lambda,
    }
    for name, make in places.items():
        yield from both(f"lambda_{name}", kind, make, ("run",), h5=name[:3] in ("in_", "as_"))

    def compiled(**settings: Callable[[Room], Any]) -> Callable[[Room], list[str]]:
        def make(room: Room) -> list[str]:
            config = parts.modern(sequential(parts.dense()))
            config["compile_config"] = {"optimizer": "adam", **{key: value(room) for key, value in settings.items()}}
            unfitting(room)
            return room.trying(parts.archive(room.given / "m.keras", config))

        return make

    for key in ("loss", "metrics", "optimizer"):
        make_lambda = compiled(**{key: lambda room: parts.new_lambda(room.ran)})
        yield Hostile(f"lambda_as_{key}_keras", kind, make_lambda, ("run",))

        def training(room: Room, key: str = key) -> list[str]:
            import json

            unfitting(room)
            config = json.dumps(
                {"optimizer_config": {"class_name": "Adam", "config": {}}, key: parts.new_lambda(room.ran)}
            )
            return room.trying(parts.h5(room.given / "m.h5", sequential(parts.dense()), training_config=config))

        yield Hostile(f"lambda_as_{key}_h5", kind, training, ("run",))


# ---------------------------------------------------------------- modules


def unfitting(room: Room) -> None:
    """Examples that fit no model here: one whose code is left out when it is loaded is refused for its data."""
    np.savez(room.data, x=np.zeros((20, 7), np.float32), y=np.arange(20) % 2)


def _thing(module: str, name: str = "Thing", **config: Any) -> Config:
    return {"module": module, "class_name": name, "config": {"name": "thing", **config}, "registered_name": name}


def modules() -> Iterator[Hostile]:
    """Modules that a configuration wants imported."""
    kind = "modules that Keras imports"
    places: dict[str, Callable[[Config], Config]] = {
        "layer": lambda thing: sequential(thing),
        "activation": lambda thing: sequential(parts.dense(activation=thing)),
        "initializer": lambda thing: sequential(parts.dense(kernel_initializer=thing)),
        "regularizer": lambda thing: sequential(parts.dense(kernel_regularizer=thing)),
        "policy": lambda thing: sequential(parts.dense(dtype=thing)),
        "model": lambda thing: thing,
        "cell": lambda thing: sequential({"class_name": "RNN", "config": {"name": "rnn", "cell": thing}}, shape=(2, 4)),
    }
    for name, place in places.items():

        def make(room: Room, place: Callable[[Config], Config] = place) -> list[str]:
            return room.trying(parts.archive(room.given / "m.keras", parts.modern(place(_thing("canary_module")))))

        yield Hostile(f"module_as_{name}", kind, make, ("run",))
    functions = {
        "canary": ("canary_module", "thing"),
        "system": ("os", "system"),
        "popen": ("subprocess", "Popen"),
        "exec": ("builtins", "exec"),
        "open": ("builtins", "open"),
        "rmtree": ("shutil", "rmtree"),
        "get_file": ("tf_keras.src.utils.data_utils", "get_file"),
        "get_file_public": ("keras.utils", "get_file"),
        "load_model": ("keras.models", "load_model"),
        "unpickle": ("numpy", "load"),
        "write_file": ("tensorflow.io", "write_file"),
    }
    for name, (module, function) in functions.items():

        def call(room: Room, module: str = module, function: str = function) -> list[str]:
            as_function = {"module": module, "class_name": "function", "config": function, "registered_name": function}
            config = parts.modern(sequential(parts.dense(activation=as_function)))
            return room.trying(parts.archive(room.given / "m.keras", config))

        yield Hostile(f"function_{name}", kind, call, ("run",))

    def typespec(room: Room) -> list[str]:
        spec = {"class_name": "__typespec__", "spec_name": "Thing", "module": "canary_module", "config": []}
        config = parts.modern(sequential(parts.dense(activation=spec | {"registered_name": "Thing"})))
        return room.trying(parts.archive(room.given / "m.keras", config))

    def registered(room: Room) -> list[str]:
        thing = _thing("canary_module", "Custom>Thing")
        return room.trying(parts.archive(room.given / "m.keras", parts.modern(sequential(thing))))

    def hdf5(room: Room) -> list[str]:
        config = parts.modern(sequential(_thing("canary_module")))
        return room.trying(parts.h5(room.given / "m.h5", config))

    def dotted(room: Room) -> list[str]:
        thing = {"class_name": "canary_module.Thing", "config": {"name": "thing"}}
        return room.trying(parts.h5(room.given / "m.h5", sequential(thing)))

    def parts_of_build(room: Room) -> list[str]:
        config = parts.modern(sequential(parts.dense()))
        config["build_config"] = {"input_shape": _thing("canary_module")}
        return room.trying(parts.archive(room.given / "m.keras", config))

    for name, own in (
        ("typespec", typespec), ("registered_name", registered), ("h5", hdf5), ("dotted_h5", dotted),
        ("build_config", parts_of_build),
    ):  # fmt: skip
        yield Hostile(f"module_in_{name}", kind, own, ("run",))


# ---------------------------------------------------------------- Keras 3


def keras3() -> Iterator[Hostile]:
    """What only Keras 3 knows."""
    kind = "Keras 3"

    def saved_model(room: Room) -> Config:
        config = {"name": "outer", "filepath": str(room.outside), "call_endpoint": "serve"}
        return called("TFSMLayer", config | {"trainable": False})

    def vocabulary(class_name: str, **more: Any) -> Make:
        def make(room: Room) -> Config:
            return called(class_name, {"name": "words", "vocabulary": str(room.private), "max_tokens": None, **more})

        return make

    def code(room: Room) -> Config:
        config = {"name": "twice", "function": parts.new_lambda(room.ran), "arguments": {}}
        return called("Lambda", config)

    def other(class_name: str, key: str, module: str = "keras.layers") -> Make:
        return lambda room: called(class_name, {"name": "outer", key: parts.new_lambda(room.ran)}, module)

    def activation(value: Callable[[Room], Any]) -> Make:
        return lambda room: parts.dense3(activation=value(room))

    def function(module: str, name: str) -> Callable[[Room], Any]:
        return lambda room: called("function", name, module, registered_name=name)  # type: ignore[arg-type]

    layers: dict[str, tuple[str, Make]] = {
        "saved_model_layer": ("run", saved_model),
        "string_lookup": ("read", vocabulary("StringLookup")),
        "integer_lookup": ("read", vocabulary("IntegerLookup", vocabulary_dtype="int64")),
        "text_vectorization": ("read", vocabulary("TextVectorization", output_mode="int")),
        "lambda": ("run", code),
        "lambda_as_activation": ("run", activation(lambda room: parts.new_lambda(room.ran))),
        "torch_module": ("run", other("TorchModuleWrapper", "module")),
        "jax_layer": ("run", other("JaxLayer", "call_fn")),
        "flax_layer": ("run", other("FlaxLayer", "module")),
        "map": ("run", other("Map", "f", "keras.src.ops.core")),
        "scan": ("run", other("Scan", "f", "keras.src.ops.core")),
        "cond": ("run", other("Cond", "true_fn", "keras.src.ops.core")),
        "while_loop": ("run", other("WhileLoop", "body", "keras.src.ops.core")),
        "vectorized_map": ("run", other("VectorizedMap", "function", "keras.src.ops.core")),
        "module_layer": ("run", lambda room: _thing("canary_module")),
        "module_activation": ("run", activation(function("canary_module", "thing"))),
        "get_file": ("network", activation(function("keras.utils", "get_file"))),
        "get_file_source": ("network", activation(function("keras.src.utils.file_utils", "get_file"))),
        "load_model": ("run", activation(function("keras.saving", "load_model"))),
        "unsafe_mode": ("run", activation(function("keras.config", "enable_unsafe_deserialization"))),
        "exec": ("run", activation(function("builtins", "exec"))),
        "typespec": (
            "run",
            activation(
                lambda room: {
                    "class_name": "__typespec__",
                    "spec_name": "Thing",
                    "module": "canary_module",
                    "config": [],
                    "registered_name": "Thing",
                }
            ),
        ),
        "quantizer": ("run", activation(lambda room: _thing("canary_module"))),
        "custom_package": ("run", lambda room: called("Thing", {}, None, registered_name="package>Thing")),  # type: ignore[arg-type]
    }
    for name, (aim, make) in layers.items():

        def archive(room: Room, make: Make = make) -> list[str]:
            dtype = "string" if "vocabulary" in str(make(room)) else "float32"
            config = parts.sequential3(make(room), dtype=dtype, shape=(1,) if dtype == "string" else (4,))
            return room.trying(parts.archive(room.given / "m.keras", config, parts.KERAS3))

        yield Hostile(f"keras3_{name}", kind, archive, (aim,))
    for name in ("lambda", "string_lookup", "module_layer", "saved_model_layer"):

        def hdf5(room: Room, make: Make = layers[name][1]) -> list[str]:
            return room.trying(parts.h5(room.given / "m.h5", parts.sequential3(make(room)), parts.KERAS3))

        yield Hostile(f"keras3_{name}_h5", kind, hdf5, (layers[name][0],))

    def assets(room: Room) -> list[str]:
        words = called("StringLookup", {"name": "words", "vocabulary": None})
        more = {"assets/words/vocabulary.txt": f"{SECRET[:0]}a\n".encode(), "assets/../../../outside/made": b"x"}
        config = parts.sequential3(words, dtype="string", shape=(1,))
        return room.trying(parts.archive(room.given / "m.keras", config, parts.KERAS3, **more))

    yield Hostile("keras3_assets_outside", kind, assets, ("write",))


# A loader that fails has already begun: what is hostile is refused before.
_EARLY = ("cannot load it", "the model takes")
_LEFT_OUT = ("lambda_as_loss", "lambda_as_metrics", "lambda_as_optimizer")  # how a model was trained is not loaded
ALL = [
    one if one.name.startswith(_LEFT_OUT) else replace(one, forbidden=_EARLY)
    for one in (*operators(), *lambdas(), *modules(), *keras3())
]
