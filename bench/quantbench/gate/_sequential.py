"""Decide after each stage of timing whether a latency is clearly fine, clearly slow, or needs more processes.

Looking several times at growing data raises false alarms, unless the looks share their level: each look gets its part
of it by a spending function (Lan & DeMets 1983; the power family of Kim & DeMets 1987), and the parts add up to the
whole. That holds however the looks depend on each other, so it needs no model of the noise beyond that of one look.
It costs little power: seven eighths of the level are left for the last look.

A stop because it is clearly fine may come at any look: it can only lower false alarms. It comes where the predictive
probability of red at the last look is small (Spiegelhalter, Freedman & Blackburn 1986; Jennison & Turnbull 2000,
section 10.3): from what was seen, and from what further processes can still change; or where the processes after the
first stage, alone, are not slower. The noise that all processes of a
run share, and the baseline's, are in the error of each look and not in what can change, so that a cell is not timed
longer where more processes cannot decide it.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from quantbench.core.stats import Change, Location, change_of, p_above, trimmed_mean
from quantbench.gate._common import Subject
from quantbench.gate._hosts import on_this_host
from quantbench.gate._latency import MARGIN, SUSPICION, between_runs, by_baseline, latency, margin, suspicious
from quantbench.gate._pooled import pooled
from quantbench.records import BaselineCell, BaselineValue, Judgement, Measurement, Verdict

# Processes after each stage, in units of the first: four times as many at most.
STAGES = (1, 2, 4)
# Kim & DeMets' exponent: 3 is close to O'Brien & Fleming's boundary.
RHO = 3
# Stop where red at the last look is less likely. By simulation, no less of 1 % is caught than without any stop.
HOPELESS = 0.05


class Step(StrEnum):
    """What to do after a look."""

    SLOW = "slow"
    FINE = "fine"
    MORE = "more"


class Base(NamedTuple):
    """What ratios are compared with.

    Attributes:
        between: spread of two such ratios beyond that of their processes (sd, as a fraction): what all processes of a
            run share. More processes do not reduce it.
    """

    location: Location
    between: float


# An artifact timed in turns with the accepted one, in one process: the ratio is 1 where nothing changed, and whatever
# all processes of a run share is in both.
IN_TURNS = Base(Location(1.0, 0.0, 1), 0.0)


class Look(NamedTuple):
    """The data so far, compared.

    Attributes:
        p_value: of a change beyond the margin, by all processes.
        alpha: p-value at which this look is red.
        confirming: the same of the processes after the first stage alone; of all where there are no others.
        detectable: smallest change that is red at the last look in four of five runs.
    """

    step: Step
    change: Change
    p_value: float
    alpha: float
    confirming: Change
    detectable: float

    def slower(self, beyond: float) -> bool:
        """Check whether all processes, and those after the first stage alone, look slower than this at 5 %."""
        both = (self.change, self.confirming)
        return all(one.change > beyond and one.p_above() <= SUSPICION for one in both)


def spent(alpha: float) -> tuple[float, ...]:
    """Divide a level over the looks; the first look is never red, as a second measurement has to confirm it."""
    cumulated = [0.0, *(alpha * (stage / STAGES[-1]) ** RHO for stage in STAGES[1:])]
    return (0.0, *(after - before for before, after in pairwise(cumulated)))


def against(accepted: BaselineValue, threads: int, host: str) -> Base:
    """Return what ratios of this host are compared with, by a baseline of its machine class."""
    known, between_hosts = on_this_host(accepted, host)
    assert known.values is not None
    return Base(trimmed_mean(known.values), math.hypot(between_runs(threads), between_hosts))


def next_stage(done: int) -> int:
    """Return how many processes the next stage gets, in units of the first."""
    return STAGES[done] - (STAGES[done - 1] if done else 0)


def look(stages: Sequence[Sequence[float]], base: Base, alpha: float, no_regression: float = MARGIN) -> Look:
    """Look at what was measured so far.

    Args:
        stages: ratios, one per process, of each stage so far; the sizes follow :data:`STAGES`.
        alpha: for all looks together.
        no_regression: see :func:`margin`.
    """
    levels = spent(alpha)
    done, values = len(stages), [value for stage in stages for value in stage]
    now = trimmed_mean(values)
    change = _compare(now, base)
    p_value = p_above(change.change - no_regression, change.error, change.degrees)
    fresh = [value for stage in stages[1:] for value in stage]
    confirming = _compare(trimmed_mean(fresh), base) if fresh else change
    last = _at_the_end(now, len(values), STAGES[-1] / STAGES[done - 1])
    at_end = _compare(last, base)
    needed = no_regression + at_end.quantile(levels[-1])
    found = Look(Step.MORE, change, p_value, levels[done - 1], confirming, needed + at_end.quantile(0.2))
    if found.alpha and p_value <= found.alpha and found.slower(no_regression):
        return found._replace(step=Step.SLOW)
    if done == len(STAGES) or confirming.change <= no_regression:
        return found._replace(step=Step.FINE)
    can_change = math.sqrt(max(0.0, now.error**2 - last.error**2)) / base.location.mean
    hopeless = p_above(needed - change.change, can_change, now.degrees) < HOPELESS
    return found._replace(step=Step.FINE) if hopeless else found


def _compare(new: Location, base: Base) -> Change:
    """Compare by Welch's test, where the noise between runs is known and has no degrees of freedom to lose
    (Satterthwaite 1946).
    """
    change = change_of(new, base.location, base.between)
    seen = change.error**2 - 2 * base.between**2
    if not (math.isfinite(change.error) and seen > 0):
        return change
    return Change(change.change, change.error, change.degrees * (change.error**2 / seen) ** 2)


def _at_the_end(now: Location, n: int, times: float) -> Location:
    """Return how well a location will be known from ``times`` as many processes."""
    kept = round(n * times) - 2 * int(0.2 * n * times)
    return Location(now.mean, now.error / math.sqrt(times), kept - 1)


def latency_in_stages(
    subject: Subject,
    name: str,
    stages: Sequence[Measurement],
    baseline: BaselineCell | None,
    machine: str,
    alpha: float,
    threads: int = 1,
    host: str = "",
) -> tuple[Judgement, bool]:
    """Judge a latency ratio against the baseline of this machine class, by all stages so far.

    With several threads runs differ so much that more processes decide nothing: a suspicion is confirmed once, see
    :func:`quantbench.gate._latency.latency`.

    Args:
        name: of the typical call's measurement.
        alpha: for all looks together.

    Returns:
        the judgement, and whether it needs a further stage before it holds.
    """
    accepted = baseline.latency.get(machine) if baseline else None
    if accepted is None or threads > 1:
        second = stages[1] if len(stages) > 1 else None
        judged = latency(subject, name, stages[0], baseline, machine, alpha, second, threads, host)
        return judged, accepted is not None and second is None and suspicious(stages[0], accepted, threads, host)
    none = margin(accepted.tolerance)
    found = look([stage.values or [] for stage in stages], against(accepted, threads, host), alpha, none)
    verdict = verdict_of(found, len(stages), accepted.tolerance, alpha)
    judged = by_baseline(
        subject,
        name,
        found.change,
        accepted,
        verdict,
        host,
        p_value=found.p_value,
        detectable=found.detectable,
        measured=len(stages),
        limits=limits_in_words(found, accepted.tolerance, stages),
    )
    return judged, found.step is Step.MORE


def verdict_of(found: Look, done: int, tolerance: float, alpha: float) -> Verdict:
    """Return what a look says of a latency after so many stages; what is not decided yet is a warning."""
    if found.step is Step.SLOW:
        return Verdict.REGRESSED
    if found.step is Step.MORE or found.slower(tolerance):
        return Verdict.WARN
    return Verdict.IMPROVED if done == 1 and _faster(found.change, tolerance) <= alpha else Verdict.PASS


def limits_in_words(found: Look, tolerance: float, stages: Sequence[Measurement]) -> str:
    """Tell the p-value of a look, where it fails, and how much was measured."""
    fails = f", fails below {found.alpha:.2g}" if found.alpha else ""
    processes = sum(len(stage.values or []) for stage in stages)
    again = f"; measured {len(stages)} times, {processes} processes" if len(stages) > 1 else ""
    return f"p = {found.p_value:.2g} for more than {100 * margin(tolerance):g} %{fails}{again}"


def stages_of(measured: Measurement, count: int) -> list[Measurement]:
    """Divide what a report holds of ``count`` stages, whose processes follow each other, into the stages."""
    values = measured.values or []
    first = len(values) / STAGES[count - 1]
    ends = [0, *(round(first * stage) for stage in STAGES[:count])]
    return [measured.model_copy(update={"values": values[a:b]}) for a, b in pairwise(ends)]


def after_the_first(stages: Sequence[Mapping[str, Measurement]]) -> Mapping[str, Measurement] | None:
    """Pool the measurements of all stages but the first; None where there is one only."""
    return reduce(pooled, stages[1:]) if len(stages) > 1 else None


def _faster(change: Change, tolerance: float) -> float:
    return p_above(-change.change - tolerance, change.error, change.degrees)
