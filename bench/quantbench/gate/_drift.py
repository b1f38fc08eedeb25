"""Judge slow drift: what small accepted updates have added up to since the first accepted baseline."""

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, BaselineValue, Drift, First, Judgement, Kind, Measurement, Verdict
from quantbench.reference.metrics import Metric
from quantbench.reference.model import Floor

# Policy: half of what the floor allows may be lost in small steps before somebody has to look. The floor alone warns
# too late, and only measures the distance to the control, which may drift as well.
DRIFT_SHARE = 0.5
# Policy: a trained cell's drift must exceed this many standard deviations of one training.
DRIFT_DEVIATIONS = 3.0


def first_of(value: BaselineValue) -> First:
    """Return the value that drift is measured from: the first accepted value, or the current one."""
    return value.first or First(value=value.value, date=value.accepted.date, run=value.accepted.run)


def drift_of(metric: Metric, measured: dict[str, Measurement], baseline: BaselineCell | None) -> Drift | None:
    """Measure how far this run's values are from the first accepted ones; None where nothing was accepted yet."""
    accepted = baseline.measurements if baseline else {}
    firsts = {name: first_of(accepted[name]) for name in ("score", "size") if name in accepted and name in measured}
    if not firsts:
        return None
    score, size = firsts.get("score"), firsts.get("size")
    return Drift(
        since=min(first.date for first in firsts.values()),
        score=metric.drop(measured["score"].value, score.value) if score else None,
        size=measured["size"].value / size.value - 1 if size and size.value else None,
    )


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
            f"{metric.name} has lost {lost:.2f} {metric.unit} since the first baseline of {first.date} "
            f"(run {first.run}), {kept:+.2f} of it accepted; a warning beyond {tolerance:.2f}, for the floor allows "
            f"{limit.max_drop:g} from the control"
        ),
        actions=[
            Action(what="find what was lost in small steps"),
            subject.accept("or measure drift from here", "--restart-drift", reason="why this level is right"),
        ],
    )
