"""What is scored, worked out from made-up outputs and labels: each kind of model, and where the user is asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantbench.adopt import readings, task
from quantbench.adopt.outputs import Output, usable
from quantbench.adopt.task import Asked, Judged, Probe
from quantbench.errors import BadInput

RNG = np.random.default_rng(0)
N = 300
X = RNG.normal(size=(N, 6)).astype(np.float32)


def softmax(logits: Any) -> Any:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (raised / raised.sum(axis=-1, keepdims=True)).astype(np.float32)


def work_out(
    outputs: dict[str, Any],
    y: dict[str, Any] | Any,
    inputs: Any = X,
    activations: dict[str, str] | None = None,
    names: dict[str, str] | None = None,
    **asked: str,
) -> list[Judged]:
    """As for the data file e.npz; outputs by key, in the model's own order."""
    known = [Output(key, (names or {}).get(key, key or "out"), (activations or {}).get(key, "")) for key in outputs]
    given_labels = y if isinstance(y, dict) else {"": y}
    return task.work_out([Probe(inputs, outputs)], known, given_labels, Asked(**asked), "e.npz")


CLASSES = RNG.integers(0, 4, N)
SCORES = softmax(np.eye(4)[CLASSES] * 4 + RNG.normal(size=(N, 4)))


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        (CLASSES, "classes"),
        (CLASSES.astype(np.float32), "classes"),
        (np.eye(4, dtype=np.uint8)[CLASSES], "one-hot"),
        (np.eye(4)[CLASSES] * 0.9 + 0.025, "one-hot"),  # label smoothing
    ],
)
def test_every_form_of_class_labels_is_accuracy(labels: Any, form: str) -> None:
    [judged] = work_out({"": SCORES}, labels)
    assert (judged.metric.name, judged.form) == ("accuracy", form)
    assert judged.labels.tolist() == CLASSES.tolist()
    assert judged.loss == "sparse_categorical_crossentropy"
    [judged] = work_out({"": np.log(SCORES)}, labels)
    assert judged.loss == "logits_loss"


BINARY = RNG.integers(0, 2, N)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, bool])
def test_a_single_output_is_cut_where_its_values_say(dtype: Any) -> None:
    logits = ((BINARY * 2 - 1) * 3 + RNG.normal(size=N)).reshape(N, 1).astype(np.float32)
    [judged] = work_out({"": logits}, BINARY.astype(dtype), activations={"": "linear"})
    assert (judged.metric.name, judged.loss) == ("binary_accuracy_logits", "binary_logits_loss")
    assert "cut at 0, as a logit" in judged.evidence[0]
    probabilities = 1 / (1 + np.exp(-logits))
    [judged] = work_out({"": probabilities}, BINARY.astype(dtype))
    assert (judged.metric.name, judged.loss) == ("binary_accuracy", "binary_crossentropy")


def test_a_single_output_about_0_and_1_is_asked_about() -> None:
    near = (BINARY + RNG.normal(0, 0.1, N)).reshape(N, 1)
    with pytest.raises(BadInput, match="2 ways") as error:
        work_out({"": near}, BINARY, activations={"": "linear"})
    assert "--metric binary_accuracy)" in str(error.value)
    assert "--metric binary_accuracy_logits)" in str(error.value)
    for metric in ("binary_accuracy", "binary_accuracy_logits"):
        [judged] = work_out({"": near}, BINARY, metric=metric)
        assert judged.metric.name == metric


@pytest.mark.parametrize(
    ("low", "high"), [(1, 2), (0, 255), (0, 2)], ids=["counted from one", "grey values", "with a gap"]
)
def test_two_other_numbers_than_0_and_1_are_asked_about_where_the_output_is_a_probability(low: int, high: int) -> None:
    y = np.where(BINARY == 1, high, low)
    probability = (BINARY * 0.8 + 0.1).reshape(N, 1)
    with pytest.raises(BadInput, match=rf"y holds only {low} and {high}, .*\(y == {high}\)\.astype\(int\)"):
        work_out({"": probability}, y)
    [judged] = work_out({"": probability}, y, labels="values")
    assert judged.metric.name == "mae_of_spread"
    masks = np.arange(N * 20).reshape(N, 5, 4) % 2
    with pytest.raises(BadInput, match=rf"y holds only {low} and {high}"):
        work_out({"": (masks * 0.8 + 0.1)[..., None]}, np.where(masks == 1, high, low))


@pytest.mark.parametrize("rare", [0, 1])
def test_a_rare_class_is_told_with_the_metrics_that_show_it(rare: int) -> None:
    y = np.where(np.arange(N) % 25 == 0, rare, 1 - rare)
    [judged] = work_out({"": (y * 6.0 - 3).reshape(N, 1)}, y)
    assert f"4 % are {rare}, which accuracy hardly shows (--metric f1 or auc)" in judged.evidence[0]
    [judged] = work_out({"": (BINARY * 6.0 - 3).reshape(N, 1)}, BINARY)
    assert "hardly shows" not in judged.evidence[0]
    for metric in ("f1", "auc"):
        work_out({"": (y * 6.0 - 3).reshape(N, 1)}, y, metric=metric)


def test_shares_of_classes_are_asked_about() -> None:
    mixed = 0.7 * SCORES + 0.3 * np.random.default_rng(1).dirichlet(np.ones(4), N)
    with pytest.raises(BadInput, match=r"2 ways: .*\(--labels one-hot\), or .*\(--labels values\)"):
        work_out({"": SCORES}, mixed)
    [judged] = work_out({"": SCORES}, mixed, labels="one-hot")
    assert judged.metric.name == "accuracy"
    assert judged.labels.tolist() == mixed.argmax(axis=1).tolist()
    [judged] = work_out({"": SCORES}, mixed, labels="values")
    assert judged.metric.name == "mae_of_spread"


def test_labels_of_minus_one_and_one_are_cut_at_zero() -> None:
    [judged] = work_out({"": np.tanh(RNG.normal(size=(N, 1)))}, BINARY * 2 - 1, activations={"": "tanh"})
    assert (judged.metric.name, judged.loss) == ("binary_accuracy_logits", "hinge")
    assert judged.labels.tolist() == BINARY.tolist()


def test_twelve_heads_meet_the_columns_in_the_models_own_order() -> None:
    y = RNG.normal(size=(N, 12)) * np.arange(1, 13)
    outputs = {f"output_{i}": y[:, i : i + 1] + 0.1 for i in range(12)}
    [judged] = work_out(outputs, y)
    assert judged.metric.name == "column_error"
    assert judged.metric.outputs == tuple(f"output_{i}" for i in range(12))
    predictions = judged.metric.predict(dict(sorted(outputs.items())), X)  # as an artifact may list them
    assert np.abs(predictions - y).max() == pytest.approx(0.1, rel=1e-4)
    assert "in the model's own order" in judged.evidence[0]


COLOURS = RNG.integers(0, 4, N)
HEADS = {"output_0": SCORES, "output_1": softmax(np.eye(4)[COLOURS] * 4 + RNG.normal(size=(N, 4)))}
NAMES = {"output_0": "type", "output_1": "colour"}


def test_labels_of_one_head_are_told_which_by_agreement() -> None:
    first, second = work_out(HEADS, CLASSES, names=NAMES)
    assert (first.output, first.metric.name, first.metric.output) == ("type", "accuracy", "output_0")
    assert "y is taken for the labels of 'type'" in first.evidence[0]
    assert (second.output, second.metric.name, second.loss) == ("colour", "output_error", "")
    assert not second.labelled
    first, second = work_out(HEADS, COLOURS, names=NAMES)
    assert first.output == "colour"


def test_labels_that_agree_with_no_head_are_asked_about() -> None:
    with pytest.raises(BadInput, match=r"may be the labels of 'type' or of 'colour'.*say --output"):
        work_out(HEADS, RNG.integers(0, 4, N), names=NAMES)
    first, _ = work_out(HEADS, RNG.integers(0, 4, N), names=NAMES, output="colour")
    assert first.output == "colour"


def test_labels_by_the_name_of_their_head() -> None:
    first, second = work_out(HEADS, {"colour": COLOURS, "type": CLASSES}, names=NAMES)
    assert [first.output, second.output] == ["type", "colour"]
    assert [first.metric.name, second.metric.name] == ["accuracy", "accuracy"]
    first, second = work_out(HEADS, {"colour": COLOURS, "type": CLASSES}, names=NAMES, output="colour")
    assert [first.output, second.output] == ["colour", "type"]
    first, second = work_out(
        HEADS, {"colour": COLOURS, "type": CLASSES}, names=NAMES, metric="colour=top2,type=accuracy"
    )
    assert [first.metric.name, second.metric.name] == ["accuracy", "top2"]
    first, second = work_out(HEADS, {"colour": COLOURS, "type": CLASSES}, names=NAMES, metric="top2")
    assert [first.metric.name, second.metric.name] == ["top2", "accuracy"]
    with pytest.raises(BadInput, match="y_size: the model has no output of that name; its outputs are type, colour"):
        work_out(HEADS, {"size": COLOURS}, names=NAMES)
    with pytest.raises(BadInput, match="--output: the model has no output of that name"):
        work_out(HEADS, CLASSES, names=NAMES, output="size")


def test_a_column_of_classes_for_each_head() -> None:
    y = np.stack([CLASSES, COLOURS], axis=1)
    known = [Output(key, NAMES[key]) for key in HEADS]
    probes = [Probe(X, HEADS)]
    assert task.by_column(probes, known, {"": y}, Asked(), "e.npz") == ["type", "colour"]
    assert task.by_column(probes, known, {"": CLASSES}, Asked(), "e.npz") == []
    sigmoids = {"output_0": np.full((N, 1), 0.2), "output_1": np.full((N, 1), 0.7)}
    assert task.by_column([Probe(X, sigmoids)], known, {"": (y > 1).astype(float)}, Asked(), "e.npz") != []
    assert task.by_column([Probe(X, sigmoids)], known, {"": RNG.normal(size=(N, 2))}, Asked(), "e.npz") == []


def test_columns_in_another_order_than_the_outputs_are_asked_about() -> None:
    y = RNG.normal(size=(N, 3)) + np.array([0, 100, 1000])
    outputs = {name: y[:, place : place + 1] for place, name in enumerate(["c", "a", "b"])}
    [judged] = work_out(outputs, y)
    assert judged.names == ("c", "a", "b")
    with pytest.raises(BadInput, match="no better on them than a constant in the model's own order; say --output NAME"):
        work_out(dict(sorted(outputs.items())), y)
    [judged] = work_out(dict(sorted(outputs.items())), y, output="c,a,b")
    assert np.allclose(judged.metric.predict(outputs, X), y, atol=1e-3)


def test_an_autoencoder_with_labels_of_0_and_1_is_judged_by_its_reconstruction() -> None:
    rebuilt = (X + RNG.normal(0, 0.1, X.shape)).astype(np.float32)
    [judged] = work_out({"": rebuilt}, BINARY)
    assert (judged.metric.name, judged.loss) == ("reconstruction_auc:0", "rebuilt")
    with pytest.raises(BadInput, match=r"can be read in 2 ways.*--labels normal:0.*--labels classes"):
        work_out({"": RNG.normal(size=X.shape)}, BINARY)
    [judged] = work_out({"": RNG.normal(size=X.shape)}, BINARY, labels="classes")
    assert judged.metric.name == "accuracy"
    [judged] = work_out({"": rebuilt}, BINARY, labels="normal:1")
    assert judged.metric.name == "reconstruction_auc:1"
    unlike = np.where(BINARY[:, None] == 0, rebuilt + 0.2, rebuilt)
    with pytest.raises(BadInput, match=r"the label 0 is rebuilt worse.*--labels normal:1, or --labels normal:0"):
        work_out({"": unlike}, BINARY)


@pytest.mark.parametrize("labels", [BINARY * 2 - 1, BINARY + 1, np.arange(N) % 6], ids=["signs", "1, 2", "kinds"])
def test_which_label_of_an_autoencoder_is_normal_is_asked_where_it_is_not_0_of_0_and_1(labels: Any) -> None:
    rebuilt = (X * 0.99).astype(np.float32)
    with pytest.raises(BadInput, match=r"the model rebuilds its input: say which of them is normal, such as --labels"):
        work_out({"": rebuilt}, labels)
    [judged] = work_out({"": rebuilt}, labels, labels=f"normal:{labels.max()}")
    assert judged.metric.name == f"reconstruction_auc:{labels.max()}"


def test_labels_of_an_autoencoder_that_are_all_equal_tell_nothing() -> None:
    rebuilt = (X * 0.99).astype(np.float32)
    with pytest.raises(BadInput, match=r"y is 0 throughout, and the model rebuilds its input: .* leave y out"):
        work_out({"": rebuilt}, np.zeros(N, int))


def test_a_classifier_with_as_many_classes_as_inputs_is_none_the_less_one() -> None:
    classes = RNG.integers(0, 6, N)
    for outputs in (np.eye(6)[classes] * 3 + RNG.normal(size=(N, 6)), softmax(RNG.normal(size=(N, 6)))):
        [judged] = work_out({"": outputs}, classes)
        assert judged.metric.name == "accuracy"


def test_a_class_for_each_pixel() -> None:
    y = RNG.integers(0, 3, (N, 5, 4))
    outputs = softmax(np.eye(3)[y] * 4 + RNG.normal(size=(N, 5, 4, 3)))
    for labels in (y, y.astype(np.float32), y[..., None], np.eye(3)[y]):
        [judged] = work_out({"": outputs}, labels)
        assert judged.metric.name == "pixel_accuracy"
        assert [also.name for also in judged.metric.also] == ["mean_iou"]
        assert judged.labels.shape == (N, 5, 4)
    with pytest.raises(BadInput, match=r"e.npz: y ranges from 0 to 5; the model has classes 0 to 2"):
        work_out({"": outputs}, np.where(y == 2, 5, y))
    with pytest.raises(BadInput, match=r"0 to 255; the model has classes 0 to 2; pixels that do not count \(255\)"):
        work_out({"": outputs}, np.where(y == 2, 255, y))
    mask = (y > 0).astype(np.uint8)
    [judged] = work_out({"": (mask * 6.0 - 3)[..., None]}, mask)
    assert (judged.metric.name, judged.loss) == ("mask_accuracy_logits", "binary_logits_loss")


def test_columns_of_unlike_scales_are_each_measured_by_their_own_spread() -> None:
    y = np.concatenate([RNG.uniform(0, 640, (N, 4)), RNG.uniform(0, 1, (N, 3))], axis=1)
    [judged] = work_out({"": y + 0.01}, y)
    assert judged.metric.name == "column_error"
    [judged] = work_out({"": y[:, :4] + 0.01}, y[:, :4])
    assert (judged.metric.name, judged.metric.also[0].name) == ("mae_of_spread", "mean_absolute_error")


def test_several_labels_that_may_hold_at_once() -> None:
    y = RNG.integers(0, 2, (N, 5))
    [judged] = work_out({"": y * 0.8 + 0.1}, y, activations={"": "sigmoid"})
    assert (judged.metric.name, judged.loss) == ("label_f1", "binary_crossentropy")
    [judged] = work_out({"": y * 8.0 - 4}, y)
    assert judged.metric.name == "label_f1_logits"


@pytest.mark.parametrize(
    ("labels", "asked", "words"),
    [
        (CLASSES + 5, {}, "y ranges from 5 to 8; the model has classes 0 to 3"),
        (np.arange(N) % 40, {"plain": "yes"}, "model has classes 0 to 3; identities .* by --metric recall_at:1"),
        (np.arange(N) % 5, {"plain": "yes"}, "model has classes 0 to 3$"),
        (np.arange(N) % 5, {"unit": "yes"}, "model has classes 0 to 3; identities .* by --metric recall_at:1"),
        (CLASSES + 1, {}, "the model has classes 0 to 3; subtract 1, if they count from 1"),
        (RNG.normal(size=(N, 7)), {}, r"has shape \(300, 7\) .*fits outputs of shape \(4,\) in no form"),
        (RNG.normal(size=N), {}, "in no form that is known"),
        (CLASSES, {"metric": "auc"}, "auc takes a model with one output value, this one has 4"),
        (CLASSES, {"metric": "mae_of_spread"}, "mae_of_spread takes 4 numbers an example"),
        (CLASSES, {"metric": "top4"}, "top4 says nothing about a model with 4 classes"),
        (CLASSES, {"metric": "pixel_accuracy"}, "takes a class for each position"),
        (CLASSES, {"metric": "mean_average_precision"}, r"takes outputs of shape \(n, boxes, 6\)"),
        (CLASSES, {"metric": "character_error_rate"}, r"takes outputs of shape \(n, steps, classes\)"),
        (CLASSES, {"metric": "reconstruction_auc"}, "not that of the input"),
        (CLASSES, {"metric": "sharpness"}, "unknown metric 'sharpness'; known: accuracy,.*recall_at:K.*file.py:NAME"),
        (CLASSES, {"metric": "recall_at"}, "recall_at is given as recall_at:K; found 'recall_at'"),
        (
            CLASSES,
            {"labels": "positions"},
            "--labels: y of shape .* cannot be read as positions.*one of: classes",
        ),
        (CLASSES, {"metric": "nothing.py:f"}, "nothing.py: cannot be read"),
    ],
)
def test_what_does_not_fit_is_one_sentence(labels: Any, asked: dict[str, str], words: str) -> None:
    options = {name: value for name, value in asked.items() if name not in ("plain", "unit")}
    logits = np.log(SCORES)
    unit = logits / np.linalg.norm(logits, axis=1, keepdims=True)
    with pytest.raises(BadInput, match=words) as error:
        work_out({"": unit if "unit" in asked else logits if "plain" in asked else SCORES}, labels, **options)
    assert "\n" not in str(error.value)


def test_a_score_of_ones_own_that_does_not_say_that_it_is_one_is_not_taken_for_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def share(p, y):\n    right = 1.0 * (p.argmax(1) == y)\n    return right.mean(), 1 - right\n")
    with pytest.raises(BadInput, match=r"its value is higher where .*: set share\.higher_is_better = True, or return"):
        work_out({"": SCORES}, CLASSES, metric=f"{file}:share")
    file.write_text(f"{file.read_text()}share.higher_is_better = True\n")
    [judged] = work_out({"": SCORES}, CLASSES, metric=f"{file}:share")
    assert judged.metric.higher_is_better


def test_boxes_of_another_unit_are_told_unless_another_scale_of_the_inputs_explains_them() -> None:
    corners = RNG.uniform(0, 200, (N, 4, 2))
    found = np.concatenate([corners, corners + 30, RNG.random((N, 4, 1)), RNG.integers(0, 3, (N, 4, 1))], axis=2)
    labels = np.concatenate([found[..., :4], found[..., 5:]], axis=2)
    small = labels / (200, 200, 200, 200, 1)
    with pytest.raises(BadInput, match=r"y has the shape of boxes, and .* found corners up to 1\.\d+ in the labels"):
        work_out({"": found}, small)
    as_given, divided = found * (200, 200, 200, 200, 1, 1), found
    probes = [Probe(X, {"": each}) for each in (as_given, divided)]
    [judged] = task.work_out(probes, [Output("", "out", "")], {"": labels}, Asked(), "e.npz")
    assert judged.metric.name == "mean_average_precision"


def test_an_area_under_a_curve_needs_both_classes() -> None:
    with pytest.raises(BadInput, match="holds one class only; auc needs examples of both"):
        work_out({"": np.full((N, 1), 0.5)}, np.zeros(N, int), metric="auc")


def test_without_labels_closeness_to_float32_is_all_there_is() -> None:
    [judged] = work_out(HEADS, {}, names=NAMES)
    assert (judged.metric.name, judged.metric.outputs) == ("output_error", ())
    with pytest.raises(BadInput, match="has no labels y, which the metric accuracy needs"):
        work_out(HEADS, {}, names=NAMES, metric="accuracy")


def test_the_scale_of_the_inputs_on_which_the_model_is_best() -> None:
    [judged] = work_out({"": SCORES}, CLASSES)
    worse = softmax(np.log(SCORES[:, ::-1]))
    probes = [Probe(X, {"": worse}), Probe(X, {"": SCORES})]
    assert task.best_probe(judged, probes) == 1
    assert task.float_score(judged, probes[1]) > task.float_score(judged, probes[0])


def test_a_scale_on_which_the_model_is_nearly_always_wrong_is_not_chosen_for_its_likelihood() -> None:
    """Of a model that is hardly sure of anything: always the same class, said with the right doubt, is more likely."""
    y = np.where(np.arange(N) % 5 == 0, np.arange(N) % 4, 0)  # 0 in 85 of 100
    right = softmax(np.eye(4)[y] * 0.01)
    constant = np.tile(np.float32([0.85, 0.05, 0.05, 0.05]), (N, 1))
    [judged] = work_out({"": right}, y)
    probes = [Probe(X, {"": constant}), Probe(X, {"": right})]
    assert task.best_probe(judged, probes) == 1
    assert task.maybe_best(judged, probes) == [1]


def test_of_scales_on_which_the_model_is_as_accurate_the_more_likely_one_is_chosen() -> None:
    [judged] = work_out({"": SCORES}, CLASSES)
    too_sure = softmax(np.log(SCORES) * 255)
    probes = [Probe(X, {"": too_sure}), Probe(X, {"": SCORES})]
    assert task.best_probe(judged, probes) == 1


# ---------------------------------------------------------------- dead columns


def quantized(values: Any, scale: float) -> Any:
    return (np.clip(np.round(values / scale), -128, 127) * scale).astype(np.float32)


def test_a_column_below_one_step_is_dead() -> None:
    real = np.concatenate([RNG.uniform(0, 640, (N, 2)), RNG.uniform(0, 1, (N, 2))], axis=1).astype(np.float32)
    assert task.dead_columns(quantized(real, 5.0), real) == [(2, 1), (3, 1)]
    assert task.dead_columns(quantized(real, 1.6), real) == [(2, 2), (3, 2)]
    assert task.dead_columns(np.stack([quantized(one, np.ptp(one) / 200) for one in real.T], axis=1), real) == []


def test_scores_beside_boxes_in_one_tensor_are_named_with_their_scale() -> None:
    boxes, scores = RNG.uniform(0, 640, (N, 8, 2)), RNG.uniform(0, 1, (N, 8, 3))
    real = np.concatenate([boxes, scores], axis=2).astype(np.float32)
    found = task.crowded(real, [column for column, _ in task.dead_columns(quantized(real, 640 / 255), real)])
    assert found is not None
    assert found.places == (2, 3, 4)
    assert "values 2, 3, 4 of the output share one int8 scale" in found.words
    assert "beside 0 to 640, in steps of 2.5): give what is so small as an output of its own" in found.words
    # What is dead for another reason has a scale that would do.
    assert task.crowded(scores.reshape(N, -1), [0, 5]) is None
    assert task.crowded(real, []) is None


def test_classes_distributions_and_constants_are_not_dead() -> None:
    assert task.dead_columns(CLASSES.astype(np.uint16), CLASSES.astype(np.uint16)) == []
    rare = softmax(np.array([8.0, 0, -6]) + RNG.normal(size=(N, 3)))
    assert task.dead_columns(quantized(rare, 1 / 256), rare) == []
    constant = np.zeros((N, 2), np.float32)
    assert task.dead_columns(constant, constant) == []


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.sampled_from(["normal", "uniform", "exponential"]))
def test_eight_bits_over_a_columns_own_range_never_make_it_dead(seed: int, scale: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    real = (getattr(rng, kind)(size=(200, 1)) * scale).astype(np.float32)
    step = float(np.abs(real).max()) / 127
    assert task.dead_columns(quantized(real, step), real) == []


# ---------------------------------------------------------------- forms


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans())
def test_one_hot_rows_are_known_and_read_back(seed: int, classes: int, smoothed: bool) -> None:
    y = np.random.default_rng(seed).integers(0, classes, 20)
    rows = np.eye(classes)[y] * (0.9 if smoothed else 1) + (0.1 / classes if smoothed else 0)
    assert readings.one_hot(rows)
    assert readings.in_form("one-hot", rows).tolist() == y.tolist()
    assert not readings.one_hot(rows + np.random.default_rng(seed).normal(size=rows.shape))


@given(st.lists(st.text(max_size=120), min_size=1, max_size=4))
def test_names_of_outputs_differ_and_hold_no_marks(names: list[str]) -> None:
    found = usable([Output(str(place), name) for place, name in enumerate(names)])
    assert len({one.name for one in found}) == len(names)
    assert [one.key for one in found] == [str(place) for place in range(len(names))]
    assert not any(mark in one.name for one in found for mark in "@#,=\n'\"")
    assert all(0 < len(one.name) <= 100 for one in found)
