"""What is scored, from real saved models: outputs in their own order, labels of each form, training head by head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Quantbench, made_once, run_script
from quantbench.adopt.understand import Given, Understood, understand
from quantbench.errors import BadInput, Unsupported
from quantbench.reference import float_model, training
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import Recipe


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models, with labels made from their own outputs."""

    def make(folder: Path) -> None:
        done = run_script(ROOT / "tests" / "make_scored_models.py", str(folder))
        assert done.returncode == 0, done.stderr[-2000:]

    return made_once(tmp_path_factory, "scored", make)


def understood(saved: Path, tmp_path: Path, model: str, data: str, **more: str) -> Understood:
    """Understand a model by the first half of its data, with the second half to train on."""
    arrays = dict(np.load(saved / data))
    half = len(arrays["x"]) // 2
    tmp_path.mkdir(exist_ok=True)
    for name, part in (("e.npz", slice(half)), ("t.npz", slice(half, None))):
        np.savez(tmp_path / name, **{key: values[part] for key, values in arrays.items()})  # type: ignore[arg-type]
    given = Given(str(saved / model), tmp_path / "e.npz", training=tmp_path / "t.npz", **more)  # type: ignore[arg-type]
    return understand(given, "m", tmp_path)


@pytest.mark.forked
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data", "expected", "score"),
    [
        ("two.keras", "two.npz", [("kind", "accuracy"), ("colour", "output_error")], "accuracy 100.0 %"),
        ("by_name.keras", "by_name_labels.npz", [("kind", "accuracy"), ("colour", "accuracy")], "accuracy 100.0 %"),
        ("rebuilds.h5", "rebuilds.npz", [("rescaling", "reconstruction_auc:0")], "reconstruction_auc:0 9"),
        *(
            pytest.param(*one, marks=pytest.mark.nightly)
            for one in (
                (
                    "twelve.h5",
                    "twelve.npz",
                    [("head_0 to head_11 (12 outputs)", "column_error")],
                    "mean_absolute_error 0.05",
                ),
                ("logit.h5", "logit.npz", [("dense", "binary_accuracy_logits")], "binary_accuracy_logits 100.0 %"),
                ("logit", "logit.npz", [("output_0", "binary_accuracy_logits")], "binary_accuracy_logits 100.0 %"),
                (
                    "pixels.keras",
                    "pixels.npz",
                    [("conv2d", "pixel_accuracy")],
                    "pixel_accuracy 100.0 %, mean_iou 100.0 %",
                ),
            )
        ),
    ],
)
def test_each_kind_of_model_is_scored_by_its_own_labels(
    saved: Path, tmp_path: Path, model: str, data: str, expected: list[tuple[str, str]], score: str
) -> None:
    found = understood(saved, tmp_path, model, data)
    # Keras numbers its layers through a process, so that only the kind of a layer's name is known.
    assert [(one.output.rstrip("_0123456789") if "_" in one.output else one.output) for one in found.judged] == [
        output.rstrip("_0123456789") if "_" in output else output for output, _ in expected
    ]
    assert [one.metric.name for one in found.judged] == [metric for _, metric in expected]
    assert score in found.judged[0].evidence[-1]
    # The written file makes the same of the model's outputs as what was worked out.
    test = found.model.pack().test
    outputs = float_model.predict(found.model, found.model.prepare(test.x))
    inputs = found.model.prepare(test.x)
    labels_of = [test.y, *(test.more[head.labels] for head in found.model.heads)]
    for one, labels in zip(found.judged, labels_of, strict=True):
        value = one.metric.value(one.metric.predict(outputs, inputs), labels)
        assert one.metric.drop(value, 1.0 if one.metric.higher_is_better else 0.0) < 10


@pytest.mark.forked
@pytest.mark.slow
def test_a_head_is_trained_on_its_own_labels_and_on_no_other(saved: Path, tmp_path: Path) -> None:
    model = understood(saved, tmp_path / "one", "two.keras", "two.npz").model
    keras_model = float_model.keras2(model)
    before = {name: keras_model.get_layer(name).get_weights() for name in ("kind", "colour")}
    facts = training.fit(keras_model, model, Recipe(2, 32, 1e-2), seed=0)
    after = {name: keras_model.get_layer(name).get_weights() for name in ("kind", "colour")}
    assert not np.array_equal(before["kind"][0], after["kind"][0])
    assert np.array_equal(before["colour"][0], after["colour"][0])
    assert facts["loss"] == "sparse_categorical_crossentropy"
    assert int(keras_model.optimizer.iterations) == 2 * 4

    with pytest.raises(Unsupported, match="needs training labels of an output"):
        training.fit(keras_model, replace(model, loss=""), Recipe(1, 32, 1e-2), seed=0)


@pytest.mark.nightly
@pytest.mark.slow
def test_two_heads_and_twelve_are_trained_each_on_its_own_labels(saved: Path, tmp_path: Path) -> None:
    both = understood(saved, tmp_path / "both", "two.keras", "two_labels.npz").model
    keras_model = float_model.keras2(both)
    before = {name: keras_model.get_layer(name).get_weights() for name in ("kind", "colour")}
    facts = training.fit(keras_model, both, Recipe(2, 32, 1e-2), seed=0)
    after = {name: keras_model.get_layer(name).get_weights() for name in ("kind", "colour")}
    assert not np.array_equal(before["colour"][0], after["colour"][0])
    assert facts["loss"] == "sparse_categorical_crossentropy; sparse_categorical_crossentropy"
    outputs = float_model.predict(both, both.pack().test.x)
    assert isinstance(outputs, dict)
    for head in both.heads:  # swapped labels would be at chance after the training
        answers = training.answers(keras_model, both.pack().test.x, 32)
        assert head.metric.value(head.metric.predict(answers, {}), both.pack().test.more[head.labels]) > 0.8

    twelve = understood(saved, tmp_path / "twelve", "twelve.h5", "twelve.npz").model
    keras_model = float_model.keras2(twelve)
    training.fit(keras_model, twelve, Recipe(20, 32, 1e-2), seed=0)
    answers = training.answers(keras_model, twelve.pack().test.x, 32)
    column = twelve.metric.value(twelve.metric.predict(answers, {}), twelve.pack().test.y)
    assert column < 0.05  # from outputs that were 0.05 off, and each of another column


@pytest.mark.forked
@pytest.mark.slow
def test_a_metric_of_ones_own_goes_with_the_model(saved: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import numpy as np\n\n\n"
        "def far(predictions, labels):\n"
        "    losses = np.abs(predictions - labels).max(axis=1)\n"
        "    return float(np.median(losses)), losses\n"
    )
    data = saved / "two_labels.npz"
    arrays = dict(np.load(data))
    np.savez(tmp_path / "own.npz", x=arrays["x"], y=np.eye(3)[arrays["y_kind"]])
    given = Given(str(saved / "two.keras"), tmp_path / "own.npz", metric=f"{mine}:far", output="kind")
    found = understand(given, "m", tmp_path / "kept")
    assert found.model.metric.name == "mine:far"
    assert (tmp_path / "kept" / "metrics" / "mine.py").is_file()
    assert "mine:far 0." in found.judged[0].evidence[-1]
    mine.write_text("def far(predictions, labels):\n    return 1 / 0\n")
    with pytest.raises(BadInput, match="far raised ZeroDivisionError"):
        understand(given, "m", tmp_path / "again")


def test_a_run_stores_what_each_output_answers(quantbench: Quantbench, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\n"
        "def far(predictions, labels):\n"
        "    losses = np.abs(predictions - np.eye(3)[labels]).max(axis=1)\n"
        "    return float(np.mean(losses)), losses\n"
    )
    more = ["--metric", f"kind={tmp_path / 'mine.py'}:far", "--variants", "ptq_float16", "--latency-budget", "0"]
    data = ["--data", str(saved / "two_labels.npz"), "--report-dir", str(tmp_path / "reports")]
    done = quantbench("try", str(saved / "two.keras"), *data, *more)
    assert done.status == 0, done.output
    assert "metric: mine:far of output kind" in done.output
    assert "metric: accuracy of output colour" in done.output
    stored = read_predictions(tmp_path / "reports" / "latest" / "predictions" / "model.npz", "predictions")
    labels = np.load(saved / "two_labels.npz")
    for variant in ("float32", "ptq_float16"):
        assert stored[variant].shape == (240, 3)
        assert (stored[f"{variant}@colour"] == labels["y_colour"]).mean() > 0.98


@pytest.mark.forked
def test_labels_of_an_output_that_is_not_there(saved: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", x=np.zeros((4, 8), np.float32), y_size=np.zeros(4))
    with pytest.raises(BadInput, match="y_size: the model has no output of that name; its outputs are kind, colour"):
        understand(Given(str(saved / "two.keras"), tmp_path / "e.npz"), "m", tmp_path / "kept")


@pytest.mark.nightly
def test_labels_of_an_output_are_as_many_as_examples(saved: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", x=np.zeros((4, 8), np.float32), y_kind=np.zeros(3))
    with pytest.raises(BadInput, match="y_kind has 3 labels, x has 4 examples"):
        understand(Given(str(saved / "two.keras"), tmp_path / "e.npz"), "m", tmp_path / "kept")
