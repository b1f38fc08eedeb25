"""Judge a latency against the accepted artifact, timed in turns with it on this machine.

Both sides of such a timing meet the same machine, the same load and the same clock rate. So it needs no baseline of
the machine, and it tells a slower artifact from a slower machine. Red without a baseline takes what red by a baseline
takes: two measurements, each beyond the tolerance, and both pooled beyond it at the cell's share of the false-alarm
budget. What is red by a baseline stays red only if it is slower in turns too, at that share again: so the budget holds
even where the machine is not what it was, and the first comparison is wrong for that.
"""

from collections.abc import Mapping, Sequence

from quantbench.core.stats import Change, Location, change_of, trimmed_mean
from quantbench.gate._common import Subject
from quantbench.gate._latency import (
    LATENCY_TOLERANCE,
    LATENCY_TOLERANCE_REASON,
    between_runs,
    interval,
    latency,
    suspicious,
)
from quantbench.gate._latency_beside import (
    RULES,
    AcceptedLatency,
    beside_share,
    latency_beside,
    slower_beside,
    suspicious_beside,
)
from quantbench.records import (
    Accepted,
    BaselineCell,
    BaselineValue,
    InTurns,
    Judgement,
    Kind,
    Measurement,
    Verdict,
)
from quantbench.records.measurements import RATIO, SLOW_PROCESSES, TO_YARDSTICK, shown, threads_in

# A second look at a red that the first one leaves open: each has half of the cell's share.
LOOKS = 2
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


def suspicious_in_turns(first: Timed) -> bool:
    """Check whether what is timed in turns needs a second measurement, where no baseline tells of it."""
    return suspicious(first[RATIO], _TYPICAL) or suspicious_beside(first, RATIO, _ACCEPTED)


def judged_in_turns(
    subject: Subject,
    name: str,
    ratio: Measurement,
    machine: str,
    turns: InTurns,
    first: Timed | None,
    again: Timed | None,
    alpha: float,
) -> list[Judgement]:
    """Judge a latency without a baseline of this machine class by its time in turns with the accepted artifact.

    Args:
        name: of the judged measurement.
        ratio: that measurement, which is shown.
        turns: what is accepted, and what kept it from being timed.
        first, again: ratios to the accepted artifact by measurement; None where not timed, or not suspicious.
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
    if first is None:
        message = f"{none}; not gated: {lacking_words(turns)}"
        return [base.model_copy(update={"against": "nothing", "verdict": Verdict.UNJUDGED, "message": message})]
    of_typical, of_others = beside_share(alpha)
    second = None if again is None else again[RATIO]
    pretended = BaselineCell(latency={machine: _TYPICAL})
    typical = latency(subject, name, first[RATIO], pretended, machine, of_typical, second)
    told = estimated(turns, _values(RATIO, first, again))
    update = {
        "against": "accepted artifact",
        "value": ratio.value,
        "reference": None,
        "unit": ratio.unit,
        "turns": told,
        "message": f"{none}; {in_words(told)} ({_limits(typical, of_typical)})",
    }
    red = typical.verdict is Verdict.REGRESSED
    others = latency_beside(subject, first, again, RATIO, _ACCEPTED, of_others, red)
    return [
        typical.model_copy(update=update),
        *(_beside(one, turns, of_others) for one in others if one.against != "nothing"),
    ]


def _beside(one: Judgement, turns: InTurns, alpha: float) -> Judgement:
    if one.against == "control" or one.change is None:  # of waits, which are told of in words of their own
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


def is_decided(timed: Timed, alpha: float, threads: int = 1) -> bool:
    """Check whether one timing in turns is enough: it shows a slowdown, or that there is none beyond the tolerance."""
    told = estimated(InTurns(artifact="changed"), timed[RATIO].values or [], threads)
    return _is_slower(told, alpha) or (told.high is not None and told.high <= LATENCY_TOLERANCE)


def confirmed(
    judged: Sequence[Judgement],
    turns: InTurns,
    first: Timed | None,
    again: Timed | None,
    alpha: float,
) -> list[Judgement]:
    """Keep red by a baseline what is slower in turns with the accepted artifact too; the rest is a warning.

    Where that could not be timed, red stays red. Where artifact, runtime and our own code are the accepted ones,
    nothing of them can have become slower.

    Args:
        alpha: the p-value at which the typical call is red.
    """
    return [_confirmed(one, turns, first, again, alpha) if _is_red(one) else one for one in judged]


def _is_red(one: Judgement) -> bool:
    return one.kind is Kind.LATENCY and one.verdict is Verdict.REGRESSED and one.against == "baseline"


def _confirmed(one: Judgement, turns: InTurns, first: Timed | None, again: Timed | None, alpha: float) -> Judgement:
    if turns.same:
        slower = turns.code == "changed"
        why = "so our own code, which changed, or the machine" if slower else "so the machine"
        words = f"artifact and runtime are the accepted ones, {why} got slower"
        return _told(one, turns.model_copy(update={"slower": slower}), slower, words)
    name = RATIO if _is_typical(one) else one.measurement
    values = [] if first is None else _values(name, first, again)
    if name == SLOW_PROCESSES and first is not None:
        values = _values(RATIO, first, again)
    if not values:
        words = lacking_words(turns) if first is None else "this is not measured between two runtimes"
        return _told(one, turns, True, f"not confirmed in turns: {words}")
    if name == RATIO:
        told = estimated(turns, values, threads_in(one.measurement))
        slower = _is_slower(told, alpha)
    else:
        told = estimated(turns, values, between=RULES[name].between if name in RULES else None)
        assert first is not None
        slower = slower_beside(name, _pooled(first, again), RATIO, _ACCEPTED)
    words = in_words(told)
    if not slower:
        none = told.high is not None and told.high <= (one.tolerance or 0.0)
        words += ", so the machine got slower, not the artifact" if none else ", which does not confirm it"
    return _told(one, told.model_copy(update={"slower": slower}), slower, words)


def _told(one: Judgement, turns: InTurns, red: bool, words: str) -> Judgement:
    verdict = Verdict.REGRESSED if red else Verdict.WARN
    return one.model_copy(update={"verdict": verdict, "turns": turns, "message": f"{one.message}; {words}"})


def _is_typical(one: Judgement) -> bool:
    return one.measurement.removesuffix(f"_{threads_in(one.measurement)}_threads") in (RATIO, TO_YARDSTICK)


def _is_slower(told: InTurns, alpha: float) -> bool:
    """Check whether a slowdown is shown: beyond the tolerance, and no chance at half of the cell's share."""
    return told.change is not None and told.change > LATENCY_TOLERANCE and (told.p_value or 0.0) <= alpha / LOOKS


# ---------------------------------------------------------------- numbers and words


def estimated(turns: InTurns, values: Sequence[float], threads: int = 1, between: float | None = None) -> InTurns:
    """Add the change, its interval and its p-value, from the ratios of all processes.

    Args:
        between: how far two runs differ beyond the spread of their processes; that of the typical call where None.
    """
    noise = between_runs(threads) if between is None else between
    change: Change = change_of(trimmed_mean(values), Location(1.0, 0.0, 1), noise)
    low, high = interval(change)
    numbers = {"change": change.change, "low": low, "high": high, "p_value": change.p_above()}
    return turns.model_copy(update={"values": list(values), **numbers})


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


def _values(name: str, first: Timed, again: Timed | None) -> list[float]:
    pooled = _pooled(first, again).get(name)
    return [] if pooled is None else list(pooled.values or [])


def _pooled(first: Timed, again: Timed | None) -> dict[str, Measurement]:
    if again is None:
        return dict(first)
    both = {}
    for name in first.keys() & again.keys():
        values = [*(first[name].values or []), *(again[name].values or [])]
        both[name] = first[name].model_copy(update={"values": values, "n": max(1, len(values))})
    return both
