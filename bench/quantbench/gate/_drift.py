"""Judge slow drift: what small accepted updates have added up to since the first accepted baseline.

A warning and never red: each step was accepted with a reason, and a run after an update must be able to be green. It
stays in every report until ``--restart-drift`` says, with a reason too, that this level is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, BaselineValue, Drift, First, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import kind_of, shown, threads_in

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric
    from quantbench.reference.model import Floor

# Policy: half of what the floor allows may be lost in small steps before somebody has to look. The floor alone warns
# too late, and only measures the distance to the control, which may drift as well.
DRIFT_SHARE = 0.5
# Policy: a trained cell's drift must exceed this many standard deviations of one training.
DRIFT_DEVIATIONS = 3.0
# Policy for what has no floor (latency, size, memory): accepted growth since the first baseline, as a fraction. With
# 0.7 % accepted each release the seventh release warns.
DRIFT_ALLOWED = 0.10
DRIFTING = (
    "size",
    "gzip_size",
    "arena",
    "memory_ratio",
    "peak_memory",
    "model_memory",
    "latency_ratio",
    "control_to_yardstick",
)
_TIMED = ("latency_ratio", "control_to_yardstick")
MachineOf = Callable[[str], str]


def first_of(value: BaselineValue) -> First:
    """Return the value that drift is measured from: the first accepted value, or the current one."""
    return value.first or First(value=value.value, date=value.accepted.date, run=value.accepted.run)


def drift_of(
    metric: Metric, measured: dict[str, Measurement], baseline: BaselineCell | None, machine_of: MachineOf | None = None
) -> Drift | None:
    """Measure how far this run's values are from the first accepted ones; None where nothing was accepted yet.

    Args:
        machine_of: measurement -> machine class that its accepted value belongs to; None leaves those out.
    """
    machine_of = machine_of or _nowhere
    if baseline is None:
        return None
    accepted = {name: _value_of(name, name, baseline, machine_of) for name in ("score", *DRIFTING) if name in measured}
    firsts = {name: first_of(value) for name, value in accepted.items() if value is not None}
    if not firsts:
        return None
    score = firsts.get("score")

    def growth(*names: str) -> float | None:
        known = [name for name in names if name in firsts and firsts[name].value]
        return measured[known[0]].value / firsts[known[0]].value - 1 if known else None

    return Drift(
        since=min(first.date for first in firsts.values()),
        score=metric.drop(measured["score"].value, score.value) if score else None,
        size=growth("size"),
        latency=growth("latency_ratio", "control_to_yardstick"),
        memory=growth("model_memory", "memory_ratio", "peak_memory"),
        arena=growth("arena"),
    )


def _nowhere(_name: str) -> str:
    return ""


def growths(
    subject: Subject, judgements: Sequence[Judgement], baseline: BaselineCell | None, machine_of: MachineOf
) -> list[Judgement]:
    """Judge the drift of sizes, memory and latencies of which this run's judgements hold a value.

    Args:
        machine_of: measurement -> machine class that its accepted value belongs to.
    """
    found = [_growth(subject, judgement, baseline, machine_of) for judgement in judgements]
    return [judgement for judgement in found if judgement is not None]


def _growth(
    subject: Subject, judged: Judgement, baseline: BaselineCell | None, machine_of: MachineOf
) -> Judgement | None:
    name = judged.measurement
    bare = name.removesuffix(f"_{threads_in(name)}_threads")
    if baseline is None or judged.against != "baseline" or judged.value is None or bare not in DRIFTING:
        return None
    accepted = _value_of(name, bare, baseline, machine_of)
    if accepted is None or accepted.first is None or not accepted.first.value:
        return None
    first = accepted.first
    grown, kept = judged.value / first.value - 1, accepted.value / first.value - 1
    if kept <= 0 or grown <= DRIFT_SHARE * DRIFT_ALLOWED:
        return None
    return Judgement(
        kind=kind_of(name),
        measurement=f"drift of {name}",
        against="first baseline",
        verdict=Verdict.WARN,
        value=judged.value,
        reference=first.value,
        unit=judged.unit,
        change=judged.value - first.value,
        tolerance=DRIFT_ALLOWED * first.value,
        message=(
            f"{shown(name)} grew by {100 * grown:.1f} % since the first baseline ({first.date}, run {first.run}); "
            f"{100 * kept:+.1f} % of it was accepted in updates; warns above {100 * DRIFT_SHARE * DRIFT_ALLOWED:g} %"
        ),
        actions=_to_restart(subject),
    )


def _value_of(name: str, bare: str, baseline: BaselineCell, machine_of: MachineOf) -> BaselineValue | None:
    """Return the accepted value of a measurement, of this machine's class where it belongs to one."""
    if bare in _TIMED:
        return baseline.latency.get(machine_of(name))
    if bare == "peak_memory":
        return baseline.peak_memory.get(machine_of(name))
    if bare in baseline.by_machine:
        return baseline.by_machine[bare].get(machine_of(name))
    return baseline.measurements.get(name)


def _to_restart(subject: Subject) -> list[Action]:
    return [
        Action(what="find the accepted updates that added up to this"),
        subject.accept("or count drift from this level on", "--restart-drift", reason="why this level is right"),
    ]


def drift(
    subject: Subject, metric: Metric, score: Measurement | None, baseline: BaselineCell | None, limit: Floor | None
) -> Judgement | None:
    """Warn where the score has lost, step by step, more than a share of what the floor allows.

    Return None where it has not, where there is no floor, and where nothing was accepted since the first value, as the
    baseline alone judges then. A trained cell must lose more than the spread of its seeds explains.
    """
    accepted = baseline.measurements.get("score") if baseline else None
    if accepted is None or score is None or limit is None:
        return None
    first = first_of(accepted)
    lost, kept = metric.drop(score.value, first.value), metric.drop(accepted.value, first.value)
    tolerance = max(DRIFT_SHARE * limit.max_drop, DRIFT_DEVIATIONS * metric.scale * accepted.noise)
    if kept == 0 or lost <= tolerance + 1e-9:
        return None
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="drift",
        against="first baseline",
        verdict=Verdict.WARN,
        value=score.value,
        reference=first.value,
        unit=metric.unit,
        change=lost,
        tolerance=tolerance,
        message=(
            f"{metric.name} lost {lost:.2f} {metric.unit} since the first baseline ({first.date}, run {first.run}); "
            f"{kept:+.2f} of it was accepted in updates; warns above {tolerance:.2f} (release limit: "
            f"{limit.max_drop:g} worse than float32)"
        ),
        actions=_to_restart(subject),
    )
