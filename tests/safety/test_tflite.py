"""``.tflite`` files that unpack to far more than they hold, or lack what a model has: one sentence each, soon."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from conftest import Quantbench
from quantbench.adopt import formats
from quantbench.errors import BadInput
from quantbench.measure.census import of_file
from quantbench.safety import tflite
from quantbench.tflite import graph as structure

SECONDS = 10  # the promise; on a busy machine too


def a_model(
    operators: int = 1, custom: bytes = b"", edit: Callable[[Any], object] = lambda model: None, weights: int = 4
) -> bytes:
    """A chain of dense layers of the same weights, or of somebody's operator."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CUSTOM if custom else schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.customCode, code.version = code.builtinCode, custom or None, 1
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.zeros(weights * weights, np.float32).view(np.uint8)
    graph.tensors, graph.operators = [], []
    for i in range(operators + 2):
        tensor = schema.TensorT()
        tensor.shape = np.array([weights, weights] if i == 1 else [1, weights], np.int32)
        tensor.buffer, tensor.name, tensor.type = int(i == 1), f"t{i}".encode(), schema.TensorType.FLOAT32
        graph.tensors.append(tensor)
    for i in range(operators):
        operator = schema.OperatorT()
        operator.opcodeIndex = 0
        operator.inputs = np.array([0 if i == 0 else i + 1, 1], np.int32)
        operator.outputs = np.array([i + 2], np.int32)
        graph.operators.append(operator)
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([operators + 1], np.int32)
    edit(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def inspected(tmp_path: Path, content: bytes) -> str:
    """The sentence that ``inspect`` ends with, within the time."""
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(BadInput) as caught:
        of_file(path)
    assert time.monotonic() - start < SECONDS
    words = str(caught.value)
    assert words.startswith(f"{path}: ")
    assert words.isprintable()
    assert len(words) < 600
    return words


def tried(tmp_path: Path, content: bytes) -> str:
    """The sentence that ``try`` ends with, before LiteRT gets the file."""
    path = tmp_path / "float.tflite"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        formats.check_safe(path, formats.detect(path))
    words = str(caught.value)
    assert words.startswith(f"{path}: ")
    assert words.isprintable()
    return words


def test_a_healthy_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(a_model(3))
    assert of_file(path).census.operators == {"FULLY_CONNECTED": {"float": 3}}


# ---------------------------------------------------------------- files that unpack to far more than they hold


class Shared:
    """Writes a flatbuffer whose tables are shared: what the object interface cannot write."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(self, slots: dict[int, int], numbers: dict[int, int] | None = None) -> int:
        """A table with references, and with numbers of 4 bytes."""
        self.builder.StartObject(max([*slots, *(numbers or {}), 0]) + 1)
        for slot, offset in slots.items():
            self.builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, number in (numbers or {}).items():
            self.builder.PrependUint32Slot(slot, number, 0)
        return int(self.builder.EndObject())

    def references(self, to: int, times: int) -> int:
        """A list that names one thing many times."""
        self.builder.StartVector(4, times, 4)
        for _ in range(times):
            self.builder.PrependUOffsetTRelative(to)
        return int(self.builder.EndVector())

    def array(self, count: int, kind: Any = np.float32) -> int:
        """Numbers."""
        return int(self.builder.CreateNumpyVector(np.zeros(count, kind)))

    def text(self, count: int) -> int:
        """A name."""
        return int(self.builder.CreateString("x" * count))

    def model(self, slots: dict[int, int]) -> bytes:
        """The whole file."""
        self.builder.Finish(self.table(slots), b"TFL3")
        return bytes(self.builder.Output())


def subgraphs_of_shared_tensors() -> bytes:
    """40 kB, for 25 million tensors."""
    file = Shared()
    tensors = file.references(file.table({}), 5000)
    return file.model({2: file.references(file.table({0: tensors}), 5000)})


def subgraphs_of_shared_operators() -> bytes:
    file = Shared()
    operators = file.references(file.table({}), 5000)
    return file.model({2: file.references(file.table({3: operators}), 5000)})


def tensors_of_one_scale() -> bytes:
    """One long array of scales, for each of thousands of tensors."""
    file = Shared()
    tensor = file.table({4: file.table({2: file.array(5000)})})
    return file.model({2: file.references(file.table({0: file.references(tensor, 5000)}), 1)})


def tensors_of_one_name() -> bytes:
    file = Shared()
    tensor = file.table({3: file.text(20_000)})
    return file.model({2: file.references(file.table({0: file.references(tensor, 5000)}), 1)})


def tensors_of_shared_variants() -> bytes:
    file = Shared()
    tensor = file.table({9: file.references(file.table({}), 5000)})
    return file.model({2: file.references(file.table({0: file.references(tensor, 5000)}), 1)})


def tensors_of_shared_sparsity() -> bytes:
    file = Shared()
    tensor = file.table({6: file.table({2: file.references(file.table({}), 5000)})})
    return file.model({2: file.references(file.table({0: file.references(tensor, 5000)}), 1)})


def buffers_of_one_content() -> bytes:
    """Each buffer is copied."""
    file = Shared()
    return file.model({4: file.references(file.table({0: file.array(20_000, np.uint8)}), 5000)})


def signatures_of_shared_maps() -> bytes:
    file = Shared()
    signature = file.table({0: file.references(file.table({}), 5000)})
    return file.model({7: file.references(signature, 5000)})


def a_list_of_four_billion() -> bytes:
    """A list whose length is that of no file."""
    content = bytearray(subgraphs_of_shared_tensors())
    at = content.index(np.array([5000], "<u4").tobytes())
    content[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


BOMBS = [
    subgraphs_of_shared_tensors,
    subgraphs_of_shared_operators,
    tensors_of_one_scale,
    tensors_of_one_name,
    tensors_of_shared_variants,
    tensors_of_shared_sparsity,
    buffers_of_one_content,
    signatures_of_shared_maps,
    a_list_of_four_billion,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_a_file_of_shared_parts_ends_soon(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    content = bomb()
    assert len(content) < 100_000
    assert "no model of its size has" in inspected(tmp_path, content)
    assert "no model of its size has" in tried(tmp_path, content)


def test_scales_of_blocks_that_are_shared_end_soon(tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        model.buffers[1].data = np.zeros(40_000, np.uint8)
        for tensor in graph.tensors[2:]:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
            tensor.quantization.details = schema.BlockwiseQuantizationT()
            tensor.quantization.details.scales, tensor.quantization.details.blockSize = 1, 32

    assert "scales, which no model of its size has" in inspected(tmp_path, a_model(1000, edit=edit))


def test_weights_that_are_used_in_a_thousand_shapes_end_soon(tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        for i, operator in enumerate(graph.operators):
            tensor = schema.TensorT()
            tensor.shape, tensor.buffer = np.array([i + 1, 100], np.int32), 1
            graph.tensors.append(tensor)
            operator.inputs[1] = len(graph.tensors) - 1

    words = inspected(tmp_path, a_model(900, edit=edit, weights=300))
    assert "weights in more ways" in words


def test_a_chain_of_casts_ends_soon(tmp_path: Path) -> None:
    """Thousands of casts, and thousands of layers at their end."""

    def edit(model: Any) -> None:
        cast = schema.OperatorCodeT()
        cast.builtinCode = cast.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
        model.operatorCodes.append(cast)
        operators = model.subgraphs[0].operators
        for i, operator in enumerate(operators):
            if i < len(operators) // 2:
                operator.opcodeIndex, operator.inputs = 1, operator.inputs[:1]
            else:
                operator.inputs[1] = len(operators) // 2

    path = tmp_path / "m.tflite"
    path.write_bytes(a_model(8000, edit=edit))
    start = time.monotonic()
    of_file(path)
    assert time.monotonic() - start < SECONDS


@pytest.mark.nightly
@pytest.mark.slow
def test_as_many_parts_as_are_allowed_are_read_in_time(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(a_model(tflite._MOST_TABLES // 2 - 100))
    start = time.process_time()
    of_file(path)
    assert time.process_time() - start < SECONDS  # of the processor: others may use it too


# ---------------------------------------------------------------- files that lack something


def without(name: str) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        setattr(model.subgraphs[0], name, None)

    return edit


def without_subgraphs(model: Any) -> None:
    model.subgraphs = []


def operator_out_of_range(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 7


def input_out_of_range(model: Any) -> None:
    model.subgraphs[0].inputs = np.array([99], np.int32)


def output_out_of_range(model: Any) -> None:
    model.subgraphs[0].outputs = np.array([-1], np.int32)


def operator_reads_out_of_range(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = np.array([0, -2], np.int32)


def operator_writes_out_of_range(model: Any) -> None:
    model.subgraphs[0].operators[0].outputs = np.array([99], np.int32)


def buffer_out_of_range(model: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 99


def no_codes(model: Any) -> None:
    model.operatorCodes = None


DAMAGED: dict[Callable[[Any], None], str] = {
    without_subgraphs: "it holds no subgraph",
    operator_out_of_range: "an operator has code 7; the file lists 1",
    input_out_of_range: "the model reads tensor 99; the file has 3",
    output_out_of_range: "the model writes tensor -1; the file has 3",
    operator_reads_out_of_range: "an operator reads tensor -2; the file has 3",
    operator_writes_out_of_range: "an operator writes tensor 99; the file has 3",
    buffer_out_of_range: "damaged .tflite file",
    no_codes: "an operator has code 0; the file lists 0",
}


@pytest.mark.parametrize("edit", DAMAGED, ids=lambda edit: edit.__name__)
def test_a_file_that_is_no_model(tmp_path: Path, edit: Callable[[Any], None]) -> None:
    content = a_model(edit=edit)
    assert DAMAGED[edit] in inspected(tmp_path, content)
    assert DAMAGED[edit] in tried(tmp_path, content)


@pytest.mark.parametrize("name", ["inputs", "outputs", "operators"])
def test_a_model_without(tmp_path: Path, name: str) -> None:
    assert f"the model has no {name}" in tried(tmp_path, a_model(edit=without(name)))
    path = tmp_path / "m.tflite"
    path.write_bytes(a_model(edit=without(name)))
    of_file(path)  # it may be looked at


# ---------------------------------------------------------------- operators


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"FlexWriteFile", "it asks TensorFlow to run FlexWriteFile"),
        (b"FlexReadFile", "it asks TensorFlow to run FlexReadFile"),
        (b"FlexConv2D", "it asks TensorFlow to run FlexConv2D"),
        (b"Somebodys", "an operator that LiteRT lacks, Somebodys"),
        (b"\x1b]0;title\x07", "an operator that LiteRT lacks, ?]0;title?"),
        (b"", "FULLY_CONNECTED"),
    ],
)
def test_an_operator_that_is_not_litert(tmp_path: Path, name: bytes, words: str) -> None:
    if not name:
        graph = structure.read(a_model())
        assert [operator.name for operator in graph.operators] == [words]
        tflite.check_runs(["FULLY_CONNECTED", *tflite.CUSTOM], structure.builtin_operators())
        return
    assert words in tried(tmp_path, a_model(custom=name))


def test_a_custom_operator_without_a_name(tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        model.operatorCodes[0].customCode = None

    assert "an operator that LiteRT lacks, CUSTOM" in tried(tmp_path, a_model(custom=b"x", edit=edit))


def test_an_operator_of_another_version(tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 5000

    assert "an operator that LiteRT lacks, 5000" in tried(tmp_path, a_model(edit=edit))


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(100), bytes(5000)])
def test_inspect_of_something_else(quantbench: Quantbench, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    done = quantbench("inspect", str(path))
    assert done.status == 4, done.output
    assert "Traceback" not in done.output
    assert str(path) in done.output


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.npz", "folder", "m.TFLITE"])
def test_inspect_of_a_file_that_is_no_tflite(quantbench: Quantbench, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    else:
        path.write_bytes(b"PK\x03\x04" + bytes(100))
    done = quantbench("inspect", str(path))
    assert done.status == 4, done.output
    assert "Traceback" not in done.output
    assert f"{path}: " in done.output


def test_inspect_of_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.tflite")
    (tmp_path / "zero.tflite").symlink_to("/dev/zero")
    (tmp_path / "folder.tflite").mkdir()
    with (tmp_path / "huge.tflite").open("wb") as file:
        file.truncate(2**43)
    for name, words in {
        "fifo": "is no regular file",
        "zero": "is no regular file",
        "folder": "is a folder",
        "nowhere": "no such file",
        "huge": "more than a quarter of this machine's memory",
    }.items():
        with pytest.raises(BadInput, match=words):
            of_file(tmp_path / f"{name}.tflite")


@pytest.mark.parametrize("bomb", [subgraphs_of_shared_tensors, buffers_of_one_content], ids=lambda bomb: bomb.__name__)
def test_inspect_of_a_bomb(quantbench: Quantbench, tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(bomb())
    done = quantbench("inspect", str(path))
    assert done.status == 4, done.output
    assert "no model of its size has" in done.output
