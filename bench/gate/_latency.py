"""The judge of latency ratios."""

from bench.gate._common import Subject
from bench.records import (
    BaselineCell,
    Judgement,
    Kind,
    Measurement,
    Verdict,
)
from bench.stats import (
    p_above,
    ratio_change,
    t_quantile,
)


def latency(
    subject: Subject,
    name: str,
    ratio: Measurement,
    baseline: BaselineCell | None,
    machine: str,
    allowed: float,
) -> Judgement:
    """A latency ratio against the baseline of this machine class.

    Args:
        name: ``latency_ratio`` (variant to float control) or ``control_to_yardstick`` (the control itself).
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
            message=f"{subject.id}: {name} {ratio.value:.3f}; no latency baseline for this machine class ({machine})",
        )
    values = ratio.values or [ratio.value]
    change, error, degrees = ratio_change(values, accepted.value, accepted.noise, accepted.n)
    slower, faster = p_above(change, error, degrees), p_above(-change, error, degrees)
    verdict = Verdict.PASS
    if change > accepted.tolerance and slower <= allowed:
        verdict = Verdict.REGRESSED
    elif -change > accepted.tolerance and faster <= allowed:
        verdict = Verdict.IMPROVED
    elif change > accepted.tolerance:
        verdict = Verdict.WARN
    detectable = max(accepted.tolerance, t_quantile(allowed, degrees) * error)
    message = (
        f"{subject.id}: {name} {ratio.value:.3f}, baseline {accepted.value:.3f} ({100 * change:+.1f} % ± "
        f"{100 * error:.1f} % standard error, p = {min(slower, faster):.2g}, red at {allowed:.2g} and beyond "
        f"{100 * accepted.tolerance:g} %)"
    )
    return Judgement(
        kind=Kind.LATENCY,
        measurement=name,
        against="baseline",
        verdict=verdict,
        value=ratio.value,
        reference=accepted.value,
        unit="ratio",
        change=change,
        tolerance=accepted.tolerance,
        p_value=slower,
        detectable=detectable,
        message=message,
        action="" if verdict is Verdict.PASS else subject.action(),
    )
