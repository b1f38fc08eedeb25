"""Examples divided between a search and a judgement, and how many it takes for either."""

import numpy as np
import pytest
from quantbench.adopt import splitting
from quantbench.core.drops import MeanDrop, fraction_drop
from quantbench.errors import BadInput
from quantbench.reference.metrics import ACCURACY, by_name


def test_each_example_is_on_one_side_and_the_order_of_the_data_does_not_matter() -> None:
    seen, unseen = splitting.divided(900)
    assert len(seen) == 300
    assert sorted([*seen, *unseen]) == list(range(900))
    assert abs(float(np.mean(seen)) - float(np.mean(unseen))) < 60  # data that is ordered by class
    again = splitting.divided(900)
    assert np.array_equal(seen, again[0])


def test_groups_stay_together() -> None:
    groups = np.repeat(np.arange(100), 9)
    seen, unseen = splitting.divided(900, groups)
    assert not set(groups[seen]) & set(groups[unseen])
    assert 250 <= len(seen) <= 300
    one_large = np.zeros(900, dtype=int)
    assert len(splitting.divided(900, one_large)[0]) == 0


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_the_least_number_is_the_first_that_shows_a_perfect_artifact_to_keep_the_limit(limit: float) -> None:
    least = splitting.least_judged(ACCURACY, limit)
    right = np.ones(least, dtype=bool)
    assert fraction_drop(right, right, 100).p_below(limit) <= splitting.ALPHA
    assert fraction_drop(right[1:], right[1:], 100).p_below(limit) > splitting.ALPHA
    splitting.check_enough(least // 2, least, ACCURACY, limit, "eval.npz")


def test_too_few_examples_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(BadInput) as refused:
        splitting.check_enough(100, 200, ACCURACY, 0.5, "eval.npz")
    words = str(refused.value)
    needed = int(words.partition("; give ")[2].split()[0].replace(",", ""))
    assert words.startswith("eval.npz: 300 examples leave 200 to judge on")
    seen, unseen = splitting.divided(needed)
    splitting.check_enough(len(seen), len(unseen), ACCURACY, 0.5, "eval.npz")
    wider = float(words.partition("--max-drop of ")[2].split()[0])
    splitting.check_enough(100, 200, ACCURACY, wider, "eval.npz")


def test_a_limit_that_no_examples_can_show_is_refused() -> None:
    with pytest.raises(BadInput, match="no number of examples shows a drop of at most 0 pp"):
        splitting.check_enough(4000, 8000, ACCURACY, 0.0, "eval.npz")
    with pytest.raises(BadInput, match=r"leave 6,667 to judge on .* 0\.01 pp"):
        splitting.check_enough(3333, 6667, ACCURACY, 0.01, "eval.npz")


def test_metrics_that_do_not_count_need_some_examples_on_either_side() -> None:
    error = by_name("mean_absolute_error")
    splitting.check_enough(30, 60, error, 0.1, "eval.npz")
    with pytest.raises(BadInput, match="give 90 examples or more"):
        splitting.check_enough(10, 20, error, 0.1, "eval.npz")


def test_a_margin_is_the_room_left_in_standard_errors_of_the_search() -> None:
    drop = MeanDrop(0.1, 0.1, 1000, 100)
    assert splitting.margin(drop, 0.1 + 1.96 * 0.1, 100, 100) == pytest.approx(0, abs=1e-3)
    assert splitting.margin(drop, 0.5 + 1.96 * 0.1, 100, 100) == pytest.approx(4, abs=1e-3)
    assert splitting.margin(drop, 0.2, 100, 400) > splitting.margin(drop, 0.2, 100, 100)
    assert splitting.margin(MeanDrop(0.0, 0.0, 1, 100), 0.5, 100, 100) > 1e6
    assert splitting.margin(MeanDrop(0.1, float("inf"), 1, 100), 0.5, 100, 100) == -float("inf")
