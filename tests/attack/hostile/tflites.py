"""TFLite files whose tables lie, share, loop, or call operators that nobody knows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from hostile.room import Hostile, Room

FLOAT, FULLY_CONNECTED, CUSTOM, WHILE, ADD = 0, 9, 32, 119, 0


def _tensor(name: str, shape: list[int], buffer: int = 0, kind: int = FLOAT) -> Any:
    found = schema.TensorT()
    found.name, found.shape, found.buffer, found.type = name, shape, buffer, kind
    return found


def _buffer(values: Any) -> Any:
    found = schema.BufferT()
    if values is not None:
        found.data = np.frombuffer(values.tobytes(), np.uint8)
    return found


def _code(builtin: int, custom: str | None = None) -> Any:
    found = schema.OperatorCodeT()
    found.builtinCode, found.deprecatedBuiltinCode, found.version, found.customCode = (
        builtin,
        min(builtin, 127),
        1,
        custom,
    )
    return found


def model() -> Any:
    """One dense layer, as an object to be changed."""
    found = schema.ModelT()
    found.version, found.description = 3, "one layer"
    found.operatorCodes = [_code(FULLY_CONNECTED)]
    found.buffers = [_buffer(None), _buffer(np.eye(2, 4, dtype=np.float32)), _buffer(np.zeros(2, np.float32))]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor("x", [1, 4]), _tensor("kernel", [2, 4], 1), _tensor("bias", [2], 2), _tensor("y", [1, 2])]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = 8, schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    found.subgraphs = [graph]
    return found


def packed(found: Any) -> bytes:
    """The bytes of a model."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(found.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def healthy(path: Path) -> Path:
    """A model with nothing wrong."""
    path.write_bytes(packed(model()))
    return path


Change = Callable[[Any], None]


def _operator(code: int, custom: str | None = None) -> Change:
    def change(found: Any) -> None:
        found.operatorCodes = [_code(code, custom)]
        found.subgraphs[0].operators[0].builtinOptions = None
        found.subgraphs[0].operators[0].builtinOptionsType = 0

    return change


def _graph(**values: Any) -> Change:
    def change(found: Any) -> None:
        for name, value in values.items():
            setattr(found.subgraphs[0], name, value)

    return change


def _first_operator(**values: Any) -> Change:
    def change(found: Any) -> None:
        for name, value in values.items():
            setattr(found.subgraphs[0].operators[0], name, value)

    return change


def _first_tensor(at: int = 0, **values: Any) -> Change:
    def change(found: Any) -> None:
        for name, value in values.items():
            setattr(found.subgraphs[0].tensors[at], name, value)

    return change


def _whole(**values: Any) -> Change:
    def change(found: Any) -> None:
        for name, value in values.items():
            setattr(found, name, value)

    return change


def _cycle(found: Any) -> None:
    """Two operators that wait for each other."""
    graph = found.subgraphs[0]
    graph.tensors += [_tensor("a", [1, 2]), _tensor("b", [1, 2])]
    found.operatorCodes.append(_code(ADD))
    graph.operators = []
    for inputs, outputs in (([0, 5], [4]), ([4, 4], [5]), ([5, 4], [3])):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 1, inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = 11, schema.AddOptionsT()
        graph.operators.append(operator)


def _calls_itself(found: Any) -> None:
    """A loop whose body is the graph that it is in."""
    found.operatorCodes = [_code(WHILE)]
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 0, 0
    operator = found.subgraphs[0].operators[0]
    operator.builtinOptionsType, operator.builtinOptions = 92, options
    operator.inputs, operator.outputs = [0], [3]


def _buffer_outside(found: Any) -> None:
    found.buffers[1].data = None
    found.buffers[1].offset, found.buffers[1].size = 2**40, 2**40


def _escapes(found: Any) -> None:
    for tensor in found.subgraphs[0].tensors:
        tensor.name = f"\x1b]0;owned\x07\x1b[2J\n{tensor.name}"
    found.subgraphs[0].outputs = [99]


CHANGES: dict[str, tuple[str, Change]] = {
    "flex_write_file": ("write", _operator(CUSTOM, "FlexWriteFile")),
    "flex_read_file": ("read", _operator(CUSTOM, "FlexReadFile")),
    "flex_python": ("run", _operator(CUSTOM, "FlexPyFunc")),
    "custom_operator": ("run", _operator(CUSTOM, "SomebodysOperator")),
    "custom_without_name": ("time", _operator(CUSTOM)),
    "custom_with_escapes": ("words", _operator(CUSTOM, "\x1b]0;owned\x07\x1b[2J")),
    "unknown_operator": ("time", _operator(9999)),
    "negative_operator": ("time", _operator(-7)),
    "operator_out_of_range": ("time", _first_operator(opcodeIndex=7)),
    "no_inputs": ("time", _graph(inputs=[])),
    "no_inputs_at_all": ("time", _graph(inputs=None)),
    "no_outputs": ("time", _graph(outputs=[])),
    "no_outputs_at_all": ("time", _graph(outputs=None)),
    "no_tensors": ("time", _graph(tensors=[])),
    "no_operators": ("time", _graph(operators=None)),
    "no_subgraphs": ("time", _whole(subgraphs=[])),
    "no_subgraphs_at_all": ("time", _whole(subgraphs=None)),
    "no_codes": ("time", _whole(operatorCodes=[])),
    "no_buffers": ("time", _whole(buffers=[])),
    "input_out_of_range": ("time", _graph(inputs=[77])),
    "input_negative": ("time", _graph(inputs=[-1])),
    "output_out_of_range": ("time", _graph(outputs=[2**31 - 1])),
    "operand_out_of_range": ("time", _first_operator(inputs=[0, 1, 2**30])),
    "operand_negative": ("time", _first_operator(inputs=[-99, 1, 2])),
    "result_out_of_range": ("time", _first_operator(outputs=[50])),
    "no_operands": ("time", _first_operator(inputs=None)),
    "buffer_out_of_range": ("time", _first_tensor(1, buffer=4_000_000_000)),
    "buffer_outside_of_the_file": ("read", _buffer_outside),
    "huge_input": ("memory", _first_tensor(shape=[1, 2**31 - 1])),
    "huge_product": ("memory", _first_tensor(shape=[2**16, 2**16, 2**16, 2**16])),
    "huge_constant": ("memory", _first_tensor(1, shape=[2**20, 2**20])),
    "negative_shape": ("time", _first_tensor(1, shape=[-5, 4])),
    "shape_that_lies": ("time", _first_tensor(1, shape=[200, 400])),
    "unknown_type": ("time", _first_tensor(type=99)),
    "string_input": ("time", _first_tensor(type=5)),
    "resource_input": ("time", _first_tensor(type=13)),
    "cycle": ("time", _cycle),
    "graph_that_calls_itself": ("time", _calls_itself),
    "names_with_escapes": ("words", _escapes),
    "version_9": ("time", _whole(version=9)),
}


def _shared(room: Room, width: int = 4096) -> Path:
    """A vector of tables that are all one table, whose vector's tables are all one table again."""
    builder = flatbuffers.Builder(1 << 16)
    name = builder.CreateString("x" * 64)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor = schema.TensorEnd(builder)
    builder.StartVector(4, width, 4)
    for _ in range(width):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    builder.StartVector(4, width, 4)
    for _ in range(width):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = room.given / "m.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def _shared_bytes(room: Room) -> Path:
    """A long vector of bytes that hundreds of buffers share."""
    builder = flatbuffers.Builder(1 << 20)
    data = builder.CreateByteVector(bytes(2**20))
    schema.BufferStart(builder)
    schema.BufferAddData(builder, data)
    one = schema.BufferEnd(builder)
    builder.StartVector(4, 20_000, 4)
    for _ in range(20_000):
        builder.PrependUOffsetTRelative(one)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = room.given / "m.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


def _long_vector(room: Room) -> Path:
    """A vector that says that it is longer than the file."""
    path = healthy(room.given / "m.tflite")
    content = bytearray(path.read_bytes())
    place = content.find(np.eye(2, 4, dtype=np.float32).tobytes())
    content[place - 4 : place] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    return path


def _cut(room: Room) -> Path:
    path = healthy(room.given / "m.tflite")
    path.write_bytes(path.read_bytes()[:200])
    return path


def _head(room: Room) -> Path:
    path = room.given / "m.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3")
    return path


def _root_outside(room: Room) -> Path:
    path = healthy(room.given / "m.tflite")
    path.write_bytes(b"\xff\xff\xff\x7f" + path.read_bytes()[4:])
    return path


def _table_of_itself(room: Room) -> Path:
    """The table of fields of the root points to the root."""
    path = room.given / "m.tflite"
    path.write_bytes(b"\x08\x00\x00\x00TFL3" + b"\x00\x00\x00\x00" * 64)
    return path


FILES: dict[str, tuple[str, Callable[[Room], Path]]] = {
    "shared_tables": ("time", _shared),
    "shared_bytes": ("memory", _shared_bytes),
    "long_vector": ("time", _long_vector),
    "cut": ("time", _cut),
    "head_alone": ("time", _head),
    "root_outside": ("time", _root_outside),
    "table_of_itself": ("time", _table_of_itself),
}
# A listing of what is in a file may well list odd things.
LISTED = frozenset({0, 4})


def changed() -> Iterator[Hostile]:
    """A whole file that says something wrong."""
    for name, (aim, change) in CHANGES.items():

        def path(room: Room, change: Change = change) -> Path:
            found = model()
            change(found)
            path = room.given / "m.tflite"
            path.write_bytes(packed(found))
            return path

        def tried(room: Room, path: Callable[[Room], Path] = path) -> list[str]:
            return room.trying(path(room))

        def inspected(room: Room, path: Callable[[Room], Path] = path) -> list[str]:
            return ["inspect", str(path(room))]

        yield Hostile(f"tflite_{name}", "TFLite", tried, (aim,))
        yield Hostile(f"inspect_{name}", "TFLite inspected", inspected, (aim,), LISTED)


def other_files() -> Iterator[Hostile]:
    """Files that are no whole model."""
    for name, (aim, make) in FILES.items():

        def tried(room: Room, make: Callable[[Room], Path] = make) -> list[str]:
            return room.trying(make(room))

        def inspected(room: Room, make: Callable[[Room], Path] = make) -> list[str]:
            return ["inspect", str(make(room))]

        yield Hostile(f"tflite_{name}", "TFLite", tried, (aim,))
        yield Hostile(f"inspect_{name}", "TFLite inspected", inspected, (aim,))

    def of_zeros(room: Room) -> list[str]:
        (room.given / "m.tflite").symlink_to("/dev/zero")
        return ["inspect", str(room.given / "m.tflite")]

    def of_a_fifo(room: Room) -> list[str]:
        import os

        os.mkfifo(room.given / "m.tflite")
        return ["inspect", str(room.given / "m.tflite")]

    def of_a_folder(room: Room) -> list[str]:
        (room.given / "m.tflite").mkdir()
        return ["inspect", str(room.given / "m.tflite")]

    def of_a_private_file(room: Room) -> list[str]:
        (room.given / "m.tflite").symlink_to(room.private)
        return ["inspect", str(room.given / "m.tflite")]

    for make_special in (of_zeros, of_a_fifo, of_a_folder, of_a_private_file):
        yield Hostile(f"inspect_{make_special.__name__}", "TFLite inspected", make_special, ("read", "time"))


ALL = [*changed(), *other_files()]
