"""An artifact taken apart and put together again by LiteRT's own tools, and what is read of it."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from quantbench.selftest.flatbuffer import layers, operators
from quantbench.tflite.edit import edited, repacked, without_stamp
from quantbench.tflite.graph import read

VALUES = np.arange(6, dtype=np.int8).reshape(2, 3)


def _tensor(name: bytes, shape: list[int], kind: int, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    return tensor


def _code(builtin: int, custom: bytes | None = None) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = min(builtin, 127)
    code.builtinCode, code.customCode, code.version = builtin, custom, 1
    return code


def _operator(code: int, inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    return operator


def _artifact(description: bytes = b"made up", newest: int = 10_000) -> bytes:
    """A layer of int8 weights, an operator of somebody's own, and one that the tools do not know."""
    types = schema.TensorType
    buffers = [schema.BufferT() for _ in range(2)]
    buffers[1].data = VALUES.reshape(-1).view(np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(b"in", [1, 3], types.FLOAT32, 0), _tensor(b"weights", [2, 3], types.INT8, 1)]
    graph.tensors += [_tensor(name, [1, 2], types.FLOAT32, 0) for name in (b"out", b"own", b"new")]
    graph.operators = [_operator(0, [0, 1], 2), _operator(1, [2], 3), _operator(2, [3], 4)]
    graph.inputs, graph.outputs = [0], [4]
    model = schema.ModelT()
    model.version, model.description, model.subgraphs, model.buffers = 3, description, [graph], buffers
    fully_connected = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes = [_code(fully_connected), _code(schema.BuiltinOperator.CUSTOM, b"Own"), _code(newest)]
    return bytes(convert_object_to_bytearray(model))


def test_what_is_packed_again_is_the_same() -> None:
    assert repacked(_artifact()) == repacked(repacked(_artifact()))
    assert read(repacked(_artifact())).tensors == read(_artifact()).tensors


def test_two_that_differ_in_their_stamp_alone_are_equal_without_it() -> None:
    assert repacked(_artifact(b"one maker")) != repacked(_artifact(b"another one"))
    assert without_stamp(_artifact(b"one maker")) == without_stamp(_artifact(b"another one"))


def test_operators_are_named_also_where_the_tools_do_not_know_them() -> None:
    graph = read(_artifact())
    assert [operator.name for operator in graph.operators] == ["FULLY_CONNECTED", "Own", "10000"]
    assert [tensor.dtype for tensor in graph.tensors[:2]] == ["float32", "int8"]
    assert np.array_equal(graph.tensors[1].values(), VALUES)


def test_weights_are_read_and_written_in_place() -> None:
    def negate(model: Any) -> None:
        assert len(operators(model, "FULLY_CONNECTED", "CUSTOM")) == 2
        [layer] = layers(model)
        layer.write(1, -layer.read(1, "int8"))

    assert np.array_equal(read(edited(_artifact(), negate)).tensors[1].values(), -VALUES)


@pytest.mark.parametrize("cut", [9, 40, 100])
def test_half_a_file_is_refused_in_one_way(cut: int) -> None:
    with pytest.raises(ValueError, match=r"a damaged \.tflite file"):
        read(_artifact()[:cut])
