"""An artifact's interface, its operators' options and the range of its weights belong to its structure."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from quantbench import gate
from quantbench.measure.census import census
from quantbench.measure.operator_options import described
from quantbench.records import Census
from quantbench.tflite.edit import edited
from quantbench.tflite.graph import Operator

CHANNELS, WIDTH = 4, 64


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int, scales: list[float] | None = None) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [0] * len(scales)
    return tensor


def _operator(code: int, inputs: list[int], output: int, kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _signature(key: bytes, inputs: dict[bytes, int], outputs: dict[bytes, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    for name, places in (("inputs", inputs), ("outputs", outputs)):
        maps = []
        for port, tensor in places.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = port, tensor
            maps.append(entry)
        setattr(signature, name, maps)
    return signature


def artifact() -> bytes:
    """Two int8 layers with a ReLU after the first, and a softmax; the first channel has the widest range."""
    types, options = schema.TensorType, schema.BuiltinOptions
    weights = np.random.default_rng(3).integers(-100, 101, (CHANNELS, WIDTH), dtype=np.int8)
    weights[:, 0] = 127
    buffers = [schema.BufferT() for _ in range(2)]
    buffers[1].data = weights.reshape(-1).view(np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor(b"image", [1, WIDTH], types.FLOAT32, 0),
        _tensor(b"weights", [CHANNELS, WIDTH], types.INT8, 1, [0.04, 0.01, 0.01, 0.01]),
        _tensor(b"hidden", [1, CHANNELS], types.FLOAT32, 0),
        _tensor(b"answer", [1, CHANNELS], types.FLOAT32, 0),
        _tensor(b"second", [1, CHANNELS], types.FLOAT32, 0),
    ]
    relu, plain, softmax = schema.FullyConnectedOptionsT(), schema.FullyConnectedOptionsT(), schema.SoftmaxOptionsT()
    relu.fusedActivationFunction, softmax.beta = schema.ActivationFunctionType.RELU, 1.0
    graph.operators = [
        _operator(0, [0, 1], 2, options.FullyConnectedOptions, relu),
        _operator(0, [0, 1], 4, options.FullyConnectedOptions, plain),
        _operator(1, [2], 3, options.SoftmaxOptions, softmax),
    ]
    graph.inputs, graph.outputs = [0], [3, 4]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], buffers
    model.operatorCodes = []
    for builtin in (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.SOFTMAX):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        model.operatorCodes.append(code)
    model.signatureDefs = [_signature(b"serving_default", {b"x": 0}, {b"label": 3, b"score": 4})]
    return bytes(convert_object_to_bytearray(model))


def _weights(model: Any) -> Any:
    return model.buffers[model.subgraphs[0].tensors[1].buffer]


def _no_signature(model: Any) -> None:
    model.signatureDefs = None


def _renamed_signature(model: Any) -> None:
    model.signatureDefs[0].signatureKey = b"serve"


def _renamed_input(model: Any) -> None:
    model.signatureDefs[0].inputs[0].name = b"y"


def _outputs_swapped(model: Any) -> None:
    first, second = model.signatureDefs[0].outputs
    first.tensorIndex, second.tensorIndex = second.tensorIndex, first.tensorIndex


def _renamed_port(model: Any) -> None:
    model.subgraphs[0].tensors[0].name = b"picture"


def _no_activation(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 0


def _activations_swapped(model: Any) -> None:
    first, second = model.subgraphs[0].operators[:2]
    first.builtinOptions, second.builtinOptions = second.builtinOptions, first.builtinOptions


def _beta(model: Any) -> None:
    model.subgraphs[0].operators[2].builtinOptions.beta = 0.25


def _lowest(model: Any) -> None:
    values = np.array(_weights(model).data, dtype=np.uint8).view(np.int8)
    values[5] = -128
    _weights(model).data = values.view(np.uint8)


def _heavier(model: Any) -> None:
    model.subgraphs[0].tensors[1].quantization.scale = [0.08, 0.01, 0.01, 0.01]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_signature, "no signature 'serving_default'"),
        (_renamed_signature, "a new signature 'serve'"),
        (_renamed_input, "signature 'serving_default': inputs 0: x → 0: y"),
        (_outputs_swapped, "outputs 0: label, 1: score → 0: score, 1: label"),
        (_renamed_port, "inputs named image → picture"),
        (_no_activation, "options of 1 operators, first FULLY_CONNECTED RELU → FULLY_CONNECTED"),
        (_activations_swapped, "options of 2 operators, first FULLY_CONNECTED RELU → FULLY_CONNECTED"),
        (_beta, "options of 1 operators, first SOFTMAX beta=1 → SOFTMAX beta=0.25"),
        (_lowest, " → -128"),
        (_heavier, "weights up to 5.08 → 10.16"),
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_what_changes_for_a_caller_or_a_kernel_is_a_change(
    change: Callable[[Any], None], words: str, trained: bool
) -> None:
    old, new = census(artifact()), census(edited(artifact(), change))
    assert gate.differences(old, old, trained) == []
    found = gate.differences(new, old, trained)
    assert any(words in one.words for one in found), found


def test_a_channel_that_is_divided_anew_into_scale_and_weights_is_no_change() -> None:
    def divided(model: Any) -> None:
        values = np.array(_weights(model).data, dtype=np.uint8).view(np.int8).reshape(CHANNELS, WIDTH)
        values[0] = np.rint(values[0] / 2)
        _weights(model).data = values.reshape(-1).view(np.uint8)
        model.subgraphs[0].tensors[1].quantization.scale = [0.08, 0.01, 0.01, 0.01]

    old, new = census(artifact()), census(edited(artifact(), divided))
    assert new.compute[0].scale == pytest.approx(2 * (old.compute[0].scale or 0))
    assert gate.differences(new, old, trained=False) == []


@pytest.mark.parametrize(
    "change", [_no_signature, _renamed_signature, _renamed_input, _outputs_swapped, _no_activation, _beta, _lowest]
)
def test_what_an_older_baseline_does_not_say_is_not_compared(change: Callable[[Any], None]) -> None:
    old, new = _older(census(artifact())), census(edited(artifact(), change))
    assert gate.differences(new, old, trained=False) == []
    assert gate.disappeared(new, old) == []


def _older(found: Census) -> Census:
    fields = found.model_dump(exclude={"signatures": True, "options": True, "order": True})
    for compute in fields["compute"]:
        for name in ("lowest", "highest", "reach"):
            del compute[name]
    return Census.model_validate(fields)


def test_what_disappears_is_named() -> None:
    def without_softmax(model: Any) -> None:
        del model.subgraphs[0].operators[2]
        model.signatureDefs = None

    old, new = census(artifact()), census(edited(artifact(), without_softmax))
    assert gate.disappeared(new, old) == ["no signature 'serving_default'", "0 SOFTMAX, not 1"]
    assert gate.disappeared(old, old) == []
    assert gate.disappeared(old, new) == []


def test_options_of_a_custom_operator_and_long_ones_are_told_apart() -> None:
    one, other = (Operator("Own", (), (), None, (None, content)) for content in (b"a", b"b"))
    assert described(one) != described(other)
    wide = schema.ReshapeOptionsT()
    wide.newShape = list(range(500))
    assert len(described(Operator("RESHAPE", (), (), wide))) <= 200
