"""What decides an artifact, and how a tool's refusal comes back."""

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from quantbench.build import artifact
from quantbench.build.store import Store, digest
from quantbench.core import tensorflow
from quantbench.errors import BadInput
from quantbench.reference import float_model, training
from quantbench.reference.model import ReferenceModel, load_file, load_models, pick
from quantbench.variants import VARIANTS, Workbench


@pytest.fixture
def model() -> ReferenceModel:
    return load_models(ROOT / "models")["seed_cnn"]


def key(model: ReferenceModel) -> str:
    return digest(artifact.ingredients(model, VARIANTS["ptq_float16"], 0, None))


def test_another_keras_3_makes_another_artifact_of_a_model_that_keras_3_loads(
    model: ReferenceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = dataclasses.replace(model, form="keras3", file=model.file)
    before = key(saved), key(model)
    versions = artifact.package_contents
    monkeypatch.setattr(artifact, "package_contents", lambda name: "4.0" if name == "keras" else versions(name))
    assert key(saved) != before[0]
    assert key(model) == before[1]


def test_the_code_that_reads_a_model_is_part_of_the_key() -> None:
    assert {f"quantbench.reference.{name}" for name in ("float_model", "model", "datasets", "npy_folder")} <= set(
        artifact._CODE
    )


def test_the_code_that_counts_the_figures_of_a_compiled_file_is_part_of_its_key(model: ReferenceModel) -> None:
    plain = VARIANTS["ptq_float16"]
    compiled = dataclasses.replace(plain, compiled="Ethos-U")
    codes = [artifact.ingredients(model, one, 0, None)["code"].keys() for one in (plain, compiled)]
    assert codes[1] - codes[0] == {f"quantbench.tflite.{name}" for name in ("compiled", "vela", "work")}


def test_what_a_converter_raises_is_a_refusal_in_its_own_words(model: ReferenceModel, tmp_path: Path) -> None:
    class ConverterError(Exception):
        """By this name TensorFlow's converter refuses."""

    def make(bench: Workbench) -> bytes:
        raise ConverterError(f"no kernel for {bench.model.name}")

    refusing = dataclasses.replace(VARIANTS["ptq_float16"], make=make)
    built = artifact.artifact(model, refusing, 0, None, Store(tmp_path))
    assert built.refusal == "ConverterError: no kernel for seed_cnn"
    assert built.path is None


def test_a_selection_that_names_nothing_is_an_error() -> None:
    with pytest.raises(BadInput, match="--models: names nothing; known: a, b"):
        pick(" , ", {"a": 1, "b": 2}, "--models")


def _edited(folder: Path, old: str, new: str) -> ReferenceModel:
    """seed_cnn with one edit in its file."""
    text = (ROOT / "models" / "seed_cnn.py").read_text()
    assert old in text
    path = folder / "seed_cnn.py"
    path.write_text(text.replace(old, new))
    [model] = load_file(path)
    return model


def test_a_floor_or_a_word_rebuilds_nothing_and_another_layer_does(tmp_path: Path) -> None:
    same = artifact.model_source(_edited(tmp_path, "seed_cnn", "seed_cnn"))
    assert artifact.model_source(_edited(tmp_path, "Floor(0.1,", "Floor(0.2,")) == same
    assert artifact.model_source(_edited(tmp_path, "accuracy", "Accuracy")) == same
    assert artifact.model_source(_edited(tmp_path, "layers.Dense(10", "layers.Dense(11")) != same
    assert artifact.model_source(_edited(tmp_path, "epochs=", "epochs=1")) != same


def test_every_model_of_the_project_is_known_by_its_functions() -> None:
    for name, found in load_models(ROOT / "models").items():
        assert artifact.model_source(found) != artifact.file_sha256(found.file), name


def test_a_diagnosis_that_fails_does_not_cost_the_cell(
    model: ReferenceModel, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("Graph disconnected")

    monkeypatch.setattr(artifact, "first_divergent_tensor", fail)
    made = artifact.artifact(model, VARIANTS["ptq_float16"], 0, None, Store(store))
    assert made.path is not None
    bench = artifact.StoreWorkbench(model, 0, None, Store(tmp_path))
    bench.expected = None, np.full(len(model.pack().test), 99, dtype=np.uint16)
    files = bench.kept(made.path.read_bytes())
    assert files[artifact.FIRST_DIVERGENT] == b"the layers could not be compared (ValueError: Graph disconnected)"
    assert len(np.load(io.BytesIO(files[artifact.BEFORE_CONVERSION]))) == 10_000


@pytest.mark.slow
def test_an_artifact_is_the_same_whether_its_stage_was_trained_now_or_long_ago(
    model: ReferenceModel, tmp_path: Path
) -> None:
    store, variant = Store(tmp_path), VARIANTS["float32_finetuned"]
    trained = artifact.artifact(model, variant, 0, None, store)
    assert trained.path is not None
    shutil.rmtree(trained.path.parent)
    from_the_store = artifact.artifact(model, variant, 0, None, store)
    assert not from_the_store.cached
    assert from_the_store.sha256 == trained.sha256


def test_a_table_is_exported_with_its_model_and_only_what_is_used_otherwise() -> None:
    tf = tensorflow.tensorflow()
    layers = tf.keras.layers
    looking_up = tf.keras.Sequential(
        [tf.keras.Input((3,), dtype=tf.int64), layers.IntegerLookup(vocabulary=[7, 8, 9]), layers.Embedding(4, 2)]
    )
    example = np.array([[7, 9, 100]], dtype=np.int64)
    exported = tf.saved_model.load(float_model.export(looking_up)).signatures["serving_default"]
    found = next(iter(exported(tf.constant(example)).values()))
    np.testing.assert_array_equal(found, looking_up(example))

    read = tf.saved_model.load(
        float_model.export(tf.keras.Sequential([layers.Dense(3, input_shape=(2,)), layers.Dense(4)]))
    )
    assert not hasattr(read, "owner")
    assert len(read.variables_used) == 4


def test_every_epoch_sees_each_example_once_in_an_order_that_the_seed_decides() -> None:
    tf = tensorflow.tensorflow()
    numbers = np.arange(50)

    def epochs(seed: int) -> list[list[int]]:
        data = training.batches(tf, (numbers, -numbers), 50, 8, seed)
        return [[int(x) for part in data for x in part[0]] for _ in range(2)]

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == numbers.tolist()
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1) != [first, second]
    in_order = training.batches(tf, {"x": numbers}, 50, 8)
    assert [int(x) for part in in_order for x in part["x"]] == numbers.tolist()
