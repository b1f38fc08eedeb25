"""Answers on a target are judged example by example: turned ones are told, and a loss beyond chance is red."""

import numpy as np
import pytest
from made_up_runs import LABELS, answers
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.records import Judgement, Kind, Verdict
from quantbench.reference.metrics import ACCURACY, AUC, MEAN_ABSOLUTE_ERROR, Metric

SUBJECT = gate.Subject("m", "v", "reports/r")
ALPHA = gate.targets_alpha(4)


def judged(there: Array, here: Array, nonfinite: int = 0) -> Judgement:
    examples = gate.Examples(LABELS)
    return gate.on_target(SUBJECT, "pi", ACCURACY, there, here, examples, "litert-cpu", ALPHA, 0.05, nonfinite)[0]


def turned(count: int) -> Array:
    """Wrong answers that are wrong in another way: nothing is lost and nothing gained."""
    found = answers(100).copy()
    found[:count] = (found[:count] + 1) % 10
    found[:count] = np.where(found[:count] == LABELS[:count], (found[:count] + 1) % 10, found[:count])
    return found


def test_equal_answers_pass_without_a_p_value() -> None:
    one = judged(answers(100), answers(100))
    assert (one.kind, one.verdict, one.p_value, one.actions) == (Kind.TARGET, Verdict.PASS, None, [])
    assert one.message == "on pi: accuracy 90.00 %, all 1,000 answers as here"
    assert one.measurement == "target_score@pi"


@pytest.mark.parametrize(
    ("lost", "verdict"), [(4, Verdict.PASS), (5, Verdict.WARN), (11, Verdict.WARN), (12, Verdict.REGRESSED)]
)
def test_a_loss_beyond_chance_is_red(lost: int, verdict: Verdict) -> None:
    """Half to the power of 12 is below a quarter of a thousandth, and that of 11 is not."""
    one = judged(answers(100 + lost), answers(100))
    assert one.verdict is verdict
    assert f"({lost} newly wrong, 0 newly right, p = " in one.message


def test_what_turns_without_a_loss_is_changed_beyond_what_other_kernels_turn() -> None:
    assert judged(turned(20), answers(100)).verdict is Verdict.PASS
    changed = judged(turned(40), answers(100))
    assert changed.verdict is Verdict.CHANGED
    assert "40 of 1,000 answers differ (0 newly wrong, 0 newly right" in changed.message


def test_an_output_that_is_not_finite_is_red() -> None:
    assert judged(answers(100), answers(100), nonfinite=1).verdict is Verdict.REGRESSED


def test_red_says_how_to_repeat_and_to_accept_it() -> None:
    one = judged(answers(300), answers(100))
    commands = [action.command for action in one.actions]
    assert commands[1] == [
        *("quantbench", "run", "--models", "m", "--variants", "v", "--no-cache", "--target", "pi"),
    ]
    assert commands[2] is not None
    assert commands[2][:8] == ["quantbench", "baseline", "update", "reports/r", "--only", "m/v", "--target", "pi"]


def test_the_first_examples_are_compared_with_the_same_ones() -> None:
    paired = gate.paired(ACCURACY, answers(100)[:200], answers(100)[:200], gate.Examples(LABELS))
    assert (paired.n, paired.lost, paired.differing) == (200, 0, 0)


@pytest.mark.parametrize("metric", [MEAN_ABSOLUTE_ERROR, AUC])
def test_metrics_that_count_no_examples_are_judged_by_their_losses(metric: Metric) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    here = np.clip(labels + random.normal(0, 0.6, 500), 0, 1.5)
    near, far = here + 1e-6, here + random.normal(0, 0.8, 500)
    examples = gate.Examples(labels.astype(float) if metric is MEAN_ABSOLUTE_ERROR else labels)

    def verdict(there: Array) -> Verdict:
        return gate.on_target(SUBJECT, "pi", metric, there, here, examples, "litert-cpu", ALPHA, 0.01)[0].verdict

    assert verdict(near) is Verdict.PASS
    assert verdict(far) is Verdict.REGRESSED


def test_what_could_not_be_run_is_an_error() -> None:
    one = gate.no_answers(SUBJECT, "pi", "the connection was lost")
    assert (one.verdict, one.message) == (Verdict.ERROR, "on pi: not run: the connection was lost")
