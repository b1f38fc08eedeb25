"""Judge a latency against the accepted artifact, timed in turns with it on this machine.

Both sides of such a timing meet the same machine, the same load and the same clock rate. So it needs no baseline of
the machine, and it tells a slower artifact from a slower machine. The typical call is timed in stages
(:mod:`quantbench.gate._sequential`), like one that has a baseline, and against a ratio that is known exactly. What is
red by a baseline stays red unless it is clearly fine in turns.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

from quantbench.core.stats import Change, change_of, trimmed_mean
from quantbench.gate._common import Subject
from quantbench.gate._latency import (
    LATENCY_TOLERANCE,
    LATENCY_TOLERANCE_REASON,
    between_runs,
    interval,
    margin,
)
from quantbench.gate._latency_beside import (
    RULES,
    AcceptedLatency,
    beside_share,
    latency_beside,
    longer_processes,
    slower_beside,
    unclear_beside,
)
from quantbench.gate._pooled import pooled
from quantbench.gate._sequential import IN_TURNS, STAGES, Look, Step, limits_in_words, look, verdict_of
from quantbench.records import Accepted, BaselineValue, InTurns, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import RATIO, SLOW_PROCESSES, TO_YARDSTICK, shown, threads_in

Timed = Mapping[str, Measurement]


def _one(tolerance: float, reason: str) -> BaselineValue:
    """The ratio of the accepted artifact to itself, which is known exactly."""
    return BaselineValue(
        value=1.0,
        unit="ratio to the accepted artifact",
        n=1,
        noise=0.0,
        noise_from="by definition",
        values=[1.0, 1.0],
        tolerance=tolerance,
        tolerance_from=reason,
        accepted=Accepted(date="", reason="the accepted artifact", run="", environment=""),
    )


_TYPICAL = _one(LATENCY_TOLERANCE, LATENCY_TOLERANCE_REASON)
_ACCEPTED = AcceptedLatency(_TYPICAL, {name: _one(rule.tolerance, rule.reason) for name, rule in RULES.items()})


def _looked(
    turns: InTurns, stages: Sequence[Timed], alpha: float, threads: int = 1, tolerance: float = LATENCY_TOLERANCE
) -> Look:
    """Look at the typical call, by all stages so far.

    In one process, both artifacts meet all that a run shares. Two runtimes run in two, and several threads are held up
    by others on the machine: there, what two runs differ by counts.
    """
    exact = threads == 1 and turns.accepted_runtime == turns.runtime
    base = IN_TURNS if exact else IN_TURNS._replace(between=between_runs(threads))
    return look([stage[RATIO].values or [] for stage in stages], base, alpha, margin(tolerance))


def unclear_in_turns(turns: InTurns, stages: Sequence[Timed], alpha: float) -> bool:
    """Check whether a cell without a baseline needs a further stage before it is judged.

    Args:
        alpha: the cell's share of the false-alarm budget.
    """
    of_typical, of_others = beside_share(alpha)
    step = _looked(turns, stages, of_typical).step
    return step is Step.MORE or (step is not Step.SLOW and unclear_beside(stages, RATIO, _ACCEPTED, of_others))


def longer_in_turns(first: Timed) -> int:
    """Return how many times as long each process after the first stage times, see :func:`longer_processes`."""
    return longer_processes(first, RATIO, _ACCEPTED)


def judged_in_turns(
    subject: Subject,
    name: str,
    ratio: Measurement,
    machine: str,
    turns: InTurns,
    stages: Sequence[Timed],
    alpha: float,
) -> list[Judgement]:
    """Judge a latency without a baseline of this machine class by its time in turns with the accepted artifact.

    Args:
        name: of the judged measurement.
        ratio: that measurement, which is shown.
        turns: what is accepted, and what kept it from being timed.
        stages: ratios to the accepted artifact by measurement, of each stage; none where it was not timed.
        alpha: the cell's share of the false-alarm budget.
    """
    none = f"{shown(name)} {ratio.value:.3f}; no latency baseline for this machine profile ({machine})"
    base = Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="accepted artifact",
        verdict=Verdict.PASS,
        value=ratio.value,
        unit=ratio.unit,
        turns=turns,
        message=f"{none}: same artifact, same runtime as accepted",
    )
    if turns.same:
        return [base]
    if not stages:
        message = f"{none}; not gated: {lacking_words(turns)}"
        return [base.model_copy(update={"against": "nothing", "verdict": Verdict.UNJUDGED, "message": message})]
    of_typical, of_others = beside_share(alpha)
    found = _looked(turns, stages, of_typical)
    told = _told_of(turns, stages, RATIO, found.change)
    limits = limits_in_words(found, LATENCY_TOLERANCE, [stage[RATIO] for stage in stages])
    left = f"; not decided: {lacking_words(turns)}" if found.step is Step.MORE and turns.lacking else ""
    verdict = verdict_of(found, len(stages), LATENCY_TOLERANCE, of_typical)
    update = {
        "verdict": verdict,
        "change": told.change,
        "tolerance": LATENCY_TOLERANCE,
        "p_value": found.p_value,
        "detectable": found.detectable,
        "low": told.low,
        "high": told.high,
        "measured": len(stages),
        "turns": told,
        "message": f"{none}; {in_words(told)} ({limits}){left}",
        "actions": [] if verdict is Verdict.PASS else subject.repeats(),
    }
    others = latency_beside(subject, stages, RATIO, _ACCEPTED, of_others, verdict is Verdict.REGRESSED)
    return [
        base.model_copy(update=update),
        *(_beside(one, turns, of_others) for one in others if one.against != "nothing"),
    ]


def _beside(one: Judgement, turns: InTurns, alpha: float) -> Judgement:
    if one.against == "control" or one.change is None:  # of waits and stalls, which have words of their own
        return one.model_copy(update={"turns": turns, "against": "accepted artifact"})
    what = (
        f"{100 * one.change:.0f} % of the processes are slow"
        if one.measurement == SLOW_PROCESSES
        else (f"{shown(one.measurement)} {100 * one.change:+.1f} %")
    )
    message = f"in turns with the accepted artifact: {what} ({_limits(one, alpha)})"
    return one.model_copy(
        update={"turns": turns, "against": "accepted artifact", "reference": None, "message": message}
    )


def _limits(one: Judgement, alpha: float) -> str:
    twice = "; measured twice" if one.measured == 2 else ""
    return f"p = {one.p_value:.2g} for more than {100 * (one.tolerance or 0.0):g} %, fails below {alpha:.2g}{twice}"


# ---------------------------------------------------------------- what a baseline calls slower


def red_by_baseline(judged: Sequence[Judgement]) -> bool:
    """Check whether any latency is red by what was stored of another run."""
    return any(_is_red(one) for one in judged)


def unconfirmed(judged: Sequence[Judgement], turns: InTurns, stages: Sequence[Timed], alpha: float) -> bool:
    """Check whether what is red by a baseline needs a further stage in turns before :func:`confirmed` can decide.

    Args:
        alpha: the p-value at which the typical call is red.
    """
    reds = [one for one in judged if _is_red(one)]
    typical = [one for one in reds if _is_typical(one)]
    if len(stages) < len(STAGES) and any(_is_slower(one, _asked(one, turns, stages, alpha)) is None for one in typical):
        return True
    others = [one.measurement for one in reds if not _is_typical(one)]
    return len(stages) == 1 and any(slower_beside(name, stages[0], RATIO, _ACCEPTED) for name in others)


def confirmed(judged: Sequence[Judgement], turns: InTurns, stages: Sequence[Timed], alpha: float) -> list[Judgement]:
    """Keep red by a baseline unless it is clearly fine in turns with the accepted artifact: the rest is a warning.

    What turns leave open stays red, as does what could not be timed. Where artifact, runtime and our own code are the
    accepted ones, nothing of them can have become slower.

    Args:
        stages: ratios to the accepted artifact by measurement, of each stage; none where it was not timed.
        alpha: the p-value at which the typical call is red.
    """
    return [_confirmed(one, turns, stages, alpha) if _is_red(one) else one for one in judged]


def _is_red(one: Judgement) -> bool:
    return one.kind is Kind.LATENCY and one.verdict is Verdict.REGRESSED and one.against == "baseline"


def _asked(one: Judgement, turns: InTurns, stages: Sequence[Timed], alpha: float) -> Look:
    """Look at a typical call that is red by a baseline, with its threads and its tolerance."""
    return _looked(turns, stages, alpha, threads_in(one.measurement), one.tolerance or LATENCY_TOLERANCE)


def _is_slower(one: Judgement, found: Look) -> bool | None:
    """Return whether what is red by a baseline is slower in turns; None where that is open.

    It is not where the look is fine, and what the baseline saw (or a slowdown that matters) is outside of its interval.
    """
    tolerance, high = one.tolerance or LATENCY_TOLERANCE, interval(found.change)[1]
    if found.step is Step.SLOW:
        return True
    fine = found.step is Step.FINE and not found.slower(tolerance)
    return False if fine and high is not None and high <= max(tolerance, one.change or 0.0) else None


def _confirmed(one: Judgement, turns: InTurns, stages: Sequence[Timed], alpha: float) -> Judgement:
    if turns.same:
        slower = turns.code == "changed"
        why = "so our own code, which changed, or the machine" if slower else "so the machine"
        words = f"artifact and runtime are the accepted ones, {why} got slower"
        return _told(one, turns, slower, words)
    if not stages:
        return _unasked(one, turns, lacking_words(turns))
    name = one.measurement
    said: bool | None
    if _is_typical(one):
        found = _asked(one, turns, stages, alpha)
        told, said = _told_of(turns, stages, RATIO, found.change), _is_slower(one, found)
    else:
        told = _told_of(turns, stages, RATIO if name == SLOW_PROCESSES else name, None, _between(name))
        said = slower_beside(name, reduce(pooled, stages), RATIO, _ACCEPTED)
    if told.change is None:
        return _unasked(one, turns, "this is not measured between two runtimes")
    return _told(one, told, said, in_words(told) + _meaning(one, told, said))


def _meaning(one: Judgement, told: InTurns, slower: bool | None) -> str:
    if slower is None:
        return ", which does not decide it" + (f": {lacking_words(told)}" if told.lacking else "")
    if slower:
        return ""
    none = told.high is not None and told.high <= (one.tolerance or 0.0)
    return ", so the machine got slower, not the artifact" if none else ", which does not confirm it"


def _unasked(one: Judgement, turns: InTurns, why: str) -> Judgement:
    return _told(one, turns, True, f"not confirmed in turns: {why}").model_copy(update={"turns": turns})


def _told(one: Judgement, turns: InTurns, slower: bool | None, words: str) -> Judgement:
    verdict = Verdict.WARN if slower is False else Verdict.REGRESSED
    told = turns.model_copy(update={"slower": slower})
    return one.model_copy(update={"verdict": verdict, "turns": told, "message": f"{one.message}; {words}"})


def _is_typical(one: Judgement) -> bool:
    return one.measurement.removesuffix(f"_{threads_in(one.measurement)}_threads") in (RATIO, TO_YARDSTICK)


# ---------------------------------------------------------------- numbers and words


def _told_of(
    turns: InTurns, stages: Sequence[Timed], name: str, change: Change | None, between: float = 0.0
) -> InTurns:
    """Add the change, its interval and its p-value, and the ratios of all processes; as it is where there are none.

    Args:
        change: as it was judged; None: that of all processes.
        between: how far two runs differ beyond the spread of their processes.
    """
    both = reduce(pooled, stages) if len(stages) > 1 else stages[0]
    values = both[name].values if name in both else None
    if not values:
        return turns
    found = change_of(trimmed_mean(values), IN_TURNS.location, between) if change is None else change
    low, high = interval(found)
    numbers = {"change": found.change, "low": low, "high": high, "p_value": found.p_above(), "measured": len(stages)}
    return turns.model_copy(update={"values": list(values), **numbers})


def _between(name: str) -> float:
    return RULES[name].between if name in RULES else between_runs(1)


def in_words(turns: InTurns) -> str:
    """Tell of a timing in turns: against what, and the change with its interval."""
    other = turns.accepted_runtime.partition(" ")[0]
    runtime = f" on LiteRT {other}" if turns.accepted_runtime != turns.runtime else ""
    assert turns.change is not None
    bounds = ""
    if turns.low is not None and turns.high is not None:
        bounds = f" (95 %: {100 * turns.low:+.1f} to {100 * turns.high:+.1f} %)"
    return f"in turns with the accepted artifact{runtime} on this machine: {100 * turns.change:+.1f} %{bounds}"


def lacking_words(turns: InTurns) -> str:
    """Say why a cell was not timed in turns."""
    detail = f": {turns.detail}" if turns.detail else ""
    if turns.lacking == "artifact":
        return "the accepted artifact is neither in the cache nor in the folder of the accepted run"
    if turns.lacking == "runtime":
        version = turns.accepted_runtime.partition(" ")[0]
        return f"the runtime changed, and the accepted one (LiteRT {version or 'unknown'}) cannot be used here{detail}"
    if turns.lacking == "time":
        return "the run's time for timing in turns is used up (--turns-budget)"
    return f"timing it in turns with the accepted artifact failed{detail}"
