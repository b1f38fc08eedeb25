"""A target's answers against this machine's and the accepted ones, on made-up answers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.gate._target_answers import least_red
from quantbench.records import Verdict

N = 600
LABELS = np.arange(N) % 10
ALPHA = 1e-4


def given(there: Array, accepted: Array | None = LABELS, here: Array = LABELS, **more: object) -> gate.Given:
    made = gate.Given(
        here=here,
        there=there,
        accepted=accepted,
        same=lambda a, b: np.asarray(a == b),
        right=lambda predictions: np.asarray(predictions == LABELS[: len(predictions)]),
        distances=np.zeros(N),
        nonfinite=0,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def with_flips(count: int, of: Array = LABELS, to: Callable[[Array], Array] = lambda old: (old + 1) % 10) -> Array:
    changed = of.copy()
    changed[:count] = to(of[:count])
    return changed


def judged(one: gate.Given) -> gate.Answered:
    return gate.target_answers("arm", one, ALPHA)


def test_equal_answers_pass_and_take_nothing_of_the_budget() -> None:
    one = given(LABELS)
    assert gate.tests_of(one) == 0
    found = judged(one)
    assert (found.verdict, found.otherwise, found.differ_from_accepted) == (Verdict.PASS, 0, 0)
    assert found.message == "0 of 600 answers differ from this machine's, all are as accepted"


def test_a_few_flips_of_another_processor_pass() -> None:
    here = with_flips(4, to=lambda old: (old + 2) % 10)  # ties that the target answers right
    found = judged(given(LABELS, accepted=here, here=here))
    assert found.verdict is Verdict.PASS
    assert found.message.startswith(
        "4 of 600 answers differ from this machine's (0 newly wrong, 4 newly right), 4 from"
    )


def test_wrong_kernels_are_red_by_what_they_lose() -> None:
    found = judged(given(with_flips(40)))
    assert found.verdict is Verdict.REGRESSED
    assert "more wrong than this machine's: 40 lost, 0 gained" in found.message
    assert "more wrong than the accepted ones" in found.message


def test_too_many_other_answers_are_red_even_where_none_is_right() -> None:
    here = with_flips(N)  # all wrong: nothing can be lost
    there = with_flips(60, of=here)
    found = judged(given(there, accepted=None, here=here))
    assert found.verdict is Verdict.REGRESSED
    assert "60 of 600 answers differ" in found.message
    assert "2 % may differ" in found.message


def test_the_report_says_from_how_many_on_it_is_red() -> None:
    count = judged(given(LABELS)).detectable
    assert count == least_red(N, ALPHA)
    here = with_flips(N)
    verdicts = [judged(given(with_flips(k, of=here), accepted=None, here=here)).verdict for k in (count - 1, count)]
    assert verdicts[0] is not Verdict.REGRESSED
    assert verdicts[1] is Verdict.REGRESSED
    assert least_red(2, ALPHA) == 3  # both of two differ by chance more often than that


def test_outputs_that_moved_without_a_flip_are_red() -> None:
    moved = np.linspace(0.01, 0.02, N)
    found = judged(given(LABELS, accepted=with_flips(1), distances=moved))
    assert found.verdict is Verdict.REGRESSED
    assert "the outputs are 0.015 away" in found.message


def test_nothing_accepted_is_missing_and_nothing_finite_is_red() -> None:
    assert judged(given(LABELS, accepted=None)).verdict is Verdict.MISSING
    found = judged(given(LABELS, nonfinite=3))
    assert found.verdict is Verdict.REGRESSED
    assert "3 have a NaN or infinite output on arm" in found.message


def test_what_maintainers_accepted_passes_whatever_it_is() -> None:
    wrong = with_flips(40)
    assert judged(given(wrong, accepted=wrong)).verdict is Verdict.PASS
    fewer = judged(given(wrong, accepted=wrong[:100]))  # of the others nobody has said so
    assert fewer.verdict is Verdict.REGRESSED


def test_many_other_wrong_answers_than_accepted_are_changed() -> None:
    accepted = with_flips(40)
    there = with_flips(40, to=lambda old: (old + 2) % 10)
    found = judged(given(there, accepted=accepted, here=there))
    assert found.verdict is Verdict.CHANGED
    assert "more than kernels cause, but not clearly worse" in found.message
