"""Judge conversion and kernels: whether the artifact's predictions agree with those of the model it came from."""

from typing import Literal

from quantbench.core.stats import binomial_tail
from quantbench.gate._common import Subject
from quantbench.records import Action, BaselineCell, Judgement, Kind, Measurement, Verdict

# Float rounding flips a few near ties; a lost weight or stale state flips far more than one in a thousand.
KERAS_AGREEMENT = 0.999
# A share of disagreements is red only where it is beyond chance, so that one near tie of 100 examples is not: the
# limit is about the model, and the examples are a sample. A float model that truly disagrees on 0.1 % is red in at most
# one run of a thousand.
RED_AT = 1e-3
# As everywhere a warning means that chance would rarely show it.
WARN_AT = 0.05
# XNNPACK and the reference kernels round differently, which flips a near tie now and then (0.973 was measured
# without any defect).
REFERENCE_AGREEMENT = 0.95
REFERENCE_SLACK = 0.05
# Rounding separates an artifact from the model it was converted from; a different training separates it from its
# control. All cells of the reference models keep the first below two thirds of the second; the artifact of a wrong
# model has both equal.
OWN_SHARE = 0.8
NO_UPDATE = Action(what="a baseline update cannot accept this")


def agreement(share_agreeing: Measurement) -> Judgement:
    """Judge whether the float ``.tflite`` agrees with the float Keras model, which tests the conversion itself.

    Red where the disagreements are more than chance gives a model that keeps the limit: a one-sided exact binomial test
    (Clopper and Pearson 1934, The use of confidence or fiducial limits illustrated in the case of the binomial).
    """
    differing, p_value = _beyond(share_agreeing.value, share_agreeing.n, KERAS_AGREEMENT)
    red = p_value <= RED_AT
    message = (
        f"the float .tflite agrees with the float model on {100 * share_agreeing.value:.2f} % of "
        f"{share_agreeing.n:,} examples; at least {100 * KERAS_AGREEMENT:g} % required"
        f"{_counted(differing, p_value, RED_AT, 'fails')}"
    )
    actions = [Action(what="compare both outputs on one example: the conversion, a state or an input is wrong")]
    verdict = Verdict.REGRESSED if red else Verdict.PASS
    return _agreeing("float_agreement", "float model", verdict, share_agreeing, KERAS_AGREEMENT, message, actions)


def _beyond(share_agreeing: float, n: int, limit: float) -> tuple[int, float]:
    """Count the disagreements; return their p-value too, where the true share of agreements is the limit."""
    differing = round((1 - share_agreeing) * n)
    return differing, binomial_tail(differing, n, 1 - limit)


def _counted(differing: int, p_value: float, alpha: float, verdict: str) -> str:
    """Say how many examples differ, and what chance says of it; empty where none does."""
    return f" ({differing:,} differ, p = {p_value:.2g}, {verdict} below {alpha:.2g})" if differing else ""


def _agreeing(
    name: str,
    against: Literal["float model", "before conversion", "reference kernels"],
    verdict: Verdict,
    agreement: Measurement,
    limit: float,
    message: str,
    actions: list[Action],
) -> Judgement:
    """Build a judgement of a share of agreeing examples; the actions apply where the share is too low."""
    return Judgement(
        kind=Kind.ACCURACY,
        measurement=name,
        against=against,
        verdict=verdict,
        value=agreement.value,
        reference=1.0,
        unit="fraction",
        tolerance=1 - limit,
        message=message,
        actions=[] if verdict is Verdict.PASS else actions,
    )


def conversion(
    agreement: Measurement,
    first_divergent: str,
    with_control: float | None = None,
    accepted: float | None = None,
) -> Judgement:
    """Judge whether an artifact agrees with its fake-quantized model before conversion.

    An agreement too low for chance is a warning, unless one as low was accepted; it is red where the artifact is about
    as far from that model as from its control, which means that it was made from a different model. Both by the test of
    :func:`agreement`: seeds share the warning's p-value, as the lowest of them is judged. Fewer agreeing examples than
    were accepted are a warning where that is beyond chance: Fisher's exact test, as both counts are samples.

    Args:
        agreement: the lowest of all seeds, with one value per seed where there are several.
        with_control: fraction of examples on which the artifact agrees with its control, of the first seed.
        accepted: the baseline's own share; None where it has none.
    """
    from quantbench.reference.metrics import CONVERSION_AGREEMENT

    seeds = agreement.values or [agreement.value]
    own = seeds[0]  # of the seed that the control is compared with
    differing, p_value = _beyond(agreement.value, agreement.n, CONVERSION_AGREEMENT)
    warn_at = WARN_AT / len(seeds)
    warn = p_value <= warn_at
    if warn and accepted is not None and accepted < CONVERSION_AGREEMENT:
        p_value = fewer_than_accepted(agreement, accepted)
        warn = p_value <= warn_at
    too_far = _beyond(own, agreement.n, CONVERSION_AGREEMENT)[1] <= RED_AT
    stranger = too_far and with_control is not None and 1 - own > OWN_SHARE * (1 - with_control)
    message = (
        f"the .tflite file agrees with the fake-quantized model on {100 * agreement.value:.2f} % of "
        f"{agreement.n:,} examples; at least {100 * CONVERSION_AGREEMENT:g} % expected"
        f"{_counted(differing, p_value, warn_at, 'warns')}"
    )
    message = f"{message}; {first_divergent}" if warn and first_divergent else message
    if stranger and with_control is not None:
        message = (
            f"{message}; it agrees with its float32 reference on {100 * with_control:.2f} %, so another model was "
            "converted"
        )
    actions = [
        Action(what="the shipped model differs from the trained one: start with that tensor, not with the training")
    ]
    verdict = Verdict.REGRESSED if stranger else Verdict.WARN if warn else Verdict.PASS
    return _agreeing(
        "conversion_agreement", "before conversion", verdict, agreement, CONVERSION_AGREEMENT, message, actions
    )


def fewer_than_accepted(agreement: Measurement, accepted: float) -> float:
    """Return the p-value of :func:`fewer_than` where as many examples were accepted."""
    return fewer_than(agreement, accepted, agreement.n)


def fewer_than(agreement: Measurement, accepted: float, examples: int) -> float:
    """Return the one-sided p-value of Fisher's exact test (1935) that fewer examples agree than were accepted."""
    from scipy.stats import hypergeom  # slow to load

    n = agreement.n
    now, before = round((1 - agreement.value) * n), round((1 - accepted) * examples)
    return float(hypergeom.sf(now - 1, n + examples, now + before, n))


def as_long(steps: Measurement, control: Measurement) -> Judgement:
    """Judge whether a cell and its control trained for equally many steps; otherwise their scores do not compare."""
    same = steps.value == control.value
    message = f"fine-tuned for {steps.value:,.0f} steps, its float32 reference for {control.value:,.0f}"
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="training_steps",
        against="control",
        verdict=Verdict.PASS if same else Verdict.REGRESSED,
        value=steps.value,
        reference=control.value,
        unit="steps",
        message=message,
        actions=[] if same else [Action(what="train both with the model's 'finetune' recipe"), NO_UPDATE],
    )


def reference_kernels(subject: Subject, agreement: Measurement, baseline: BaselineCell | None) -> Judgement:
    """Judge whether the default kernels agree with the reference kernels; a warning until accepted, never red."""
    accepted = baseline.reference_agreement if baseline else None
    limit = REFERENCE_AGREEMENT if accepted is None else min(REFERENCE_AGREEMENT, accepted - REFERENCE_SLACK)
    warn = agreement.value < limit
    message = (
        f"LiteRT's default kernels agree with its reference kernels on {100 * agreement.value:.1f} % of "
        f"{agreement.n} examples; at least {100 * max(0.0, limit):.0f} % expected"
    )
    disagree = Action(what="default and reference kernels disagree: report it to LiteRT with this .tflite file")
    actions = [disagree, *subject.choices()]
    verdict = Verdict.WARN if warn else Verdict.PASS
    return _agreeing("reference_agreement", "reference kernels", verdict, agreement, max(0.0, limit), message, actions)
