"""Judge what a target answers: against this machine's answers to the same examples, and against its accepted ones.

Both comparisons are in pairs. Kernels of another processor add in another order, which flips near ties; that is no
fault. Red is what flips more answers than that, loses more right ones than it gains, or moves the outputs further.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.stats import binomial_tail, p_above, pair
from quantbench.gate._fidelity import SMALLEST_EFFECT
from quantbench.records import Verdict

# Share of the answers that another processor's kernels may flip. Measured: mobilenet_v2's and vit_tiny's int8 artifacts
# flip most on an emulated ARM core, see docs/arm.md.
MOST_OTHERWISE = 0.02
_WARN = 0.05
TESTS = 3  # of each cell against this machine: flips, right answers lost, distance of the outputs
TESTS_OF_ACCEPTED = 2
# A continuous prediction counts as another one beyond this share of the largest.
WITHIN = 0.02


@dataclass(frozen=True)
class Given:
    """Hold the answers to the first examples.

    Attributes:
        here, there: predictions of this machine and of the target, shape (n, ...).
        accepted: the target's accepted ones, of as many examples or fewer; None where there are none.
        same: (predictions, others) -> bool, shape (n,): whether each is the same answer.
        right: predictions -> bool, shape (n,); None where the metric knows no right answers.
        distances: of the target's outputs from this machine's, shape (m,), of the first examples.
        nonfinite: examples with a NaN or infinite output on the target.
    """

    here: Array
    there: Array
    accepted: Array | None
    same: Callable[[Array, Array], Array]
    right: Callable[[Array], Array] | None
    distances: Array
    nonfinite: int


@dataclass(frozen=True)
class Answered:
    """Hold the verdict on one cell, with its numbers as in :class:`quantbench.records.AnsweredCell`."""

    verdict: Verdict
    message: str
    otherwise: int
    newly_wrong: int | None
    newly_right: int | None
    distance: float | None
    differ_from_accepted: int | None
    detectable: int


def tests_of(given: Given) -> int:
    """Count the tests that chance can move: none where every answer is the same."""
    here = TESTS if not bool(given.same(given.there, given.here).all()) else 0
    if given.accepted is None:
        return here
    return here + (TESTS_OF_ACCEPTED if _differing(given, given.accepted) else 0)


def target_answers(target: str, given: Given, alpha: float) -> Answered:
    """Judge one cell's answers on a target.

    Args:
        target: its name, for the sentence.
        alpha: significance level of each test, a share of the false-alarm budget.
    """
    n = len(given.there)
    otherwise = int(np.count_nonzero(~given.same(given.there, given.here)))
    wrong, right = _turned(given, given.here)
    distance = float(np.mean(given.distances)) if len(given.distances) else None
    differ = None if given.accepted is None else _differing(given, given.accepted)
    red_from = least_red(n, alpha)
    verdict, why = _verdict(target, given, alpha, otherwise, differ)
    message = f"{otherwise} of {n} answers differ from this machine's{_right_words(wrong, right)}"
    if differ is not None:
        message += f", {differ} from the accepted ones" if differ else ", all are as accepted"
    message += f"; {why}" if why else ""
    return Answered(verdict, message, otherwise, wrong, right, distance, differ, red_from)


def _verdict(target: str, given: Given, alpha: float, otherwise: int, differ: int | None) -> tuple[Verdict, str]:
    n = len(given.there)
    if given.nonfinite:
        return Verdict.REGRESSED, f"{given.nonfinite} have a NaN or infinite output on {target}"
    found = [
        _beyond(binomial_tail(otherwise, n, MOST_OTHERWISE), alpha, f"{_percent(MOST_OTHERWISE)} may differ"),
        _lost(given, given.here, alpha, "this machine's"),
        _apart(given, alpha),
    ]
    if given.accepted is not None and differ == 0 and len(given.accepted) == n:  # maintainers saw these very answers
        return Verdict.PASS, ""
    if differ is None:
        found.append((Verdict.MISSING, f"no accepted answers of {target} to compare with"))
    else:
        assert given.accepted is not None
        found.append(_lost(given, given.accepted, alpha, "the accepted ones"))
        p_value = binomial_tail(differ, len(given.accepted), MOST_OTHERWISE)
        found.append((Verdict.CHANGED, "more than kernels cause, but not clearly worse") if p_value <= alpha else _FINE)
    order = list(Verdict)
    verdict = max((one for one, _ in found), key=order.index)
    return verdict, "; ".join(words for one, words in found if one is verdict and words)


_FINE = (Verdict.PASS, "")


def _beyond(p_value: float, alpha: float, words: str) -> tuple[Verdict, str]:
    if p_value > _WARN:
        return _FINE
    verdict = Verdict.REGRESSED if p_value <= alpha else Verdict.WARN
    return verdict, f"{words} (p = {p_value:.2g}, fails below {alpha:.2g})"


def _lost(given: Given, before: Array, alpha: float, whose: str) -> tuple[Verdict, str]:
    """Test whether more right answers were lost than gained: exact McNemar (1947)."""
    if given.right is None:
        return _FINE
    found = pair(given.right(given.there[: len(before)]), given.right(before))
    return _beyond(found.p_worse(), alpha, f"more wrong than {whose}: {found.lost} lost, {found.gained} gained")


def _apart(given: Given, alpha: float) -> tuple[Verdict, str]:
    """Test whether the outputs are further apart than other kernels of the runtime cause: a t-test against a margin."""
    n = len(given.distances)
    mean = float(np.mean(given.distances)) if n else 0.0
    if n < 2 or mean <= SMALLEST_EFFECT:
        return _FINE
    error = float(np.std(given.distances, ddof=1)) / math.sqrt(n)
    p_value = min(1.0, 2 * p_above(mean - SMALLEST_EFFECT, error, n - 1)) if error > 0 else 0.0
    return _beyond(p_value, alpha, f"the outputs are {mean:.2g} away, {SMALLEST_EFFECT:g} is allowed")


def _turned(given: Given, before: Array) -> tuple[int | None, int | None]:
    if given.right is None:
        return None, None
    found = pair(given.right(given.there), given.right(before))
    return found.lost, found.gained


def _differing(given: Given, accepted: Array) -> int:
    return int(np.count_nonzero(~given.same(given.there[: len(accepted)], accepted)))


def _right_words(wrong: int | None, right: int | None) -> str:
    return f" ({wrong} newly wrong, {right} newly right)" if wrong or right else ""


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def least_red(n: int, alpha: float) -> int:
    """Return how many of n answers have to differ from this machine's to be red; n + 1 where none suffice."""
    return next((k for k in range(1, n + 1) if binomial_tail(k, n, MOST_OTHERWISE) <= alpha), n + 1)
