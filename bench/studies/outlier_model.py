"""Make a small dense classifier with a planted outlier layer, as a float ``.tflite``; needs no TensorFlow.

One unit of the first layer answers a thousand times as large as the others, and the weights that read it are a thousand
times as small: in float nothing changes, but whatever has one scale for all these values is left with little of the
others. The weights are random but for the last layer, which is a least-squares fit.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.core.arrays import Array

OUTLIER = 1000.0
WIDTHS = (24, 96, 64, 64, 10)  # of the input, of hidden layers and of the output
Layer = tuple[Array, Array]


def classes(seed: int, count: int) -> dict[str, Array]:
    """Draw examples of ten overlapping classes, each of two clusters."""
    centres = np.random.default_rng(7).normal(size=(20, WIDTHS[0]))
    random = np.random.default_rng(seed)
    cluster = random.integers(0, 20, count)
    x = centres[cluster] + 0.9 * random.normal(size=(count, WIDTHS[0]))
    return {"x": x.astype(np.float32), "y": cluster % 10}


def layers(outlier: float = OUTLIER) -> list[Layer]:
    """Return kernels (outputs, inputs) and biases, with the outlier planted in the first layer."""
    random = np.random.default_rng(11)
    found: list[Layer] = []
    train = classes(1, 6000)
    values = train["x"].astype(np.float64)
    for before, after in list(pairwise(WIDTHS))[:-1]:
        kernel = random.normal(size=(after, before)) * np.sqrt(2 / before)
        bias = 0.1 * random.normal(size=after)
        found.append((kernel, bias))
        values = np.maximum(values @ kernel.T + bias, 0)
    wanted = np.eye(WIDTHS[-1])[train["y"]]
    features = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    fitted = np.linalg.solve(features.T @ features + 1e-2 * np.eye(features.shape[1]), features.T @ wanted)
    found.append((4 * fitted[:-1].T, 4 * fitted[-1]))
    (first, bias), (second, _) = found[0], found[1]
    place = int(np.argmax(np.mean(np.maximum(train["x"] @ first.T + bias, 0), axis=0)))
    first[place] *= outlier
    bias[place] *= outlier
    second[:, place] /= outlier
    return found


def tflite(of: list[Layer]) -> bytes:
    """Return dense layers with ReLU between them as a ``.tflite`` of batch size 1."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

    graph, model = schema.SubGraphT(), schema.ModelT()
    model.version, model.description, model.subgraphs, model.buffers = 3, b"outlier", [graph], [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes, graph.name, graph.tensors, graph.operators = [code], b"main", [], []

    def tensor(name: str, shape: tuple[int, ...], values: Array | None = None) -> int:
        one = schema.TensorT()
        one.name, one.shape, one.type, one.buffer = name.encode(), list(shape), schema.TensorType.FLOAT32, 0
        if values is not None:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
            one.buffer = len(model.buffers) - 1
        graph.tensors.append(one)
        return len(graph.tensors) - 1

    now = tensor("x", (1, of[0][0].shape[1]))
    graph.inputs = [now]
    for number, (kernel, bias) in enumerate(of):
        one = schema.OperatorT()
        read = [now, tensor(f"kernel{number}", kernel.shape, kernel), tensor(f"bias{number}", bias.shape, bias)]
        now = tensor(f"dense{number}", (1, len(bias)))
        one.opcodeIndex, one.inputs, one.outputs = 0, read, [now]
        one.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        one.builtinOptions = schema.FullyConnectedOptionsT()
        fused = schema.ActivationFunctionType.RELU if number < len(of) - 1 else schema.ActivationFunctionType.NONE
        one.builtinOptions.fusedActivationFunction = fused
        graph.operators.append(one)
    graph.outputs = [now]
    model.signatureDefs = [_signature(schema, graph)]
    return bytes(convert_object_to_bytearray(model))


def _signature(schema: Any, graph: Any) -> Any:
    def named(name: bytes, index: int) -> Any:
        one = schema.TensorMapT()
        one.name, one.tensorIndex = name, index
        return one

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = [named(b"x", graph.inputs[0])], [named(b"y", graph.outputs[0])]
    return signature


def write(folder: Path, examples: int = 9000, outlier: float = OUTLIER) -> Path:
    """Write ``outlier.tflite``, ``eval.npz`` and ``calibration.npz`` into a folder; return the model's file."""
    np.savez(folder / "eval.npz", **classes(2, examples))  # type: ignore[arg-type]
    np.savez(folder / "calibration.npz", x=classes(3, 200)["x"])
    path = folder / "outlier.tflite"
    path.write_bytes(tflite(layers(outlier)))
    return path
