"""Cutting out and exchanging operators that are no plain layers: loops, LSTMs with their state, blockwise weights."""

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from made_up_graphs import Made, in_blocks, layers, loop, lstm, weights
from quantbench.core.arrays import Array
from quantbench.measure import attribution, repairs
from quantbench.records import Attribution
from quantbench.report.attribution import cause, screen
from quantbench.tflite import graph, surgery
from quantbench.tflite.edit import unpacked
from quantbench.tflite.litert import LiteRT

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(12, 4)).astype(np.float32)
SEQUENCES = RANDOM.normal(size=(12, 5, 4)).astype(np.float32)


def explained(control: bytes, artifact: bytes, inputs: Array, accepted: bytes | None = None) -> Attribution:
    found = attribution.errors(control, artifact, inputs, stateful=True)
    found = repairs.explained(found, artifact, repairs.Beside(control, inputs, stateful=True), accepted)
    return found.model_copy(update={"subject": "new", "reference": "float32"})


def two_outputs(first: float = 0.0, second: float = 0.0) -> bytes:
    """Two dense layers beside each other, with noise in their weights."""
    made = Made()
    x, left, right = made.tensor("x", (1, 4)), made.tensor("left", (1, 4)), made.tensor("right", (1, 4))
    for number, (out, noise) in enumerate(((left, first), (right, second))):
        kernel = made.constant(f"kernel{number}", weights(number) + noise * weights(number + 2))
        made.operator("FULLY_CONNECTED", (x, kernel, -1), (out,), schema.FullyConnectedOptionsT())
    return made.file((x,), (left, right))


@pytest.mark.parametrize(("named", "operator"), [(("left",), 0), (("right",), 1), ((), 1)])
def test_of_several_outputs_those_that_are_named_count(named: tuple[str, ...], operator: int) -> None:
    control, artifact = two_outputs(), two_outputs(0.1, 0.5)
    found = attribution.errors(control, artifact, ROWS)
    found = repairs.explained(found, artifact, repairs.Beside(control, ROWS, names=named))
    assert found.suspects[0].position == operator
    alone = {name: repairs.Beside(control, ROWS, names=(name,)).error(artifact) for name in ("left", "right")}
    assert found.output_error == pytest.approx(np.mean([alone[name] for name in named or alone]))
    assert alone["left"] < alone["right"] / 2


@pytest.mark.parametrize(("made", "inputs"), [(loop, ROWS), (lstm, SEQUENCES)])
@pytest.mark.parametrize("stateful", [True, False])
def test_a_loop_and_an_lstm_answer_alone_as_within_the_model(
    made: Callable[[], bytes], inputs: Array, stateful: bool
) -> None:
    whole = LiteRT(made(), runtime="litert-builtin", keep_tensors=True, stateful=stateful)
    objects, structure = unpacked(made()), graph.read(made())
    index = {id(tensor): place for place, tensor in enumerate(structure.tensors)}
    file, fed = surgery.alone(objects, 0)
    alone = LiteRT(file, runtime="litert-builtin", stateful=stateful)
    for one in range(3):  # state of the example before counts where it is not reset
        whole.run(inputs[one : one + 1])
        values = [whole.value(place) for place in fed]
        answered = alone.call([value for value in values if value is not None])
        result = structure.operators[0].result
        assert np.array_equal(answered[result], whole.value(index[id(structure.operators[0].outputs[result])]))


@pytest.mark.parametrize(("made", "inputs"), [(loop, ROWS), (lstm, SEQUENCES)])
def test_a_fault_in_a_loop_or_an_lstm_is_found_by_the_float_model_alone(
    made: Callable[[float], bytes], inputs: Array
) -> None:
    found = explained(made(0.0), made(0.5), inputs)
    best = found.suspects[0]
    assert (best.position, best.repaired_by, best.recovered) == (0, "float", pytest.approx(1.0))
    assert found.untried == []
    by_place = {one.position: one.own for one in found.operators}
    assert by_place[0] is not None
    assert by_place[0] > 0.2
    assert by_place[1] == pytest.approx(0.0, abs=1e-6)  # the layer behind it only inherits


def test_blockwise_weights_run_alone_and_are_repaired_with_float_and_with_accepted_ones() -> None:
    wide = RANDOM.normal(size=(12, 64)).astype(np.float32)
    found = explained(in_blocks(quantized=False), in_blocks(), wide)
    assert (found.suspects[0].position, found.suspects[0].recovered) == (0, pytest.approx(1.0))
    first = found.operators[0]
    assert first.own is not None
    assert 0.02 < first.own < 0.2
    found = explained(in_blocks(quantized=False), in_blocks(1.0), wide, in_blocks())
    assert (found.suspects[0].repaired_by, found.suspects[0].recovered) == ("accepted", pytest.approx(1.0))


def test_an_lstm_gets_the_accepted_parts() -> None:
    found = explained(lstm(), lstm(0.5), SEQUENCES, lstm())
    assert (found.suspects[0].repaired_by, found.suspects[0].recovered) == ("accepted", pytest.approx(1.0))


def test_what_a_loop_runs_is_left_in_float_where_the_accepted_parts_cannot_be_taken() -> None:
    found = explained(loop(), loop(0.5), ROWS, loop())
    assert [one.what for one in found.changes] == ["weights in a loop"]
    assert (found.suspects[0].operator, found.suspects[0].repaired_by) == ("WHILE", "float")


def test_what_cannot_be_left_in_float_is_listed_with_the_reason() -> None:
    quantized, other = layers(), layers(prefix="a", factor=1.5)
    found = explained(quantized, other, ROWS)
    assert {one.why for one in found.untried} == {"weights"}
    assert {one.position for one in found.untried} == {0, 1, 2}
    assert found.untried == sorted(found.untried, key=lambda one: -one.error)
    told = [line for line in screen(found).splitlines() if line.startswith("Not tried: ")]
    assert told[0].count("its weights are not float in float32") == 3


def test_two_models_are_told_apart_and_how_far_they_could_be_matched() -> None:
    found = explained(loop(), layers(5), ROWS)
    assert found.matched == pytest.approx(2 / 7)
    assert found.suspects == []
    assert "only 29 % of the operators have a partner (the first without: FULLY_CONNECTED at " in cause(found)


def test_outputs_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="outputs of other shapes"):
        explained(lstm(), lstm(outputs=3), SEQUENCES)
