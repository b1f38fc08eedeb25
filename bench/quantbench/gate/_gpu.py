"""Judge results on a GPU: a wrong prediction is red, and times are shown without being judged."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from quantbench.gate._agreement import RED_AT, fewer_than
from quantbench.gate._common import Subject, beyond, same_reason
from quantbench.gate._gpu_faults import known_fault, seen_on
from quantbench.gate._gpu_null import NULL_RED_AT, Null, less_than_healthy, null_of
from quantbench.records import (
    AcceptedGpu,
    Action,
    BaselineCell,
    Census,
    Compared,
    Device,
    Judgement,
    Kind,
    Measurement,
    Verdict,
)
from quantbench.records.measurements import of_output


def gpu(
    subject: Subject,
    measured: dict[str, Measurement],
    device: Device | None,
    reason: str,
    baseline: BaselineCell | None,
    required: bool = False,
    census: Census | None = None,
) -> Judgement:
    """Judge whether the GPU agrees with ``litert-cpu``.

    Red are fewer agreeing examples than were accepted on this device, beyond chance (Fisher's exact test, one-sided);
    where nothing was, and beside few accepted examples, fewer than of any healthy artifact on such a device. What a
    known fault explains is a known limitation. A share of values or of detections counts as one of so many examples:
    those of one example change together.

    Args:
        measured: ``gpu_agreement``, ``gpu_compared``, ``gpu_left``, ``gpu_left_macs`` and ``gpu_examples``; empty where
            nothing was measured.
        device: the measured device; None where there is none.
        reason: why nothing was measured: no device, or how the process ended.
        required: whether a device must be present, so that its absence is an error.
        census: of the artifact, which tells whether a known fault applies.
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
        return _did_not_run(
            f"did not run on {device.name}, which supports none of its operators: the CPU computed everything"
        )
    judged = _agreement(subject, measured, device, baseline, census)
    macs = measured.get("gpu_left_macs")
    if macs is not None and macs.value == macs.n and macs.low is None:
        words = "the CPU computed all of its multiplications"
        if judged.verdict not in (Verdict.REGRESSED, Verdict.UNSUPPORTED):
            return _did_not_run(f"did not run on {device.name}, which takes none of its work: {words}")
        judged = judged.model_copy(update={"message": f"{judged.message}; {words}"})
    return judged if judged.verdict is Verdict.REGRESSED else _runs_now(judged, subject, device, baseline)


def _runs_now(judged: Judgement, subject: Subject, device: Device, baseline: BaselineCell | None) -> Judgement:
    """Tell that it runs on a device that was known not to run it."""
    known = baseline.gpu_refusal.get(device.name) if baseline else None
    if known is None:
        return judged
    told = judged.model_copy(update={"message": f"{judged.message}; it was known not to run there ({known})"})
    if judged.verdict is not Verdict.PASS:  # it runs, and its answers are known to be wrong
        return told
    update = {"verdict": Verdict.IMPROVED, "actions": [subject.accept("record that it runs")]}
    return told.model_copy(update=update)


def gpu_left(
    subject: Subject, measured: dict[str, Measurement], device: Device | None, baseline: BaselineCell | None
) -> list[Judgement]:
    """Judge what the accelerator leaves to the CPU: more operators, or more work, than was accepted there is red.

    Empty where nothing was measured or accepted. One convolution is more work than twenty reshapes, so the
    multiplications are judged by themselves.
    """
    accepted = baseline.gpu.get(device.name) if baseline and device else None
    if accepted is None or device is None or "gpu_agreement" not in measured:
        return []
    left = measured.get("gpu_left")
    now, of = (0, accepted.operators) if left is None else (int(left.value), left.n)
    verdict = beyond(now - accepted.left, 0)
    many = f"{of - now} of {of} operators ran on {device.name}" if of else f"all operators ran on {device.name}"
    before = f"{accepted.left} left to the CPU were accepted" if verdict is not Verdict.PASS else "as accepted"
    return [
        Judgement(
            kind=Kind.GPU,
            measurement="gpu_left",
            against="baseline",
            verdict=verdict,
            value=now,
            reference=accepted.left,
            unit="operators",
            change=now - accepted.left,
            tolerance=0,
            message=f"{many}, {now} were left to the CPU; {before}" if of else f"{many}; {before}",
            actions=[] if verdict is Verdict.PASS else subject.choices(),
        ),
        *_left_macs(subject, measured.get("gpu_left_macs"), now, device, accepted),
    ]


def _left_macs(
    subject: Subject, measured: Measurement | None, left: int, device: Device, accepted: AcceptedGpu
) -> list[Judgement]:
    """Judge the work that is left; nothing where none is left and none was, or where it was not known when accepted.

    Where the accelerator leaves open which operators it left, only what is surely more than was accepted is red.
    """
    before = accepted.left_macs if accepted.left_macs is not None or accepted.left else 0
    if before is None or not (left or accepted.left):
        return []
    judgement = Judgement(
        kind=Kind.GPU,
        measurement="gpu_left_macs",
        against="nothing",
        verdict=Verdict.UNJUDGED,
        reference=before,
        unit="multiplications",
        message=f"the multiplications left to the CPU on {device.name} could not be counted; not gated: {before:,} "
        "were accepted",
    )
    if measured is None and left:
        return [judgement]
    now, of = (0, 0) if measured is None else (int(measured.value), measured.n)
    least = now if measured is None or measured.low is None else int(measured.low)
    share = f" ({'at most ' * (least < now)}{100 * now / of:.2f} % of them)" if of else ""
    words = f"{now:,} multiplications{share} were left to the CPU on {device.name}"
    if least <= before < now:
        words = f"{words}, at least {least:,}; not gated: {before:,} were accepted, so it may be more or not"
        return [judgement.model_copy(update={"value": now, "message": words})]
    verdict = beyond(now - before, 0)
    update = {
        "against": "baseline",
        "verdict": verdict,
        "value": now,
        "change": now - before,
        "tolerance": 0,
        "message": f"{words}; {'as accepted' if now == before else f'{before:,} were accepted'}",
        "actions": [] if verdict is Verdict.PASS else subject.choices(),
    }
    return [judgement.model_copy(update=update)]


def gpu_refused(
    subject: Subject, reason: str, device: Device, baseline: BaselineCell | None, crashed: bool = False
) -> Judgement:
    """Judge an artifact that the accelerator refuses, or crashes on: red where it ran on this device when accepted.

    A refusal that was accepted is a known limitation, tried in every run; another one is told. A crash that nobody has
    accepted is missing a baseline, so that a driver on which everything crashes is no green run.
    """
    known = baseline.gpu_refusal.get(device.name) if baseline else None
    if known is not None and same_reason(known, reason):
        words = f"does not run on {device.name} (known limitation): {reason}"
        return _judgement(Verdict.UNSUPPORTED, words, detail=reason, against="baseline")
    if known is not None:
        words = f"still does not run on {device.name}, for another reason: {reason}; known is: {known}"
        return _judgement(Verdict.WARN, words, detail=reason, actions=subject.choices(), against="baseline")
    if crashed and (baseline is None or device.name not in baseline.gpu):
        actions = [subject.accept("record it as a known limitation")]
        return _judgement(Verdict.MISSING, f"on {device.name} {reason}", detail=reason, actions=actions)
    if baseline is None or device.name not in baseline.gpu:
        return _did_not_run(f"LiteRT does not run it on {device.name}: {reason}")
    words = f"LiteRT no longer runs it on {device.name}: {reason}"
    return _judgement(Verdict.REGRESSED, words, detail=reason, actions=subject.choices())


def _did_not_run(reason: str) -> Judgement:
    """Judge a cell of which the device computed nothing, for a reason in the runtime."""
    return _judgement(Verdict.UNJUDGED, reason, detail=reason)


class _Held(NamedTuple):
    """Hold what an agreement is compared with: a share of so many examples, the p-value that is red, and words."""

    agreement: float
    examples: int
    red_at: float
    words: str

    def p_value(self, measured: Measurement) -> float:
        """Return the p-value that fewer examples agree than here."""
        return fewer_than(measured, self.agreement, self.examples)

    def least_red(self, examples: int) -> int | None:
        """Return how many of so many examples have to differ to be red; None where even all of them would not be."""
        measured = Measurement(value=0, unit="fraction", n=examples)
        for differing in range(1, examples + 1):
            if self.p_value(measured.model_copy(update={"value": 1 - differing / examples})) <= self.red_at:
                return differing
        return None


def _agreement(
    subject: Subject,
    measured: dict[str, Measurement],
    device: Device,
    baseline: BaselineCell | None,
    census: Census | None,
) -> Judgement:
    agreement, fewer, of = measured["gpu_agreement"], measured.get("gpu_examples"), compared_in(measured)
    accepted, fault = _accepted(baseline, device, agreement.n, of), known_fault(census)
    null = null_of(device, census, of)
    low = less_than_healthy(agreement, null)
    message = f"{device.label} agrees with litert-cpu on {100 * agreement.value:.2f} % of {_parts(measured)}"
    held = _strictest(_held(accepted, device, null), agreement.n)
    if held is None:
        unknown = "nothing was accepted there, and how much is usual of such an artifact was not measured; not gated"
        look = Action(what="compare the answers that differ before you accept them")
        actions = [look, subject.accept("gate it")]
        return _judgement(Verdict.UNJUDGED, f"{message}; {unknown}", agreement, actions=actions)
    p_value, red_at = held.p_value(agreement), held.red_at
    red = p_value <= red_at
    message = f"{message}; {held.words}" + f" (p = {p_value:.2g}, fails below {red_at:g})" * red
    if fewer is not None and not red:
        least = held.least_red(agreement.n)
        message += f"; the device was too slow for {fewer.n} examples: "
        if least is None:
            few = "1 example is" if agreement.n == 1 else f"{agreement.n} examples are"
            return _judgement(Verdict.UNJUDGED, f"{message}{few} too few to tell, not gated", agreement)
        message += f"red below {_percent_of_red(least, agreement.n):.2f} % of {agreement.n}"
    verdict = Verdict.REGRESSED if red else Verdict.PASS
    if fault is not None and low:
        known = seen_on(device) and (accepted is None or not red)
        verdict = Verdict.UNSUPPORTED if known else verdict
        message += f"; {fault}{': a known limitation' * known}"
    elif fault is not None and accepted is not None and less_than_healthy(_as_measured(accepted), null):
        verdict = Verdict.IMPROVED
        message += f"; a known fault is mended, accept that: {fault}"
    warned = Action(what="wrong results: do not ship this file to such a GPU")
    actions = [warned, *subject.choices()] if verdict is Verdict.REGRESSED else []
    actions = subject.choices() if verdict is Verdict.IMPROVED else actions
    return _judgement(verdict, message, agreement, actions=actions)


def compared_in(measured: dict[str, Measurement], name: str = "") -> Compared:
    """Return what a measured agreement is a share of.

    Args:
        name: of the device in the names of its measurements; empty for the first one.
    """
    parts = measured.get(of_output("gpu_compared", name))
    return "examples" if parts is None else "detections" if parts.unit == "detections" else "values"


def below_healthy(
    agreement: Measurement, measured: dict[str, Measurement], device: Device, census: Census | None, name: str = ""
) -> bool:
    """Check whether less agrees on a device than of any healthy artifact there, beyond chance; see ``compared_in``."""
    return less_than_healthy(agreement, null_of(device, census, compared_in(measured, name)))


def _parts(measured: dict[str, Measurement]) -> str:
    """Say what an agreement is a share of."""
    examples, parts = f"{measured['gpu_agreement'].n} examples", measured.get("gpu_compared")
    return examples if parts is None else f"{parts.value:,.0f} {parts.unit} in {examples}"


def _held(accepted: AcceptedGpu | None, device: Device, null: Null | None) -> list[_Held]:
    """Return what agreement is held to: what was accepted on the device, or what healthy artifacts show.

    To both where no less than healthy was accepted, of fewer examples: of a small test set, or on a slow device.
    """
    healthy = [] if null is None else [_Held(null.agreement, null.examples, NULL_RED_AT, _lowest_healthy(device, null))]
    if accepted is None:
        return healthy
    words = f"{100 * accepted.agreement:.2f} % accepted"
    held = [_Held(accepted.agreement, accepted.examples, RED_AT, words)]
    if null is None or accepted.examples >= null.examples:
        return held
    return held if less_than_healthy(_as_measured(accepted), null) else held + healthy


def _strictest(held: list[_Held], examples: int) -> _Held | None:
    """Return what is red from the fewest of so many examples that differ: nothing passes that any of them calls red."""
    return min(held, key=lambda one: one.least_red(examples) or examples + 1, default=None)


def _percent_of_red(least: int, examples: int) -> float:
    """Return the agreement in percent below which at least so many examples differ, or as much of all their values.

    Of maps and texts, an agreement is a share of pixels or tokens, which the test rounds to examples.
    """
    return math.floor(1e4 * (1 - (least - 0.5) / examples)) / 100


def _accepted(baseline: BaselineCell | None, device: Device, examples: int, compared: Compared) -> AcceptedGpu | None:
    """Return what was accepted on a device; older baselines hold low shares alone, and not of how many examples.

    And they compared whole examples of detectors, of which more differ than detections do: that says nothing of these.
    """
    if baseline is None:
        return None
    low = baseline.gpu_agreement.get(device.name)
    older = None if low is None else AcceptedGpu(agreement=low, examples=examples)
    accepted = baseline.gpu.get(device.name, older)
    of_examples = accepted is not None and accepted.compared is None
    return None if of_examples and compared == "detections" else accepted


def _as_measured(accepted: AcceptedGpu) -> Measurement:
    return Measurement(value=accepted.agreement, unit="fraction", n=accepted.examples)


def _lowest_healthy(device: Device, null: Null) -> str:
    """Say what an artifact is held to by healthy ones."""
    models = f"{null.models} model{'s' * (null.models > 1)}"
    lowest = f"healthy artifacts of {models} were never below {100 * null.agreement:g} % on {null.kind} devices"
    return lowest if null.kind == device.kind else f"{lowest}; on devices of the kind {device.kind} none were measured"


def _judgement(
    verdict: Verdict,
    words: str,
    agreement: Measurement | None = None,
    detail: str = "",
    actions: Sequence[Action] = (),
    against: Literal["nothing", "baseline"] = "nothing",
) -> Judgement:
    return Judgement(
        kind=Kind.GPU,
        measurement="gpu_agreement",
        against=against if agreement is None else "litert-cpu",
        verdict=verdict,
        value=agreement.value if agreement else None,
        reference=1.0 if agreement else None,
        unit="fraction" if agreement else "",
        message=words,
        detail=detail,
        actions=list(actions),
    )
