"""Behaviour besides the score, what a changed score goes back to, and where conversion parts from training."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Quantbench, ThreeCells
from quantbench import gate
from quantbench.build import artifact as build
from quantbench.build import divergence
from quantbench.build.store import Store
from quantbench.measure import fidelity
from quantbench.measure.census import census
from quantbench.records import BaselineCell, Measurement, Verdict
from quantbench.reference import float_model, training
from quantbench.reference.datasets import file_sha256
from quantbench.reference.metrics import ACCURACY, MEAN_ABSOLUTE_ERROR
from quantbench.reference.model import ReferenceModel, load_models
from quantbench.variants import VARIANTS

SUBJECT = gate.Subject("m", "v", "reports/r")
CONTROL = np.array([[0.1, 0.9], [0.7, 0.3], [0.5, 0.5]], dtype=np.float32)


def test_an_artifact_that_answers_like_its_control() -> None:
    found = fidelity.against_control(ACCURACY, np.arange(3), np.arange(3), CONTROL, CONTROL)
    assert found["agreement"].value == 1
    assert found["output_error_worst"].value == 0
    assert found["output_kl"].value == 0
    assert "output_snr" not in found  # no noise, no ratio
    assert fidelity.flipped(ACCURACY, np.arange(3), np.arange(3)) == []


def test_an_artifact_that_does_not() -> None:
    new = CONTROL.copy()
    new[2] = [0.4, 0.6]
    found = fidelity.against_control(ACCURACY, np.array([1, 0, 1]), np.array([1, 0, 0]), new, CONTROL)
    assert found["agreement"].value == pytest.approx(2 / 3)
    assert found["output_error_worst"].value == pytest.approx(0.1)
    assert found["output_error_mean"].value == pytest.approx(0.2 / 6)
    assert found["output_snr"].value == pytest.approx(10 * np.log10(np.mean(CONTROL**2) / (0.02 / 6)), rel=1e-4)
    assert found["output_kl"].value > 0
    assert fidelity.flipped(ACCURACY, np.array([1, 0, 1]), np.array([1, 0, 0])) == [2]
    assert fidelity.flipped(MEAN_ABSOLUTE_ERROR, new, CONTROL) == []


def test_examples_that_are_not_finite_are_left_out_of_the_errors() -> None:
    new = CONTROL.copy()
    new[0] = np.nan
    found = fidelity.against_control(ACCURACY, np.arange(3), np.arange(3), new, CONTROL)
    assert found["output_error_worst"].n == 2
    nothing = fidelity.against_control(ACCURACY, np.arange(3), np.arange(3), new * np.nan, CONTROL)
    assert set(nothing) == {"agreement"}


def _share(value: float) -> Measurement:
    return Measurement(value=value, unit="fraction", n=1000)


def test_a_conversion_that_changes_the_answers_is_a_warning_that_names_the_tensor() -> None:
    assert gate.conversion(_share(0.996), "").verdict is Verdict.PASS
    found = gate.conversion(_share(0.99), "first tensor that differs: dense")
    assert found.verdict is Verdict.WARN
    assert (
        "99.00 % of 1,000 examples; at least 99.5 % expected (10 differ, p = 0.031, warns below 0.05)" in found.message
    )
    assert "; first tensor that differs: dense" in found.message


def test_kernels_that_disagree_are_a_warning() -> None:
    assert gate.reference_kernels(SUBJECT, _share(0.97), None).verdict is Verdict.PASS
    assert gate.reference_kernels(SUBJECT, _share(0.9), None).verdict is Verdict.WARN
    known = BaselineCell(reference_agreement=0.2)
    assert gate.reference_kernels(SUBJECT, _share(0.19), known).verdict is Verdict.PASS
    assert gate.reference_kernels(SUBJECT, _share(0.1), known).verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("artifact", "reference", "words"),
    [
        ("a", "r", "the runtime or the processor changed"),
        ("b", "r", "check the runtime's kernels first"),
        ("b", "s", "the cause is the converter or quantizer"),
    ],
)
def test_a_changed_score_is_traced_to_the_artifact_or_the_runtime(artifact: str, reference: str, words: str) -> None:
    accepted = BaselineCell(artifact_sha256="a", reference_sha256="r")
    assert words in gate.origin(accepted, artifact, reference)
    assert gate.origin(None, artifact, reference) == ""
    assert gate.origin(BaselineCell(), artifact, reference) == ""
    assert gate.origin(BaselineCell(artifact_sha256="x"), artifact, reference) == "the .tflite file changed"


def test_the_first_tensor_that_differs_is_found(tmp_path: Path) -> None:
    """A dense layer is changed after conversion: everything before it still agrees."""
    tf = training.seed_everything(0)
    import tensorflow_model_optimization as tfmot

    model = load_models(ROOT / "models")["seed_cnn"]
    fake_quantized = tfmot.quantization.keras.quantize_model(training.load_pinned(model))
    train = model.pack().train
    assert train is not None
    few = {"x_train": train.x[:640], "y_train": train.y[:640], "x_test": train.x[640:649], "y_test": train.y[640:649]}
    short = dataclasses.replace(model.finetune, epochs=1)
    training.fit(fake_quantized, _with_pack(tmp_path, **few), short, 0)
    converter = tf.lite.TFLiteConverter.from_saved_model(float_model.export(fake_quantized))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    artifact = bytes(converter.convert())
    x = model.prepare(model.pack().test.x[:8])
    same = divergence.first_divergent_tensor(fake_quantized, tf, artifact, x)
    assert same.startswith("none of ")
    assert "rounding adds up" in same
    layer = fake_quantized.get_layer("quant_dense")
    layer.set_weights([weights[::-1] if weights.ndim else weights for weights in layer.get_weights()])
    other = divergence.first_divergent_tensor(fake_quantized, tf, artifact, x)
    assert other.startswith("first tensor that differs: quant_dense, by ")


def test_the_evidence_of_a_run_names_the_flipped_examples(quantbench: Quantbench, three_cells: ThreeCells) -> None:
    evidence = json.loads((three_cells.run / "evidence" / "seed_cnn.json").read_text())["ptq_static_wi8_ai8"]
    agreement = three_cells.cell("seed_cnn/ptq_static_wi8_ai8")["measurements"]["agreement"]
    assert len(evidence["flipped"]) == round((1 - agreement["value"]) * agreement["n"]) > 0
    shown = quantbench("inspect", "seed_cnn/ptq_static_wi8_ai8", "--run", str(three_cells.run))
    assert f"reference: examples {evidence['flipped'][0]}, " in shown.output
    assert "Chosen by: min-max over the calibration split." in shown.output


def test_a_constant_layer_has_an_empty_range() -> None:
    tf = training.seed_everything(0)
    layers = tf.keras.layers
    image = tf.keras.Input((8,))
    dead = layers.Dense(6, activation="relu", bias_initializer=tf.keras.initializers.Constant(-1000.0))(image)
    keras_model = tf.keras.Model(image, layers.Dense(3, bias_initializer="ones")(dead))
    converter = tf.lite.TFLiteConverter.from_saved_model(float_model.export(keras_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    random = np.random.default_rng(0)
    converter.representative_dataset = lambda: ([random.random((1, 8), dtype=np.float32)] for _ in range(20))
    assert len(census(converter.convert()).degenerate) == 1


@pytest.mark.parametrize(
    ("examples", "words"),
    [(1, "1 example gives no range that holds for others"), (40, r"is 0 throughout \(x\): its range is empty")],
)
def test_calibration_data_that_gives_no_range(tmp_path: Path, examples: int, words: str) -> None:
    nothing = np.zeros((examples, 28, 28), dtype=np.uint8)
    model = _with_pack(tmp_path, x_test=nothing, y_test=np.zeros(examples), x_calibration=nothing)
    built = build.artifact(model, VARIANTS["ptq_static_wi8_ai8"], 0, None, Store(tmp_path / "store"))
    assert built.refusal is not None
    assert re.search(words, built.refusal)


def _with_pack(folder: Path, **arrays: Any) -> ReferenceModel:
    """seed_cnn with other data."""
    path = folder / "pack.npz"
    np.savez(path, **arrays)
    model = load_models(ROOT / "models")["seed_cnn"]
    return dataclasses.replace(model, data=str(path), data_sha256=file_sha256(path), file=model.file)
