"""A fault that is planted in one operator is found there, and its repair gives the answers back."""

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ThreeCells
from quantbench.build.store import Store
from quantbench.core.arrays import Array, rows
from quantbench.engine import artifacts
from quantbench.measure import attribution, repairs
from quantbench.records import Attribution
from quantbench.records.run_folder import read
from quantbench.reference.model import load_models
from quantbench.selftest.flatbuffer import layers
from quantbench.tflite import changes, graph, matching, surgery
from quantbench.tflite.edit import edited, repacked, unpacked
from quantbench.tflite.litert import LiteRT

FIRST, LAST = 0, -1


@pytest.fixture(scope="module")
def files(three_cells: ThreeCells) -> dict[str, bytes]:
    """The artifacts of a run, packed as an edited one is."""
    stored = {
        cell.variant: artifacts.in_store(Store(three_cells.store), str(cell.artifact_sha256))
        for cell in read(three_cells.run)[0].cells
    }
    return {name: repacked(path.read_bytes()) for name, path in stored.items() if path is not None}


@pytest.fixture(scope="module")
def examples() -> Array:
    model = load_models(ROOT / "models")["seed_cnn"]
    inputs = model.prepare(rows(model.pack().test.x, slice(0, 64)))
    assert isinstance(inputs, np.ndarray)
    return inputs


def position(artifact: bytes, which: int) -> int:
    """Where the first or last layer with weights is among the operators."""
    operators = graph.read(artifact).operators
    return [place for place, one in enumerate(operators) if one.name in graph.COMPUTE][which]


def stretched(which: int, model: Any) -> None:
    layer = layers(model)[which]
    quantization = model.subgraphs[0].tensors[layer.operator.outputs[0]].quantization
    for tensor in model.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            same = list(tensor.quantization.scale) == list(quantization.scale)
            if same and tensor.quantization is not quantization:
                tensor.quantization.scale = [16 * scale for scale in tensor.quantization.scale]
    quantization.scale = [16 * scale for scale in quantization.scale]


def without_bias(which: int, model: Any) -> None:
    layer = layers(model)[which]
    layer.write(2, np.zeros_like(layer.read(2, "int32")))


def noisy(which: int, model: Any) -> None:
    layer = layers(model)[which]
    weights = layer.read(1, "int8")
    weights[:2] = np.random.default_rng(0).integers(-127, 128, weights[:2].shape)
    layer.write(1, weights)


def clipped_as_a_converter_would(which: int, model: Any) -> None:
    """Clip a range to a quarter; what reads it has its bias in the new scale."""
    part = model.subgraphs[0]
    index = int(layers(model)[which].operator.outputs[0])
    scale = float(part.tensors[index].quantization.scale[0])
    changed = [
        place
        for place, tensor in enumerate(part.tensors)
        if tensor.quantization is not None
        and tensor.quantization.scale is not None
        and list(tensor.quantization.scale) == [scale]
    ]
    for place in changed:
        part.tensors[place].quantization.scale = [scale / 4]
    surgery.settle_biases(model, changed)


def of_the_input(model: Any) -> None:
    """Halve the range of the model's input, as a calibration on darker images does."""
    part = model.subgraphs[0]
    index = int(part.operators[0].outputs[0])
    part.tensors[index].quantization.scale = [float(part.tensors[index].quantization.scale[0]) / 2]
    surgery.settle_biases(model, [index])


PLANTS = [
    (stretched, FIRST, "range"),
    (clipped_as_a_converter_would, FIRST, "range"),
    (noisy, FIRST, "float"),
    (noisy, LAST, "float"),
    (without_bias, FIRST, "float"),
]


@pytest.mark.parametrize(("plant", "which", "repair"), PLANTS)
def test_a_planted_fault_is_found_by_the_float_model_alone(
    files: dict[str, bytes], examples: Array, plant: Callable[[int, Any], None], which: int, repair: str
) -> None:
    faulty = edited(files["ptq_static_wi8_ai8"], partial(plant, which))
    found = attribution.errors(files["float32"], faulty, examples)
    found = repairs.explained(found, faulty, repairs.Beside(files["float32"], examples))
    best = found.suspects[0]
    assert position(faulty, which) in (best.position, *best.together)
    assert best.repaired_by == repair
    assert best.recovered > 0.8


def test_a_fault_in_several_places_is_found_though_no_repair_of_one_helps(
    files: dict[str, bytes], examples: Array
) -> None:
    def silent(model: Any) -> None:
        for layer in (layers(model)[FIRST], layers(model)[LAST]):
            layer.write(1, np.zeros_like(layer.read(1, "int8")))

    faulty = edited(files["ptq_static_wi8_ai8"], silent)
    found = attribution.errors(files["float32"], faulty, examples)
    found = repairs.explained(found, faulty, repairs.Beside(files["float32"], examples))
    best, others = found.suspects[0], found.suspects[1:]
    assert {position(faulty, FIRST), position(faulty, LAST)} <= {best.position, *best.together}
    assert best.recovered > 0.8
    assert all(one.recovered < 0.1 for one in others)


@pytest.mark.parametrize(("plant", "which", "_repair"), PLANTS)
def test_the_accepted_artifact_gives_the_place_and_the_repair(
    files: dict[str, bytes], examples: Array, plant: Callable[[int, Any], None], which: int, _repair: str
) -> None:
    healthy = files["ptq_static_wi8_ai8"]
    faulty = edited(healthy, partial(plant, which))
    found = attribution.errors(files["float32"], faulty, examples)
    beside = repairs.Beside(files["float32"], examples)
    found = repairs.explained(found, faulty, beside, healthy, score=lambda file: float(len(file) > 0))
    best = found.suspects[0]
    assert (best.position, best.repaired_by) == (position(faulty, which), "accepted")
    assert best.score == 1.0
    assert best.recovered > 0.8
    assert changes.between(healthy, healthy) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_range_of_the_input_is_found_there(files: dict[str, bytes], examples: Array, known: bool) -> None:
    healthy = files["ptq_static_wi8_ai8"]
    assert surgery.name_of(unpacked(healthy), unpacked(healthy).subgraphs[0].operators[0]) == "QUANTIZE"
    faulty = edited(healthy, of_the_input)
    found = attribution.errors(files["float32"], faulty, examples)
    found = repairs.explained(found, faulty, repairs.Beside(files["float32"], examples), healthy if known else None)
    best = found.suspects[0]
    assert (best.position, best.repaired_by) == (0, "accepted" if known else "range")
    assert best.recovered > 0.9


def with_unsigned_input(model: Any) -> None:
    """Let the model take uint8, which its first operator then stores as int8."""
    from ai_edge_litert import schema_py_generated as schema

    part = model.subgraphs[0]
    stored, fed = (part.tensors[int(one[0])] for one in (part.operators[0].outputs, part.operators[0].inputs))
    fed.type, fed.quantization = schema.TensorType.UINT8, copy(stored.quantization)
    fed.quantization.zeroPoint = [int(stored.quantization.zeroPoint[0]) + 128]


def with_half_the_range(model: Any) -> None:
    """Halve the range of an integer input, and with it that of what it is stored as."""
    part = model.subgraphs[0]
    fed = part.tensors[int(part.inputs[0])].quantization
    fed.scale = [float(fed.scale[0]) / 2]
    of_the_input(model)


@pytest.mark.parametrize("known", [True, False])
def test_the_range_of_an_integer_input_counts_once_wherever_it_is_stored(
    files: dict[str, bytes], examples: Array, known: bool
) -> None:
    healthy = edited(files["ptq_static_wi8_ai8"], with_unsigned_input)
    faulty = edited(healthy, with_half_the_range)
    found = attribution.errors(files["float32"], faulty, examples)
    found = repairs.explained(found, faulty, repairs.Beside(files["float32"], examples), healthy if known else None)
    best = found.suspects[0]
    assert (best.operator, best.position, best.together) == ("INPUT", attribution.INPUT, [0])
    assert best.repaired_by == ("accepted" if known else "range")
    assert best.recovered > 0.9


def test_what_only_several_changed_operators_explain_is_given_back_at_once(
    files: dict[str, bytes], examples: Array
) -> None:
    healthy = files["ptq_static_wi8_ai8"]
    faulty = edited(edited(healthy, partial(stretched, FIRST)), partial(without_bias, LAST))
    found = attribution.errors(files["float32"], faulty, examples)
    found = repairs.explained(found, faulty, repairs.Beside(files["float32"], examples), healthy, score=lambda _: 0.5)
    best, others = found.suspects[0], found.suspects[1:]
    assert {position(faulty, FIRST), position(faulty, LAST)} <= {best.position, *best.together}
    assert (best.repaired_by, best.score) == ("accepted", 0.5)
    assert best.recovered > 0.99 > 0.9 > max(one.recovered for one in others)


def test_a_harmless_change_does_not_hide_a_fault_that_was_accepted(files: dict[str, bytes], examples: Array) -> None:
    accepted = edited(files["ptq_static_wi8_ai8"], partial(noisy, FIRST))

    def one_bias(model: Any) -> None:
        layer = layers(model)[LAST]
        bias = layer.read(2, "int32")
        bias[0] += 1
        layer.write(2, bias)

    artifact = edited(accepted, one_bias)
    found = attribution.errors(files["float32"], artifact, examples)
    found = repairs.explained(found, artifact, repairs.Beside(files["float32"], examples), accepted)
    best = found.suspects[0]
    assert position(artifact, FIRST) in (best.position, *best.together)
    assert best.repaired_by == "float"


def test_equal_artifacts_have_nothing_to_explain(files: dict[str, bytes], examples: Array) -> None:
    found = attribution.errors(files["float32"], files["float32"], examples)
    found = repairs.explained(found, files["float32"], repairs.Beside(files["float32"], examples))
    assert found.output_error == 0
    assert found.suspects == []


def test_values_that_are_no_numbers_are_told_where_they_begin(files: dict[str, bytes], examples: Array) -> None:
    def broken(model: Any) -> None:
        layer = layers(model)[FIRST]
        layer.write(2, np.full_like(layer.read(2, "float32"), np.nan))

    artifact = edited(files["float32"], broken)
    found = attribution.errors(files["float32"], artifact, examples)
    found = repairs.explained(found, artifact, repairs.Beside(files["float32"], examples))
    assert next(one.position for one in found.operators if not one.finite) == position(artifact, FIRST)
    assert found.output_error is None
    assert Attribution.model_validate_json(found.model_dump_json()) == found


def test_a_healthy_artifact_has_no_changes_and_small_errors(files: dict[str, bytes], examples: Array) -> None:
    found = attribution.errors(files["float32"], files["ptq_static_wi8_ai8"], examples)
    assert found.matched == 1
    assert found.alone == found.missing == []
    assert all(one.own is not None and one.own < 0.05 for one in found.operators)
    assert all(one.cosine > 0.99 for one in found.operators)


def test_what_is_inherited_is_no_error_of_its_own(files: dict[str, bytes], examples: Array) -> None:
    """Noise in the first layer's weights: later operators compute rightly with wrong inputs."""
    faulty = edited(files["ptq_static_wi8_ai8"], partial(noisy, FIRST))
    by_place = {one.position: one for one in attribution.errors(files["float32"], faulty, examples).operators}
    first, last = by_place[position(faulty, FIRST)], by_place[position(faulty, LAST)]
    assert first.own is not None
    assert first.own > 0.2
    assert last.own is not None
    assert last.own < 0.05 < last.error


# ---------------------------------------------------------------- surgery


def test_every_operator_alone_answers_as_within_the_model(files: dict[str, bytes], examples: Array) -> None:
    artifact = files["ptq_static_wi8_ai8"]
    whole = LiteRT(artifact, runtime="litert-builtin", keep_tensors=True)
    whole.run(examples[:1])
    objects, structure = unpacked(artifact), graph.read(artifact)
    index = {id(tensor): place for place, tensor in enumerate(structure.tensors)}
    for place, operator in enumerate(structure.operators):
        file, fed = surgery.alone(objects, place)
        values = [whole.value(one) for one in fed]
        made = LiteRT(file, runtime="litert-builtin").call([one for one in values if one is not None])
        assert np.array_equal(made[0], whole.value(index[id(operator.outputs[0])])), operator.name


def test_an_artifact_with_all_its_layers_in_float_answers_as_the_float_model(
    files: dict[str, bytes], examples: Array
) -> None:
    control, artifact = files["float32"], files["ptq_static_wi8_ai8"]
    pairs = matching.match(graph.read(control), graph.read(artifact)).pairs
    exact, made = LiteRT(control).run(examples), LiteRT(surgery.in_float(artifact, control, pairs)).run(examples)
    assert isinstance(exact, np.ndarray)
    assert isinstance(made, np.ndarray)
    quantized = LiteRT(artifact).run(examples)
    assert np.abs(made - exact).max() < 0.05  # the input and the outputs are still rounded
    assert np.abs(made - exact).mean() < np.abs(quantized - exact).mean()


def test_constants_behind_the_flatbuffer_come_along(files: dict[str, bytes], examples: Array) -> None:
    """ai-edge-quantizer writes them there, and LiteRT's tools would lose them."""
    artifact = files["ptq_float16"]
    moved = _behind(artifact)
    assert np.array_equal(LiteRT(moved).run(examples), LiteRT(artifact).run(examples))
    assert np.array_equal(LiteRT(repacked(moved)).run(examples), LiteRT(artifact).run(examples))


def _behind(artifact: bytes) -> bytes:
    """Move the largest constant behind the flatbuffer."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = unpacked(artifact)
    buffer = max(model.buffers, key=lambda one: 0 if one.data is None else len(one.data))
    data = bytes(np.asarray(buffer.data, dtype=np.uint8).tobytes())
    buffer.data, buffer.offset, buffer.size = None, 2**20, len(data)
    size = len(flatbuffer_utils.convert_object_to_bytearray(model))
    padding = -size % 16
    buffer.offset = size + padding
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert len(packed) == size
    return packed + bytes(padding) + data


def test_other_models_are_matched_as_far_as_it_goes(files: dict[str, bytes]) -> None:
    structure = graph.read(files["float32"])
    shorter = graph.Graph(structure.tensors, structure.operators[:-1], structure.inputs, structure.outputs)
    found = matching.match(structure, shorter)
    assert found.only_first == (len(structure.operators) - 1,)
    assert found.share == pytest.approx(2 * (len(structure.operators) - 1) / (2 * len(structure.operators) - 1))
    assert matching.match(graph.Graph([], [], [], []), graph.Graph([], [], [], [])).share == 1


def test_the_findings_survive_json(files: dict[str, bytes], examples: Array) -> None:
    found = attribution.errors(files["float32"], files["ptq_static_wi8_ai8"], examples)
    assert Attribution.model_validate_json(found.model_dump_json()) == found
