"""Which of the tried artifacts are judged, in which order, and that the order keeps its level of error."""

import math

import numpy as np
import pytest
from quantbench.adopt import candidates, splitting
from quantbench.adopt.candidates import Question, Tried
from quantbench.adopt.ranking import Judging
from quantbench.core.arrays import Array
from quantbench.reference.metrics import ACCURACY


def tried(name: str, size: int, margin: float) -> Tried:
    return Tried(name, size, size, 0.0, margin)


def question(labels: Array, float32: Array, limit: float = 0.5, places: Array | None = None) -> Question:
    where = np.arange(len(labels)) if places is None else places
    return Question([Judging("", ACCURACY, labels)], [limit], {"": float32}, where)


def test_the_surest_comes_first_and_what_is_larger_and_no_surer_is_left_out() -> None:
    order = candidates.sequence(
        [tried("", 50, 0.1), tried("", 60, 0.7), tried("", 62, 0.2), tried("int8", 100, 3.0), tried("int4", 40, -2.0)]
    )
    assert [(one.name, one.size) for one in order] == [("int8", 100), ("", 60), ("", 50), ("int4", 40)]


def test_a_small_one_with_much_luck_hides_none_between_it_and_the_surest() -> None:
    """A larger mixed artifact has finer settings, so it is judged first although the search was kinder to others."""
    between = [tried("", 60, 0.4), tried("", 62, 0.6), tried("", 70, 0.5), tried("", 80, -0.1)]
    order = candidates.sequence([tried("", 50, 1.5), *between, tried("", 90, 4.0), tried("int8", 91, 1.0)])
    assert [(one.name, one.size) for one in order] == [("", 90), ("", 70), ("", 62), ("", 50), ("int8", 91)]


def test_the_smallest_fixed_variant_is_judged_although_a_mixed_one_is_smaller_and_surer() -> None:
    order = candidates.sequence([tried("", 50, 4.0), tried("int8", 100, 3.0)])
    assert [one.size for one in order] == [50, 100]


def test_without_a_promising_artifact_all_fixed_variants_are_judged_the_surest_first() -> None:
    order = candidates.sequence([tried("", 50, -0.1), tried("int8", 100, -1.0), tried("int4", 40, -2.0)])
    assert [one.name for one in order] == ["int8", "int4"]
    assert candidates.sequence([]) == []


def test_the_first_that_is_not_within_ends_the_judging_and_the_smallest_within_is_chosen() -> None:
    labels = np.zeros(4000, dtype=int)
    ask = question(labels, labels)
    wrong = {100: 0, 60: 2, 50: 200, 40: 0}
    asked = []

    def predicted(one: Tried) -> dict[str, Array] | None:
        asked.append(one.size)
        return None if one.size == 70 else {"": np.where(np.arange(4000) < wrong[one.size], 1, 0)}

    order = [tried("", size, 0) for size in (100, 70, 60, 50, 40)]
    found = candidates.judged(order, ask, predicted)
    assert asked == [100, 70, 60, 50]
    assert [one.verdict for one in found] == ["within", "within", "beyond"]
    best = candidates.smallest(found)
    assert best is not None
    assert best.tried.size == 60
    assert best.outputs[0].drop == pytest.approx(0.05)
    assert candidates.smallest(found[2:]) is None


def test_every_output_has_to_keep_its_limit() -> None:
    labels = np.zeros(4000, dtype=int)
    outputs = [Judging("kind", ACCURACY, labels), Judging("place", ACCURACY, labels)]
    ask = Question(outputs, [0.5, 0.5], {"": labels, "place": labels}, np.arange(4000))
    spoiled = np.where(np.arange(4000) < 400, 1, 0)
    good, bad = {"": labels, "place": labels}, {"": labels, "place": spoiled}
    assert candidates.judgement(tried("", 1, 0), ask, good).verdict == "within"
    assert candidates.judgement(tried("", 1, 0), ask, bad).verdict == "beyond"
    assert candidates.margin_of(ask.drops(bad), [0.5, 0.5], 1000, 2000) < 0


def test_a_search_among_many_bad_artifacts_ends_with_one_of_them_as_rarely_as_the_level_says() -> None:
    """Artifacts whose true drop is just the limit: the luckiest of the search is judged at the full level."""
    random, limit, runs, wrong = np.random.default_rng(0), 1.0, 100, 0
    seen, unseen = splitting.divided(3000)
    labels = np.zeros(3000, dtype=int)
    searching, judging = (question(labels, labels, limit, places) for places in (seen, unseen))
    for _ in range(runs):
        everything = []
        for number in range(12):
            answers = (random.random(3000) < limit / 100).astype(int)
            drops = searching.drops({"": answers[seen]})
            margin = candidates.margin_of(drops, [limit], len(seen), len(unseen))
            everything.append((Tried("", 100 - number, 100 - number, drops[0].estimate, margin), answers))
        of = {id(one): answers for one, answers in everything}
        order = candidates.sequence([one for one, _ in everything])
        found = candidates.judged(order, judging, lambda one, of=of: {"": of[id(one)][unseen]})  # type: ignore[misc]
        wrong += candidates.smallest(found) is not None
    allowed = runs * splitting.ALPHA
    assert wrong <= allowed + 3 * math.sqrt(allowed)
