"""Declare faults in an artifact's operators and outputs: missing, superfluous or reordered ones."""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from quantbench.records import Kind
from quantbench.selftest.faults import Fault, Subject
from quantbench.selftest.flatbuffer import layers, operators
from quantbench.tflite.edit import edited

DYNAMIC, INT_IO = "ptq_dynamic_wi8_afp32", "ptq_static_wi8_ai8_int_io"
Make = Callable[[Subject, Any, np.random.Generator], bytes]


def _change(apply: Callable[[Any, Any], None]) -> Make:
    """Make a fault that is not random."""
    return lambda subject, strength, _random: edited(subject.artifact, lambda model: apply(model, strength))


def _code_index(model: Any, name: str) -> int:
    """Return the position of an operator's code, added where the file has none."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    for index in range(len(model.operatorCodes)):
        if opcode_to_name(model, index) == name:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), 1
    code.deprecatedBuiltinCode = min(127, code.builtinCode)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _inserted(model: Any, name: str, before: Any, options: Any = None, options_type: int = 0) -> None:
    """Insert an operator between ``before`` and its input; its output is a new tensor like that input."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    read = int(before.inputs[0])
    tensor = copy(graph.tensors[read])
    tensor.name = b"inserted"
    graph.tensors.append(tensor)
    added = schema.OperatorT()
    added.opcodeIndex = _code_index(model, name)
    added.inputs, added.outputs = [read], [len(graph.tensors) - 1]
    added.builtinOptions, added.builtinOptionsType = options, options_type
    before.inputs = [len(graph.tensors) - 1, *list(before.inputs)[1:]]
    position = next(i for i, operator in enumerate(graph.operators) if operator is before)
    graph.operators.insert(position, added)


def _reshape(model: Any) -> None:
    """Insert a reshape to the existing shape."""
    from ai_edge_litert import schema_py_generated as schema

    before = operators(model, "SOFTMAX")[0]
    options = schema.ReshapeOptionsT()
    options.newShape = list(model.subgraphs[0].tensors[int(before.inputs[0])].shape)
    _inserted(model, "RESHAPE", before, options, schema.BuiltinOptions.ReshapeOptions)


def _requantize(model: Any) -> None:
    """Insert a quantization from int8 to the same int8."""
    _inserted(model, "QUANTIZE", operators(model, "SOFTMAX")[0])


def _one_more(model: Any, name: str) -> None:
    {"RESHAPE": _reshape, "QUANTIZE": _requantize}[name](model)


def _without_softmax(model: Any, _strength: str) -> None:
    graph = model.subgraphs[0]
    softmax = operators(model, "SOFTMAX")[0]
    read, written = int(softmax.inputs[0]), int(softmax.outputs[0])
    for operator in graph.operators:
        operator.inputs = [read if int(index) == written else int(index) for index in operator.inputs]
    graph.outputs = [read if int(index) == written else int(index) for index in graph.outputs]
    graph.operators = [operator for operator in graph.operators if operator is not softmax]


def _without_activation(model: Any, which: int) -> None:
    layers(model)[which].operator.builtinOptions.fusedActivationFunction = 0


def _other_pooling(model: Any, _strength: str) -> None:
    for operator in operators(model, "MAX_POOL_2D"):
        operator.opcodeIndex = _code_index(model, "AVERAGE_POOL_2D")


def _permuted(subject: Subject, count: int, random: np.random.Generator) -> bytes:
    """Permute ``count`` output channels of the last layer: weights, bias and scales together."""

    def apply(model: Any) -> None:
        layer = layers(model)[-1]
        weights, bias = layer.read(1, "int8"), layer.read(2, "int32")
        order = np.arange(len(weights))
        chosen = random.permutation(len(order))[: int(count)]
        order[chosen] = np.roll(chosen, 1)
        layer.write(1, weights[order])
        layer.write(2, bias[order])
        for slot in (1, 2):
            quantization = layer.tensor(slot).quantization
            if len(quantization.scale) == len(order):
                quantization.scale = [float(quantization.scale[i]) for i in order]

    return edited(subject.artifact, apply)


def _input_scale(model: Any, factor: float) -> None:
    quantization = model.subgraphs[0].tensors[int(model.subgraphs[0].inputs[0])].quantization
    quantization.scale = [float(scale) * factor for scale in quantization.scale]


def _nan_scale(model: Any, _strength: str) -> None:
    """Set the scale of the last integer tensor before dequantization to NaN, and so every output."""
    tensor = model.subgraphs[0].tensors[int(operators(model, "DEQUANTIZE")[-1].inputs[0])]
    tensor.quantization.scale = [float("nan")]


def _nan_bias(model: Any, classes: int) -> None:
    """Set the last layer's bias to NaN for some classes; softmax spreads it to all the others."""
    layer = layers(model)[-1]
    bias = layer.read(2, "float32")
    bias[: int(classes)] = np.nan
    layer.write(2, bias)


FAULTS = [
    Fault("one more operator", "operators", Kind.STRUCTURE, ("RESHAPE", "QUANTIZE"), _change(_one_more)),
    Fault("softmax left out", "operators", Kind.STRUCTURE, ("",), _change(_without_softmax)),
    Fault("average pooling for maximum", "operators", Kind.STRUCTURE, ("",), _change(_other_pooling)),
    Fault("ReLU left out, layer", "operators", Kind.ACCURACY, (0,), _change(_without_activation), DYNAMIC),
    Fault("classes in another order", "operators", Kind.ACCURACY, (2, 5, 10), _permuted),
    Fault("scale of the input times", "ranges", Kind.STRUCTURE, (1.02, 1.5, 4.0), _change(_input_scale), INT_IO),
    Fault("scale of the output not a number", "ranges", Kind.ACCURACY, ("",), _change(_nan_scale)),
    Fault("bias not a number, classes", "bias", Kind.ACCURACY, (1, 10), _change(_nan_bias), DYNAMIC),
]
