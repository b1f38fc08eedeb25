"""Metrics on made-up outputs: their values against figures worked out by hand, and how losses go with them."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantbench.errors import BadInput
from quantbench.reference import metrics
from quantbench.reference.metrics import BY_NAME, Metric, boxes, by_name, in_order, metric_from_file, own, sequences
from quantbench.reference.metrics import own as own_metrics

RNG = np.random.default_rng(0)


def test_every_module_of_the_package_is_in_the_cache_keys() -> None:
    folder = Path(metrics.__file__).parent
    modules = {f"quantbench.reference.metrics.{path.stem}".removesuffix(".__init__") for path in folder.glob("*.py")}
    assert set(metrics.CODE) == modules


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = [f"output_{i}" for i in range(12)]
    assert in_order(dict.fromkeys(sorted(names))) == names  # type: ignore[arg-type]


@given(st.lists(st.text(alphabet="ab_0123456789٣²", max_size=8), unique=True))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(in_order(dict.fromkeys(names))) == sorted(names)  # type: ignore[arg-type]


def test_a_metric_of_a_named_output_selects_it_by_itself() -> None:
    outputs = {"b": np.array([[0.0, 1.0]]), "a": np.array([[1.0, 0.0]])}
    for name, best in (("a", 0), ("b", 1)):
        metric = by_name("accuracy").of(name)
        assert metric.output == name
        assert metric.predict(outputs, {}).tolist() == [best]
    joined = by_name("mean_absolute_error").of("b", "a")
    assert joined.predict(outputs, {}).tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert joined.output == ""
    with pytest.raises(ValueError, match="it has the outputs a, b, and none is called 'c'"):
        by_name("accuracy").of("c").predict(outputs, {})


def test_every_name_is_that_of_its_metric() -> None:
    for name, metric in BY_NAME.items():
        assert by_name(metric.name).name == name
    for name in ("top3", "recall_at:5", "word_error_rate:0", "false_accepts_per_hour:0.5:1", "reconstruction_auc:2"):
        assert by_name(name).name == name


def case(metric: str) -> tuple[Metric, Any, Any]:
    """Return a metric with predictions and labels of 40 examples for it."""
    rng = np.random.default_rng(1)
    of = by_name(metric)
    positions, classes = rng.integers(0, 3, (40, 7)), rng.integers(0, 3, 40)
    if of.takes == "positions":
        return of, np.where(rng.random((40, 7)) < 0.2, 0, positions).astype(np.uint8), positions
    if of.takes == "tokens" and metric == "perplexity":
        return of, rng.normal(size=(40, 7 * 3)).astype(np.float32), positions
    if of.takes == "tokens":
        return of, np.where(rng.random((40, 7)) < 0.2, 0, positions).astype(np.int32), positions
    if metric.startswith("recall_at"):
        return of, (np.eye(3)[classes] + rng.normal(size=(40, 3))).astype(np.float32), classes
    if metric.startswith("false"):
        return of, rng.random(40).astype(np.float32), classes
    labels = rng.normal(size=(40, 3)) * (1, 10, 100)
    return of, (labels + rng.normal(size=(40, 3))).astype(np.float32), labels


WITH_MEAN = [
    "mean_absolute_error",
    "mean_squared_error",
    "mae_of_spread",
    "column_error",
    "pixel_accuracy",
    "token_accuracy",
    "recall_at:2",
    "false_accepts_per_hour:0.7:2",
]


@pytest.mark.parametrize("name", WITH_MEAN)
def test_the_mean_of_the_losses_is_the_value_or_what_it_lacks(name: str) -> None:
    metric, predictions, labels = case(name)
    assert metric.losses is not None
    losses = metric.losses(predictions, labels)
    assert losses.shape == (40,)
    lacking = 1 - float(np.mean(losses)) if metric.higher_is_better else float(np.mean(losses))
    assert metric.value(predictions, labels) == pytest.approx(lacking)


@pytest.mark.parametrize("name", [*WITH_MEAN, "root_mean_squared_error", "rmse_of_spread", "perplexity", "mean_iou"])
def test_worse_predictions_have_a_worse_value_and_larger_losses(name: str) -> None:
    metric, predictions, labels = case(name)
    worse = predictions[::-1].copy()
    if name.startswith("false"):
        worse = predictions + 0.2
    if name == "perplexity":
        worse = predictions * 5
    assert metric.drop(metric.value(worse, labels), metric.value(predictions, labels)) > 0
    if metric.losses is not None:
        assert metric.losses(worse, labels).mean() > metric.losses(predictions, labels).mean()


def test_errors_in_units_of_the_spread_do_not_depend_on_the_scale() -> None:
    labels = RNG.normal(size=(50, 2))
    near = labels + 0.1
    for name in ("mae_of_spread", "rmse_of_spread", "column_error"):
        metric = by_name(name)
        assert metric.value(near * 1000, labels * 1000) == pytest.approx(metric.value(near, labels))
        assert metric.undefined is not None
        assert "all labels are equal" in metric.undefined(np.ones((5, 2)))
    # Of two columns, the one in pixels does not drown the one that is a share.
    scales = np.array([640.0, 1.0])
    broken = np.stack([labels[:, 0], np.zeros(50)], axis=1)
    assert by_name("column_error").value(broken * scales, labels * scales) > 0.3
    assert by_name("mae_of_spread").value(broken * scales, labels * scales) < 0.01


def test_intersection_over_union_and_f1_by_hand() -> None:
    found, real = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    assert by_name("mean_iou").value(found, real) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert by_name("f1").value(found[0], real[0]) == pytest.approx(2 * 2 / (2 + 3))
    three = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])
    assert by_name("f1").value(*three) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([1, 5, 40]), st.sampled_from([1, 3, 300]))
def test_mean_iou_of_a_resample_is_that_of_its_maps(seed: int, n: int, positions: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    found, other, real = (random.integers(0, classes, (n, positions)).astype(np.uint16) for _ in range(3))
    chosen, metric = random.integers(0, n, n), by_name("mean_iou")
    assert metric.of_chosen(found, real)(chosen) == metric.value(found[chosen], real[chosen])
    drop = metric.drop(metric.value(found[chosen], real[chosen]), metric.value(other[chosen], real[chosen]))
    assert metric.drop_of_chosen(found, other, real)(chosen) == drop


def test_maps_of_too_many_classes_are_read_anew_in_each_resample() -> None:
    real = np.array([[0, 2**32 - 1]], dtype=np.uint32)
    metric = by_name("mean_iou")
    assert metric.prepared is not None
    assert metric.prepared(real, real) is None


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 40))
def test_area_of_a_resample_is_that_of_its_examples(seed: int, n: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, levels, n).astype(np.float32), random.integers(0, 2, n)
    chosen, metric = random.integers(0, n, n), by_name("auc")
    assert np.array_equal(
        metric.of_chosen(scores, labels)(chosen), metric.value(scores[chosen], labels[chosen]), equal_nan=True
    )
    scores[chosen[0]] = np.nan
    assert math.isnan(metric.of_chosen(scores, labels)(chosen))


def test_classes_stored_as_bytes_agree_value_by_value() -> None:
    real = np.zeros((2, 100), np.uint8)
    other = real.copy()
    other[0, 0] = 255
    assert by_name("pixel_accuracy").agreement(real, other) == 0.995


def test_perplexity_by_hand() -> None:
    metric, labels = by_name("perplexity"), np.array([[0, 1], [1, -1]])
    even = np.full((2, 2, 4), 0.25, np.float32)
    assert metric.value(metric.predict(even, {}), labels) == pytest.approx(4)
    assert metric.value(metric.predict(np.log(even), {}), labels) == pytest.approx(4)
    sure = np.eye(4, dtype=np.float32)[np.array([[0, 1], [1, 3]])]
    assert metric.value(metric.predict(sure, {}), labels) == pytest.approx(1)


def test_recall_leaves_out_labels_without_another_example() -> None:
    metric = by_name("recall_at:1")
    points = np.array([[1, 0], [1, 0.1], [0, 1]], np.float32)
    assert metric.value(points, np.array([0, 0, 7])) == 1
    assert metric.value(points, np.array([0, 7, 0])) == 0
    assert metric.undefined is not None
    assert "needs two examples of a label" in metric.undefined(np.array([1, 2, 3]))


def test_false_accepts_an_hour_by_hand() -> None:
    metric = by_name("false_accepts_per_hour:0.5:36")
    assert metric.value(np.array([0.6, 0.4, 0.9, 0.9]), np.array([0, 0, 0, 1])) == pytest.approx(2 / (3 * 36 / 3600))
    outputs = np.array([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7]])
    assert metric.predict(outputs, {}).tolist() == pytest.approx([0.1, 0.7])
    for wrong in ("false_accepts_per_hour:0.5", "false_accepts_per_hour:a:1", "false_accepts_per_hour:0.5:0"):
        with pytest.raises(BadInput, match="--metric: false_accepts_per_hour"):
            by_name(wrong)


# ---------------------------------------------------------------- speech


def test_a_greedy_decoder_drops_repeats_and_blanks() -> None:
    scores = np.eye(4)[np.array([[0, 0, 3, 0, 1, 1], [3, 3, 3, 2, 3, 3]])]
    assert sequences.decoded(scores).tolist() == [[0, 0, 1, -1, -1, -1], [2, -1, -1, -1, -1, -1]]


def test_error_rates_of_characters_and_words() -> None:
    pytest.importorskip("jiwer")
    real = np.array([[0, 1, 9, 2, -1], [1, 1, -1, -1, -1]])
    found = np.array([[0, 1, 9, 3, -1], [1, 1, 2, -1, -1]])
    characters, words = by_name("character_error_rate"), by_name("word_error_rate:9")
    assert characters.value(found, real) == pytest.approx(2 / 6)
    assert words.value(found, real) == pytest.approx(2 / 3)
    assert characters.losses is not None
    assert characters.losses(found, real).mean() == pytest.approx(2 / 6)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(BadInput, match=r"need jiwer: pip install 'quantbench\[speech\]'"):
        by_name("character_error_rate").value(np.zeros((1, 2), int), np.zeros((1, 2), int))


# ---------------------------------------------------------------- boxes

TRUTH = np.array([[[0, 0, 10, 10, 1], [20, 20, 40, 40, 2]], [[5, 5, 15, 25, 1], [0, 0, 0, 0, -1]]], np.float32)


WIDE = np.array([[[30, 0, 40, 8, 1], [60, 0, 90, 20, 2]], [[50, 2, 75, 9, 1], [0, 0, 0, 0, -1]]], np.float32)


def detections(shift: float = 0.0, truth: Any = TRUTH) -> Any:
    return np.stack(
        [np.concatenate([boxes_[:, :4] + shift, boxes_[:, 4:] * 0 + 0.9, boxes_[:, 4:]], axis=1) for boxes_ in truth]
    )


def test_average_precision_of_boxes() -> None:
    metric = by_name("mean_average_precision")
    exact = metric.predict(detections(), {})
    exact.reshape(2, 2, 6)[1, 1, 4] = 0  # no detection where there is no box
    assert metric.value(exact, TRUTH) == pytest.approx(1)
    shifted = metric.predict(detections(2.0), {})
    assert 0 < metric.value(shifted, TRUTH) < 0.7
    assert metric.value(metric.predict(detections(100.0), {}), TRUTH) == 0
    outputs = detections(2.0)
    joined = np.concatenate([outputs[..., :4].reshape(2, -1), outputs[..., 4], outputs[..., 5]], axis=1)
    assert np.array_equal(metric.predict(joined, {}), shifted)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 3))
def test_average_precision_of_a_resample_is_that_of_its_boxes(seed: int, n: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 20, (n, 3, 2))
    truth = np.concatenate([corners, corners + 10, random.integers(-1, classes, (n, 3, 1))], axis=2)
    found = np.concatenate([truth[..., :4] + random.normal(0, 1, (n, 3, 4)), random.random((n, 3, 2))], axis=2)
    found[..., 5] = np.where(random.random((n, 3)) < 0.8, truth[..., 4], 0)
    metric, chosen = by_name("mean_average_precision"), random.integers(0, n, n)
    predictions = metric.predict(found, {})
    expected = metric.value(predictions[chosen], truth[chosen])
    of_chosen = metric.of_chosen(predictions, truth)
    assert of_chosen(chosen) == pytest.approx(expected, nan_ok=True)
    assert of_chosen(chosen.copy()) == pytest.approx(of_chosen(chosen), rel=0, abs=0, nan_ok=True)
    iou = by_name("box_iou")
    assert iou.of_chosen(predictions, truth)(chosen) == iou.value(predictions[chosen], truth[chosen])  # to the last bit


def test_equal_detections_are_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    matched: list[Any] = []
    usual = boxes._matched
    monkeypatch.setattr(boxes, "_matched", lambda *given: matched.append(given) or usual(*given))
    metric, found = by_name("mean_average_precision"), detections(3.0)
    predictions = metric.predict(found, {})
    once, again = metric.value(predictions, TRUTH), metric.value(predictions.copy(), TRUTH.copy())
    assert metric.of_chosen(predictions, TRUTH)(np.arange(2)) == pytest.approx(once)
    assert (again, len(matched)) == (once, 1)
    predictions[:] = metric.predict(detections(), {})  # in place: they are known by their contents
    assert metric.value(predictions, TRUTH) != once
    assert len(matched) == 2


def test_the_iou_of_boxes_with_what_covers_them_best() -> None:
    metric = by_name("box_iou")
    assert metric.losses is not None
    found = metric.predict(np.concatenate([detections(), detections(2.0)], axis=1), {})
    assert metric.value(found, TRUTH) == 1
    found.reshape(2, 4, 6)[:, :2, 4] = 0  # of a score of 0: not found
    missed = [[1 - 64 / 136, 1 - 18 * 18 / (2 * 400 - 324)], [1 - 8 * 18 / (2 * 200 - 144)]]
    assert metric.losses(found, TRUTH) == pytest.approx([2 / 3 * sum(each) for each in missed])
    assert metric.value(found, TRUTH) == pytest.approx(1 - sum(map(sum, missed)) / 3)
    assert metric.undefined is not None
    assert metric.undefined(TRUTH * 0 - 1) == "boxes are needed, and every class is -1"


@pytest.mark.parametrize(
    ("outputs", "labels", "words"),
    [
        (np.zeros((2, 3, 7)), TRUTH, "takes outputs of shape"),
        (detections(), TRUTH[..., :4], "takes labels of shape"),
        (detections(), TRUTH * (1, 1, 1, 1, 0) - (0, 0, 0, 0, 1), "every class is -1"),
        (detections(), TRUTH[..., [2, 3, 0, 1, 4]], "second corner is before the first: are they x, y, width, height"),
        (detections(), TRUTH + np.array([0, 0, 0, 0, 0.5]), "found the class 1.5, which is no whole number"),
        (
            detections(),
            TRUTH + np.array([0, 0, 0, 0, 6]),
            "found the classes 5 to 8 in the labels, and 1 to 2 in the outputs, no",
        ),
        (detections(), TRUTH / (40, 40, 40, 40, 1), "corners up to 1 in the labels, and up to 40 in the outputs: give"),
        (detections(truth=WIDE[..., [1, 0, 3, 2, 4]]), WIDE, "by 0.00, and by 1.00 with x and y exchanged"),
    ],
)
def test_boxes_of_another_form(outputs: Any, labels: Any, words: str) -> None:
    assert words in boxes.check(outputs, labels)
    assert not boxes.check(detections(), TRUTH)


# ---------------------------------------------------------------- a metric of the user's own

OWN = """
import numpy as np

def score(predictions, labels):
    losses = np.abs(predictions[:, 0, 0] - labels)
    return 1 - losses.mean(), losses

score.higher_is_better = True
score.unit = "m"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_metric_in_a_file_of_the_users_own(tmp_path: Path) -> None:
    write(tmp_path, OWN)
    metric = metric_from_file(tmp_path / "model.py", "mine.py", "score", (2, 1))
    outputs = np.array([[[1.0], [5.0]], [[3.0], [5.0]]])
    predictions = metric.predict(outputs, {})
    assert predictions.shape == (2, 2)  # as rows are stored
    assert metric.value(predictions, np.array([1.0, 2.0])) == pytest.approx(0.5)
    assert metric.losses is not None
    assert metric.losses(predictions, np.array([1.0, 2.0])).tolist() == [0, 1]
    assert (metric.name, metric.unit, metric.higher_is_better) == ("mine:score", "m", True)
    with pytest.raises(BadInput, match="the metric has sha256"):
        metric_from_file(tmp_path / "model.py", "mine.py", "score", (), "0" * 64)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('pose')", "score raised KeyError: 'pose' on predictions of shape"),
        ("return 1.0", r"returned float; expected that NAME\(predictions, labels\) returns \(value, losses\)"),
        ("return 1.0, labels, 3", "returned a tuple of 3; expected that"),
        ("return 1.0, [1.0]", r"losses of shape \(1,\) for 2 examples; expected one for each"),
        ("return 1.0, 3.0", r"losses of shape \(\) for 2 examples"),
        ("return float('nan'), labels * 0.0", "returned NaN or infinite values"),
        ("return 1.0, labels * float('inf')", "returned NaN or infinite values"),
        ("return 'good', labels", "returned no numbers"),
        ("labels += 1; predictions *= 0; return 1.0, labels * 0.0", ""),
    ],
)
def test_a_metric_that_raises_or_returns_nonsense(tmp_path: Path, body: str, words: str) -> None:
    write(tmp_path, f"def score(predictions, labels):\n    {body}\n")
    metric = metric_from_file(tmp_path / "model.py", "mine.py", "score")
    predictions, labels = np.ones((2, 3), np.float32), np.ones(2)
    if words:
        with pytest.raises(BadInput, match=words):
            metric.value(predictions, labels)
    else:
        assert metric.value(predictions, labels) == 1.0
    assert (predictions == 1).all()  # whatever the function does to what it is given
    assert (labels == 1).all()


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("import nowhere_at_all", "score", "failed to import: ModuleNotFoundError"),
        ("def other(p, y): ...", "score", "defines no function score; it defines other"),
        ("score = 3", "score", "defines no function score; it defines none"),
        ("def score(p, y): ...\nscore.scale = -1", "score", "expected a number above 0, found -1"),
    ],
)
def test_a_metric_file_that_cannot_be_used(tmp_path: Path, text: str, name: str, words: str) -> None:
    write(tmp_path, text)
    with pytest.raises(BadInput, match=words):
        metric_from_file(tmp_path / "model.py", "mine.py", name)


@pytest.mark.parametrize(
    ("value", "higher", "words"),
    [
        (
            "1 - wrong.mean()",
            False,
            r"mine\.py: score does not set higher_is_better, and its value is higher where its ",
        ),
        ("1 - wrong.mean()", True, ""),
        ("wrong.mean()", True, r"has higher_is_better = True, and its value is lower .*: take that out, or return los"),
        ("wrong.mean()", False, ""),
        ("wrong[9] * 0 + wrong.mean()", True, ""),  # cannot be called with some of the examples: nothing is known
        ("0.5", False, ""),
    ],
)
def test_a_metric_whose_direction_is_not_that_of_its_losses(
    tmp_path: Path, value: str, higher: bool, words: str
) -> None:
    body = f"    wrong = 1.0 * (predictions[:, 0] != labels)\n    return {value}, wrong\n"
    write(tmp_path, f"def score(predictions, labels):\n{body}score.higher_is_better = {higher}\n")
    metric = metric_from_file(tmp_path / "model.py", "mine.py", "score")
    predictions, labels = np.arange(10.0)[:, None], np.array([0, 9, 2, 3, 9, 5, 6, 7, 8, 9])
    with pytest.raises(BadInput, match=words) if words else nullcontext():
        own.check_direction(metric, tmp_path / "mine.py", "score", predictions, labels)


def test_the_order_of_the_examples_says_nothing_of_a_metrics_direction(tmp_path: Path) -> None:
    """F1 is 0 on examples of the negative class alone, however many of them are right."""
    body = (
        "    right = (predictions[:, 0] > 0.5) == labels\n"
        "    found = sum(right & (labels == 1))\n"
        "    return 2 * found / max(1, found + sum(labels == 1) + sum(~right & (labels == 0))), 1.0 * ~right\n"
    )
    write(tmp_path, f"def score(predictions, labels):\n{body}score.higher_is_better = True\n")
    metric = metric_from_file(tmp_path / "model.py", "mine.py", "score")
    labels = np.repeat([0, 1], 100)
    predictions = np.where(np.random.default_rng(0).random(200) < 0.1, 1 - labels, labels).astype(np.float32)[:, None]
    own.check_direction(metric, tmp_path / "mine.py", "score", predictions, labels)


@pytest.mark.parametrize(
    ("given", "meant"), [("mIoU", "mean_iou"), ("wer", "word_error_rate:SPACE"), ("acuracy", "accuracy")]
)
def test_an_unknown_metric_is_told_what_it_may_be_called_here(given: str, meant: str) -> None:
    with pytest.raises(BadInput, match=rf"unknown metric '{given}'; did you mean {meant}\? known: accuracy, "):
        by_name(given)


def test_how_a_metric_file_is_named() -> None:
    assert own_metrics.is_own("a/b.py:score")
    assert not own_metrics.is_own("recall_at:5")
    assert own_metrics.parts("a/b.py:score") == (Path("a/b.py"), "score")
    for wrong in ("b.py", "b.py:", "b.py:1x"):
        with pytest.raises(BadInput, match=r"expected file.py:NAME"):
            own_metrics.parts(wrong)


def test_the_copy_of_a_metric_file_has_to_stand_alone(tmp_path: Path) -> None:
    """Its model takes it to another folder, where what lies beside the original is not."""
    (tmp_path / "table.json").write_text("{}")
    original, kept = tmp_path / "mine.py", tmp_path / "model" / "metrics" / "mine.py"
    original.write_text("from pathlib import Path\nTABLE = Path(__file__).with_name('table.json').read_text()\n")
    kept.parent.mkdir(parents=True)
    kept.write_text(original.read_text())
    own.check_travels(original, original)
    with pytest.raises(BadInput, match=r"mine\.py: a copy of it goes with the model, .*/table\.json'\); put what"):
        own.check_travels(kept, original)


def test_bits_per_token_scores_each_position_by_the_next_ones_token() -> None:
    tokens = np.array([[0, 1, 1], [2, 0, 2]], dtype=np.int32)
    scores = np.full((2, 3, 4), -50.0)
    scores[0, 0, 1] = scores[0, 1, 1] = 50.0  # certain, and right
    scores[1] = 0.0  # knows nothing: two bits for one of four
    metric = by_name("bits_per_token")
    predictions = metric.predict(scores, tokens)
    assert predictions.tolist() == [0.0, 2.0]
    assert metric.value(predictions, np.zeros(2)) == 1.0
