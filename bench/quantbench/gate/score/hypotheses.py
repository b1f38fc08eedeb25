"""Share one false-alarm budget over everything that chance may have moved in the scores of a run."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from quantbench.records import FalseAlarms, LatencyAlarms

LATENCY_PART = 0.5  # of the budget, where latency is judged: then neither dilutes the other


@dataclass(frozen=True)
class Hypothesis:
    """One test of "nothing got worse here".

    Attributes:
        key: unique in its run, e.g. ``m/v``, ``m/v: class 3`` or ``m: all variants``.
        p_value: one-sided.
        smallest: smallest p-value that the test could have given, whatever the signs of what flipped.
        evidence: hash of the differences that were tested; equal evidence is one hypothesis. Empty: like no other.
        weight: shares of the budget that it takes; fixed before the run, whatever its p-value.
    """

    key: str
    p_value: float
    smallest: float = 0.0
    evidence: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Thresholds:
    """The p-value at which each hypothesis is red.

    Attributes:
        examined: hypotheses that share the budget.
        left_out: hypotheses that cannot be rejected, whatever the signs.
        share: the smallest threshold, which is the first step of Holm's method.
    """

    holm_threshold: Mapping[str, float]
    examined: int
    left_out: int
    share: float

    def of(self, key: str) -> float:
        """Return the threshold of a hypothesis."""
        return self.holm_threshold[key]


def thresholds(hypotheses: Sequence[Hypothesis], budget: float, others: int = 0) -> Thresholds:
    """Keep the chance of any false rejection below ``budget``.

    Hypotheses whose smallest possible p-value cannot reach its threshold are left out first (Tarone 1990, "A modified
    Bonferroni method for discrete data"); that value follows from how much flipped, not in which direction, so leaving
    them out spends nothing. Equal evidence counts once. The others share by Holm's method with weights (Holm 1979,
    section 4), which holds under any dependence.

    Args:
        others: hypotheses that are not known yet, and may need a share each.
    """
    unique: dict[str, Hypothesis] = {}
    for one in hypotheses:
        unique.setdefault(_identity(one), one)
    limit = budget / _tarone(list(unique.values()), budget, others)  # of a weight of 1
    kept = {name: one for name, one in unique.items() if one.smallest <= one.weight * limit}
    whole = max(1, sum(one.weight for one in kept.values()) + others)
    left, holm_threshold = whole, dict[str, float]()
    for name, one in sorted(kept.items(), key=lambda item: item[1].p_value / item[1].weight):
        holm_threshold[name] = one.weight * budget / left
        if one.p_value <= holm_threshold[name]:
            left = max(1, left - one.weight)
    out_of_reach = min(limit, budget / whole)
    return Thresholds(
        {one.key: holm_threshold.get(_identity(one), out_of_reach) for one in hypotheses},
        len(kept) + others,
        len(unique) - len(kept),
        budget / whole,
    )


def even_thresholds(hypotheses: Sequence[Hypothesis], share: float, examined: int) -> Thresholds:
    """Give every hypothesis the same threshold: in a shard, which knows only its own part of the run."""
    return Thresholds({one.key: share for one in hypotheses}, examined, 0, share)


def _identity(one: Hypothesis) -> str:
    return one.evidence or f"\0{one.key}"


def _tarone(tested: Sequence[Hypothesis], budget: float, others: int) -> float:
    """Return the smallest number of shares such that what can be rejected at one of them takes no more.

    With weights of 1 these are the whole numbers; a weight counts as that many.
    """
    reach = sorted((one.smallest / one.weight, one.weight) for one in tested)
    taken = [0.0, *accumulate(weight for _, weight in reach)]
    smallest = [value for value, _ in reach]
    for shares in range(1, int(taken[-1]) + others + 1):
        reachable = taken[bisect_right(smallest, budget / shares)] + others
        if reachable <= shares:
            return shares
    return max(1.0, taken[-1] + others)


def split(budget: float, timed: int, scored: bool = True) -> tuple[float, float]:
    """Divide a run's budget into that of the scores and that of the latencies.

    Args:
        timed: latency judgements.
        scored: whether any score is judged; otherwise the latencies have all of it.
    """
    latency = (LATENCY_PART if scored else 1.0) * budget if timed else 0.0
    return budget - latency, latency


def alarms(budget: float, scores: Thresholds, timed: int, scored: bool = True) -> FalseAlarms:
    """Describe the budget of a run for its report.

    Args:
        budget: of the whole run.
        timed: latency judgements.
        scored: whether any score is judged.
    """
    _, latency = split(budget, timed, scored)
    return FalseAlarms(
        budget=budget,
        judgements=scores.examined,
        share=scores.share,
        left_out=scores.left_out,
        latency=LatencyAlarms(judgements=timed, share=latency / timed) if timed else None,
    )
