"""List a saved model's outputs in its own order: their names, and the activation that each ends with."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from quantbench import files
from quantbench.reference import float_model
from quantbench.reference.metrics import natural
from quantbench.reference.model import ReferenceModel
from quantbench.tflite import graph as structure

# Layers that move or drop values, and compute none.
_MOVING = ("Reshape", "Flatten", "Dropout", "Permute", "Squeeze", "Identity")
_LAYER_ACTIVATIONS = {"Softmax": "softmax", "ReLU": "relu"}
_OPERATORS = {"LOGISTIC": "sigmoid", "SOFTMAX": "softmax", "TANH": "tanh", "RELU": "relu"}
# Operators that move values; what is before them decides.
_MOVING_OPERATORS = ("RESHAPE", "SQUEEZE", "TRANSPOSE", "EXPAND_DIMS")
_LINEAR_OPERATORS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "ADD")
_MOST_STEPS = 20
MOST_CHARACTERS = 100  # of a name


@dataclass(frozen=True)
class Output:
    """Name an output of a model.

    Attributes:
        key: its name in artifacts and in what the float model returns; empty where it is the only one.
        name: as the user knows it, such as the layer's name.
        activation: what it ends with: linear, sigmoid, softmax, ...; empty where that cannot be seen.
    """

    key: str
    name: str
    activation: str = ""


def usable(outputs: list[Output]) -> list[Output]:
    """Return outputs with names that differ and that sentences, files and ``VARIANT@NAME`` can hold."""
    cleaned = [replace(one, name=re.sub(r"[^\w .:/-]", "_", one.name)[:MOST_CHARACTERS]) for one in outputs]
    if len({one.name for one in cleaned}) == len(cleaned) and all(one.name for one in cleaned):
        return cleaned
    return [replace(one, name=f"output_{place}") for place, one in enumerate(outputs)]


def found(model: ReferenceModel, load: Callable[[ReferenceModel], Any] = float_model.keras2) -> list[Output]:
    """Return a model's outputs in its own order; it is loaded in a process behind walls.

    Args:
        load: loads a model as Keras 2.

    Raises:
        BadInput: the model cannot be loaded.
    """
    if model.form == "tflite":
        return _of_tflite(model)
    if model.form == "saved_model":
        folder = float_model.original_saved_model(model)
        signature = float_model.serving_signature(float_model.load_saved_model(folder), folder)
        names = sorted(signature.structured_outputs, key=natural)
        return [Output("" if len(names) == 1 else name, name) for name in names]
    keras_model = float_model.keras3(model) if model.form == "keras3" else load(model)
    return of_keras(keras_model)


def of_keras(keras_model: Any) -> list[Output]:
    """Return the outputs of a Keras model of either version."""
    given = _structure(keras_model)
    if isinstance(given, dict):
        pairs = [(name, name, tensor) for name, tensor in given.items()]
    else:
        tensors = list(given) if isinstance(given, list | tuple) else [given]
        names = list(getattr(keras_model, "output_names", None) or [])
        names = names if len(names) == len(tensors) else [f"output_{i}" for i in range(len(tensors))]
        pairs = [(f"output_{i}", name, tensors[i]) for i, name in enumerate(names)]
    alone = len(pairs) == 1
    return [Output("" if alone else key, str(name), _activation(tensor)) for key, name, tensor in pairs]


def _structure(keras_model: Any) -> Any:
    """Return the output tensors as the model was given them: one, a list or a dict."""
    if getattr(keras_model, "_outputs_struct", None) is not None:  # of Keras 3
        return keras_model._outputs_struct
    try:
        return keras_model.output
    except AttributeError:  # of a Keras 3 model that was never called as a layer
        return list(keras_model.outputs)


def _activation(tensor: Any) -> str:
    """Return the name of the activation that makes a symbolic Keras tensor; empty where it cannot be seen."""
    for _ in range(_MOST_STEPS):
        history = getattr(tensor, "_keras_history", None)
        layer = None if history is None else history[0]
        if layer is None:
            return ""
        kind = type(layer).__name__
        if kind in _LAYER_ACTIVATIONS:
            return _LAYER_ACTIVATIONS[kind]
        if kind in _MOVING:
            tensor = layer.input
        elif getattr(layer, "layers", None):  # a model as a layer
            inner = getattr(layer, "outputs", None) or []
            if len(inner) != 1 or inner[0] is tensor:
                return ""
            tensor = inner[0]
        else:
            function = getattr(layer, "activation", None)
            name = str(getattr(function, "__name__", ""))
            if kind == "Activation" and name == "linear":  # as after mixed precision, to cast
                tensor = layer.input
                continue
            return name
    return ""


def _of_tflite(model: ReferenceModel) -> list[Output]:
    graph = structure.read(files.read_bytes(model.file.parent / model.weights, "weights", files.LARGEST_MODEL))
    names = {place: tensor.name for place, tensor in enumerate(graph.outputs)}
    if graph.signatures:  # as LiteRT names them
        names |= {place: name for name, place in next(iter(graph.signatures.values())).outputs.items()}
    found = [Output(names[place], names[place], _end(tensor, graph)) for place, tensor in enumerate(graph.outputs)]
    if len(found) == 1:
        return [Output("", found[0].name, found[0].activation)]
    return sorted(found, key=lambda one: natural(one.name))


def _end(tensor: structure.Tensor, graph: structure.Graph) -> str:
    """Return the activation that makes a tensor of a ``.tflite``; empty where it cannot be seen."""
    makers = {id(output): operator for operator in graph.operators for output in operator.outputs}
    for _ in range(_MOST_STEPS):
        maker = makers.get(id(tensor))
        if maker is None:
            return ""
        before = maker.inputs[0] if maker.inputs else None
        if maker.name in _MOVING_OPERATORS and before is not None:
            tensor = before
            continue
        return _OPERATORS.get(maker.name, "linear" if maker.name in _LINEAR_OPERATORS else "")
    return ""
