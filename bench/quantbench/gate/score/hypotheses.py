"""Share one false-alarm budget over everything that chance may have moved in the scores of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """

    key: str
    p_value: float
    smallest: float = 0.0
    evidence: str = ""


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
    them out spends nothing. Equal evidence counts once. The others share by Holm's method (Holm 1979), which holds
    under any dependence.

    Args:
        others: hypotheses that are not known yet, and may need a share each.
    """
    unique: dict[str, Hypothesis] = {}
    for one in hypotheses:
        unique.setdefault(_identity(one), one)
    count = _tarone([one.smallest for one in unique.values()], budget, others)
    limit = budget / count
    kept = {name: one for name, one in unique.items() if one.smallest <= limit}
    rivals = max(1, len(kept) + others)
    holm_threshold: dict[str, float] = {}
    for name in sorted(kept, key=lambda name: kept[name].p_value):
        holm_threshold[name] = budget / rivals
        if kept[name].p_value <= holm_threshold[name]:
            rivals = max(1, rivals - 1)
    out_of_reach = min(limit, budget / max(1, len(kept) + others))
    return Thresholds(
        {one.key: holm_threshold.get(_identity(one), out_of_reach) for one in hypotheses},
        len(kept) + others,
        len(unique) - len(kept),
        budget / max(1, len(kept) + others),
    )


def even_thresholds(hypotheses: Sequence[Hypothesis], share: float, examined: int) -> Thresholds:
    """Give every hypothesis the same threshold: in a shard, which knows only its own part of the run."""
    return Thresholds({one.key: share for one in hypotheses}, examined, 0, share)


def _identity(one: Hypothesis) -> str:
    return one.evidence or f"\0{one.key}"


def _tarone(smallest: Sequence[float], budget: float, others: int) -> int:
    """Return the smallest k such that at most k hypotheses can be rejected at budget / k."""
    ordered = sorted(smallest)
    for k in range(1, len(ordered) + others + 1):
        reachable = sum(value <= budget / k for value in ordered) + others
        if reachable <= k:
            return k
    return max(1, len(ordered) + others)


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
