"""Judge results on a GPU: a wrong prediction is red, and times are shown without being judged."""

from collections.abc import Sequence

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, Device, Judgement, Kind, Measurement, Verdict

# A GPU rounds differently, and computes dynamic range quantization in float where the CPU uses integers: 0.96 of
# 200 examples was measured without any defect. A wrong kernel was measured at 0.75.
GPU_AGREEMENT = 0.95
GPU_SLACK = 0.05


def gpu(
    subject: Subject,
    measured: dict[str, Measurement],
    device: Device | None,
    reason: str,
    baseline: BaselineCell | None,
    required: bool = False,
) -> Judgement:
    """Judge whether the GPU agrees with ``litert-cpu``.

    Args:
        measured: ``gpu_agreement`` and ``gpu_left``; empty where nothing was measured.
        device: the measured device; None where there is none.
        reason: why nothing was measured: no device, or how the process ended.
        required: whether a device must be present, so that its absence is an error.
    """
    if device is None:
        verdict = Verdict.ERROR if required else Verdict.UNJUDGED
        return _judgement(verdict, f"not measured on a GPU: {reason}", detail=reason)
    if "gpu_agreement" not in measured:
        again = subject.again("run it again alone", "-m", "gpu")
        words = f"could not be measured on {device.label}: {reason}"
        return _judgement(Verdict.ERROR, words, detail=reason, actions=[again])
    left = measured.get("gpu_left")
    if left is not None and left.value == left.n:
        return no_gpu(f"{device.name} supports none of its operators")
    return _agreement(subject, measured["gpu_agreement"], device, baseline)


def no_gpu(reason: str) -> Judgement:
    """Judge a cell that no GPU can compute, for a reason in the runtime."""
    return _judgement(Verdict.UNJUDGED, reason, detail=reason)


def gpu_limit(baseline: BaselineCell | None, device: Device) -> float:
    """Return the lowest agreement that passes on this device: an accepted low one minus slack, or the usual limit."""
    accepted = baseline.gpu_agreement.get(device.name) if baseline else None
    return GPU_AGREEMENT if accepted is None else max(0.0, min(GPU_AGREEMENT, accepted - GPU_SLACK))


def _agreement(subject: Subject, agreement: Measurement, device: Device, baseline: BaselineCell | None) -> Judgement:
    limit = gpu_limit(baseline, device)
    red = agreement.value < limit
    message = (
        f"{device.label} agrees with litert-cpu on {100 * agreement.value:.2f} % of {agreement.n} examples; "
        f"at least {100 * limit:g} % required"
    )
    warned = Action(what="wrong results: do not ship this file to such a GPU")
    actions = [warned, *subject.choices()] if red else []
    return _judgement(Verdict.REGRESSED if red else Verdict.PASS, message, agreement, limit, actions=actions)


def _judgement(
    verdict: Verdict,
    words: str,
    agreement: Measurement | None = None,
    limit: float | None = None,
    detail: str = "",
    actions: Sequence[Action] = (),
) -> Judgement:
    return Judgement(
        kind=Kind.GPU,
        measurement="gpu_agreement",
        against="nothing" if agreement is None else "litert-cpu",
        verdict=verdict,
        value=agreement.value if agreement else None,
        reference=1.0 if agreement else None,
        unit="fraction" if agreement else "",
        tolerance=None if limit is None else 1 - limit,
        message=words,
        detail=detail,
        actions=list(actions),
    )
