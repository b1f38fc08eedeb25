"""The judge of what runs on a GPU: a wrong answer is red, however fast it came. Times are shown and never judged."""

from collections.abc import Sequence

from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, Device, Judgement, Kind, Measurement, Verdict

# A GPU rounds otherwise, and computes in float what dynamic range quantization has the CPU compute in integers: 0.96 of
# 200 examples has been seen with nothing wrong. A wrong kernel was seen at 0.75.
GPU_AGREEMENT = 0.95
GPU_SLACK = 0.05


def gpu(
    subject: Subject,
    found: dict[str, Measurement],
    device: Device | None,
    reason: str,
    baseline: BaselineCell | None,
    required: bool = False,
) -> Judgement:
    """Whether the GPU answers as ``litert-cpu`` does.

    Args:
        found: ``gpu_agreement`` and ``gpu_left``; empty where nothing was measured.
        device: which was measured; None where there is none.
        reason: why nothing was measured: no device, or what became of the process.
        required: there has to be a device, so that none is an error.
    """
    if device is None:
        verdict = Verdict.ERROR if required else Verdict.UNJUDGED
        return _judgement(verdict, f"not measured on a GPU: {reason}", detail=reason)
    if "gpu_agreement" not in found:
        again = subject.again("repeat it alone", "-m", "gpu")
        words = f"could not be measured on {device.label}: {reason}"
        return _judgement(Verdict.ERROR, words, detail=reason, actions=[again])
    left = found.get("gpu_left")
    if left is not None and left.value == left.n:
        return no_gpu(f"{device.name} takes none of its operators")
    return _agreement(subject, found["gpu_agreement"], device, baseline)


def no_gpu(reason: str) -> Judgement:
    """The verdict on what no GPU computes, for a reason that lies in the runtime."""
    return _judgement(Verdict.UNJUDGED, reason, detail=reason)


def gpu_limit(baseline: BaselineCell | None, device: Device) -> float:
    """The least agreement that passes on this device: an accepted low one less some slack, or the usual limit."""
    known = baseline.gpu_agreement.get(device.name) if baseline else None
    return GPU_AGREEMENT if known is None else max(0.0, min(GPU_AGREEMENT, known - GPU_SLACK))


def _agreement(subject: Subject, found: Measurement, device: Device, baseline: BaselineCell | None) -> Judgement:
    limit = gpu_limit(baseline, device)
    red = found.value < limit
    message = (
        f"{device.label} answers as litert-cpu on {100 * found.value:.2f} % of {found.n} examples; "
        f"{100 * limit:g} % are required"
    )
    warned = Action(what="a fast wrong answer: do not ship this artifact to such a GPU")
    actions = [warned, *subject.choices()] if red else []
    return _judgement(Verdict.REGRESSED if red else Verdict.PASS, message, found, limit, actions=actions)


def _judgement(
    verdict: Verdict,
    words: str,
    found: Measurement | None = None,
    limit: float | None = None,
    detail: str = "",
    actions: Sequence[Action] = (),
) -> Judgement:
    return Judgement(
        kind=Kind.GPU,
        measurement="gpu_agreement",
        against="nothing" if found is None else "litert-cpu",
        verdict=verdict,
        value=found.value if found else None,
        reference=1.0 if found else None,
        unit="fraction" if found else "",
        tolerance=None if limit is None else 1 - limit,
        message=words,
        detail=detail,
        actions=list(actions),
    )
