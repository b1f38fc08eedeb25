"""Release limits by interval: how often they are wrong, and how often they find what is there."""

from collections.abc import Mapping

import numpy as np
import pytest
from conftest import steps
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.records import Judgement, Measurement, Verdict
from quantbench.reference.metrics import ACCURACY, AUC, MEAN_ABSOLUTE_ERROR, Metric
from quantbench.reference.model import Floor

SUBJECT = gate.Subject("m", "v", "runs/r")
LIMIT = Floor(0.5, "policy")
LABELS = np.zeros(10_000, dtype=np.uint8)


def one(value: float = 0.9) -> Measurement:
    return Measurement(value=value, unit="fraction", n=10_000)


def wrong(*ranges: tuple[int, int]) -> Array:
    """Predictions that are wrong in these ranges of examples."""
    predictions = LABELS.copy()
    for start, end in ranges:
        predictions[start:end] = 1
    return predictions


def judge(
    own: Mapping[int, Array],
    control: Mapping[int, Array],
    trained: bool = False,
    spread: gate.Spread | None = None,
    alpha: float = 1e-4,
    labels: Array = LABELS,
    metric: Metric = ACCURACY,
    limit: Floor = LIMIT,
) -> Judgement:
    seen = gate.drop_seen(metric, labels, own, control, trained, spread)
    found = gate.floor(SUBJECT, metric, one(), one(), limit, seen, alpha)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"),
    [
        (10, 10, Verdict.PASS),
        (50, 20, Verdict.PASS),  # 0.30 of 0.50 pp, at most 0.47
        (55, 10, Verdict.WARN),  # 0.45 of 0.50 pp: a point estimate would pass it
        (70, 10, Verdict.WARN),  # 0.60 of 0.50 pp: a point estimate would be red
        (130, 20, Verdict.REGRESSED),
        (400, 300, Verdict.WARN),  # 1.00 of 0.50 pp, but so many differ that 0.48 is inside
        (0, 100, Verdict.PASS),
    ],
)
def test_where_the_limit_lies_in_the_interval_decides(lost: int, gained: int, verdict: Verdict) -> None:
    control = wrong((1000, 1000 + gained), (3000, 3500))
    found = judge({0: wrong((0, lost), (3000, 3500))}, {0: control})
    assert found.verdict is verdict
    assert found.change == pytest.approx((lost - gained) / 100)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.change < found.high
    assert (found.high <= LIMIT.max_drop) == (verdict is Verdict.PASS)


def test_a_red_limit_names_its_reason_and_that_no_update_moves_it() -> None:
    found = judge({0: wrong((0, 300))}, {0: LABELS})
    assert "policy" in found.message
    assert "fails below 0.0001" in found.message
    assert "accepting the baseline will not turn this green" in steps(found)


def test_a_warning_says_how_many_examples_would_tell() -> None:
    found = judge({0: wrong((0, 60), (3000, 3200))}, {0: wrong((3200, 3400))})
    assert "would decide" in found.message


def test_a_drop_at_its_limit_is_said_to_be_there_instead_of_counting_millions_of_examples() -> None:
    found = judge({0: wrong((0, 51), (3000, 3200))}, {0: wrong((3200, 3400))})
    assert found.verdict is Verdict.WARN
    assert "the drop is at the limit, and no practical number of examples would decide" in found.message
    assert "set a limit in 'floors' that it clearly meets" in found.message
    exactly = judge({0: wrong((0, 50), (3000, 3200))}, {0: wrong((3200, 3400))})
    assert "no practical number of examples" in exactly.message


@pytest.mark.parametrize(
    ("n", "lost", "gained", "limit", "needed"),
    [(200, 2, 1, 1.0, "5,600"), (200, 4, 2, 1.5, "10,000"), (100, 2, 1, 2.0, "2,800")],
)
def test_a_small_test_set_far_from_its_limit_is_told_how_many_examples_would_decide(
    n: int, lost: int, gained: int, limit: float, needed: str
) -> None:
    """It takes more than 20 times as many as there are, but the drop is half or two thirds of the limit."""
    own, control = wrong((0, lost)), wrong((50, 50 + gained))
    found = judge({0: own[:n]}, {0: control[:n]}, labels=LABELS[:n], limit=Floor(limit, "policy"))
    assert found.verdict is Verdict.WARN
    assert f"about {needed} examples would decide" in found.message
    assert "floors" not in found.message


def test_trainings_that_leave_a_limit_open_want_more_seeds_too() -> None:
    drops = (20, 40, 60, 80, 60)  # a mean of 0.52 of 0.5 pp
    found = judge({seed: wrong((0, drop)) for seed, drop in enumerate(drops)}, {0: LABELS}, trained=True)
    assert found.verdict is Verdict.WARN
    assert "no practical number of seeds and examples would decide" in found.message
    drops = (10, 30, 50, 70, 40)  # 0.40 pp
    found = judge({seed: wrong((0, drop)) for seed, drop in enumerate(drops)}, {0: LABELS}, trained=True)
    assert found.verdict is Verdict.WARN
    assert "times as many seeds and examples would decide" in found.message


def test_the_evidence_of_a_larger_drop_is_stronger() -> None:
    p_values = [judge({0: wrong((0, lost))}, {0: LABELS}).p_value for lost in range(40, 200, 20)]
    assert p_values == sorted(p_values, key=lambda p: -(p or 0.0))


def test_a_run_shares_a_tenth_of_its_budget_among_the_limits() -> None:
    assert gate.limit_alpha(0.01, 100) == pytest.approx(1e-5)
    assert 100 * gate.limit_alpha(0.01, 100) + gate.beside_limits(0.01) == pytest.approx(0.01)


# ------------------------------------------------------------ trained cells


def trainings(random: np.random.Generator, drop: float, seeds: int, apart: float, shared: float) -> tuple[Array, Array]:
    """Draw right answers of a cell and of its control, shape (seeds, examples) each.

    Args:
        drop: true drop, as a fraction.
        apart: standard deviation of the drop between seeds, as a fraction.
        shared: standard deviation of both models' accuracy, which a seed moves together.
    """
    accuracy = 0.9 + random.normal(0, shared, (seeds, 1))
    difficulty = random.random(len(LABELS))
    own = random.normal(0, apart, (seeds, 1)) + accuracy - drop
    jitter = random.normal(0, 0.01, (2, seeds, len(LABELS)))
    return difficulty + jitter[0] < own, difficulty + jitter[1] < accuracy


def seeds_of(right: Array) -> dict[int, Array]:
    return {seed: np.where(row, 0, 1).astype(np.uint8) for seed, row in enumerate(right)}


def test_seeds_are_paired_so_that_what_both_share_is_no_error() -> None:
    random = np.random.default_rng(1)
    own, control = trainings(random, 0.002, 5, 0.0003, 0.02)
    paired = judge(seeds_of(own), seeds_of(control), trained=True)
    assert paired.verdict is Verdict.PASS
    assert (paired.high or 0) - (paired.low or 0) < 0.5
    crossed = {seed + 1 if seed < 4 else 0: found for seed, found in seeds_of(control).items()}
    unpaired = judge(seeds_of(own), crossed, trained=True)
    assert (unpaired.high or 0) - (unpaired.low or 0) > 2.0


def test_one_seed_is_judged_by_the_spread_of_the_baselines_trainings() -> None:
    random = np.random.default_rng(2)
    own, control = (seeds_of(one) for one in trainings(random, 0.008, 1, 0.001, 0.01))
    alone = judge(own, control, trained=True)
    wide = judge(own, control, trained=True, spread=gate.Spread(0.3, 4))
    assert alone.verdict is Verdict.WARN or alone.verdict is Verdict.REGRESSED
    assert wide.verdict is Verdict.WARN
    assert "--seeds 5" in steps(wide)
    assert "more seeds would narrow it" in wide.message
    assert (wide.p_value or 0) > (alone.p_value or 0)


def test_a_cell_that_trains_is_held_against_the_one_training_of_a_control_that_does_not() -> None:
    found = judge({seed: wrong((0, 20 + seed)) for seed in range(5)}, {0: LABELS}, trained=True)
    assert found.verdict is Verdict.PASS
    assert "mean of 5 seeds" in found.message


def test_drops_are_differences_seed_by_seed() -> None:
    found = gate.drops_over_seeds(ACCURACY, [0.899, 0.918, 0.878], [0.90, 0.92, 0.88])
    assert found == pytest.approx([0.1, 0.2, 0.2])
    assert gate.drops_over_seeds(ACCURACY, [0.90, 0.91], [0.95]) == pytest.approx([5, 4])
    assert gate.drops_over_seeds(ACCURACY, [0.9], [0.9, 0.91]) == [0]


def test_more_seeds_are_wanted_where_they_could_decide() -> None:
    seen = gate.drop_seen(ACCURACY, LABELS, {0: wrong((0, 60))}, {0: LABELS}, True)
    assert seen is not None
    found = gate.floor(SUBJECT, ACCURACY, one(), one(), LIMIT, seen, 1e-4)
    assert found is not None
    assert gate.wants_more_seeds(found, seen)
    untrained = gate.drop_seen(ACCURACY, LABELS, {0: wrong((0, 60))}, {0: LABELS}, False)
    assert untrained is not None
    assert not gate.wants_more_seeds(found, untrained)


@pytest.mark.parametrize("drop", [0.005, 0.015])
def test_five_seeds_are_red_as_rarely_as_promised_and_find_a_broken_limit(drop: float) -> None:
    """At the limit itself a limit is red in at most alpha; at three times as much in nearly every run."""
    random = np.random.default_rng(3)
    n, runs, red = 2_000, 150, 0
    for _ in range(runs):
        accuracy = 0.9 + random.normal(0, 0.005, (5, 1))
        difficulty = random.random(n)
        control = difficulty < accuracy
        own = difficulty < accuracy - drop + random.normal(0, 0.0005, (5, 1))
        labels = np.zeros(n, dtype=np.uint8)
        found = judge(seeds_of(own), seeds_of(control), True, alpha=0.05, labels=labels)
        red += found.verdict is Verdict.REGRESSED
    if drop == LIMIT.max_drop / 100:
        assert red / runs <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / runs)
    else:
        assert red / runs >= 0.95


# ------------------------------------------------------------ metrics that do not count


def test_a_mean_error_is_judged_by_the_bootstrap() -> None:
    random = np.random.default_rng(4)
    labels = np.zeros(2000)
    control = random.normal(0, 1, 2000)
    limit = Floor(0.1, "policy")
    found = {
        worse: judge({0: control * (1 + worse)}, {0: control}, labels=labels, metric=MEAN_ABSOLUTE_ERROR, limit=limit)
        for worse in (0.05, 0.125, 0.3)
    }
    assert [one.verdict for one in found.values()] == [Verdict.PASS, Verdict.WARN, Verdict.REGRESSED]
    assert "above its float32 reference" in found[0.3].message  # a larger error is a worse one


def test_equal_outputs_pass_without_an_error_to_test_by() -> None:
    outputs = np.linspace(0, 1, 500)
    found = judge({0: outputs}, {0: outputs}, labels=(outputs > 0.5).astype(int), metric=AUC)
    assert found.verdict is Verdict.PASS


def test_a_metric_without_a_value_is_an_error_with_the_reason() -> None:
    outputs = np.linspace(0, 1, 500)
    found = judge({0: outputs}, {0: outputs}, labels=np.ones(500), metric=AUC)
    assert found.verdict is Verdict.ERROR
    assert "auc cannot be computed" in found.message


def test_nothing_is_judged_without_a_limit_or_a_score_and_nothing_passes_without_a_control() -> None:
    assert gate.floor(SUBJECT, ACCURACY, one(), one(), None, None, 0.01) is None
    assert gate.floor(SUBJECT, ACCURACY, None, one(), LIMIT, None, 0.01) is None
    found = gate.floor(SUBJECT, ACCURACY, one(), None, LIMIT, None, 0.01)
    assert found is not None
    assert found.verdict is Verdict.ERROR
