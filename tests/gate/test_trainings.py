"""What trains: the spread that a cell is judged by, the worst seed, and trainings that repeat."""

import numpy as np
import pytest
from conftest import accepted, baseline_cell
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.stats import Paired
from quantbench.records import Judgement, Measurement, Verdict
from quantbench.reference.metrics import ACCURACY

SUBJECT = gate.Subject("m", "v", "reports/r")
N = 10_000
LABELS = np.zeros(N, dtype=np.uint8)
RESNET8 = [
    [0.8965, 0.8938, 0.8953, 0.8939, 0.8948],
    [0.8960, 0.8929, 0.8954, 0.8931, 0.8954],
    [0.8962, 0.8931, 0.8962, 0.8940, 0.8937],
]


def one_seed(wrong: Array, old: Array, repeated: bool, own: list[float]) -> Judgement:
    spread = gate.repeats(ACCURACY, RESNET8, len(own), 1, "it trained", own=own)
    cell = baseline_cell(score=accepted(float(np.mean(own)), values=own))
    value = float(np.mean(wrong == LABELS))
    score = Measurement(value=value, unit="fraction", n=N, values=[value])
    return gate.accuracy(
        SUBJECT, ACCURACY, gate.Answers(score, wrong, 0), LABELS, cell, old, 1e-4, True, spread, repeated
    )


def test_seventy_answers_lost_by_a_training_that_repeated_are_red() -> None:
    """-0.7 pp on resnet8's QAT passed as the noise of a training that there was none of."""
    old, new = LABELS.copy(), LABELS.copy()
    old[:1054] = 1
    new[:1124] = 1
    own = [0.8946]
    assert one_seed(new, old, repeated=False, own=own).verdict is not Verdict.REGRESSED
    found = one_seed(new, old, repeated=True, own=own)
    assert found.verdict is Verdict.REGRESSED
    assert "70 newly wrong, 0 newly right of 10,000" in found.message
    assert "the training reproduced the baseline's" in found.message


def test_a_borrowed_spread_is_an_upper_limit() -> None:
    own = gate.repeats(ACCURACY, RESNET8, 5, 1, "it trained", own=RESNET8[1])
    lent = gate.repeats(ACCURACY, RESNET8, 1, 1, "it trained", own=[0.8927])
    assert own is not None
    assert lent is not None
    assert own.sd == pytest.approx(0.145, abs=0.001)  # its own is above the pooled .135
    assert lent.sd == pytest.approx(0.186, abs=0.001)  # pooled, times sqrt(12 / 6.30)


def _reds(own_sd: float, lent: bool, rounds: int = 1500) -> float:
    """Share of unchanged one-seed cells whose sd is ``own_sd`` that are red at 1 % beside three cells of sd 1."""
    random = np.random.default_rng(0)
    reds = 0
    for _ in range(rounds):
        others = 0.9 + 0.001 * random.standard_normal((3, 5))
        old, new = 0.9 + 0.001 * own_sd * random.standard_normal(2)
        found = gate.repeats(ACCURACY, others, 1, 1, "it trained", own=[old] if lent else None)
        assert found is not None
        reds += ACCURACY.drop(new, old) > found.tolerance(0.01)
    return reds / rounds


def test_a_borrowed_spread_holds_its_rate_where_the_cell_spreads_like_the_others_and_half_more() -> None:
    assert _reds(1.0, lent=True) <= 0.01
    assert _reds(1.4, lent=True) <= 0.015
    assert _reds(1.4, lent=False) > 0.025


def test_new_seeds_that_five_seeds_did_not_tell_of_are_no_regression() -> None:
    """Trainings of sd .083 pp, judged by five of sd .03: the answers that flip both ways tell what those do not."""
    random = np.random.default_rng(0)
    close = [[0.8783, 0.8782, 0.8781, 0.8787, 0.8778], [0.8786, 0.8784, 0.8785, 0.8785, 0.8789]]
    reds, by_seeds_alone = 0, 0
    unsure = np.zeros(N)
    unsure[:276] = 0.5  # examples that each training decides anew: sd .083 pp
    for _ in range(300):
        old, new = (random.random(N) < unsure for _ in range(2))
        pairs = Paired(N, int(np.sum(new & ~old)), int(np.sum(old & ~new)))
        spread = gate.repeats(ACCURACY, close, 5, 1, "it trained", own=close[0])
        assert spread is not None
        wider = spread.at_least(gate.least_sd(ACCURACY, pairs))
        drop = 100 * (np.mean(new) - np.mean([np.mean(random.random(276) < 0.5) * 0.0276 for _ in range(5)]))
        reds += drop > wider.tolerance(0.001)
        by_seeds_alone += drop > spread.tolerance(0.001)
    assert reds <= 2
    assert by_seeds_alone > 10


def _seeds(values: list[float], holm_threshold: float = 1e-4) -> Judgement | None:
    spread = gate.repeats(ACCURACY, RESNET8, 5, 5, "it trained", own=RESNET8[1])
    assert spread is not None
    cell = accepted(float(np.mean(RESNET8[1])), values=RESNET8[1])
    score = Measurement(value=float(np.mean(values)), unit="fraction", n=N, values=values)
    found = gate.seeds(ACCURACY, score, cell, spread)
    if found is None:
        return None
    thresholds = gate.even_thresholds([found.hypothesis("m/v")], holm_threshold, 100)
    return gate.judge_seeds(SUBJECT, ACCURACY, found, score, cell, spread, thresholds, 0.05)


def test_one_of_five_seeds_that_collapses_is_red() -> None:
    found = _seeds([0.895, 0.894, 0.8696, 0.895, 0.8945])
    assert found is not None
    assert (found.verdict, found.measurement, found.detail) == (Verdict.REGRESSED, "seeds", "seed at place 2")
    assert "worst of 5 seeds: 86.96 %, 2.50 pp worse than the accepted mean" in found.message


def test_seeds_that_repeat_and_single_seeds_are_not_judged_apart() -> None:
    assert _seeds(RESNET8[1]) is None
    assert _seeds([0.88]) is None


def test_more_seeds_than_were_accepted_are_judged() -> None:
    found = _seeds([*RESNET8[1], 0.8945, 0.8696, 0.895])
    assert found is not None
    assert (found.verdict, found.detail) == (Verdict.REGRESSED, "seed at place 6")


def test_healthy_seeds_hold_their_rate() -> None:
    random = np.random.default_rng(0)
    spread = gate.repeats(ACCURACY, RESNET8, 5, 5, "it trained")
    assert spread is not None
    small = 0
    for _ in range(600):
        sets = 0.89 + 0.0014 * random.standard_normal((3, 5))
        spread = gate.repeats(ACCURACY, sets, 5, 5, "it trained", own=list(sets[0]))
        assert spread is not None
        cell = accepted(float(np.mean(sets[0])), values=list(sets[0]))
        new = list(0.89 + 0.0014 * random.standard_normal(5))
        score = Measurement(value=float(np.mean(new)), unit="fraction", n=N, values=new)
        found = gate.seeds(ACCURACY, score, cell, spread)
        assert found is not None
        small += found.p_value <= 0.05
    assert small / 600 <= 0.06
