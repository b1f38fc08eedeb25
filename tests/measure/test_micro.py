"""Artifacts on TFLite-Micro: its log, and, where the package is installed, whole processes that may crash."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from made_up_cells import Model, model
from made_up_graphs import Made
from made_up_runs import LABELS
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.measure import micro, micro_log
from quantbench.reference.datasets import Pack, Split
from quantbench.tflite import litert_micro
from quantbench.tflite.edit import edited
from quantbench.tflite.litert import LiteRT
from quantbench.tflite.litert_micro import Stored, TFLiteMicro

installed = pytest.mark.skipif(bool(micro.unavailable()), reason=micro.unavailable())
# Stands in for the package: its file is never read.
ABORTS = "import os, sys\nclass Interpreter:\n    def from_file(*_, **__):\n        {what}\n"


class Columns(Model):
    """Four numbers an example, whose largest is the label."""

    def pack(self) -> Pack:
        return Pack(None, None, Split(np.eye(4, dtype=np.float32)[LABELS[:20] % 4], LABELS[:20] % 4), "d")


def _as_it_is(x: Any) -> Any:
    return x


MODEL = Columns(**(vars(model()) | {"prepare": _as_it_is}))


def layer(wide: int = 4, kernel_type: type = np.float32, after: str = "") -> bytes:
    """A layer of four inputs that answers with them, over one of so many values; then an operator."""
    made = Made()
    x, hidden, y = made.tensor("x", (1, 4)), made.tensor("hidden", (1, wide)), made.tensor("y", (1, 4))
    stored: Array = np.eye(wide, 4).astype(kernel_type)
    first = made.constant("first", stored, [1.0] if kernel_type is np.int8 else ())
    made.operator("FULLY_CONNECTED", [x, first, -1], [hidden], schema.FullyConnectedOptionsT())
    last = made.constant("last", np.eye(4, wide).astype(np.float32))
    out = made.tensor("before", (1, 4)) if after else y
    made.operator("FULLY_CONNECTED", [hidden, last, -1], [out], schema.FullyConnectedOptionsT())
    if after:
        made.operator(after, [out], [y], schema.GeluOptionsT())
    return made.file([x], [y])


def on_micro(folder: Path, file: bytes) -> micro.OnMicro:
    (path := folder / "a.tflite").write_bytes(file)
    return micro.through_store(path, str(hash(file)), MODEL, Store(folder / "store"))


# ------------------------------------------------------------ its log


def test_a_missing_operator_is_named() -> None:
    log = "Didn't find op for builtin opcode 'GELU'\nFailed to get registration from op code GELU\n \n"
    found = micro_log.refusal(log, "TFLM failed to allocate tensors")
    assert (found.operator, found.missing, found.words) == ("GELU", True, "it has no operator GELU")


def test_a_refusing_operator_is_named_with_its_reason_and_without_its_folder() -> None:
    log = (
        "tensorflow/lite/micro/kernels/conv_common.cc Hybrid models are not supported on TFLite Micro.\n"
        "Node CONV_2D (number 14) failed to prepare with status 1\n"
    )
    found = micro_log.refusal(log, "")
    assert found.words == "CONV_2D: conv_common.cc: Hybrid models are not supported on TFLite Micro."
    assert micro_log.refusal("\n", "its process died of SIGABRT").words == "its process died of SIGABRT"


def test_an_arena_needs_all_three_of_its_numbers() -> None:
    lines = [f"[RecordingMicroAllocator] Arena allocation {what} bytes" for what in ("total 96", "head 64", "tail 32")]
    assert micro_log.arena("\n".join(lines)) == (96, 64, 32)
    assert micro_log.arena("\n".join(lines[:2])) is None


# ------------------------------------------------------------ its process


@installed
def test_an_artifact_answers_and_its_arena_repeats_and_grows(tmp_path: Path) -> None:
    small, large = on_micro(tmp_path, layer(4)), on_micro(tmp_path, layer(16))
    assert small.predictions is not None
    assert (small.predictions == LABELS[:20] % 4).all()
    assert small.arena is not None
    assert large.arena is not None
    assert small.arena.total == small.arena.head + small.arena.tail
    assert large.arena.total == small.arena.total + 4 * 12  # twelve more floats between the layers
    assert micro.measure(tmp_path / "a.tflite", MODEL).arena == large.arena


@installed
def test_what_does_not_run_is_a_stored_finding_that_names_the_operator(tmp_path: Path) -> None:
    missing, hybrid = on_micro(tmp_path, layer(after="GELU")), on_micro(tmp_path, layer(kernel_type=np.int8))
    assert missing.refusal is not None
    assert missing.refusal.words == "it has no operator GELU"
    assert hybrid.refusal is not None
    assert hybrid.refusal.operator == "FULLY_CONNECTED"
    assert "INT8 not supported" in hybrid.refusal.reason
    assert on_micro(tmp_path, layer(after="GELU")).cached


def _behind(file: bytes) -> bytes:
    """The same artifact with its first constant behind the flatbuffer, as ai-edge-quantizer writes larger ones."""
    held: list[bytes] = []

    def take_out(place: int) -> Any:
        def change(model: Any) -> None:
            buffer = next(one for one in model.buffers if one.data is not None and len(one.data))
            held.append(bytes(buffer.data))
            buffer.data, buffer.offset, buffer.size = None, place, len(held[-1])

        return change

    length = len(edited(file, take_out(2**20)))
    length += -length % 16
    packed = edited(file, take_out(length))
    return packed + bytes(length - len(packed)) + held[-1]


@installed
def test_constants_behind_the_flatbuffer_are_not_read_and_no_answer_is_taken_from_them(tmp_path: Path) -> None:
    apart = _behind(layer(16))
    assert litert_micro.behind(apart) == 4 * 4 * 16
    assert (np.asarray(LiteRT(apart).run(MODEL.pack().test.x)).argmax(axis=1) == LABELS[:20] % 4).all()
    found, whole = on_micro(tmp_path, apart), on_micro(tmp_path, layer(16))
    assert found.refusal is not None
    assert whole.arena is not None
    assert found.refusal.words == (
        "256 bytes of constants lie behind the flatbuffer, where it does not read them, so that its answers come from "
        f"uninitialized memory; packed into it, the file needs an arena of {whole.arena.total:,} bytes"
    )


@installed
def test_a_scale_for_each_row_is_ignored_where_a_constant_becomes_float(tmp_path: Path) -> None:
    """The smallest file that shows why weight-only artifacts answer otherwise: one operator, a fault of the package."""
    made = Made()
    x, y = made.tensor("x", (2, 4), "int8", [0.5, 2.0]), made.tensor("y", (2, 4))
    made.operator("DEQUANTIZE", [x], [y])
    (path := tmp_path / "a.tflite").write_bytes(made.file([x], [y]))
    stored = np.arange(8, dtype=np.int8).reshape(2, 4)
    (reference,) = LiteRT(path, runtime="litert-reference").call([stored])
    runner = TFLiteMicro(path, Stored(path), 2**20, stateful=False)
    assert reference.tolist() == [[0, 0.5, 1, 1.5], [8, 10, 12, 14]]
    assert np.asarray(runner._answer([stored])[0]).tolist() == [[0, 0.5, 1, 1.5], [2, 2.5, 3, 3.5]]


def _stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    package = folder / "instead" / "tflite_micro"
    package.mkdir(parents=True)
    (package.parent / "stand_in-1.dist-info").mkdir()  # behind the walls only installed packages are seen
    (package / "__init__.py").write_text("")
    (package / "runtime.py").write_text(ABORTS.format(what=what))
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(package.parent))
    micro.unavailable.cache_clear()


def test_a_process_that_aborts_is_a_refusal_and_a_killed_one_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, monkeypatch, "print('a check failed', file=sys.stderr, flush=True); os.abort()")
    crashed = on_micro(tmp_path, layer())
    assert crashed.refusal is not None
    assert crashed.refusal.words == "a check failed"
    runtime = tmp_path / "instead" / "tflite_micro" / "runtime.py"
    runtime.write_text(ABORTS.format(what="os.kill(os.getpid(), 9)"))
    killed = on_micro(tmp_path, layer(8))
    assert killed.failure == "the process of TFLite-Micro died of SIGKILL: quantbench: TFLite-Micro begins"
    assert killed.refusal is None


def test_the_process_reaches_nothing_but_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secret := tmp_path / "secret").write_text("no")
    _stand_in(tmp_path, monkeypatch, f"raise RuntimeError(open({str(secret)!r}).read())")
    found = on_micro(tmp_path, layer())
    assert "PermissionError" in found.failure, found


def test_without_the_package_nothing_is_run_and_the_reason_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro.util, "find_spec", lambda _: None)
    micro.unavailable.cache_clear()
    found = on_micro(tmp_path, layer())
    assert "quantbench[micro]" in found.failure or "wheels for Linux" in found.failure
    micro.unavailable.cache_clear()


@pytest.fixture(autouse=True)
def _afresh() -> Any:
    micro.unavailable.cache_clear()
    yield
    micro.unavailable.cache_clear()
