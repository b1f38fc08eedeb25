"""Metrics that do not count right and wrong: garbage is red, rounding is not, and chance holds its rate."""

import numpy as np
import pytest
from conftest import accepted, baseline_cell
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.randomization import sign_flip_p
from quantbench.gate.score.losses import garbage
from quantbench.records import Judgement, Measurement, Verdict
from quantbench.reference import metrics
from quantbench.reference.metrics import Metric

SUBJECT = gate.Subject("m", "v", "reports/r")


def judged(metric: Metric, new: Array, old: Array, labels: Array, smallest: float | None = None) -> Judgement:
    values = [metric.value(array, labels) for array in (new, old)]
    score = Measurement(value=values[0], unit="units", n=len(labels))
    cell = baseline_cell(score=accepted(values[1], unit="units"))
    answers = gate.Answers(score, new, 0)
    return gate.accuracy(SUBJECT, metric, answers, labels, cell, old, 1e-4, trained=False, smallest=smallest)


def regression(n: int = 10_000) -> tuple[Array, Array]:
    """Predictions with a mean absolute error of about .08, and their labels."""
    random = np.random.default_rng(0)
    labels = random.normal(0, 1, (n, 1))
    return labels + random.normal(0, 0.1, (n, 1)), labels


def test_eight_garbage_outputs_of_ten_thousand_are_red() -> None:
    old, labels = regression()
    new = old.copy()
    new[100:108] = 1e6
    found = judged(metrics.MEAN_ABSOLUTE_ERROR, new, old, labels)
    assert found.verdict is Verdict.REGRESSED
    assert "8 of 10000 examples have a loss more than 10 times the largest accepted one" in found.message
    assert "first: example 100" in found.message


def test_garbage_is_red_where_the_metric_has_no_losses() -> None:
    random = np.random.default_rng(0)
    labels = (np.arange(10_000) % 10 == 0).astype(int)
    old = labels + random.normal(0, 0.5, len(labels))
    new = old.copy()
    new[np.flatnonzero(labels == 0)[:8]] = 1e6
    found = judged(metrics.AUC, new, old, labels)
    assert found.verdict is Verdict.REGRESSED
    assert "8 of 10000 examples have a prediction more than 10 times the largest accepted one" in found.message
    assert garbage(metrics.AUC, old * 1.05, old, labels) is None


@pytest.mark.parametrize("metric", [metrics.MEAN_ABSOLUTE_ERROR, metrics.MEAN_SQUARED_ERROR, metrics.RELATIVE_ERROR])
def test_a_loss_that_rounding_makes_is_no_regression_however_sure(metric: Metric) -> None:
    old, labels = regression()
    found = judged(metric, labels + (old - labels) * (1 + 2e-6), old, labels)
    assert found.p_value is not None
    assert found.p_value < 1e-20
    assert found.verdict is Verdict.PASS


def test_a_loss_that_matters_is_red_and_the_model_file_says_what_matters() -> None:
    old, labels = regression()
    new = labels + (old - labels) * 1.02
    assert judged(metrics.MEAN_ABSOLUTE_ERROR, new, old, labels).verdict is Verdict.REGRESSED
    assert judged(metrics.MEAN_ABSOLUTE_ERROR, new, old, labels, smallest=0.01).verdict is Verdict.PASS


def test_chance_holds_its_rate_though_losses_have_long_tails() -> None:
    random = np.random.default_rng(1)
    n, small, losses = 500, 0, metrics.MEAN_SQUARED_ERROR.losses
    assert losses is not None
    labels = random.normal(0, 1, n)
    for _ in range(150):
        common = labels + random.normal(0, 1, n)
        old, new = (common + random.standard_t(3, n) * 0.3 for _ in range(2))
        before, now = (losses(array, labels) for array in (old, new))
        small += sign_flip_p(now - before) <= 0.1
    assert small / 150 == pytest.approx(0.1, abs=0.05)


def test_ordinary_changes_hold_no_garbage() -> None:
    old, labels = regression()
    assert garbage(metrics.MEAN_ABSOLUTE_ERROR, old * 1.05, old, labels) is None
    exact = labels.copy()
    exact[0] += 1e-9
    assert garbage(metrics.RELATIVE_ERROR, labels + 1e-6, exact, labels) is None  # moves nothing that matters


def test_a_metric_without_a_value_says_why() -> None:
    labels = np.ones(50, int)
    cell = baseline_cell(score=accepted(0.9))
    answers = gate.Answers(None, np.zeros(50), 0)
    found = gate.accuracy(SUBJECT, metrics.AUC, answers, labels, cell, np.zeros(50), 1e-4, trained=False)
    assert found.verdict is Verdict.ERROR
    assert found.message == (
        "auc cannot be computed: auc needs positive and negative examples, and all 50 test examples are positive"
    )
