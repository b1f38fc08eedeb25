"""Judge structure: (census, quantization spec, baseline) -> judgements, as pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quantbench.gate._common import Subject, missing
from quantbench.gate._differences import differences, summed_up
from quantbench.gate._quantization_spec import Violation, violations
from quantbench.records import Action, BaselineCell, Census, Judgement, Kind, Verdict

if TYPE_CHECKING:
    from quantbench.variants.declare import QuantizationSpec

MOST_CHANGES = 4


def structure(
    subject: Subject, censuses: list[Census], promise: QuantizationSpec, baseline: BaselineCell | None, trained: bool
) -> list[Judgement]:
    """Judge whether the artifact conforms to its quantization spec, and whether its census is that of the baseline.

    Args:
        censuses: one per seed; each must conform to the spec, the first is compared with the baseline's.
        trained: whether the weights were trained in this run, so that no two censuses are equal.
    """
    by_seed = [violations(promise, census) for census in censuses]
    found = list(dict.fromkeys(violation for violations in by_seed for violation in violations))
    return [_quantization_spec(subject, found, baseline), _census(subject, censuses[0], baseline, trained)]


def _quantization_spec(subject: Subject, found: list[Violation], baseline: BaselineCell | None) -> Judgement:
    reason, words = "; ".join(one.key for one in found), "; ".join(one.words for one in found)
    partly = all(one.partly for one in found)
    declared = baseline.broken_promise if baseline else None
    actions: list[Action] = []
    if not reason:
        verdict, message = Verdict.PASS, "quantized as specified"
        if declared:
            verdict, message = Verdict.IMPROVED, f"{message}; it was not when accepted: {declared}"
            actions = subject.choices()
    elif declared is not None and _without_shares(declared) == _without_shares(reason):
        what = "only partly quantized" if partly else "not quantized as specified"
        verdict, message = Verdict.UNSUPPORTED, f"{what} (known limitation): {words}"
    else:
        what = "only partly quantized" if partly else "not quantized as specified"
        verdict, message = Verdict.REGRESSED, f"{what}: {words}"
        actions = subject.choices("record it as a known limitation")
    return Judgement(
        kind=Kind.STRUCTURE,
        measurement="promise",
        against="promise",
        verdict=verdict,
        message=message,
        detail=reason,
        actions=actions,
    )


def _without_shares(reason: str) -> str:
    """Remove from the reason the share of weights, which training moves a little; the rest must match."""
    return re.sub(r"hold \d+ %", "hold", reason)


def _census(subject: Subject, census: Census, baseline: BaselineCell | None, trained: bool) -> Judgement:
    if baseline is None or baseline.census is None:
        return missing(subject, Kind.STRUCTURE, "census", baseline)
    changes = differences(census, baseline.census, trained)
    sentences = summed_up(changes, len(census.compute))
    shown = "; ".join(sentences[:MOST_CHANGES])
    more = f"; {len(changes)} differences in all" if len(changes) > min(len(sentences), MOST_CHANGES) else ""
    return Judgement(
        kind=Kind.STRUCTURE,
        measurement="census",
        against="baseline",
        verdict=Verdict.REGRESSED if changes else Verdict.PASS,
        message=f"structure {'changed: ' + shown + more if changes else 'unchanged'}",
        detail="; ".join(one.key for one in changes),
        actions=subject.choices() if changes else [],
    )
