"""Judge stalls: one call in hundreds or thousands that lasts far longer, which no typical call and no quantile shows.

Whatever else runs on the machine interrupts what is timed in turns in proportion to the time that each side takes, and
the order of the turns is random. So, given all stalls, the artifact's number is taken as binomial. Recorded processes
without a fault scatter as a binomial does, but for one of nine series (chi²/df of 1.60, p = .001); bursts across
processes were not measured. An exact test of counts, unlike ratios of times, does not depend on how long an
interruption is compared with a call. Idle and loaded: ``reports/reference/stalls.md``.
"""

import math
from typing import NamedTuple

import numpy as np

from quantbench.core.stats import binomial_tail_with_own, permutation_below, t_quantile
from quantbench.records import BaselineValue, Measurement, Stalls

STALL_TOLERANCE = 0.01
STALL_TOLERANCE_REASON = (
    "1 % of the time of its usual calls: a slowdown that matters; beyond it, and what was accepted, chance decides"
)
# Interruptions may fall on an artifact so many times as often as on what is beside it, in the same time: an odds ratio.
# In the processes of reports/reference/stalls.md it is 1.13 at most, of calls that last several times as long.
UNLIKE = 1.15
# Of what was accepted, the upper end of its one-sided interval counts: stalls are few, and their number varies.
ACCEPTED_CONFIDENCE = 0.025
# A first look that seems suspicious costs time alone, and a few stalls in twelve processes are worth a second one.
FIRST_SUSPICION = 0.10


class StallTest(NamedTuple):
    """Compare an artifact's stalls with those of what was timed in turns with it.

    Attributes:
        change: share of its time that it loses in stalls beyond that, and beyond what was accepted.
        beyond: p-value of a loss beyond the tolerance; ``any``: of any loss.
        stalls: those of the length that tells most.
    """

    change: float
    beyond: float
    any: float
    stalls: Stalls


def tested(measured: Measurement, accepted: BaselineValue | None) -> StallTest | None:
    """Test the stalls of each length (Bonferroni); None where none were counted.

    Args:
        accepted: the share of its time that it may lose; None where it does not stall.
    """
    if not measured.stalls:
        return None
    tests = [_of_length(stalls, accepted) for stalls in measured.stalls]
    found = min(tests, key=lambda test: (test.beyond, test.any))
    beyond, any_at_all = (min(1.0, len(tests) * p_value) for p_value in (found.beyond, min(one.any for one in tests)))
    return found._replace(beyond=beyond, any=any_at_all)


def _of_length(stalls: Stalls, accepted: BaselineValue | None) -> StallTest:
    tolerance = STALL_TOLERANCE if accepted is None else accepted.tolerance
    known, most = (0.0, 0.0) if accepted is None else (accepted.value, _most(accepted))
    return StallTest(stalls.excess - known, _p_value(stalls, most + tolerance), _p_value(stalls, most), stalls)


def _most(accepted: BaselineValue) -> float:
    """Return how much time is lost at most where stalls were accepted, by Student's t over its processes."""
    values = accepted.values or []
    if len(values) < 2:
        return accepted.value
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return max(0.0, accepted.value + t_quantile(ACCEPTED_CONFIDENCE, len(values) - 1) * error)


def _p_value(stalls: Stalls, lost: float) -> float:
    """Compute the probability of as many stalls, if it lost this share of its time in stalls of their mean length."""
    own, beside = stalls.artifact, stalls.beside
    if not own.stalls:
        return 1.0
    allowed = lost * own.usual * own.stalls / own.lost
    share = UNLIKE * own.usual / (UNLIKE * own.usual + beside.usual)
    return binomial_tail_with_own(own.stalls, own.stalls + beside.stalls, share, allowed)


def stalls_ended(measured: Measurement, accepted: BaselineValue) -> bool:
    """Whether less time is lost in stalls than was accepted, beyond chance: Fisher's permutation test of the processes.

    Too few processes to see again what was accepted leave it accepted.
    """
    if not (measured.values and accepted.values):
        return False
    return permutation_below(measured.values, accepted.values) <= ACCEPTED_CONFIDENCE


def stall_words(test: StallTest, processes: int, accepted: BaselineValue | None) -> str:
    """Tell how many stalls there were, how long and how often, and how many chance would put there."""
    own, beside = test.stalls.artifact, test.stalls.beside
    each, every = 1e3 * own.lost / own.stalls, own.calls / own.stalls
    expected = beside.stalls * own.usual / beside.usual if beside.usual else 0.0
    known = "" if accepted is None else f", accepted {100 * accepted.value:.1f} %"
    return (
        f"{own.stalls} stalls of {1e3 * test.stalls.longer:g} ms and longer in {processes} processes, about {each:.3g} "
        f"ms each, one in {every:,.0f} calls, against {beside.stalls} of what was timed in turns with it "
        f"({expected:.1f} in the same time): {100 * test.stalls.excess:.1f} % of its time is lost{known}"
    )
