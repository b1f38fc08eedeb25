"""What is measured beside a result never costs it: the other kernels run in a process that may abort."""

import gc
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from made_up_cells import Model, model
from made_up_runs import LABELS
from quantbench.build.store import Store
from quantbench.core import child_process, walls
from quantbench.measure import accuracy, chunks, side, work
from quantbench.reference.datasets import Pack, Split
from quantbench.tflite.litert import LiteRT

# Aborts as native code does, where the reference kernels are asked for.
ABORTS = """
import os, sys
if "quantbench.measure.side_worker" in sys.orig_argv:
    from quantbench.tflite import litert
    class Aborting(litert.LiteRT):
        def __init__(self, *given, **more):
            if more["runtime"] == "litert-reference":
                print("fully_quantize: 0", file=sys.stderr, flush=True)
                os.abort()
            super().__init__(*given, **more)
    litert.LiteRT = Aborting
"""


def tensor(name: bytes, shape: list[int], buffer: int, variable: bool = False) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, schema.TensorType.FLOAT32, buffer
    made.isVariable = variable
    return made


def artifact(tensors: list[Any], layer: Any, code: int, constants: list[np.ndarray[Any, Any]]) -> bytes:
    """An artifact of one operator; its last tensor is the output."""
    buffers = [schema.BufferT() for _ in range(1 + len(constants))]
    for buffer, values in zip(buffers[1:], constants, strict=True):
        buffer.data = values.astype(np.float32).reshape(-1).view(np.uint8)
    graph, kind, whole = schema.SubGraphT(), schema.OperatorCodeT(), schema.ModelT()
    layer.opcodeIndex, layer.outputs = 0, [len(tensors) - 1]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [layer], [0], [len(tensors) - 1]
    kind.builtinCode = kind.deprecatedBuiltinCode = code
    kind.version = 1
    whole.version, whole.subgraphs, whole.buffers, whole.operatorCodes = 3, [graph], buffers, [kind]
    return bytes(convert_object_to_bytearray(whole))


def dense() -> bytes:
    """A layer that answers with its input."""
    layer = schema.OperatorT()
    layer.inputs = [0, 1, -1]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    tensors = [tensor(b"in", [1, 10], 0), tensor(b"weights", [10, 10], 1), tensor(b"out", [1, 10], 0)]
    return artifact(tensors, layer, schema.BuiltinOperator.FULLY_CONNECTED, [np.eye(10)])


def recurrent() -> bytes:
    """A recurrent layer of one step, whose state the runtime keeps between calls."""
    random = np.random.default_rng(0)
    layer = schema.OperatorT()
    layer.inputs = [0, 1, 2, 3, 4]
    layer.builtinOptionsType = schema.BuiltinOptions.SequenceRNNOptions
    layer.builtinOptions = schema.SequenceRNNOptionsT()
    layer.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.TANH
    tensors = [
        tensor(b"in", [1, 1, 10], 0),
        tensor(b"weights", [10, 10], 1),
        tensor(b"recurrent", [10, 10], 2),
        tensor(b"bias", [10], 3),
        tensor(b"state", [1, 10], 0, variable=True),
        tensor(b"out", [1, 1, 10], 0),
    ]
    weights = [random.normal(size=(10, 10)), random.normal(size=(10, 10)), random.normal(size=10)]
    return artifact(tensors, layer, schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_RNN, weights)


class Digits(Model):
    def pack(self) -> Pack:
        return Pack(None, None, Split(np.eye(10, dtype=np.float32)[LABELS], LABELS), "d")


class Steps(Model):
    def pack(self) -> Pack:
        return Pack(None, None, Split(np.eye(10, dtype=np.float32)[LABELS][:, None], LABELS), "d")


def _as_it_is(x: Any) -> Any:
    return x


def digits(kind: type[Model] = Digits, **more: Any) -> Any:
    return kind(**(vars(model()) | {"prepare": _as_it_is} | more))


@pytest.fixture
def aborting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of the test, and them alone, meet the plant."""
    (tmp_path / "sitecustomize.py").write_text(ABORTS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    side._standing.cache_clear()
    yield
    side._standing.cache_clear()


@pytest.mark.usefixtures("aborting")
def test_kernels_that_abort_cost_a_comparison_and_never_the_result(tmp_path: Path) -> None:
    path, cell = tmp_path / "a.tflite", digits()
    path.write_bytes(dense())
    found = accuracy.evaluate(path, "a", cell, Store(tmp_path / "store"))
    assert found.score == 1.0
    assert found.predictions is not None
    assert np.array_equal(found.predictions, LABELS)
    assert list(found.others) == ["litert-builtin"]  # asked before, and answered
    [finding] = found.findings
    assert "reference kernels were not compared" in finding
    assert "died of SIGABRT: " in finding
    assert "fully_quantize: 0" in finding
    again = accuracy.find("a", cell, Store(tmp_path / "store"))
    assert again is not None
    assert again.findings == found.findings
    path.write_bytes(dense() + b"\0")
    assert list(accuracy.evaluate(path, "b", cell, Store(tmp_path / "store")).others) == ["litert-builtin"]


def test_kernels_that_take_too_long_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "LIMIT_SECONDS", 0.01)
    path = tmp_path / "a.tflite"
    path.write_bytes(dense())
    side._standing.cache_clear()
    found = side.on_other_kernels(path, np.eye(10, dtype=np.float32), False, None)
    assert not found.outputs
    assert len(found.findings) == 2
    assert "given 10 examples, did not finish within" in found.findings[0]


@pytest.mark.parametrize("form", ["code", "keras2"])
def test_the_other_kernels_answer_the_first_examples(tmp_path: Path, form: str) -> None:
    """With ``keras2`` the process is confined to the store, where the artifact lies."""
    store = Store(tmp_path / "store")
    path = store.put("ab" * 32, {"artifact.tflite": dense()}, {}) / "artifact.tflite"
    found = accuracy.evaluate(path, "a", digits(form=form), store)
    assert not found.findings
    assert sorted(found.others) == ["litert-builtin", "litert-reference"]
    for predictions in found.others.values():
        assert np.array_equal(predictions, LABELS[: side.OTHER_EXAMPLES])


@pytest.mark.parametrize(
    ("operations", "count", "expected"),
    [
        (12_500_000, 10_000, 300),
        (12_500_000, 120, 120),
        (300_000_000, 1000, 2),
        (4_000_000_000, 100, 1),
        (300_000_000, 10_000_000, 300),
        (None, 1000, 2),
    ],
)
def test_large_models_run_fewer_examples_beside(operations: int | None, count: int, expected: int) -> None:
    assert side.examples_beside(operations, count) == expected


def test_operations_are_counted_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(dense())
    assert work.operations(path) == 100
    path.write_bytes(b"no artifact")
    assert work.operations(path) is None


@pytest.mark.parametrize("interpreters", [1, 2])
def test_state_is_reset_before_each_example_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreters: int
) -> None:
    path, cell = tmp_path / "a.tflite", digits(Steps, stateful=True)
    path.write_bytes(recurrent())
    whole = LiteRT(path, stateful=True).run(cell.pack().test.x)
    kept = LiteRT(path, stateful=False).run(cell.pack().test.x)
    assert isinstance(whole, np.ndarray)
    assert not np.array_equal(whole, kept)  # so that a state which is kept shows
    monkeypatch.setattr(chunks, "CHUNK_EXAMPLES", 37)
    pace = accuracy.Pace(lambda: interpreters)
    found = accuracy.evaluate(path, "a", cell, Store(tmp_path / "store"), pace)
    assert found.outputs is not None
    assert found.outputs.tobytes() == whole.reshape(len(whole), -1)[: len(found.outputs)].tobytes()


def test_the_number_of_interpreters_is_asked_for_before_each_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_EXAMPLES", 100)
    path, told, used = tmp_path / "a.tflite", [], []
    path.write_bytes(dense())
    real = accuracy.in_threads
    monkeypatch.setattr(accuracy, "in_threads", lambda runners, x: (used.append(len(runners)), real(runners, x))[1])
    pace = accuracy.Pace(lambda: 2 if len(used) > 4 else 1, lambda *so_far: told.append(so_far))
    found = accuracy.evaluate(path, "a", digits(), Store(tmp_path / "store"), pace)
    assert found.score == 1.0
    assert used[:5] == [1] * 5
    assert set(used[5:]) == {min(2, os.cpu_count() or 1)}
    assert told[0] == (8, len(LABELS))
    assert told[-1] == (len(LABELS), len(LABELS))


@pytest.mark.skipif(not walls.available().files, reason="this system cannot confine what a process reads")
def test_the_process_for_untrusted_artifacts_reads_its_folder_alone(tmp_path: Path) -> None:
    examples = np.eye(10, dtype=np.float32)
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tflite").write_bytes(dense())
    found = {
        name: side.on_other_kernels(tmp_path / name / "a.tflite", examples, False, tmp_path / "inside")
        for name in ("inside", "outside")
    }
    assert sorted(found["inside"].outputs) == ["litert-builtin", "litert-reference"]
    assert not found["outside"].outputs
    assert sorted(found["outside"].refusals) == ["litert-builtin", "litert-reference"]


def test_a_folder_that_was_removed_is_replaced_with_its_process() -> None:
    standing = child_process.Standing("quantbench.measure.side_worker")
    first = standing.scratch()
    shutil.rmtree(first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = standing.scratch()
        gc.collect()
        assert second != first
        assert second.is_dir()
        standing.end()
        gc.collect()
    assert not second.exists()


@pytest.mark.parametrize("line", ["", "not JSON", "[" * 100_000])
def test_an_answer_that_cannot_be_read_is_none(line: str) -> None:
    assert child_process.parsed(line) is None
