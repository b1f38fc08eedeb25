"""A model is carried over to Keras 3 as it is, or not at all."""

import gc
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench.build import artifact as build
from quantbench.build import refusals
from quantbench.build.store import Store
from quantbench.core.tensorflow import tensorflow
from quantbench.errors import Unsupported
from quantbench.gate._quantization_spec import violations
from quantbench.measure.census import census
from quantbench.reference import training
from quantbench.reference.model import load_models
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS, keras3, keras_twin


class Twin:
    """As much of a Keras 3 model as weights are carried over to."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.weights = [np.zeros(shape) for shape in shapes]

    def set_weights(self, arrays: list[Any]) -> None:
        self.weights = arrays


@pytest.mark.parametrize(("form", "words"), list(keras_twin.NOT_KERAS_3.items()))
def test_a_model_of_another_form_is_refused_in_words(form: str, words: str) -> None:
    bench: Any = SimpleNamespace(model=SimpleNamespace(form=form))
    with pytest.raises(Unsupported, match=words):
        keras_twin.of_float_model(bench)


def test_weights_go_into_a_twin_of_the_same_shapes_alone() -> None:
    arrays = [np.ones((3, 2)), np.ones(2)]
    twin = Twin((3, 2), (2,))
    keras_twin._carry_over(arrays, twin)
    assert twin.weights is arrays
    with pytest.raises(Unsupported, match="2 arrays for 2, other shapes from number 1 on"):
        keras_twin._carry_over(arrays, Twin((3, 2), (3,)))
    with pytest.raises(Unsupported, match="2 arrays for 3"):
        keras_twin._carry_over(arrays, Twin((3, 2), (2,), (2,)))


def test_calibration_gives_every_example_once_in_the_same_order_in_each_process() -> None:
    examples = [np.full((1, 2), number, dtype=np.float32) for number in range(5)]
    bench: Any = SimpleNamespace(calibration=lambda: iter(examples))
    seen = []
    given = keras3._calibration(bench, lambda x, training: seen.append((x, training)))
    [block] = given["quantization_layer_structure"]["sequential_blocks"]
    assert given["num_samples"] == 1  # with more, Keras begins where a hash of a text says
    assert given["sequence_length"] == len(given["dataset"][0]) == 5
    block(np.asarray(given["dataset"], dtype=np.int32)[None])
    [(x, training)] = seen
    assert x[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert not training


def test_calibration_of_several_inputs_is_refused() -> None:
    bench: Any = SimpleNamespace(calibration=lambda: iter([{"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}]))
    with pytest.raises(Unsupported, match="one input only"):
        keras3._calibration(bench, None)


def test_they_are_left_to_the_night() -> None:
    ours = [variant for variant in VARIANTS.values() if variant.engine == keras3.ENGINE]
    assert len(ours) == len(keras3.VARIANTS) > 5
    assert {variant.gate for variant in ours} == {"nightly"}
    assert all("keras" in variant.packages for variant in ours)


@pytest.mark.parametrize(("theirs", "words"), [(0.25, "by up to 0.05"), (0.2, "")])
def test_a_twin_with_other_outputs_is_refused(theirs: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((100, 3), dtype=np.float32)
    model = SimpleNamespace(prepare=lambda given: given, pack=lambda: SimpleNamespace(test=SimpleNamespace(x=x)))
    bench: Any = SimpleNamespace(model=model)
    monkeypatch.setattr(training, "answers", lambda keras_model, x, batch_size: np.full((len(x), 2), 0.2))
    twin = SimpleNamespace(predict=lambda x, **_: np.full((len(x), 2), theirs))
    with pytest.raises(Unsupported, match=words) if words else nullcontext():
        keras_twin._check_outputs(bench, None, twin)


@pytest.mark.slow
def test_what_keras_3_makes_of_a_convolution_and_a_dense_layer(store: Path) -> None:
    model = load_models(ROOT / "models")["seed_cnn"]

    def made(variant: str) -> build.Built:
        return build.artifact(model, VARIANTS[variant], 0, None, Store(store))

    quantized, float32 = made("keras_weight_only_wi8_afp32").path, made("float32").path
    assert quantized is not None
    assert float32 is not None
    found = census(quantized.read_bytes())
    assert found.constants["int8"].bytes == 10 * 5408, "the kernel of the dense layer"
    promise = VARIANTS["keras_weight_only_wi8_afp32"].promise
    assert [one.words for one in violations(promise, found)] == ["1 of 2 layers stay float32 (CONV_2D)"]
    x = model.prepare(model.pack().test.x[:200])
    ours, exact = LiteRT(quantized).run(x), LiteRT(float32).run(x)
    assert np.max(np.abs(np.asarray(ours) - np.asarray(exact))) < 0.05
    refused = made("keras_dynamic_wi8_afp32")
    assert refusals.reason(refused.refusal or "").startswith("the model multiplies plain int8 tensors")


@pytest.mark.forked
def test_part_of_a_tensor_is_replaced_as_keras_does_and_keras_is_left_as_it_was() -> None:
    tensorflow()
    from keras.src import ops

    by_xla, frozen = ops.slice_update, gc.get_freeze_count()
    inputs = np.arange(12, dtype=np.int32).reshape(3, 4)
    for start, size in (((0, 1), (3, 1)), ((1, 2), (2, 2)), ((0, 0), (3, 4))):
        updates = -np.ones(size, dtype=np.int32)
        with keras3._quickly():
            assert gc.get_freeze_count() > frozen
            quick = ops.slice_update(ops.convert_to_tensor(inputs), start, ops.convert_to_tensor(updates))
        assert ops.slice_update is by_xla
        expected = ops.slice_update(ops.convert_to_tensor(inputs), start, ops.convert_to_tensor(updates))
        assert quick.dtype == expected.dtype
        np.testing.assert_array_equal(quick, expected)
    assert gc.get_freeze_count() == 0
