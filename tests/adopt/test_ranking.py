"""The table of ``try`` and its advice: what is shipped, and how often what breaks the limit would be."""

import numpy as np
import pytest
from made_up_runs import cell, measured, report
from quantbench.adopt import ranking
from quantbench.adopt.ranking import Answer, Candidate
from quantbench.core.arrays import Array
from quantbench.core.drops import FractionDrop
from quantbench.core.stats import Paired, paired_interval
from quantbench.records.measurements import RATIO
from quantbench.reference.metrics import ACCURACY, AUC

VARIANTS, LIMIT = 20, 0.5
EACH = ranking.alpha_each([np.array([place]) for place in range(VARIANTS)])


# ------------------------------------------------------------ how often it is wrong


def studies(n: int, drop: float, trials: int, churn: float = 0.02) -> Array:
    """Draw what 20 variants lose and gain of n examples, shape (trials, 20, 2).

    Args:
        drop: true drop of every variant, in pp.
        churn: fraction of examples that are gained, and lost on top of the drop.
    """
    random = np.random.default_rng(n)
    lost = churn + drop / 100
    return random.multinomial(n, [lost, churn, 1 - lost - churn], (trials, VARIANTS))[:, :, :2]


def shipped(n: int, counts: Array) -> float:
    """Return the fraction of trials in which at least one variant is said to be within the limit."""
    answers = [
        [ranking.answer(FractionDrop(Paired(n, int(a), int(b)), 100), LIMIT, EACH) is Answer.WITHIN for a, b in trial]
        for trial in counts
    ]
    return float(np.mean(np.any(answers, axis=1)))


@pytest.mark.parametrize("n", [500, 2000])
@pytest.mark.parametrize("drop", [1.0, 0.5])
def test_what_breaks_the_limit_is_rarely_shipped(n: int, drop: float) -> None:
    """Of 20 variants that are all twice as much worse as allowed, or at the limit, none is shipped in 95 % of trials.

    The point estimate ships one in every trial of 500 examples, and in most of 2,000.
    """
    counts = studies(n, drop, 150)
    assert shipped(n, counts) <= 0.05
    by_estimate = 100 * (counts[:, :, 0] - counts[:, :, 1]) / n <= LIMIT
    assert by_estimate.any(axis=1).mean() > 0.8


def test_what_keeps_the_limit_is_shipped_where_the_examples_suffice() -> None:
    counts = studies(10_000, 0.05, 100, churn=0.004)
    assert shipped(10_000, counts) >= 0.95
    assert shipped(200, studies(200, 0.05, 100, churn=0.004)) == 0.0  # for want of examples, not of quality


def test_the_interval_of_the_best_of_many_holds_the_truth() -> None:
    """Of the variant that looks best, where a 95 % interval of its own does in fewer than 90 % of trials."""
    n, drop = 2000, 1.0
    together = alone = 0
    trials = studies(n, drop, 150)
    for trial in trials:
        lost, gained = trial[np.argmin(trial[:, 0] - trial[:, 1])]
        pairs = Paired(n, int(lost), int(gained))
        best = FractionDrop(pairs, 100)
        together += best.lower(EACH) <= drop <= best.upper(EACH)
        alone += abs(best.estimate - drop) <= 100 * paired_interval(pairs)
    assert together / len(trials) >= 0.95
    assert alone / len(trials) < 0.9


# ------------------------------------------------------------ what it says


LABELS = np.arange(4000) % 10


def answered(wrong: int, at: int = 0) -> Array:
    predictions = LABELS.astype(np.uint16)
    predictions[at : at + wrong] = (predictions[at : at + wrong] + 1) % 10
    return predictions


def found(max_drop: float = LIMIT, labels: Array = LABELS, **variants: tuple[Array, float, float]) -> list[Candidate]:
    """Rank made-up variants: predictions, bytes, and time as a fraction of float32's."""
    cells, predictions = [], {}
    for name, (outputs, size, ratio) in variants.items():
        score = measured(float(np.mean(outputs == labels)), "fraction", n=len(labels))
        measurements = {"score": score, "size": measured(size), RATIO: measured(ratio, "fraction")}
        cells.append(cell(name, outputs, measurements=measurements, family="control" if name == "float32" else "ptq"))
        predictions[name] = outputs
    return ranking.candidates(report(cells), ACCURACY, predictions, labels, max_drop)


FLOAT32 = (answered(400), 4000.0, 1.0)


def test_each_variant_has_one_of_three_answers() -> None:
    ranked = found(
        float32=FLOAT32,
        same=(answered(401), 2000.0, 0.9),
        near=(answered(418), 1000.0, 0.5),
        far=(answered(600), 500.0, 0.4),
    )
    assert {one.variant: one.answer for one in ranked} == {
        "float32": Answer.WITHIN,
        "same": Answer.WITHIN,
        "near": Answer.TOO_FEW,
        "far": Answer.BEYOND,
    }
    near = next(one for one in ranked if one.variant == "near")
    assert near.needed is not None
    assert near.needed > len(LABELS)
    table = ranking.table(ranked, "pp", "accuracy")
    assert f"too few examples (about {near.needed:,} are needed)" in table
    assert "95 %, all rows together" in table
    assert all(one.high <= LIMIT for one in ranked if one.answer is Answer.WITHIN)
    assert all(one.low > LIMIT for one in ranked if one.answer is Answer.BEYOND)


def test_the_smallest_that_surely_keeps_the_limit_is_advised_and_a_better_one_is_named() -> None:
    ranked = found(float32=FLOAT32, same=(answered(401), 2000.0, 0.9), near=(answered(418), 1000.0, 0.5))
    told = ranking.sentence(ranked, "pp", LIMIT)
    assert told.startswith("Ship same: 2.0 times smaller than float32, 1.11 times as fast, with a drop of 0.03 pp")
    assert "near would be the better choice if it keeps the limit" in told
    assert "examples would be needed" in told


def test_a_better_variant_that_may_break_the_limit_hides_no_other() -> None:
    """``near`` is at least as good as ``same`` in drop, size and time, and is not shown to be within the limit."""
    ranked = found(float32=FLOAT32, same=(answered(401), 2000.0, 0.9), near=(answered(400, 3000), 1000.0, 0.5))
    assert next(one for one in ranked if one.variant == "near").answer is Answer.TOO_FEW
    best = ranking.choice(ranked)
    assert best is not None
    assert best.variant == "same"


def test_without_a_variant_that_surely_keeps_the_limit_float32_is_advised() -> None:
    ranked = found(float32=FLOAT32, near=(answered(418), 1000.0, 0.5))
    told = ranking.sentence(ranked, "pp", LIMIT)
    assert told.startswith("Ship float32: no variant is smaller or faster and surely stays within a drop of 0.5 pp.")
    assert "near would be the better choice" in told
    alone = ranking.sentence(found(float32=FLOAT32, far=(answered(900), 500.0, 0.4)), "pp", LIMIT)
    assert alone == "Ship float32: no variant is smaller or faster and surely stays within a drop of 0.5 pp."


def test_a_limit_of_nothing_is_kept_by_no_number_of_examples() -> None:
    ranked = found(0.0, float32=FLOAT32, same=(answered(400), 1000.0, 0.5))
    assert ranking.choice(ranked) is None
    assert "| too few examples |" in ranking.table(ranked, "pp", "accuracy").replace("  ", "")
    assert "more examples would be needed" in ranking.sentence(ranked, "pp", 0.0)


def test_variants_that_answer_alike_are_one_test() -> None:
    one, other = answered(400), answered(410)
    assert ranking.alpha_each([one, one.copy(), other]) == pytest.approx(ranking.ALPHA / 2 / 2)
    assert ranking.alpha_each([]) == pytest.approx(ranking.ALPHA / 2)


def test_metrics_that_count_nothing_are_compared_by_the_bootstrap() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 3000)
    control = labels + random.normal(0, 1, 3000)
    near = ranking.drop_between(AUC, control + random.normal(0, 0.02, 3000), control, labels)
    worse = ranking.drop_between(AUC, control + random.normal(0, 1, 3000), control, labels)
    assert ranking.answer(near, LIMIT, 0.001) is Answer.WITHIN
    assert ranking.answer(worse, LIMIT, 0.001) is Answer.BEYOND
    assert ranking.answer(ranking.drop_between(AUC, control, control, labels), 0.0, 0.001) is Answer.WITHIN
