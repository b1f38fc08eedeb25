"""Make small ``.tflite`` files operator by operator, without a converter: layers, casts, a loop, and an LSTM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from quantbench.core.arrays import Array

TYPES = {"float32": 0, "float16": 1, "int32": 2, "bool": 6, "int8": 9}


class Made:
    """Collect one file; tensors and operators are added to its first subgraph unless another one is named."""

    def __init__(self, name: bytes = b"main") -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.model.subgraphs = []
        self.main = self.subgraph(name)

    def subgraph(self, name: bytes) -> Any:
        part = schema.SubGraphT()
        part.name, part.tensors, part.operators, part.inputs, part.outputs = name, [], [], [], []
        self.model.subgraphs.append(part)
        return part

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str = "float32", scales: Sequence[float] = (), part: Any = None
    ) -> int:
        """Add an activation, with a scale where it is quantized."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), TYPES[dtype], 0
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = list(scales), [0] * len(scales)
        part = part or self.main
        part.tensors.append(tensor)
        return len(part.tensors) - 1

    def constant(self, name: str, values: Array, scales: Sequence[float] = (), part: Any = None) -> int:
        part = part or self.main
        index = self.tensor(name, values.shape, values.dtype.name, scales, part)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        part.tensors[index].buffer = len(self.model.buffers) - 1
        return index

    def variable(self, name: str, shape: Sequence[int]) -> int:
        index = self.tensor(name, shape)
        self.main.tensors[index].isVariable = True
        return index

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, part: Any = None
    ) -> Any:
        """Add an operator; its options are named by their class, as ``FullyConnectedOptionsT``."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(127, code.builtinCode)
        code.version = {"DEQUANTIZE": 3, "QUANTIZE": 2, "FULLY_CONNECTED": 4}.get(name, 1)
        self.model.operatorCodes.append(code)
        one = schema.OperatorT()
        one.opcodeIndex, one.inputs, one.outputs = len(self.model.operatorCodes) - 1, list(inputs), list(outputs)
        if options is not None:
            one.builtinOptions = options
            one.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        (part or self.main).operators.append(one)
        return one

    def file(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.main.inputs, self.main.outputs = list(inputs), list(outputs)
        return bytes(convert_object_to_bytearray(self.model))


def weights(number: int, shape: Sequence[int] = (4, 4)) -> Array:
    """The float weights of a layer; the same for each number."""
    return np.random.default_rng(number).normal(size=shape).astype(np.float32)


def layers(
    count: int = 3,
    prefix: str = "net/dense",
    cast_before: int = -1,
    factor: float = 1.0,
    other: int = -1,
    subgraph: str = "main",
) -> bytes:
    """Make a chain of int8 layers.

    Args:
        prefix: of the names of their outputs.
        cast_before: layer before which an operator changes the range; none where -1.
        factor: of the scale of all weights.
        other: number of a layer that is made twice; none where -1.
        subgraph: its name.
    """
    made = Made(subgraph.encode())
    last = first = made.tensor("serving_default_x:0", (1, 4), "int8", [0.05])
    places = [place for place in range(count) for _ in range(1 + (place == other))]
    for at, place in enumerate(places):
        if at == cast_before:
            ranged = made.tensor("tfl.requantized", (1, 4), "int8", [0.04])
            made.operator("QUANTIZE", [last], [ranged])
            last = ranged
        real = weights(place)
        scale = float(np.abs(real).max() / 127)
        stored = np.round(real / scale).astype(np.int8)
        kernel = made.constant(f"{prefix}_{place}/MatMul_weights", stored, [factor * scale])
        bias = made.constant(f"{prefix}_{place}/bias", np.zeros(4, np.int32), [0.05 * factor * scale])
        output = made.tensor(f"{prefix}_{place}/MatMul;{prefix}_{place}/BiasAdd{at}", (1, 4), "int8", [0.05])
        made.operator("FULLY_CONNECTED", [last, kernel, bias], [output], schema.FullyConnectedOptionsT())
        last = output
    return made.file([first], [last])


def loop(noise: float = 0.0) -> bytes:
    """Make a model whose first operator runs a layer three times in a loop, and whose second is a layer.

    Args:
        noise: added to the weights within the loop.
    """
    made = Made()
    x, count = made.tensor("x", (1, 4)), made.constant("zero", np.zeros((), np.int32))
    out_count, looped, output = made.tensor("n", ()), made.tensor("looped", (1, 4)), made.tensor("y", (1, 4))
    made.main.tensors[out_count].type = TYPES["int32"]
    cond, body = made.subgraph(b"cond"), made.subgraph(b"body")
    n, seen = made.tensor("n", (), "int32", part=cond), made.tensor("x", (1, 4), part=cond)
    most = made.constant("most", np.array(3, np.int32), part=cond)
    goes_on = made.tensor("less", (), "bool", part=cond)
    made.operator("LESS", [n, most], [goes_on], schema.LessOptionsT(), cond)
    cond.inputs, cond.outputs = [n, seen], [goes_on]
    n, seen = made.tensor("n", (), "int32", part=body), made.tensor("x", (1, 4), part=body)
    one, more = made.constant("one", np.array(1, np.int32), part=body), made.tensor("n+1", (), "int32", part=body)
    kernel = made.constant("kernel", weights(0) + np.float32(noise) * weights(9), part=body)
    done = made.tensor("done", (1, 4), part=body)
    made.operator("ADD", [n, one], [more], schema.AddOptionsT(), body)
    made.operator("FULLY_CONNECTED", [seen, kernel, -1], [done], schema.FullyConnectedOptionsT(), body)
    body.inputs, body.outputs = [n, seen], [more, done]
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    made.operator("WHILE", [count, x], [out_count, looped], options)
    last = made.constant("last", weights(1))
    made.operator("FULLY_CONNECTED", [looped, last, -1], [output], schema.FullyConnectedOptionsT())
    return made.file([x], [output])


def in_blocks(noise: float = 0.0, quantized: bool = True) -> bytes:
    """Make a layer of 64 inputs with int4 weights, of which each 32 of a row share a scale, and a layer behind it.

    Args:
        noise: added to the weights.
        quantized: whether they are, and not float.
    """
    made = Made()
    x, hidden, y = made.tensor("x", (1, 64)), made.tensor("net/wide/MatMul", (1, 4)), made.tensor("y", (1, 4))
    real = weights(0, (4, 64)) + np.float32(noise) * weights(9, (4, 64))
    if quantized:
        blocks = real.reshape(4, 2, 32)
        scales = (np.abs(blocks).max(axis=2) / 7).astype(np.float16)
        stored = np.round(blocks / scales[..., None].astype(np.float32)).astype(np.int8).reshape(-1)
        packed = ((stored[0::2] & 15) | ((stored[1::2] & 15) << 4)).astype(np.int8)
        kernel = made.constant("kernel", packed)
        tensor = made.main.tensors[kernel]
        tensor.shape, tensor.type = [4, 64], schema.TensorType.INT4
        tensor.quantization, details = schema.QuantizationParametersT(), schema.BlockwiseQuantizationT()
        details.scales, details.zeroPoints, details.blockSize = made.constant("scales", scales), -1, 32
        tensor.quantization.details = details
        tensor.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    else:
        kernel = made.constant("kernel", real)
    made.operator("FULLY_CONNECTED", [x, kernel, -1], [hidden], schema.FullyConnectedOptionsT())
    last = made.constant("last", weights(1))
    made.operator("FULLY_CONNECTED", [hidden, last, -1], [y], schema.FullyConnectedOptionsT())
    return made.file([x], [y])


def lstm(noise: float = 0.0, steps: int = 5, outputs: int = 4) -> bytes:
    """Make an LSTM of 4 units that keeps its state in variables, and a layer behind it.

    Args:
        noise: added to the weights of the LSTM's input.
        outputs: of the layer behind it, each step.
    """
    made = Made()
    x = made.tensor("x", (1, steps, 4))
    kernels = [
        made.constant(f"input_{gate}", weights(gate) + np.float32(noise) * weights(20 + gate)) for gate in range(4)
    ]
    again = [made.constant(f"recurrent_{gate}", weights(10 + gate) / 2) for gate in range(4)]
    biases = [made.constant(f"bias_{gate}", np.zeros(4, np.float32)) for gate in range(4)]
    state, cell = made.variable("state", (1, 4)), made.variable("cell", (1, 4))
    output, last = made.tensor("rnn/lstm/out", (1, steps, 4)), made.tensor("y", (1, steps, outputs))
    inputs = [x, *kernels, *again, -1, -1, -1, *biases, -1, -1, state, cell, -1, -1, -1, -1]
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    made.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [output], options)
    kernel = made.constant("last", weights(1, (outputs, 4)))
    dense = schema.FullyConnectedOptionsT()
    dense.keepNumDims = True
    made.operator("FULLY_CONNECTED", [output, kernel, -1], [last], dense)
    return made.file([x], [last])


def joined(order: str) -> bytes:
    """Boxes (4 values) and scores (3 values), each of a layer of its own, in one tensor."""
    made = Made()
    x = made.tensor("x", (1, 4))
    parts = {}
    for name, width in (("boxes", 4), ("scores", 3)):
        kernel = made.constant(f"{name}_kernel", np.ones((width, 4), np.float32))
        parts[name] = made.tensor(name, (1, width))
        made.operator("FULLY_CONNECTED", (x, kernel), (parts[name],))
    both = made.tensor("both", (1, 7))
    made.operator("CONCATENATION", [parts[name] for name in order.split()], (both,))
    return made.file((x,), (both,))
