"""The decision of ``try``: which variant is shipped, and how often one that breaks the limit would be."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import cell, measured, report
from quantbench.adopt import limits, ranking, task
from quantbench.adopt.ranking import Judging
from quantbench.core.arrays import Array
from quantbench.core.drops import FractionDrop
from quantbench.core.stats import Paired, paired_interval
from quantbench.errors import BadInput
from quantbench.records import Advice, AdvisedVariant, Cell, Failure, Judgement, Kind, Preference, Verdict
from quantbench.records.measurements import RATIO
from quantbench.reference.metrics import ACCURACY, AUC, MEAN_ABSOLUTE_ERROR
from quantbench.reference.metrics.ranking import recall_at
from quantbench.reference.training import NO_DATA

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
        [ranking.answer(FractionDrop(Paired(n, int(a), int(b)), 100), LIMIT, EACH) == "within" for a, b in trial]
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


# ------------------------------------------------------------ what is chosen


LABELS = np.arange(4000) % 10


def answered(wrong: int, at: int = 0) -> Array:
    predictions = LABELS.astype(np.uint16)
    predictions[at : at + wrong] = (predictions[at : at + wrong] + 1) % 10
    return predictions


FLOAT32 = (answered(400), 4000.0, 1.0)
SAME, NEAR, FAR = (answered(401), 2000.0, 0.9), (answered(418), 1000.0, 0.5), (answered(600), 500.0, 0.4)


def made(name: str, size: float, ratio: float | None, **more: Any) -> Cell:
    """Make the cell of a variant of that size, and time as a fraction of float32's."""
    measurements = {"score": measured(0.9, "fraction", n=len(LABELS)), "size": measured(size)}
    if ratio is not None:
        measurements |= {RATIO: measured(ratio, "fraction"), "latency": measured(ratio, "µs")}
    family = "control" if name == "float32" else "ptq"
    return cell(name, measurements=measurements, family=family, **more)


def advised(
    limit: str = "0.5", prefer: Preference = "balanced", **variants: tuple[Array, float, float | None]
) -> Advice:
    """Advise on made-up variants: predictions, bytes, and time as a fraction of float32's."""
    cells = [made(name, size, ratio) for name, (_, size, ratio) in variants.items()]
    predictions = {name: outputs for name, (outputs, _, _) in variants.items()}
    return ranking.advise(report(cells), [Judging("", ACCURACY, LABELS)], predictions, limits.parse(limit), prefer)


def of(advice: Advice, name: str) -> AdvisedVariant:
    found = advice.of(name)
    assert found is not None
    return found


def test_each_variant_has_one_of_three_verdicts() -> None:
    advice = advised(float32=FLOAT32, same=SAME, near=NEAR, far=FAR)
    verdicts = {one.variant: one.verdict for one in advice.variants}
    assert verdicts == {"same": "within", "float32": "within", "near": "undecided", "far": "beyond"}
    needed = of(advice, "near").outputs[0].needed
    assert needed is not None
    assert needed > len(LABELS)
    assert list(verdicts) == ["same", "float32", "near", "far"]  # the best first
    assert advice.judged[0].limit == LIMIT
    assert advice.judged[0].float_score == 0.9
    assert advice.machine.cpu == "A"


def test_the_best_that_surely_keeps_the_limit_is_advised_and_a_better_one_is_named() -> None:
    advice = advised(float32=FLOAT32, same=SAME, slower=(answered(401, 1), 2000.0, 0.95), near=NEAR, far=FAR)
    assert (advice.choice, advice.next_best, advice.better_if_decided) == ("same", "slower", "near")


def test_a_better_variant_that_may_break_the_limit_hides_no_other() -> None:
    """``near`` is at least as good as ``same`` in drop, size and time, and is not shown to be within the limit."""
    advice = advised(float32=FLOAT32, same=SAME, near=(answered(400, 3000), 1000.0, 0.5))
    assert of(advice, "near").verdict == "undecided"
    assert advice.choice == "same"


def test_without_a_variant_that_surely_keeps_the_limit_float32_is_advised() -> None:
    advice = advised(float32=FLOAT32, near=NEAR)
    assert (advice.choice, advice.next_best, advice.better_if_decided) == ("float32", None, "near")
    assert advised(float32=FLOAT32, far=FAR).better_if_decided is None


def test_no_hope_is_held_out_where_more_examples_would_rather_show_a_broken_limit() -> None:
    over = (answered(440, 3000), 1000.0, 0.5)
    advice = advised(float32=FLOAT32, over=over)
    assert of(advice, "over").verdict == "undecided"
    assert of(advice, "over").outputs[0].drop > LIMIT
    assert (advice.choice, advice.better_if_decided) == ("float32", None)


def test_a_limit_of_nothing_is_kept_by_no_number_of_examples() -> None:
    advice = advised("0", float32=FLOAT32, same=(answered(400), 1000.0, 0.5))
    assert advice.choice == "float32"
    assert of(advice, "same").outputs[0].needed is None
    assert advice.judged[0].too_few


@pytest.mark.parametrize(("prefer", "chosen"), [("size", "small"), ("latency", "fast"), ("balanced", "even")])
def test_the_preference_decides_among_what_is_within(prefer: Preference, chosen: str) -> None:
    variants: dict[str, tuple[Array, float, float | None]] = {
        "float32": FLOAT32,
        "small": (answered(401), 1000.0, 40.0),
        "fast": (answered(402), 3900.0, 0.5),
        "fast_too": (answered(399), 3950.0, 0.495),  # by less than times can tell, and larger
        "even": (answered(403), 1500.0, 0.8),
    }
    assert advised(prefer=prefer, **variants).choice == chosen


def test_what_was_not_timed_cannot_win_by_its_time() -> None:
    untimed = (answered(402), 1000.0, None)
    assert advised(float32=FLOAT32, same=SAME, untimed=untimed).choice == "same"
    assert advised(prefer="size", float32=FLOAT32, same=SAME, untimed=untimed).choice == "untimed"
    alone = advised(float32=(answered(400), 4000.0, None), untimed=untimed)
    assert alone.choice == "untimed"
    with pytest.raises(BadInput, match="--prefer latency: --latency-budget 0 times nothing"):
        ranking.preference("latency", timed=False)
    with pytest.raises(BadInput, match="--prefer: expected one of size, latency, balanced, found 'speed'"):
        ranking.preference("speed", timed=True)


def test_the_same_file_under_two_names_is_one_choice() -> None:
    cells = [made("float32", 4000.0, 1.0), made("a", 2000.0, 0.9, artifact_sha256="x")]
    cells.append(made("b", 2000.0, 0.9, artifact_sha256="x"))
    predictions = {"float32": FLOAT32[0], "a": SAME[0], "b": SAME[0]}
    advice = ranking.advise(report(cells), [Judging("", ACCURACY, LABELS)], predictions, limits.parse("0.5"))
    assert (advice.choice, advice.next_best) == ("a", "float32")
    assert of(advice, "b").same_as == "a"


# ------------------------------------------------------------ several outputs


BOXES = np.random.default_rng(1).uniform(0, 640, (4000, 4))


def two_outputs(second: Array, limit: list[str]) -> Advice:
    """Advise on a variant that is good in its first output, and answers ``second`` in the other."""
    cells = [made("float32", 4000.0, 1.0), made("v", 1000.0, 0.5)]
    predictions = {"float32": FLOAT32[0], "v": SAME[0], "float32@boxes": BOXES + 1, "v@boxes": second}
    judged = [Judging("type", ACCURACY, LABELS, ["by its name"]), Judging("boxes", MEAN_ABSOLUTE_ERROR, BOXES)]
    return ranking.advise(report(cells), judged, predictions, limits.parse(limit))


def test_a_variant_is_within_only_if_all_its_outputs_are_by_their_own_limits() -> None:
    assert two_outputs(BOXES + 1.5, []).choice == "v"  # half a pixel of 1.8
    broken = two_outputs(BOXES + 5, [])
    assert of(broken, "v").verdict == "beyond"
    assert [one.verdict for one in of(broken, "v").outputs] == ["within", "beyond"]
    assert broken.choice == "float32"
    assert two_outputs(BOXES + 5, ["boxes=10", "0.5pp"]).choice == "v"
    assert [one.limit for one in broken.judged] == pytest.approx([0.5, 0.01 * np.std(BOXES, axis=0).mean()])
    assert broken.judged[0].evidence == ["by its name"]


def test_a_variant_whose_second_output_is_missing_is_not_judged() -> None:
    cells = [made("float32", 4000.0, 1.0), made("v", 1000.0, 0.5)]
    predictions = {"float32": FLOAT32[0], "v": SAME[0], "float32@boxes": BOXES}
    judged = [Judging("type", ACCURACY, LABELS), Judging("boxes", MEAN_ABSOLUTE_ERROR, BOXES)]
    assert ranking.advise(report(cells), judged, predictions, limits.parse([])).of("v") is None


def test_a_dead_output_excludes_a_variant_that_is_within(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(quantized: Array, float32: Array) -> list[tuple[int, int]]:
        columns = range(quantized.shape[1])
        return [(at, len(np.unique(quantized[:, at]))) for at in columns if len(np.unique(quantized[:, at])) < 3]

    monkeypatch.setattr(task, "dead_columns", dead, raising=False)
    labels = np.random.default_rng(0).uniform(0, 1, (1000, 3)) * [640, 640, 1]
    rounded = labels.copy()
    rounded[:, 2] = np.round(labels[:, 2])
    cells = [made("float32", 4000.0, 1.0), made("v", 1000.0, 0.5)]
    predictions = {"float32": labels + 0.1, "v": rounded + 0.1}
    advice = ranking.advise(report(cells), [Judging("", MEAN_ABSOLUTE_ERROR, labels)], predictions, limits.parse("5"))
    assert of(advice, "v").verdict == "within"
    assert [(one.column, one.distinct) for one in of(advice, "v").dead] == [(2, 2)]
    assert advice.choice == "float32"
    assert advice.warnings == []  # the values are of no int8 tensor: they died of something else


def test_the_scale_is_the_cause_only_where_values_of_one_int8_tensor_share_it() -> None:
    labels = np.random.default_rng(0).uniform(0, 1, (1000, 3)).astype(np.float32) * np.float32([640, 640, 1])
    on_one = np.round(labels / 2.6) * 2.6
    of_floats = labels * np.float32([1, 1, 0])
    of_own = np.add(on_one, [0, 0, 0.5])  # a scale of its own, whose only value that is
    cells = [made("float32", 4000.0, 1.0), made("v", 1000.0, 0.5)]
    several = MEAN_ABSOLUTE_ERROR.of("boxes", "scores")
    metrics = [MEAN_ABSOLUTE_ERROR, MEAN_ABSOLUTE_ERROR, MEAN_ABSOLUTE_ERROR, several]
    found = []
    for metric, new in zip(metrics, (on_one, of_floats, of_own, on_one), strict=True):
        predictions = {"float32": labels, "v": new.astype(np.float32)}
        advice = ranking.advise(report(cells), [Judging("", metric, labels)], predictions, limits.parse("5"))
        assert of(advice, "v").dead
        found.append(advice.warnings)
    assert found[1:] == [[], [], []]
    assert found[0][0].startswith("dead output values in 1 variant: value 2 of the output shares one int8 scale")


# ------------------------------------------------------------ what the data do not support


def at_chance(*, asked: bool) -> Advice:
    """Advise on a model whose answers have nothing to do with the labels."""
    labels = np.roll(LABELS, 1)  # off by one: each answer of a perfect model is wrong
    predictions = {"float32": LABELS, "v": answered(3)}
    cells = [made("float32", 4000.0, 1.0), made("v", 1000.0, 0.5)]
    judged = [Judging("", ACCURACY, labels, asked=asked)]
    return ranking.advise(report(cells), judged, predictions, limits.parse("0.5"))


def test_nothing_is_recommended_where_float32_is_no_better_than_a_constant() -> None:
    advice = at_chance(asked=False)
    assert advice.choice is None
    assert advice.next_best is None
    assert advice.nothing.startswith("float32 itself is no better than a model that answers the same")
    assert of(advice, "v").verdict == "within"  # the table stays


def test_a_metric_that_the_user_named_is_taken_and_warned_about() -> None:
    advice = at_chance(asked=True)
    assert advice.choice == "v"
    assert advice.nothing == ""
    assert [words.partition(" than")[0] for words in advice.warnings] == ["float32 itself is no better"]


def test_nothing_is_recommended_within_a_limit_that_a_constant_keeps() -> None:
    advice = advised("85", float32=FLOAT32, v=SAME)
    assert advice.choice is None
    assert "give a smaller --max-drop" in advice.nothing


# ------------------------------------------------------------ what could not be made


def failed(name: str, reason: str, what: str = "unsupported", **more: Any) -> Cell:
    failure = Failure.model_validate({"what": what, "reason": reason})
    return cell(name, failure=failure, **more)


def test_nothing_can_be_recommended_where_the_float_model_was_not_made() -> None:
    words = "the converter has no operator MaxPool3D"
    advice = ranking.advise(
        report([failed("float32", words), failed("ptq_float16", words)]),
        [Judging("", ACCURACY, LABELS)],
        {},
        limits.parse([]),
    )
    assert advice.choice is None
    assert advice.nothing == f"the float model could not be converted and run (unsupported: {words})"
    assert advice.judged[0].float_score is None


def test_a_refusal_for_want_of_data_names_the_option_that_gives_it() -> None:
    (found,) = ranking.refused(report([failed("qat_wi8_ai8", NO_DATA)]))
    assert found.reason == "it needs training data with labels, and there is none (--train-data)"


def test_refusals_are_grouped_by_reason() -> None:
    trained = ["qat_wi8_ai8", "qat_wi8_ai8_dense_only", "float32_finetuned"]
    promise = Judgement(
        kind=Kind.STRUCTURE,
        measurement="promise",
        against="promise",
        verdict=Verdict.REGRESSED,
        message="only partly quantized: 2 of 5 layers stay float32 (CONV_2D)",
        detail="what a baseline keeps of it",
    )
    other = promise.model_copy(update={"message": "only partly quantized: 1 of 5 layers stay float32 (CONV_2D)"})
    cells = [
        made("float32", 4000.0, 1.0),
        failed("ptq_a", "Aborted", "crash"),
        *(failed(name, "it needs training data") for name in trained),
        made("aeq_a", 1000.0, 1.0, judgements=[promise]),
        made("aeq_b", 1000.0, 1.0, judgements=[other]),
        made("aeq_c", 1000.0, 1.0, judgements=[other]),
    ]
    found = ranking.refused(report(cells))
    assert [(one.variants, one.trained, one.reason) for one in found] == [
        (trained, True, "it needs training data"),
        (
            ["aeq_a", "aeq_b", "aeq_c"],
            False,
            "only partly quantized: 1 of 5 layers stay float32 (CONV_2D) (other numbers in 1 of them)",
        ),
        (["ptq_a"], False, "crash: Aborted"),
    ]


# ------------------------------------------------------------ whatever the numbers are


variant = st.tuples(
    st.integers(380, 700), st.integers(0, 3000), st.floats(0.1, 3), st.one_of(st.none(), st.floats(0.1, 50))
)
PREFERENCES = st.sampled_from(ranking.PREFERENCES)


def drawn(variants: list[tuple[int, int, float, float | None]], limit: float, prefer: Preference) -> Advice:
    named = {f"v{i}": (answered(wrong, at), 4000 * size, time) for i, (wrong, at, size, time) in enumerate(variants)}
    return advised(repr(limit), prefer, float32=FLOAT32, **named)


@settings(max_examples=40)
@given(st.lists(variant, max_size=6), st.floats(0, 10), PREFERENCES)
def test_the_chosen_is_within_and_none_within_is_better(
    variants: list[tuple[int, int, float, float | None]], limit: float, prefer: Preference
) -> None:
    advice = drawn(variants, limit, prefer)
    assert advice.choice is not None
    chosen = of(advice, advice.choice)
    assert chosen.verdict == "within"
    assert chosen.outputs[0].drop <= limit or chosen.variant == "float32"
    for one in advice.variants:
        for verdict in one.outputs:
            assert verdict.verdict != "within" or verdict.high is None or verdict.high <= limit + 1e-4
            assert verdict.verdict != "beyond" or verdict.low is None or verdict.low >= limit - 1e-4
        timed = one.latency is not None or prefer == "size" or all(v[3] is None for v in variants)
        if one.eligible and one.variant != "float32" and timed:
            slack = ranking.SAME_TIME * 1.1 if prefer == "latency" else 1e-9
            assert ranking.cost(chosen, prefer) <= ranking.cost(one, prefer) * (1 + slack)
    assert advice.better_if_decided is None or of(advice, advice.better_if_decided).verdict == "undecided"
    assert advice.next_best is None or of(advice, advice.next_best).verdict == "within"
    assert advice.next_best != advice.choice
    assert sorted(one.variant for one in advice.variants) == sorted({one.variant for one in advice.variants})


@settings(max_examples=40)
@given(st.lists(variant, max_size=5), st.floats(0, 5), st.floats(0, 5), PREFERENCES)
def test_a_looser_limit_never_gives_a_worse_choice(
    variants: list[tuple[int, int, float, float | None]], limit: float, more: float, prefer: Preference
) -> None:
    before, after = drawn(variants, limit, prefer), drawn(variants, limit + more, prefer)
    within = [{one.variant for one in advice.variants if one.verdict == "within"} for advice in (before, after)]
    assert within[0] <= within[1]
    slack = ranking.SAME_TIME * 1.1 if prefer == "latency" else 1e-9
    costs = [ranking.cost(of(advice, advice.choice or ""), prefer) for advice in (before, after)]
    assert costs[1] <= costs[0] * (1 + slack)


# ------------------------------------------------------------ metrics


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
    assert ranking.answer(near, LIMIT, 0.001) == "within"
    assert ranking.answer(worse, LIMIT, 0.001) == "beyond"
    assert ranking.answer(ranking.drop_between(AUC, control, control, labels), 0.0, 0.001) == "within"


def test_a_mean_of_losses_is_compared_by_its_losses_alone() -> None:
    """To the same interval as by the outputs themselves; ``losses`` that are no part of the score are left alone."""
    random = np.random.default_rng(0)
    labels = random.normal(0, 1, (500, 3))
    old, new = labels + random.normal(0, 0.1, labels.shape), labels + random.normal(0, 0.2, labels.shape)
    by_losses = ranking.drop_between(MEAN_ABSOLUTE_ERROR, new, old, labels)
    by_outputs = ranking.drop_between(replace(MEAN_ABSOLUTE_ERROR, losses=None), new, old, labels)
    assert by_losses.estimate == pytest.approx(by_outputs.estimate)
    assert by_losses.upper(0.025) == pytest.approx(by_outputs.upper(0.025), rel=1e-6)

    def other(predictions: Array, _labels: Array) -> Array:
        return np.ones(len(predictions))

    beside = ranking.drop_between(replace(MEAN_ABSOLUTE_ERROR, losses=other), new, old, labels)
    assert beside.estimate == pytest.approx(by_outputs.estimate)


def test_of_an_error_at_its_limit_few_are_shipped() -> None:
    """Skewed losses of 300 examples, four variants at the limit: one of them is shipped in at most 5 % of trials."""
    limit, trials = 0.2, 80
    random = np.random.default_rng(7)
    labels = np.zeros((300, 1))
    each = ranking.alpha_each([np.array([place]) for place in range(4)])
    shipped = 0
    for _ in range(trials):
        old = random.exponential(1.0, labels.shape)
        drops = [
            ranking.drop_between(MEAN_ABSOLUTE_ERROR, old + random.exponential(limit, labels.shape), old, labels)
            for _ in range(4)
        ]
        shipped += any(ranking.answer(drop, limit, each) == "within" for drop in drops)
    assert shipped / trials <= 0.05


def test_a_score_that_losses_take_from_is_compared_in_pairs() -> None:
    """A bootstrap of whole predictions would draw an example twice, and the copy would find itself."""
    by_recall, labels = recall_at(1), np.arange(400) % 40
    random = np.random.default_rng(3)
    old = (np.eye(40)[labels] + 0.35 * random.normal(size=(400, 40))).astype(np.float32)
    new = (old + 0.5 * random.normal(size=old.shape)).astype(np.float32)
    drop = ranking.drop_between(by_recall, new, old, labels)
    assert by_recall.losses is not None
    differences = by_recall.losses(new, labels) - by_recall.losses(old, labels)
    error = 100 * float(np.std(differences, ddof=1)) / np.sqrt(400)
    assert drop.estimate == pytest.approx(100 * float(np.mean(differences)))
    assert (drop.upper(0.025) - drop.lower(0.025)) == pytest.approx(2 * 1.96 * error, rel=0.15)
