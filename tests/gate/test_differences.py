"""Differences of two censuses: what changed alike is one sentence, and baselines keep the phrases they know."""

from collections import Counter
from typing import Any

import pytest
from made_up_runs import clustered
from quantbench import gate
from quantbench.gate._differences import Difference, differences, summed_up
from quantbench.records import BaselineCell, Census, Compute
from quantbench.records.measurements import shown
from quantbench.variants.declare import QuantizationSpec


def _scales(count: int, factor: float = 1.6, what: str = "scale") -> list[Difference]:
    """Weight tensors whose scale was 0.1, 0.2, ... and is ``factor`` times that."""
    olds = [0.1 * (place + 1) for place in range(count)]
    return [
        Difference(what, f"{factor * old:.4g}", f"{old:.4g}", place=f"{place}. CONV_2D", factor=factor)
        for place, old in enumerate(olds, 1)
    ]


@pytest.mark.parametrize(
    ("count", "tensors", "factor", "words"),
    [
        (10, 10, 1.6, "all 10 weight tensors: scale 1.6 times larger (e.g. 1. CONV_2D: 0.1 → 0.16)"),
        (9, 10, 0.5, "9 of 10 weight tensors: scale 2 times smaller (e.g. 1. CONV_2D: 0.1 → 0.05)"),
        (2, 2, 1.02, "both weight tensors: scale 2.0 % larger (e.g. 1. CONV_2D: 0.1 → 0.102)"),
        (1, 10, 1.6, "1. CONV_2D: scale 0.1 → 0.16"),
    ],
)
def test_weights_that_moved_by_one_factor_are_one_sentence(count: int, tensors: int, factor: float, words: str) -> None:
    assert summed_up(_scales(count, factor), tensors) == [words]


def test_weights_of_another_dtype_are_one_sentence_and_come_first() -> None:
    dtypes = [Difference("weights", "float32", "int8", place=f"{place}. CONV_2D") for place in (1, 2, 3)]
    operators = Difference("operators CONV_2D", "3 float", "3 integer")
    assert summed_up([operators, *dtypes], 3) == [
        "all 3 weight tensors: weights int8 → float32",
        "operators CONV_2D 3 integer → 3 float",
    ]


def test_factors_that_differ_are_not_claimed_to_be_one() -> None:
    mixed = [*_scales(5, 1.6), *_scales(5, 3.0)]
    assert summed_up(mixed, 10) == ["all 10 weight tensors: scale changed (e.g. 1. CONV_2D: 0.1 → 0.16)"]


def test_zeros_and_scales_are_not_mixed() -> None:
    zeros = [Difference("zeros", "15.3 %", "9.0 %", number=True, place=f"{place}. CONV_2D") for place in (1, 2)]
    assert summed_up([*_scales(2), *zeros], 2) == [
        "both weight tensors: scale 1.6 times larger (e.g. 1. CONV_2D: 0.1 → 0.16)",
        "both weight tensors: zeros 9.0 % → 15.3 %",
    ]


@pytest.mark.parametrize(
    ("one", "key", "words"),
    [
        (Difference("scale", "0.8", "0.5", place="1. CONV_2D"), "1. CONV_2D: scale 0.8, not 0.5", "scale 0.5 → 0.8"),
        (Difference("zeros", "15.3 %", "9.0 %", number=True), "15.3 % zeros, not 9.0 %", "zeros 9.0 % → 15.3 %"),
        (Difference("a new signature 'x'"), "a new signature 'x'", "a new signature 'x'"),
        (Difference("weight tensors", "9", "10", number=True), "9 weight tensors, not 10", "weight tensors 10 → 9"),
    ],
)
def test_an_xfail_of_an_older_baseline_still_finds_its_difference(one: Difference, key: str, words: str) -> None:
    """Baselines hold the key of an expected difference, as it has always been written."""
    assert one.key == key
    assert one.words.endswith(words)


def _weights(*kernels: tuple[str, list[int], float], options: tuple[str, ...] = ()) -> Census:
    """A census of kernels: operator, shape of the weights, their largest value."""
    compute = [
        Compute(operator=operator, precision="integer", weights="int8", shape=shape, reach=reach)
        for operator, shape, reach in kernels
    ]
    order = list(range(len(options)))
    parts: dict[str, Any] = {name: {} for name in ("constants", "operators", "activations")}
    counts = dict(Counter(one.split(" ")[0] for one in options))
    parts["operators"] = {name: {"integer": count} for name, count in counts.items()}
    return Census(scales=9, inputs=[], outputs=[], compute=compute, options=list(options), order=order, **parts)


def test_where_a_layer_came_the_others_are_compared_with_their_partners() -> None:
    first, last = ("CONV_2D", [8, 3, 3, 3], 1.0), ("FULLY_CONNECTED", [10, 64], 1.0)
    new = _weights(first, ("CONV_2D", [8, 1, 1, 8], 1.0), (last[0], last[1], 1.6))
    found = [one.words for one in differences(new, _weights(first, last), trained=False)]
    assert found == [
        "weight tensors 2 → 3",
        "3. FULLY_CONNECTED: weights up to 1 → 1.6",
        "added 2. CONV_2D 8x1x1x8",
    ]
    gone = [one.words for one in differences(_weights(first, last), new, trained=False)]
    assert "removed 2. CONV_2D 8x1x1x8" in gone


def test_an_operator_that_came_does_not_hide_other_options_of_those_that_stayed() -> None:
    old = _weights(options=("CONV_2D padding=1", "RELU", "FULLY_CONNECTED"))
    new = _weights(options=("QUANTIZE", "CONV_2D padding=0", "RELU", "FULLY_CONNECTED"))
    found = [one.words for one in differences(new, old, trained=False)]
    assert found == [
        "operators QUANTIZE none → 1 integer",
        "options of 1 operators, first CONV_2D padding=1 → CONV_2D padding=0",
    ]
    same = _weights(options=("QUANTIZE", "CONV_2D padding=1", "RELU", "FULLY_CONNECTED"))
    assert [one.words for one in differences(same, old, trained=False)] == ["operators QUANTIZE none → 1 integer"]


def test_a_changed_structure_says_what_changed_and_how_to_look_into_it() -> None:
    subject, accepted = gate.Subject("m", "v", "reports/r --model-dir mine"), BaselineCell(census=clustered())
    _, judged = gate.structure(subject, [clustered(scale=0.02)], QuantizationSpec(io=None), accepted, trained=False)
    assert judged.message.startswith("structure changed: 1. ")
    assert judged.message.endswith("scale 0.01 → 0.02")
    assert judged.detail.endswith("scale 0.02, not 0.01")  # as the xfail of an older baseline has it
    assert judged.actions[0].command == ["quantbench", "inspect", "m/v", "--run", "reports/r"]


def test_names_that_only_the_code_knows_are_shown_in_the_fields_words() -> None:
    assert shown("census") == "structure snapshot"
    assert shown("control_to_yardstick_2_threads") == "float32 to reference workload 2 threads"
    assert shown("model_memory") == "model memory"
