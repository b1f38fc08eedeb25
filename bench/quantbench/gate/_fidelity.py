"""Judge the outputs themselves: whether they are further from float32's than accepted, or merely changed.

A score counts right answers, so that it cannot see a lost softmax, a wrong temperature or noise that keeps the largest
output the largest. Here each example's distance from the control's outputs (:mod:`quantbench.core.distances`) is
compared with the accepted one of the same example. Larger distances are red where they are beyond chance and beyond a
smallest effect; what moves without getting worse is ``changed``, which is green.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.distances import decode, distances
from quantbench.core.stats import binomial_tail, p_above, pooled_sd, t_quantile
from quantbench.gate._common import Subject, edited
from quantbench.records import Action, BaselineCell, BaselineValue, Judgement, Kind, Measurement, Verdict
from quantbench.records.measurements import OUTPUT_DISTANCE

# The effect of other kernels was measured on 90 artifacts of the seven reference models: XNNPACK against the builtin
# and the reference kernels of LiteRT 2.3, 300 examples each (150 for the largest two). The mean distance grew by
# 0.00026 at most (mobilenet_v2, aeq_dynamic_wi8_afp32) and moved by 0.0053 an example at most (vit_tiny,
# ptq_static_wi8_ai8); 2 % of the predictions flipped at most. One or two threads change no bit. Not counted are five
# int4 artifacts of seed_cnn that the builtin or the reference kernels compute wrongly (4 to 89 % flips; all are red).
# Other processors were not measured. The weakest faults planted into the outputs of the same artifacts add 0.012 (a
# temperature of 1/2 in resnet8's int4 artifact, which is noisy by itself), 0.037 (of 1/4) and 0.053 (1 % of noise).
SMALLEST_EFFECT = 0.002
CHANGED_DISTANCE = 0.008
CHANGED_FLIPS = 0.02
# Float kernels differ by 1e-13; nothing but rounding should separate float32 from its accepted outputs. A
# hundredth of the amplitude is 1e-4, and a thousandth (float16 arithmetic inside) 1e-6.
FLOAT_SHARE = 0.05  # of the tolerance, so 1e-4
FLOAT_CHANGED = 1e-6
FIDELITY_REASON = "eight times what other kernels of the runtime add at most"
# Four trainings of seed_cnn's qat_wi8_ai8_dense_only, seeds 0 to 3: they differ by 1.7 %. With three degrees of freedom
# an outcome is red where it is about four times the accepted one.
_KNOWN_TRAININGS = (0.0013247, 0.0013615, 0.0013123, 0.0013132)
_WARN = 0.05
_FLIP_ALARM = 0.01
_POWER = 0.84  # quantile of the normal distribution for 80 % power


@dataclass(frozen=True)
class Outputs:
    """Hold what is known of an artifact's outputs, and of those that were accepted.

    Attributes:
        distance: mean over the examples; one value per seed where the cell trains.
        now, stored: one byte per example as :func:`quantbench.core.distances.encode` makes them; of the float control
            itself, its outputs of shape (m, values).
        flips: predictions that differ from the accepted ones, of ``n``; None where the metric knows no classes.
    """

    distance: Measurement | None
    now: Array | None
    stored: Array | None
    flips: int | None = None
    n: int = 0


def fidelity(
    subject: Subject,
    outputs: Outputs,
    baseline: BaselineCell | None,
    allowed: float,
    trained: bool,
    samples: Sequence[Sequence[float]] = (),
    strict: bool = False,
) -> Judgement | None:
    """Judge the distance of the outputs from the control's; None where the baseline has none to compare with.

    A p-value is given only where the mean distance grew by more than the smallest effect, so that what merely moved
    takes no share of the false-alarm budget. The p-value is conditional on that (doubled, as the event has a
    probability of one half at the margin: Zhao, Small & Su 2019, "Multiple testing when many p-values are uniformly
    conservative").

    Args:
        allowed: significance level (alpha) of this judgement, its share of the false-alarm budget.
        trained: whether the cell is trained, so that another training may have moved its outputs.
        samples: mean distances over seeds of the model's trained cells, from which the spread of trainings is known.
        strict: whether a change that is not worse is red.
    """
    accepted = baseline.measurements.get(OUTPUT_DISTANCE) if baseline else None
    if accepted is None:
        return None
    if outputs.stored is None or not is_distance_of(accepted, outputs.stored):
        judged = _judgement(Verdict.PASS, "the accepted output distance cannot be used", accepted)
        return edited(judged, "it does not match the stored outputs")
    if outputs.now is None or outputs.distance is None or not _comparable(outputs, accepted):
        message = "the outputs cannot be compared with the accepted ones: their number or type changed"
        return _judgement(Verdict.ERROR, message, accepted, actions=subject.choices())
    same = np.array_equal(outputs.now, outputs.stored) and not outputs.flips
    if same and _same_seeds(outputs.distance, accepted):
        message = f"the outputs differ from {_of(outputs.stored)} as much as accepted ({accepted.value:.2g})"
        return _judgement(Verdict.PASS, message, accepted, value=outputs.distance.value)
    if trained:
        return _by_trainings(subject, outputs.distance, accepted, allowed, samples)
    return _by_examples(subject, outputs, accepted, allowed, strict)


def is_distance_of(accepted: BaselineValue | Measurement, stored: Array | None) -> bool:
    """Check that a recorded distance is the mean of the stored ones; that of the float control from itself is 0."""
    if stored is None:
        return False
    value = accepted.values[0] if accepted.values else accepted.value
    return math.isclose(value, 0.0 if stored.ndim == 2 else float(np.mean(decode(stored))), rel_tol=1e-6, abs_tol=1e-12)


def _comparable(outputs: Outputs, accepted: BaselineValue) -> bool:
    assert outputs.now is not None
    assert outputs.stored is not None
    if outputs.now.shape != outputs.stored.shape:
        return False
    # The float control is held to its stored outputs whatever it has become; of the others the unit tells by what
    # distance they were measured, which depends on the control.
    of_reference = outputs.stored.ndim == 2
    return of_reference or (outputs.distance is not None and outputs.distance.unit == accepted.unit)


def _same_seeds(distance: Measurement, accepted: BaselineValue) -> bool:
    if not distance.values or not accepted.values:
        return True
    pairs = zip(distance.values, accepted.values, strict=False)
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in pairs)


def _of(stored: Array) -> str:
    return "the accepted ones" if stored.ndim == 2 else "the float32 reference's"


def _by_examples(
    subject: Subject, outputs: Outputs, accepted: BaselineValue, allowed: float, strict: bool
) -> Judgement:
    """Compare each example's distance with its accepted one: a paired t-test (Student 1908) against a margin.

    Distances are bounded, and few large ones make the test conservative rather than alarm (Johnson 1978).
    """
    assert outputs.now is not None
    assert outputs.stored is not None
    if outputs.stored.ndim == 2:
        after, before, limit = distances(outputs.now, outputs.stored), np.zeros(len(outputs.now)), FLOAT_CHANGED
        accepted = accepted.model_copy(update={"tolerance": FLOAT_SHARE * accepted.tolerance})
    else:
        after, before, limit = decode(outputs.now), decode(outputs.stored), CHANGED_DISTANCE
    grown, n = after - before, len(after)
    shift, moved = float(np.mean(grown)), float(np.mean(np.abs(grown)))
    error = float(np.std(grown, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    beyond = shift > accepted.tolerance
    p_value = min(1.0, 2 * p_above(shift - accepted.tolerance, error, n - 1)) if beyond else None
    changed = moved > limit or _too_many_flips(outputs)
    red = p_value is not None and p_value <= allowed
    warn = p_value is not None and p_value <= _WARN
    verdict = Verdict.REGRESSED if red else Verdict.WARN if warn else Verdict.CHANGED if changed else Verdict.PASS
    message = (
        f"the outputs differ from {_of(outputs.stored)} by {np.mean(after):.2g} ({accepted.unit}, mean of {n} "
        "examples; "
        f"accepted: {accepted.value:.2g}); mean change per example {moved:.2g}{_flips(outputs)}"
    )
    if p_value is not None:
        message += f"; {accepted.tolerance:.2g} more is allowed (paired p = {p_value:.2g}, fails below {allowed:.2g})"
    if verdict is Verdict.PASS:
        message += "; no more than other kernels of the runtime cause"
    if verdict is Verdict.CHANGED:
        message += "; more than other kernels of the runtime cause, but not clearly worse"
        if strict:
            verdict, message = Verdict.REGRESSED, f"{message}; red because of --strict-change"
    actions = [] if verdict is Verdict.PASS else subject.choices()
    detectable = accepted.tolerance + (t_quantile(allowed / 2, n - 1) + _POWER) * error if n > 1 else None
    return _judgement(verdict, message, accepted, float(np.mean(after)), p_value, detectable, actions)


def _flips(outputs: Outputs) -> str:
    return f", {outputs.flips} of {outputs.n} predictions changed" if outputs.flips else ""


def _too_many_flips(outputs: Outputs) -> bool:
    """Check whether more predictions flipped than other kernels flip, beyond chance (exact binomial test)."""
    return bool(outputs.flips) and binomial_tail(outputs.flips or 0, outputs.n, CHANGED_FLIPS) <= _FLIP_ALARM


def _by_trainings(
    subject: Subject,
    distance: Measurement,
    accepted: BaselineValue,
    allowed: float,
    samples: Sequence[Sequence[float]],
) -> Judgement:
    """Judge a cell whose training did not repeat by the spread of mean distances between trainings.

    Spreads are pooled as logarithms, as cells differ in their distance from the control. The interval is that of a
    difference of two means (Student's t).
    """
    logs = [[_log(value) for value in values] for values in samples if len(values) > 1]
    sd, degrees = pooled_sd(logs)
    now, before = distance.values or [distance.value], accepted.values or [accepted.value]
    message = (
        f"the outputs differ from the float32 reference's by {distance.value:.2g} ({accepted.unit}; accepted: "
        f"{accepted.value:.2g}); the training did not reproduce the accepted one"
    )
    if not degrees:
        sd, degrees = pooled_sd([[_log(value) for value in _KNOWN_TRAININGS]])
        message += (
            ", and the spread of this model's trainings is unknown (record --seeds 5), so another model's is used"
        )
    margin = math.log1p(accepted.tolerance / max(accepted.value, math.exp(_log(0.0))))
    grown = float(np.mean([_log(value) for value in now]) - np.mean([_log(value) for value in before]))
    error = sd * math.sqrt(1 / len(now) + 1 / len(before))
    beyond = grown > margin
    p_value = min(1.0, 2 * p_above(grown - margin, error, degrees)) if beyond else None
    verdict = Verdict.PASS
    if p_value is not None:
        red, warn = p_value <= allowed, p_value <= _WARN
        verdict = Verdict.REGRESSED if red else Verdict.WARN if warn else Verdict.PASS
        message += f"; p = {p_value:.2g} (fails below {allowed:.2g})"
    message += f"; trainings differ by a factor of {math.exp(sd):.2f} (sd, {degrees} degrees of freedom)"
    detectable = accepted.value * (math.exp(margin + (t_quantile(allowed / 2, degrees) + _POWER) * error) - 1)
    actions = [] if verdict is Verdict.PASS else subject.choices("accept (from a run with --seeds 5)")
    return _judgement(verdict, message, accepted, distance.value, p_value, detectable, actions)


def _log(value: float) -> float:
    return math.log(max(value, 1e-8))


def _judgement(
    verdict: Verdict,
    message: str,
    accepted: BaselineValue,
    value: float | None = None,
    p_value: float | None = None,
    detectable: float | None = None,
    actions: Sequence[Action] = (),
) -> Judgement:
    return Judgement(
        kind=Kind.ACCURACY,
        measurement=OUTPUT_DISTANCE,
        against="baseline",
        verdict=verdict,
        value=value,
        reference=accepted.value,
        unit=accepted.unit,
        change=None if value is None else value - accepted.value,
        tolerance=accepted.tolerance,
        p_value=p_value,
        detectable=detectable if detectable is None or math.isfinite(detectable) else None,
        message=message,
        actions=list(actions),
    )
