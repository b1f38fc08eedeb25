"""Declare faults in an artifact's operators and outputs: missing, superfluous or reordered ones."""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from quantbench.records import Kind
from quantbench.selftest.faults import Fault, Subject
from quantbench.selftest.flatbuffer import Inapplicable, layers, operators
from quantbench.selftest.runtime import are_probabilities
from quantbench.tflite.edit import edited
from quantbench.tflite.litert import LiteRT

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
        operators(model, "SOFTMAX")  # otherwise its channels are no classes
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


def _beta(model: Any, factor: float) -> None:
    """Heat the softmax, or cool it: the largest output stays the largest."""
    options = operators(model, "SOFTMAX")[-1].builtinOptions
    options.beta = float(options.beta) * factor


def _class_pushed_down(subject: Subject, points: float, _random: np.random.Generator) -> bytes:
    """Lower the bias of the class whose loss the others make up for best, until its recall fell by so many points.

    The mean hardly moves: where classes are close, what one loses the others win.
    """
    bench, labels = subject.bench, subject.bench.model.pack().test.y
    outputs = LiteRT(subject.artifact, stateful=bench.model.stateful).run(
        bench.model.prepare(bench.model.pack().test.x)
    )
    if not isinstance(outputs, np.ndarray) or outputs.ndim != 2 or not are_probabilities(outputs):
        raise Inapplicable("its outputs are no probabilities of classes")
    with np.errstate(divide="ignore"):
        logits = np.log(np.maximum(outputs.astype(np.float64), 1e-9))
    before, best = np.argmax(logits, axis=1) == labels, (float("inf"), 0, 0.0)
    for label in range(logits.shape[1]):
        of_class = labels == label
        for down in np.arange(0.1, 8, 0.1):
            now = np.argmax(logits - down * (np.arange(logits.shape[1]) == label), axis=1) == labels
            if 100 * (before[of_class].mean() - now[of_class].mean()) >= points:
                best = min(best, (float(before.mean() - now.mean()), label, float(down)))
                break
    _, label, down = best

    def apply(model: Any) -> None:
        layer = layers(model)[-1]
        bias = layer.read(2, "int32")
        scales = layer.tensor(2).quantization.scale
        bias[label] -= round(down / float(scales[label if len(scales) > 1 else 0]))
        layer.write(2, bias)

    return edited(subject.artifact, apply)


def _dead_class(model: Any, label: int) -> None:
    """Let a class never be the answer: no weights, and the lowest bias that the others leave."""
    operators(model, "SOFTMAX")
    layer = layers(model)[-1]
    weights, bias = layer.read(1, "int8"), layer.read(2, "int32")
    scales = layer.tensor(2).quantization.scale
    weights[label] = 0
    bias[label] = -round(20 / float(scales[label if len(scales) > 1 else 0]))
    layer.write(1, weights)
    layer.write(2, bias)


def _unsigned(model: Any, _strength: str) -> None:
    if not model.signatureDefs:
        raise Inapplicable("it has no signature")
    model.signatureDefs = []


def _signature_renamed(model: Any, what: str) -> None:
    if not model.signatureDefs:
        raise Inapplicable("it has no signature")
    signature = model.signatureDefs[0]
    if what == "key":
        signature.signatureKey = b"another_default"
    else:
        getattr(signature, what)[0].name = b"another_name"


def _ports_renamed(model: Any, what: str) -> None:
    graph = model.subgraphs[0]
    graph.tensors[int(getattr(graph, what)[0])].name = b"another_name"


def _fused_activation(model: Any, name: str) -> None:
    """Give the first layer with a fused ReLU another activation."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.ActivationFunctionType
    fused = [layer.operator for layer in layers(model) if hasattr(layer.operator.builtinOptions, _FUSED)]
    for operator in fused:
        if getattr(operator.builtinOptions, _FUSED) in (kinds.RELU, kinds.RELU6):
            same = getattr(operator.builtinOptions, _FUSED) == getattr(kinds, name)
            setattr(operator.builtinOptions, _FUSED, kinds.RELU if same else getattr(kinds, name))
            return
    raise Inapplicable("no layer has a fused ReLU")


_FUSED = "fusedActivationFunction"


FAULTS = [
    Fault("softmax's beta times", "operators", Kind.STRUCTURE, (0.8, 0.25, 4.0), _change(_beta)),
    Fault("a class pushed down, recall lost", "bias", Kind.ACCURACY, (2, 5, 10, 20), _class_pushed_down),
    Fault("a class that is never the answer", "weights", Kind.ACCURACY, (0, 6), _change(_dead_class)),
    Fault("signature removed", "interface", Kind.STRUCTURE, ("",), _change(_unsigned)),
    Fault(
        "signature renamed, its", "interface", Kind.STRUCTURE, ("key", "inputs", "outputs"), _change(_signature_renamed)
    ),
    Fault("tensors renamed, the", "interface", Kind.STRUCTURE, ("inputs", "outputs"), _change(_ports_renamed)),
    Fault("fused activation replaced by", "operators", Kind.STRUCTURE, ("NONE", "RELU6"), _change(_fused_activation)),
    Fault("one more operator", "operators", Kind.STRUCTURE, ("RESHAPE", "QUANTIZE"), _change(_one_more)),
    Fault("softmax left out", "operators", Kind.STRUCTURE, ("",), _change(_without_softmax)),
    Fault("average pooling for maximum", "operators", Kind.STRUCTURE, ("",), _change(_other_pooling)),
    Fault("ReLU left out, layer", "operators", Kind.ACCURACY, (0,), _change(_without_activation), DYNAMIC),
    Fault("classes in another order", "operators", Kind.ACCURACY, (2, 5, 10), _permuted),
    Fault("scale of the input times", "ranges", Kind.STRUCTURE, (1.02, 1.5, 4.0), _change(_input_scale), INT_IO),
    Fault("scale of the output not a number", "ranges", Kind.ACCURACY, ("",), _change(_nan_scale)),
    Fault("bias not a number, classes", "bias", Kind.ACCURACY, (1, 10), _change(_nan_bias), DYNAMIC),
]
