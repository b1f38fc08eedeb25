"""Judge latency beside the typical call: all calls, slow calls, first calls, waits, stalls, and slow processes.

The typical call is the lower quartile of undisturbed blocks, which repeats best and sees nothing of the slower three
quarters. Here nothing is left out; others on the machine slow down the reference in turns with the variant as much.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from quantbench.core.stats import binomial_tail, change_of, p_above, t_quantile, trimmed_mean
from quantbench.gate._common import Subject
from quantbench.gate._hosts import elsewhere, on_this_host, spread_of_hosts
from quantbench.gate._latency import BETWEEN_RUNS, SUSPICION, margin
from quantbench.gate._pooled import pooled
from quantbench.gate._sequential import spent
from quantbench.gate._stalls import LONGER_PROCESSES, STALL_TOLERANCE, StallTest, stall_words, tested
from quantbench.records import BaselineCell, BaselineValue, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import (
    CPU,
    FIRST_CALL,
    MEAN,
    OF_YARDSTICK,
    OFF_CORE,
    P90,
    RATIO,
    SLOW_PROCESSES,
    STALLS,
    shown,
)


class Rule(NamedTuple):
    """How a measurement is judged.

    Attributes:
        tolerance: largest growth that passes, as a fraction.
        between: how far two runs differ beyond the spread of their processes (sd, as a fraction).
        reason: of the tolerance.
    """

    tolerance: float
    between: float
    reason: str


_BETWEEN = "beyond it, the spread of fresh processes decides, and 1 % between runs"
RULES: Mapping[str, Rule] = {
    MEAN: Rule(0.05, 0.01, f"5 %: others on the machine are in the mean of all calls; {_BETWEEN}"),
    CPU: Rule(0.05, 0.01, f"5 %: as for the mean of all calls; {_BETWEEN}"),
    P90: Rule(0.10, 0.01, f"10 %: a quantile of a few hundred single calls; {_BETWEEN}"),
    FIRST_CALL: Rule(0.25, 0.02, "25 %: one call per process; beyond it, the spread of fresh processes decides"),
}
# Policy: the share of its time that a variant may wait longer than its reference in turns does.
OFF_CORE_TOLERANCE = 0.10
# Policy: a process is slow from 10 % on; where 5 % of them are, a user starts one every day.
SLOW_FROM, SLOW_SHARE = 0.10, 0.05
# Policy: a measurement whose 95 % interval is wider than this to each side cannot see what a user would.
RESOLUTION = 0.05
JUDGED = (*RULES, OFF_CORE, SLOW_PROCESSES, STALLS)
INDEPENDENT = (FIRST_CALL, OFF_CORE, STALLS)  # of the typical call
IN_TURNS_WITH = (OFF_CORE, STALLS)  # compared with the reference in turns, not with a stored value
Timed = Mapping[str, Measurement]
OF_TYPICAL = 0.5  # of a cell's share of the false-alarm budget: the other half is for all that is judged here


def beside_share(alpha: float) -> tuple[float, float]:
    """Split a cell's share of the budget: of its typical call, and of each measurement beside it (Bonferroni)."""
    return OF_TYPICAL * alpha, (1 - OF_TYPICAL) * alpha / len(JUDGED)


class _Test(NamedTuple):
    """One comparison: how much worse, its p-value for a change beyond the tolerance, and for any change."""

    change: float
    beyond: float
    any: float
    stalls: StallTest | None = None


class AcceptedLatency(NamedTuple):
    """What latencies are compared with on one machine class.

    Attributes:
        typical: of the typical call; None where nothing was accepted here.
        beside: by measurement.
        between_hosts: spread between hosts that counts (sd, as a fraction): they were accepted on another host.
    """

    typical: BaselineValue | None
    beside: Mapping[str, BaselineValue]
    between_hosts: float = 0.0


def accepted_beside(baseline: BaselineCell | None, machine: str, host: str = "") -> AcceptedLatency:
    """Return the accepted latencies of one machine class, as they count on a host."""
    if baseline is None:
        return AcceptedLatency(None, {})
    values = {name: values[machine] for name, values in baseline.by_machine.items() if machine in values}
    typical = baseline.latency.get(machine)
    far = [one for one in (typical, *values.values()) if one is not None and elsewhere(one, host)]
    between = spread_of_hosts(typical.hosts if typical is not None else None) if far else 0.0
    return AcceptedLatency(None if typical is None else on_this_host(typical, host)[0], values, between)


def unclear_beside(stages: Sequence[Timed], ratio: str, accepted: AcceptedLatency, alpha: float) -> bool:
    """Whether what is judged beside the typical call needs a further stage: one to confirm, and for stalls, which are
    few, one more.

    Args:
        stages: so far.
        ratio: name of the typical call's measurement.
        alpha: for each measurement, see :func:`beside_share`.
    """
    if len(stages) == 1:
        return any(_suspicious(name, stages[0], ratio, accepted, first=True) for name in JUDGED)
    test = _test(STALLS, reduce(pooled, stages), ratio, accepted)
    return len(stages) == 2 and test is not None and _suspect(STALLS, test) and test.beyond > spent(alpha)[1]


def longer_processes(first: Timed, ratio: str, accepted: AcceptedLatency) -> int:
    """Return how many times as long each process after the first stage times as one of it: longer where that suspects
    stalls, or some were accepted.

    A cell is only red by stalls where its first stage suspects them, so all of its looks are at one design, and the
    levels that they share hold.
    """
    stalling = STALLS in accepted.beside or _suspicious(STALLS, first, ratio, accepted, first=True)
    return LONGER_PROCESSES if stalling else 1


def slower_beside(name: str, measured: Mapping[str, Measurement], ratio: str, accepted: AcceptedLatency) -> bool:
    """Whether one of the measurements beside the typical call is worse beyond its tolerance and chance (5 %)."""
    return _suspicious(name, measured, ratio, accepted)


def latency_beside(
    subject: Subject,
    stages: Sequence[Timed],
    ratio: str,
    accepted: AcceptedLatency,
    alpha: float,
    typical_is_red: bool = False,
) -> list[Judgement]:
    """Judge everything beside the typical call; only what is worse, or cannot be judged, gets a judgement.

    Red needs two measurements, each beyond the tolerance, and both pooled beyond it at ``alpha``, as for the typical
    call (:func:`quantbench.gate.latency`); a warning, both pooled at 5 % shared by all that is judged here. Stalls are
    judged by all stages, which share their level as those of the typical call do.

    Args:
        stages: the first measurement, and fresh ones where something was suspicious.
        ratio: name of the typical call's measurement.
        alpha: for each measurement, see :func:`beside_share`.
        typical_is_red: what follows from a slower typical call is not repeated then.
    """
    two = stages[:2]  # how many stages follow depends on the typical call and on stalls alone
    both = reduce(pooled, two)
    names = INDEPENDENT if typical_is_red else JUDGED
    judged = [
        _judged(subject, name, stages, ratio, accepted, spent(alpha)[len(stages) - 1])
        if name == STALLS
        else _judged(subject, name, two, ratio, accepted, alpha)
        for name in names
    ]
    found = [judgement for judgement in judged if judgement is not None]
    typical = both.get(ratio)
    if typical is None or typical.values is None:
        return found
    return [*found, *_two_groups(subject, ratio, typical.values, found), *_coarse(subject, ratio, typical.values)]


def slower_than_yardstick(
    judged: list[Judgement],
    measured: Mapping[str, Measurement],
    again: Mapping[str, Measurement] | None,
    accepted: AcceptedLatency,
) -> list[Judgement]:
    """Weaken a red ratio to float32 to a warning where the variant is no slower than accepted against the yardstick.

    A float32 that got faster turns the ratios of all its variants red, although none of them is slower.
    """
    known, both = accepted.beside.get(OF_YARDSTICK), measured if again is None else pooled(measured, again)
    taken = both.get(OF_YARDSTICK)
    if known is None or not known.values or taken is None or not taken.values:
        return judged
    change = change_of(trimmed_mean(taken.values), trimmed_mean(known.values), BETWEEN_RUNS)
    if change.change > margin(known.tolerance) and change.p_above() <= SUSPICION:
        return judged
    words = f"; {100 * change.change:+.1f} % against the reference workload: float32 got faster, this variant no slower"
    return [
        one.model_copy(update={"verdict": Verdict.WARN, "message": one.message + words})
        if one.verdict is Verdict.REGRESSED and one.measurement == RATIO
        else one
        for one in judged
    ]


def _test(name: str, measured: Mapping[str, Measurement], ratio: str, accepted: AcceptedLatency) -> _Test | None:
    """Compare one measurement; None where it was not measured, or is judged by a baseline that holds none."""
    if accepted.typical is None:
        return None  # the cell has no share of the budget here
    if name == SLOW_PROCESSES:
        return _slow(measured.get(ratio), accepted.typical, accepted.between_hosts)
    taken = measured.get(name)
    if taken is None or not taken.values or len(taken.values) < 2:
        return None
    if name == OFF_CORE:
        return _waits(taken.values)
    known = accepted.beside.get(name)
    if name == STALLS:
        found = tested(taken, ratio, known)
        return None if found is None else _Test(found.change, found.beyond, found.any, found)
    if known is None or not known.values:
        return None
    between = math.hypot(RULES[name].between, accepted.between_hosts)
    change = change_of(trimmed_mean(taken.values), trimmed_mean(known.values), between)
    beyond = p_above(change.change - known.tolerance, change.error, change.degrees)
    return _Test(change.change, beyond, change.p_above())


def _waits(excess: list[float]) -> _Test:
    """Test the share of time off the core beyond that of the reference in turns (Yuen 1974, one sample).

    Where nothing is wrong, both are slowed down by the same others, and the difference is symmetric around zero.
    """
    location = trimmed_mean(excess)
    error, degrees = location.error, location.degrees
    beyond = p_above(location.mean - OFF_CORE_TOLERANCE, error, degrees)
    return _Test(location.mean, beyond, p_above(location.mean, error, degrees))


def _slow(ratio: Measurement | None, accepted: BaselineValue | None, between_hosts: float) -> _Test | None:
    """Test the share of processes slower than accepted by :data:`SLOW_FROM`: an exact binomial test against
    :data:`SLOW_SHARE`, or the share that was accepted.

    On another host all processes may be slower together, by four standard deviations of what two hosts differ by at
    most.
    """
    if ratio is None or not ratio.values or accepted is None or not accepted.values:
        return None
    limit = (1 + SLOW_FROM + 4 * math.sqrt(2) * between_hosts) * accepted.value
    slow, n = sum(value > limit for value in ratio.values), len(ratio.values)
    before = sum(value > limit for value in accepted.values) / len(accepted.values)
    p_value = binomial_tail(slow, n, max(SLOW_SHARE, before)) if slow else 1.0
    return _Test(slow / n, p_value, p_value)


def stalls_to_accept(measured: Measurement, ratio: str) -> bool:
    """Whether an update has to accept stalls: they are beyond the tolerance and beyond chance, as for a warning."""
    test = tested(measured, ratio, None)
    return test is not None and test.change > STALL_TOLERANCE and test.any <= SUSPICION / len(JUDGED)


def _suspicious(name: str, measured: Timed, ratio: str, accepted: AcceptedLatency, first: bool = False) -> bool:
    test = _test(name, measured, ratio, accepted)
    return test is not None and _suspect(name, test, first)


def _suspect(name: str, test: _Test, first: bool = False) -> bool:
    if test.change <= _tolerance(name):
        return False
    return test.any <= SUSPICION or (first and test.stalls is not None and test.stalls.alone)


def _tolerance(name: str) -> float:
    others = {SLOW_PROCESSES: SLOW_SHARE, OFF_CORE: OFF_CORE_TOLERANCE, STALLS: STALL_TOLERANCE}
    return others[name] if name in others else RULES[name].tolerance


def _judged(
    subject: Subject, name: str, stages: Sequence[Timed], ratio: str, accepted: AcceptedLatency, alpha: float
) -> Judgement | None:
    both = reduce(pooled, stages)
    first, test = _test(name, stages[0], ratio, accepted), _test(name, both, ratio, accepted)
    if first is None or test is None or not _suspect(name, first, first=True):
        return None
    verdict = Verdict.WARN
    if len(stages) > 1:
        if not _suspicious(name, reduce(pooled, stages[1:]), ratio, accepted):
            return None
        if test.beyond > alpha and (test.any > SUSPICION / len(JUDGED) or not _suspect(name, test)):
            return None
        verdict = Verdict.REGRESSED if test.beyond <= alpha else Verdict.WARN
    known = accepted.typical if name == SLOW_PROCESSES else accepted.beside.get(name)
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="control" if name in IN_TURNS_WITH else "baseline",
        verdict=verdict,
        value=both[name].value if name in both else test.change,
        reference=known.value if known else None,
        unit=both[name].unit if name in both else "fraction",
        change=test.change,
        tolerance=_tolerance(name),
        p_value=test.beyond,
        measured=len(stages),
        message=_words(name, test, both, ratio, known, alpha),
        actions=subject.repeats(),
    )


def _words(
    name: str,
    test: _Test,
    both: Mapping[str, Measurement],
    ratio: str,
    known: BaselineValue | None,
    alpha: float,
) -> str:
    rest = f"p = {test.beyond:.2g}, fails below {alpha:.2g}"
    if name == SLOW_PROCESSES:
        n = len(both[ratio].values or [])
        return (
            f"{round(test.change * n)} of {n} processes are more than {100 * SLOW_FROM:g} % slower than the accepted "
            f"{shown(ratio)} ({rest}; up to {100 * SLOW_SHARE:g} % may be)"
        )
    if test.stalls is not None:
        processes = both[STALLS].n
        return f"{stall_words(test.stalls, processes, known)} ({rest} for more than {100 * STALL_TOLERANCE:g} %)"
    if name == OFF_CORE:
        return (
            f"spends {100 * test.change:.1f} % more of its time waiting off the CPU than the reference timed in turns "
            f"with it ({rest} for more than {100 * OFF_CORE_TOLERANCE:g} %)"
        )
    assert known is not None
    value = known.value * (1 + test.change)
    return (
        f"{shown(name)} {value:.3f}, baseline {known.value:.3f} ({100 * test.change:+.1f} %; {rest} for more than "
        f"{100 * known.tolerance:g} %)"
    )


def _warning(subject: Subject, name: str, value: float, tolerance: float, words: str) -> Judgement:
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="nothing",
        verdict=Verdict.WARN,
        value=value,
        unit="fraction",
        tolerance=tolerance,
        message=words,
        actions=[subject.again("measure again")],
    )


def _two_groups(subject: Subject, ratio: str, values: list[float], found: list[Judgement]) -> list[Judgement]:
    """Warn where more processes than :data:`SLOW_SHARE` are slower than the faster quarter by :data:`SLOW_FROM`."""
    if any(judgement.measurement == SLOW_PROCESSES for judgement in found):
        return []
    ordered = sorted(values)
    limit = (1 + SLOW_FROM) * ordered[len(ordered) // 4]
    slow, n = sum(value > limit for value in values), len(values)
    if not slow or binomial_tail(slow, n, SLOW_SHARE) > SUSPICION:
        return []
    words = (
        f"{shown(ratio)}: {slow} of {n} processes are more than {100 * SLOW_FROM:g} % slower than the fastest quarter; "
        "one typical value does not describe them all"
    )
    return [_warning(subject, "groups_of_processes", slow / n, SLOW_SHARE, words)]


def _coarse(subject: Subject, ratio: str, values: list[float]) -> list[Judgement]:
    """Warn where the typical call is known worse than to :data:`RESOLUTION`."""
    location = trimmed_mean(values)
    if not math.isfinite(location.error):
        return []
    half = t_quantile(0.025, location.degrees) * location.error / location.mean
    if half <= RESOLUTION:
        return []
    words = (
        f"{shown(ratio)} is known to ± {100 * half:.1f} % only (95 % CI), so smaller changes go unnoticed; use a "
        "quieter "
        "machine or a larger --latency-budget"
    )
    return [_warning(subject, "resolution", half, RESOLUTION, words)]
