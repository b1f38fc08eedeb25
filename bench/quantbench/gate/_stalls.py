"""Judge stalls: one call in hundreds or thousands that lasts far longer, which no typical call and no quantile shows.

Whatever else runs on the machine interrupts what is timed in turns in proportion to the time that each side takes, and
the order of the turns is random. So, given all stalls, the artifact's number is taken as binomial. Recorded processes
without a fault scatter as a binomial does, but for one of eleven series (chi²/df of 1.61, p = .002); bursts across
processes were not measured. An exact test of counts, unlike ratios of times, does not depend on how long an
interruption is compared with a call. ``reports/reference/stalls.md``: recorded on a machine on which much else ran, and
idle by simulation alone.
"""

import math
from typing import NamedTuple

import numpy as np

from quantbench.core.stats import binomial_below_with_own, binomial_tail_with_own, t_quantile
from quantbench.records import BaselineValue, Measurement, Stalls
from quantbench.records.measurements import TO_YARDSTICK

STALL_TOLERANCE = 0.01
STALL_TOLERANCE_REASON = (
    "1 % of the time of its usual calls: a slowdown that matters; beyond it, and what was accepted, chance decides"
)
# Interruptions may fall on an artifact so many times as often as on what is beside it, in the same time: an odds ratio.
# Over all recorded processes, against another artifact it was .99 (95 % interval .97 to 1.02) for stalls of 1 ms, 1.02
# (.95 to 1.09) for those of 20 ms, .79 to 1.27 in the nine series; of float32 against the reference workload 1.19 (1.11
# to 1.27) and 1.47 (1.23 to 1.76), of all artifacts 1.17 (1.12 to 1.21) and 1.62 (1.47 to 1.79): an artifact's code is
# interrupted more often than that of NumPy, so that only float32 is compared with it.
UNLIKE, UNLIKE_WORKLOAD = 1.15, 2.0
# Of what was accepted, the upper end of its one-sided interval counts: stalls are few, and their number varies.
ACCEPTED_CONFIDENCE = 0.025
# A first look that seems suspicious costs time alone, and so many stalls in twelve processes are worth a second one
# where nothing beside it stalls, as on an idle machine, whatever their p-value.
FIRST_FEW = 2
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


def unlike(ratio: str) -> float:
    """Return how many times as often an artifact may be interrupted as what its ratio, of this name, is to."""
    return UNLIKE_WORKLOAD if ratio == TO_YARDSTICK else UNLIKE


def tested(measured: Measurement, ratio: str, accepted: BaselineValue | None) -> StallTest | None:
    """Test the stalls of each length (Bonferroni); None where none were counted.

    Args:
        ratio: name of the typical call's measurement.
        accepted: the share of its time that it may lose; None where it does not stall.
    """
    if not measured.stalls:
        return None
    tests = [_of_length(stalls, unlike(ratio), accepted) for stalls in measured.stalls]
    found = min(tests, key=lambda test: (test.beyond, test.any))
    beyond, any_at_all = (min(1.0, len(tests) * p_value) for p_value in (found.beyond, min(one.any for one in tests)))
    alone = accepted is None and any(
        one.artifact.stalls >= FIRST_FEW and not one.beside.stalls for one in measured.stalls
    )
    return found._replace(beyond=beyond, any=any_at_all, alone=alone)


def _of_length(stalls: Stalls, odds: float, accepted: BaselineValue | None) -> StallTest:
    tolerance = STALL_TOLERANCE if accepted is None else accepted.tolerance
    known, most = (0.0, 0.0) if accepted is None else (accepted.value, _most(accepted))
    p_values = _p_value(stalls, odds, most + tolerance), _p_value(stalls, odds, most)
    return StallTest(stalls.excess - known, *p_values, stalls)


def _most(accepted: BaselineValue) -> float:
    """Return how much time is lost at most where stalls were accepted, by Student's t over its processes."""
    values = accepted.values or []
    if len(values) < 2:
        return accepted.value
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return max(0.0, accepted.value + t_quantile(ACCEPTED_CONFIDENCE, len(values) - 1) * error)


def _p_value(stalls: Stalls, odds: float, lost: float) -> float:
    """Compute the probability of as many stalls, if it lost this share of its time in stalls of their mean length."""
    own, beside = stalls.artifact, stalls.beside
    if not own.stalls:
        return 1.0
    allowed = lost * own.usual * own.stalls / own.lost
    share = odds * own.usual / (odds * own.usual + beside.usual)
    return binomial_tail_with_own(own.stalls, own.stalls + beside.stalls, share, allowed)


def stalls_either_way(measured: Measurement) -> tuple[float, Stalls] | None:
    """Test whether one of two that were timed in turns loses more than the tolerance in stalls, whichever it is.

    More stalls that take less time than the few of the other side show neither of them worse.

    Returns:
        the p-value, two-sided, and the stalls of the length that tells most; None where none were counted.
    """
    counts = measured.stalls or []
    p_values = [
        min(_p_value(side, UNLIKE, STALL_TOLERANCE) if side.excess > 0 else 1.0 for side in (one, one.swapped))
        for one in counts
    ]
    if not counts:
        return None
    place = int(np.argmin(p_values))
    return min(1.0, 2 * len(counts) * p_values[place]), counts[place]


def stalls_ended(measured: Measurement, ratio: str, accepted: BaselineValue) -> bool:
    """Whether stalls like the accepted ones take less than the tolerance now, beyond chance, by each length of which
    some were accepted.

    Stalls that only got fewer, and calls too few to tell, leave them accepted. Of a baseline without counts, as earlier
    versions wrote, they have to be gone at every length, as stalls that last just as long.
    """
    now = {one.longer: one for one in measured.stalls or []}
    each = {one.longer: one.artifact.lost / one.artifact.stalls for one in accepted.stalls or [] if one.artifact.stalls}
    if accepted.stalls is None:
        each = {longer: longer for longer in now}
    p_values = [
        _p_of_so_few(now[longer], unlike(ratio), accepted.tolerance, seconds) if longer in now else 1.0
        for longer, seconds in each.items()
    ]
    return max(p_values, default=1.0) <= ACCEPTED_CONFIDENCE


def _p_of_so_few(stalls: Stalls, odds: float, lost: float, each: float) -> float:
    """Compute the probability of as few stalls, if it lost this share of its time in stalls of ``each`` seconds."""
    own, beside = stalls.artifact, stalls.beside
    if not own.usual:
        return 1.0
    share = own.usual / (own.usual + odds * beside.usual)
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
