"""Keras files written by hand: an archive or an HDF5 file around a configuration, without TensorFlow."""

import base64
import json
import marshal
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Config = dict[str, Any]
KERAS2, KERAS3 = "2.21.0", "3.13.2"
VALUES = np.eye(4, 2, dtype=np.float32), np.zeros(2, np.float32)  # of a dense layer
_OPERATORS = "tf_keras.src.layers.core.tf_op_layer"
_CELLS = "tensorflow.python.keras.layers.rnn_cell_wrapper_v2"
_MODULES = {
    "Functional": "tf_keras.src.engine.functional",
    "Sequential": "keras",
    **dict.fromkeys(["ResidualWrapper", "DropoutWrapper", "DeviceWrapper"], _CELLS),
    **dict.fromkeys(
        ["TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"],
        _OPERATORS,
    ),
}


def modern(config: Any) -> Any:
    """The configuration of an ``.h5`` of Keras 2 as its ``.keras`` has it: with the module of every class."""
    if isinstance(config, list):
        return [modern(one) for one in config]
    if not isinstance(config, dict):
        return config
    found = {key: modern(value) for key, value in config.items()}
    if "class_name" in found and "module" not in found and not found["class_name"].startswith("__"):
        module = _MODULES.get(found["class_name"], "keras.layers")
        found |= {"module": module, "registered_name": None if module.startswith("keras") else found["class_name"]}
    return found


def archive(path: Path, config: Any, version: str = KERAS2, **members: bytes) -> Path:
    """A ``.keras`` file; ``config`` is the content of config.json."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2026-01-01@00:00:00"}))
        file.writestr("config.json", config if isinstance(config, str | bytes) else json.dumps(config))
        file.writestr("model.weights.h5", members.pop("weights", None) or weights(path))
        for name, content in members.items():
            file.writestr(name, content)
    return path


def weights(path: Path) -> bytes:
    """The weights of a dense layer, as a ``.keras`` holds them."""
    aside = path.with_suffix(".weights")
    with h5py.File(aside, "w") as file:
        file.create_group("vars")
        for number, values in enumerate(VALUES):
            file[f"layers/dense/vars/{number}"] = values
    content = aside.read_bytes()
    aside.unlink()
    return content


def h5(path: Path, config: Any, version: str = KERAS2, **attributes: str) -> Path:
    """An ``.h5`` file of a whole model."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        for name, text in attributes.items():
            file.attrs[name] = text
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense"]
        group.attrs["keras_version"] = version
        dense = group.create_group("dense")
        dense.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        for name, values in zip(("kernel:0", "bias:0"), VALUES, strict=True):
            dense[f"dense/{name}"] = values
    return path


def layer(class_name: str, config: Config, inbound: list[Any] | None = None, **more: Any) -> Config:
    """A layer as a functional model of Keras 2 writes it."""
    return {"class_name": class_name, "config": config, "name": config["name"], "inbound_nodes": inbound or [], **more}


def given(name: str = "x", shape: tuple[int, ...] = (4,), dtype: str = "float32") -> Config:
    """The input of a functional model of Keras 2."""
    config = {"batch_input_shape": [None, *shape], "dtype": dtype, "sparse": False, "ragged": False, "name": name}
    return layer("InputLayer", config)


def functional(*layers: Config, outputs: str | None = None, name: str = "model") -> Config:
    """A functional model of Keras 2, from input ``x`` to the last layer."""
    last = outputs or layers[-1]["name"]
    inner = {"name": name, "trainable": True, "layers": [given(), *layers]}
    inner |= {"input_layers": [["x", 0, 0]], "output_layers": [[last, 0, 0]]}
    return {"class_name": "Functional", "config": inner}


def sequential(*layers: Config, name: str = "model", shape: tuple[int, ...] = (4,)) -> Config:
    """A sequential model of Keras 2."""
    first = {"class_name": "InputLayer", "config": given("x", shape)["config"]}
    return {"class_name": "Sequential", "config": {"name": name, "layers": [first, *layers]}}


def dense(name: str = "dense", **more: Any) -> Config:
    """A dense layer of Keras 2, for a sequential model."""
    config = {"name": name, "trainable": True, "dtype": "float32", "units": 2, "activation": "linear"}
    return {"class_name": "Dense", "config": config | more}


def operator(symbol: str, first: Any, class_name: str = "TFOpLambda", **arguments: Any) -> Config:
    """A functional model of Keras 2 that calls a symbol of TensorFlow while it is built again."""
    config = {"name": "op", "trainable": True, "dtype": "float32", "function": symbol}
    node = [["x", 0, 0, arguments]] if first is INPUT else [["_CONSTANT_VALUE", -1, first, arguments]]
    return functional(layer(class_name, config, node))


INPUT = object()


def code(source: str) -> list[Any]:
    """A function as Keras writes a lambda: marshalled code, default values, closure."""
    compiled = eval(source).__code__
    return [base64.b64encode(marshal.dumps(compiled)).decode() + "\n", None, None]


def marking(path: Path, result: str = "args[0]") -> list[Any]:
    """A function that makes a file wherever it is called."""
    return code(f"lambda *args, **more: (open({str(path)!r}, 'a').write('ran'), {result})[1]")


def new_lambda(path: Path, result: str = "args[0]") -> Config:
    """The same as Keras 3 writes it."""
    text, defaults, closure = marking(path, result)
    return {"class_name": "__lambda__", "config": {"code": text, "defaults": defaults, "closure": closure}}


def called(class_name: str, config: Config, module: str = "keras.layers", **more: Any) -> Config:
    """An object as Keras 3 writes it."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None, **more}


def policy() -> Config:
    """The usual policy of types in Keras 3."""
    return called("DTypePolicy", {"name": "float32"}, "keras")


def given3(name: str = "x", shape: tuple[int, ...] = (4,), dtype: str = "float32") -> Config:
    """The input layer of a model of Keras 3."""
    config = {"batch_shape": [None, *shape], "dtype": dtype, "sparse": False, "name": name}
    return called("InputLayer", config)


def sequential3(*layers: Config, dtype: str = "float32", shape: tuple[int, ...] = (4,)) -> Config:
    """A sequential model of Keras 3."""
    inner = {
        "name": "model",
        "trainable": True,
        "dtype": policy(),
        "layers": [given3(shape=shape, dtype=dtype), *layers],
    }
    return called("Sequential", inner | {"build_input_shape": [None, *shape]}, "keras")


def dense3(name: str = "dense", **more: Any) -> Config:
    """A dense layer of Keras 3."""
    config = {"name": name, "trainable": True, "dtype": policy(), "units": 2, "activation": "linear", "use_bias": True}
    return called("Dense", config | more, build_config={"input_shape": [None, 4]})
