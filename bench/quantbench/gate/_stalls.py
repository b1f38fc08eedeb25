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

from quantbench.core.stats import binomial_below_with_own, binomial_tail_with_own, t_quantile
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
# A first look that seems suspicious costs time alone, and a few stalls in twelve processes are worth a second one: at
# this level, or from so many on where nothing beside it stalls, as on an idle machine.
FIRST_SUSPICION, FIRST_FEW = 0.10, 2
# What decides is the number of calls, and a fresh process takes about twice as long to start as it times. So where the
# first look suspects stalls, each process after it times as long as so many: four times the calls in twice the time.
LONGER_PROCESSES = 4


class StallTest(NamedTuple):
    """Compare an artifact's stalls with those of what was timed in turns with it.

    Attributes:
        change: share of its time that it loses in stalls beyond that, and beyond what was accepted.
        beyond: p-value of a loss beyond the tolerance; ``any``: of any loss.
        stalls: those of the length that tells most.
        alone: whether it stalls a few times and nothing beside it does, where no stalls were accepted.
    """

    change: float
    beyond: float
    any: float
    stalls: Stalls
    alone: bool = False


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
    alone = accepted is None and any(
        one.artifact.stalls >= FIRST_FEW and not one.beside.stalls for one in measured.stalls
    )
    return found._replace(beyond=beyond, any=any_at_all, alone=alone)


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


def stalls_either_way(measured: Measurement) -> tuple[float, Stalls] | None:
    """Test whether one of two that were timed in turns loses more than the tolerance in stalls, whichever it is.

    Returns:
        the p-value, two-sided, and the stalls of the length that tells most; None where none were counted.
    """
    counts = measured.stalls or []
    p_values = [min(_p_value(one, STALL_TOLERANCE), _p_value(one.swapped, STALL_TOLERANCE)) for one in counts]
    if not counts:
        return None
    place = int(np.argmin(p_values))
    return min(1.0, 2 * len(counts) * p_values[place]), counts[place]


def stalls_ended(measured: Measurement, accepted: BaselineValue) -> bool:
    """Whether stalls like the accepted ones take less than the tolerance now, beyond chance, by each length of which
    some were accepted.

    Stalls that only got fewer, and calls too few to tell, leave them accepted.
    """
    now = {one.longer: one for one in measured.stalls or []}
    then = [(now.get(one.longer), one.artifact) for one in accepted.stalls or [] if one.artifact.stalls]
    return bool(then) and all(
        found is not None and _p_of_so_few(found, accepted.tolerance, each.lost / each.stalls) <= ACCEPTED_CONFIDENCE
        for found, each in then
    )


def _p_of_so_few(stalls: Stalls, lost: float, each: float) -> float:
    """Compute the probability of as few stalls, if it lost this share of its time in stalls of ``each`` seconds."""
    own, beside = stalls.artifact, stalls.beside
    if not own.usual:
        return 1.0
    share = own.usual / (own.usual + UNLIKE * beside.usual)
    return binomial_below_with_own(own.stalls, own.stalls + beside.stalls, share, lost * own.usual / each)


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
