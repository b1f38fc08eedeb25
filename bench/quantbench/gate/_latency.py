"""Judge latency ratios with several threads, and what all judges of latency share.

Red needs two measurements: a first one raises a suspicion at a lenient level, a fresh second one must raise it too, and
both pooled must exceed what the run's false-alarm budget leaves to chance.
"""

import math

from quantbench.core.stats import Change, change_of, p_above, t_quantile, trimmed_mean
from quantbench.gate._common import Subject
from quantbench.gate._hosts import on_this_host, words
from quantbench.records import (
    SEVERAL_AT_WORK,
    Action,
    BaselineCell,
    BaselineValue,
    Judgement,
    Kind,
    Measurement,
    Verdict,
)
from quantbench.records.measurements import shown

SUSPICION = 0.05
# How far two runs on one machine differ beyond the spread of their processes, due to load and clock rate.
# Measured: series of one artifact, idle and loaded, were 0.13 % apart (sd; the control to the yardstick 0.12 %).
BETWEEN_RUNS = 0.0015
# The same with several threads, where no block shows whether other processes took a core: four models, three runs
# each on two loaded cores, were 5.5 % apart (pooled sd; the control to the yardstick too), seed_cnn 0.8 % and
# mobilenet_v2 10 %.
BETWEEN_RUNS_SEVERAL = 0.055
# Threads at work with one thread: 1.000 ± .005; one more that spins makes it 2, or 1.5 where a core is shared.
SPINNING = 1.25
LATENCY_TOLERANCE = 0.01
LATENCY_TOLERANCE_REASON = "1 %: a slowdown that matters; red where more than 0.25 % is beyond the noise"
# What is tested is a change beyond this, so that one of LATENCY_TOLERANCE is caught. Series of one artifact, idle and
# loaded, were 0.13 % apart (sd): less than twice that is no change of the artifact.
MARGIN = 0.0025


def margin(tolerance: float) -> float:
    """Return the change that is no regression: :data:`MARGIN`, or a tolerance that was loosened on purpose."""
    return MARGIN if tolerance <= LATENCY_TOLERANCE else tolerance


def between_runs(threads: int) -> float:
    """Return how far two runs on one machine differ beyond the spread of their processes (sd, as a fraction).

    The judges and the comparison of two runs share it.
    """
    return BETWEEN_RUNS if threads == 1 else BETWEEN_RUNS_SEVERAL


def latency(
    subject: Subject,
    name: str,
    ratio: Measurement,
    baseline: BaselineCell | None,
    machine: str,
    alpha: float,
    again: Measurement | None = None,
    threads: int = 1,
    host: str = "",
) -> Judgement:
    """Judge a latency ratio against the baseline of this machine class.

    Args:
        name: ``latency_ratio`` (variant to float control) or ``control_to_yardstick`` (the control itself).
        again: the second, fresh measurement; without it a suspicion is a warning and nothing is red.
        threads: number of threads of the kernels; with several, runs differ more.
        host: that measured; where another one of its class was accepted, hosts differ too. Empty where unknown.
    """
    accepted = baseline.latency.get(machine) if baseline else None
    if accepted is None:
        return Judgement(
            kind=Kind.LATENCY,
            measurement=name,
            against="nothing",
            verdict=Verdict.UNJUDGED,
            value=ratio.value,
            unit=ratio.unit,
            message=(
                f"{shown(name)} {ratio.value:.3f}; not gated: no latency baseline for this machine profile ({machine})"
            ),
        )
    first = _against(ratio, accepted, threads, host)
    judged = first
    if again is not None:
        second = _against(again, accepted, threads, host)
        both = Measurement(value=0.0, unit="", n=1, values=[*(ratio.values or []), *(again.values or [])])
        judged = _against(both, accepted, threads, host)
        verdict = _confirmed(first, second, judged, accepted, alpha)
    elif suspicious(ratio, accepted, threads, host):
        verdict = Verdict.WARN
    else:
        faster = _beyond(first, accepted, better=True) <= alpha
        verdict = Verdict.IMPROVED if faster else Verdict.PASS
    p_value, twice = _beyond(judged, accepted), "" if again is None else "; measured twice"
    return by_baseline(
        subject,
        name,
        judged,
        accepted,
        verdict,
        host,
        p_value=p_value,
        detectable=accepted.tolerance + judged.quantile(alpha),
        measured=1 if again is None else 2,
        limits=f"p = {p_value:.2g} for more than {100 * accepted.tolerance:g} %, fails below {alpha:.2g}{twice}",
    )


def threads(asked: int, at_work: Measurement) -> Judgement | None:
    """Judge as an error where several threads were requested and a single one did all the work, and as red where one
    was requested and more were at work; None otherwise.

    A model that cannot be split uses one thread too: the caller checks whether the runtime split any other model.
    """
    if asked == 1 and at_work.value >= SPINNING:
        return Judgement(
            kind=Kind.LATENCY,
            measurement="threads_at_work",
            against="nothing",
            verdict=Verdict.REGRESSED,
            value=at_work.value,
            reference=1.0,
            unit=at_work.unit,
            message=f"1 thread was requested, but {at_work.value:.2f} were busy on float32: another thread spins",
            actions=[Action(what="look for a runtime thread that works or busy-waits between calls")],
        )
    if asked == 1 or at_work.value >= SEVERAL_AT_WORK:
        return None
    return Judgement(
        kind=Kind.LATENCY,
        measurement="threads_at_work",
        against="nothing",
        verdict=Verdict.ERROR,
        value=at_work.value,
        reference=float(asked),
        unit=at_work.unit,
        message=f"{asked} threads were requested, but one did all the work ({at_work.value:.3f} busy)",
        actions=[
            Action(
                what="the runtime ignores the number of threads (it split no other model of this run either): check "
                "how it was built and started, or time a larger model too"
            )
        ],
    )


def suspicious(ratio: Measurement, accepted: BaselineValue, threads: int = 1, host: str = "") -> bool:
    """Check whether a measurement needs a second one."""
    change = _against(ratio, accepted, threads, host)
    return change.change > accepted.tolerance and change.p_above() <= SUSPICION


def _confirmed(first: Change, second: Change, both: Change, accepted: BaselineValue, alpha: float) -> Verdict:
    slower = all(change.change > accepted.tolerance and change.p_above() <= SUSPICION for change in (first, second))
    if slower and _beyond(both, accepted) <= alpha:
        return Verdict.REGRESSED
    return Verdict.WARN if slower else Verdict.PASS


def interval(change: Change) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a change; None where nothing bounds it."""
    half = t_quantile(0.025, change.degrees) * change.error
    return (change.change - half, change.change + half) if math.isfinite(half) else (None, None)


def _beyond(change: Change, accepted: BaselineValue, better: bool = False) -> float:
    """Return the p-value of a change beyond the tolerance, which is the smallest effect that matters.

    The hypothesis is a change of just the tolerance, not of none: a true one below it is seldom red, however well it is
    measured (Wellek 2010, Testing Statistical Hypotheses of Equivalence and Noninferiority, section 1.5).
    """
    worse = -change.change if better else change.change
    return p_above(worse - accepted.tolerance, change.error, change.degrees)


def _against(ratio: Measurement, accepted: BaselineValue, threads: int, host: str) -> Change:
    known, between_hosts = on_this_host(accepted, host)
    assert ratio.values is not None
    assert known.values is not None
    between = math.hypot(between_runs(threads), between_hosts)
    return change_of(trimmed_mean(ratio.values), trimmed_mean(known.values), between)


def by_baseline(
    subject: Subject,
    name: str,
    change: Change,
    accepted: BaselineValue,
    verdict: Verdict,
    host: str,
    *,
    p_value: float,
    detectable: float,
    measured: int,
    limits: str,
) -> Judgement:
    """Tell what a change from the baseline of this machine class was judged to be.

    Args:
        limits: in words: the p-value, where it fails, and how much was measured.
    """
    known, between_hosts = on_this_host(accepted, host)
    value = known.value * (1 + change.change)
    message = (
        f"{shown(name)} {value:.3f}, baseline {known.value:.3f} ({100 * change.change:+.1f} % ± "
        f"{100 * change.error:.1f} % standard error; {limits})"
    )
    low, high = interval(change)
    actions = subject.repeats()
    if between_hosts and verdict is not Verdict.PASS:  # a run says once that its hosts are others
        message += words(accepted, host)
        actions = [Action(what="time the accepted commit on this host too and compare the two runs"), *actions]
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=value,
        reference=known.value,
        unit="ratio",
        change=change.change,
        tolerance=accepted.tolerance,
        p_value=p_value,
        detectable=detectable,
        low=low,
        high=high,
        measured=measured,
        message=message,
        actions=[] if verdict is Verdict.PASS else actions,
    )
