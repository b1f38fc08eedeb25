"""What changed a score is told from what the answers come from, and from the reference kernels' own answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from made_up_cells import FLOAT, HALF, Model, baseline, model, outcome, run
from made_up_runs import LABELS, answers
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.measure import accuracy, chunks, flipped
from quantbench.records import BaselineCell, Kind
from quantbench.records.origins import Flipped
from quantbench.reference.datasets import Pack, Split

THEN = {"prepared inputs": "a", "data": "a", "prepare": "a", "metric": "a", "harness": "a", "runtime": "2.3.0 a"}
CELL = BaselineCell(artifact_sha256="a", reference_sha256="r", sources=THEN)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, "so the processor is the cause"),
        ({"runtime": "2.3.0 b"}, "the runtime changed (2.3.0 a → 2.3.0 b)"),
        ({"prepared inputs": "b", "prepare": "b"}, "its inputs changed (the model's prepare code"),
        ({"prepared inputs": "b", "data": "b"}, "its inputs changed (the data pack changed)"),
        ({"prepared inputs": "b"}, "a library computes them differently"),
        ({"metric": "b"}, "the metric's code changed"),
        ({"harness": "b"}, "the code that runs the model changed"),
    ],
)
def test_what_the_same_artifact_is_given_or_counted_by_is_named(now: dict[str, str], words: str) -> None:
    found = gate.origin(CELL, "a", "r", THEN | now)
    assert words in found
    assert ("the runtime changed" in found) == ("runtime" in now)


def test_an_older_baseline_says_what_it_can() -> None:
    older = BaselineCell(artifact_sha256="a")
    assert gate.origin(older, "a", None, THEN).endswith("the runtime or the processor changed")
    assert gate.origin(BaselineCell(), "a", None, THEN) == ""


@pytest.mark.parametrize(
    ("witness", "words"),
    [
        (
            Flipped(asked=20, as_accepted=2, as_now=18),
            "the cause is the training, converter or quantizer",
        ),
        (Flipped(asked=20, as_accepted=19, as_now=1), "check the runtime's kernels first"),
        (Flipped(asked=20, as_accepted=5, as_now=5), "the cause is unclear"),
    ],
)
def test_a_changed_artifact_is_told_by_the_examples_that_flipped(witness: Flipped, words: str) -> None:
    # The hash of the first 300 answers would say the opposite.
    found = gate.origin(CELL, "b", "r" if witness.as_now > witness.as_accepted else "other", THEN, witness)
    assert words in found
    assert f"of 20 changed examples, the reference kernels give the old answer to {witness.as_accepted} and" in found


def test_the_reference_kernels_are_asked_about_the_flipped_examples_alone() -> None:
    accepted, now, asked = np.zeros(1000, np.uint8), np.zeros(1000, np.uint8), []
    now[500:600] = 1

    def ask(places: Array) -> Array:
        asked.extend(places.tolist())
        return now[places]

    assert flipped.origin_of(accepted, now, ask) == Flipped(asked=flipped.MOST, as_accepted=0, as_now=flipped.MOST)
    assert asked == list(range(500, 500 + flipped.MOST))
    assert flipped.origin_of(accepted, accepted, ask) is None
    assert flipped.origin_of(accepted, now, lambda _places: None) is None


def test_answers_that_are_numbers_are_told_by_which_they_are_nearer_to() -> None:
    accepted = np.zeros(10, np.float32)
    now = accepted + 1
    assert flipped.origin_of(accepted, now, lambda places: now[places] - np.float32(0.01)) == Flipped(
        asked=10, as_accepted=0, as_now=10
    )
    assert flipped.origin_of(accepted, now, lambda places: accepted[places] + np.float32(0.01)) == Flipped(
        asked=10, as_accepted=10, as_now=0
    )


@pytest.mark.parametrize(
    ("kernels", "words"), [(300, "the cause is the training"), (100, "the runtime's kernels first")]
)
def test_a_red_score_says_who_did_it(monkeypatch: pytest.MonkeyPatch, kernels: int, words: str) -> None:
    """A converter's fault lies beyond the first 300 examples, and is not blamed on the runtime."""
    monkeypatch.setattr(flipped, "on_reference_kernels", lambda _artifact, _model, places: answers(kernels)[places])
    stored = {"float32": answers(100), "ptq_float16": answers(100)}
    before = baseline(stored)
    assert before.file is not None
    before.file.cells["ptq_float16"].artifact_sha256 = "b" * 64
    made = run({FLOAT: [outcome()], HALF: [outcome(300, artifact=Path("a.tflite"))]}, before)
    [score] = [one for one in made.drive.judge(HALF, Kind.ACCURACY) if one.against == "baseline"][:1]
    assert words in score.message, score.message


def _dense() -> bytes:
    """One float layer whose weights are the unit matrix, so that it answers with its input."""
    buffers = [schema.BufferT() for _ in range(2)]
    buffers[1].data = np.eye(10, dtype=np.float32).reshape(-1).view(np.uint8)
    graph = schema.SubGraphT()
    graph.tensors = []
    for name, shape, buffer in ((b"in", [1, 10], 0), (b"weights", [10, 10], 1), (b"out", [1, 10], 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.FLOAT32, buffer
        graph.tensors.append(tensor)
    layer, code, whole = schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, -1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [layer], [0], [2]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    whole.version, whole.subgraphs, whole.buffers, whole.operatorCodes = 3, [graph], buffers, [code]
    return bytes(convert_object_to_bytearray(whole))


class Digits(Model):
    """A model whose examples are one-hot, so that the layer above answers with their labels."""

    def pack(self) -> Pack:
        return Pack(None, None, Split(np.eye(10, dtype=np.float32)[LABELS], LABELS), "d")


def _as_it_is(x: Any) -> Any:
    return x


def _digits() -> Digits:
    return Digits(**(vars(model()) | {"prepare": _as_it_is}))


def test_the_reference_kernels_answer_in_a_process_of_their_own(tmp_path: Path) -> None:
    path, digits = tmp_path / "a.tflite", _digits()
    path.write_bytes(_dense())
    places = np.array([3, 700, 999])
    assert np.array_equal(flipped.on_reference_kernels(path, digits, places), LABELS[places])  # type: ignore[arg-type]
    path.write_bytes(b"no artifact at all")
    assert flipped.on_reference_kernels(path, digits, places) is None


def test_sources_tell_a_shifted_prepare_by_its_inputs() -> None:
    digits = _digits()
    inputs: Any = digits.pack().test.x
    given = (inputs, np.roll(inputs, 1, axis=1))
    one, other = (accuracy._sources(digits, chunks.digest(each)) for each in given)
    assert {name for name in one if one[name] != other[name]} == {"prepared inputs"}
