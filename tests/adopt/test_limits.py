"""The largest drop that may be shipped: how it is given, what is meant where it is not, and what means nothing."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from quantbench.adopt.limits import RELATIVE, SHARE_OF_SCORE, SHARE_OF_SPREAD, Limit, parse, unsupported
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.reference.metrics import ACCURACY, AUC, MEAN_ABSOLUTE_ERROR, MEAN_SQUARED_ERROR, RELATIVE_ERROR, Metric

SINE = np.sin(np.linspace(0, 20, 400))
ONE_HOT = np.eye(10)[np.arange(500) % 10]


def test_a_number_is_in_the_metrics_own_unit_and_a_share_of_score_or_spread() -> None:
    assert parse("0.5").of(ACCURACY, 0.9) == 0.5
    assert parse("0.5pp").of(ACCURACY, 0.9) == 0.5
    assert parse(" 2 % ").of(ACCURACY, 0.9) == pytest.approx(1.8)
    assert parse("0.01").of(MEAN_ABSOLUTE_ERROR, 0.05, SINE) == 0.01
    assert parse("2%").of(MEAN_ABSOLUTE_ERROR, 0.05, SINE) == pytest.approx(0.02 * np.std(SINE))
    assert parse("2%").of(MEAN_SQUARED_ERROR, 0.05, SINE) == pytest.approx(0.02 * np.var(SINE))
    assert parse("2%").of(RELATIVE_ERROR, 0.0, SINE) == pytest.approx(2.0)


def test_the_default_means_something_for_every_kind_of_metric() -> None:
    default = parse([])
    assert default.of(ACCURACY, 0.9) == default.of(AUC, 0.9) == 0.5
    assert default.of(MEAN_ABSOLUTE_ERROR, 0.0, SINE) == pytest.approx(SHARE_OF_SPREAD * np.std(SINE))
    assert default.of(RELATIVE_ERROR, 0.0, SINE) == RELATIVE
    of_spread = SimpleNamespace(unit="% of the labels' spread", scale=100.0, name="mae_of_spread")
    assert default.of(cast(Metric, of_spread), 0.07, SINE) == pytest.approx(100 * SHARE_OF_SPREAD)
    assert parse("2%").of(cast(Metric, of_spread), 0.07, SINE) == pytest.approx(2)
    # Each column varies by itself: boxes of 640 pixels beside scores up to 1.
    both = np.stack([640 * SINE, SINE], axis=1)
    expected = SHARE_OF_SPREAD * (np.std(640 * SINE) + np.std(SINE)) / 2
    assert default.of(MEAN_ABSOLUTE_ERROR, 0.0, both) == pytest.approx(expected)
    # Half a unit, as it was before, is more than the largest possible error of ten probabilities.
    assert default.of(MEAN_ABSOLUTE_ERROR, 0.02, ONE_HOT) < 0.02


@pytest.mark.parametrize("metric", [ACCURACY, AUC, MEAN_ABSOLUTE_ERROR, MEAN_SQUARED_ERROR])
def test_a_limit_grows_with_what_is_given(metric: object) -> None:
    assert isinstance(metric, type(ACCURACY))
    limits = [parse(f"{share}%").of(metric, 0.7, SINE) for share in (0, 1, 2, 50)]
    assert limits == sorted(limits)
    assert limits[0] == 0


def test_each_output_may_have_its_own() -> None:
    limit = parse(["1pp", "boxes=2%", "a=b=0.25"])
    assert limit.of(ACCURACY, 0.9, output="type") == 1.0
    assert limit.of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes") == pytest.approx(0.02 * np.std(SINE))
    assert limit.of(ACCURACY, 0.9, output="a=b") == 0.25
    assert limit.by_output[0][1].text == "2%"
    assert Limit().amount(ACCURACY) is None
    assert parse(limit.words()) == limit
    limit.check_outputs(["boxes", "a=b", "type"])
    with pytest.raises(BadInput, match=r"--max-drop boxes=2%: no output 'boxes' is scored; scored is type"):
        limit.check_outputs(["type"])


def test_a_limit_for_all_is_for_those_in_the_unit_of_the_main_output() -> None:
    """Two points of accuracy say nothing of boxes; a share says something of both."""
    points, number, share = parse("2pp"), parse("2"), parse("2%")
    default = parse([]).of(MEAN_ABSOLUTE_ERROR, 0.1, SINE)
    assert points.of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes", ACCURACY) == default
    assert number.of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes", ACCURACY) == default
    assert number.of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes", MEAN_ABSOLUTE_ERROR) == 2
    assert share.of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes", ACCURACY) == pytest.approx(0.02 * np.std(SINE))
    assert points.of(AUC, 0.9, output="other", main=ACCURACY) == 2
    assert parse(["2pp", "boxes=3"]).of(MEAN_ABSOLUTE_ERROR, 0.1, SINE, "boxes", ACCURACY) == 3


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "", "pp", "0.5 pounds", "1e999", "x=", "=%"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--max-drop: expected a number of at least 0"):
        parse(text)


def test_two_limits_for_one_output_and_points_of_an_error_are_refused() -> None:
    with pytest.raises(BadInput, match=r"--max-drop 1: given twice for all outputs"):
        parse(["0.5", "1"])
    with pytest.raises(BadInput, match=r"--max-drop a=1: given twice for 'a'"):
        parse(["a=0.5", "a=1"])
    with pytest.raises(BadInput, match=r"mean_absolute_error is measured in units, not in percentage points"):
        parse("0.5pp").of(MEAN_ABSOLUTE_ERROR, 0.1, SINE)


def test_data_that_even_a_constant_satisfies_support_nothing() -> None:
    """Ten probabilities against one-hot labels: answering a tenth to everything errs by 0.18."""
    wide = unsupported(MEAN_ABSOLUTE_ERROR, ONE_HOT, ONE_HOT, 0.02, 0.5)
    assert wide is not None
    assert not wide.by_metric
    assert "the limit of 0.5 units on mean_absolute_error says nothing" in wide.words
    assert "only 0.16 units worse than float32" in wide.words
    assert unsupported(MEAN_ABSOLUTE_ERROR, ONE_HOT, ONE_HOT, 0.02, 0.003) is None
    classes = np.arange(1000) % 4
    of_type = unsupported(ACCURACY, classes, classes, 0.9, 70.0, "type")
    assert of_type is not None
    assert "of type says nothing" in of_type.words
    assert unsupported(ACCURACY, classes, classes, 0.9, 0.5) is None
    chance = unsupported(ACCURACY, classes, classes, 0.25, 0.5)
    assert chance is not None
    assert chance.by_metric
    assert "float32 itself is no better" in chance.words
    wide_auc = unsupported(AUC, classes % 2, SINE[classes], 0.9, 45.0)
    assert wide_auc is not None
    assert not wide_auc.by_metric
    assert unsupported(AUC, classes % 2, SINE[classes], 0.9, 0.5) is None

    def raises(_predictions: Array, _labels: Array) -> float:
        raise RuntimeError("a metric of the user's own")

    assert unsupported(replace(AUC, value=raises), classes, SINE[classes], 0.9, 0.5) is None


def test_numbers_that_name_classes_have_no_spread() -> None:
    """A metric of the user's own, or of words: its limit is a share of the float score."""
    own = SimpleNamespace(unit="units", scale=1.0, name="perplexity", takes="tokens")
    tokens = np.arange(500) * 100
    assert parse([]).of(cast(Metric, own), 12.0, tokens) == pytest.approx(SHARE_OF_SCORE * 12)
    assert parse("5%").of(cast(Metric, own), 12.0, tokens) == pytest.approx(0.6)
