"""Judge structure: (census, quantization spec, baseline) -> judgements, as pure functions."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from quantbench.gate._common import Subject, missing
from quantbench.gate._quantization_spec import violations
from quantbench.records import Action, Amount, BaselineCell, Census, Compute, Judgement, Kind, Port, Verdict
from quantbench.variants.declare import QuantizationSpec

MOST_CHANGES = 4
_CASTS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class _Limits:
    """Limit how much a census may change.

    Attributes:
        zeros: share of all weights.
        values: number of values that zeros may gain or lose in addition, each a share of 1 / (values of a channel).
        distinct: distinct values, as (share of the old number, least number); per channel where ``values`` is given.
        scale: of weights, as a share of the old one: of their largest real value where both files say it, which is
            the same however a channel is divided into scale and weights.
        range: of activations, inputs and outputs, as a share of the old one.
    """

    zeros: float
    distinct: tuple[float, int]
    scale: float
    range: float
    values: int = 0


# Bits of the weights that symmetric quantization keeps one value short of: -128 has no counterpart, and kernels that
# multiply pairs of weights overflow on it. No artifact of ours holds it; int4 weights reach -8 in four variants.
_NARROW = {"int8": 8, "int16": 16}


CONVERTED = _Limits(zeros=0.01, distinct=(0.02, 2), scale=0.01, range=0.01)
# Of 1,200 pairs of trainings with different seeds or processors (119 cells of seven models): where a cluster's centroid
# comes to lie within half a step of zero, all its weights become zeros, up to 13 % of a tensor with 15 values per
# channel, as values near zero are common, and 2 % where weights are not clustered. Distinct values of a channel moved
# by up to 4 of 16, or by 13 % of more; those of the whole tensor by 370 %, as every channel has a scale of its own.
# Scales of weights moved by up to 42 %, ranges of activations by 23 % (1 % of them by 12 %, 0.1 % by 18 %).
TRAINED = _Limits(zeros=0.05, distinct=(0.2, 5), scale=0.75, range=0.35, values=2)


def structure(
    subject: Subject, censuses: list[Census], promise: QuantizationSpec, baseline: BaselineCell | None, trained: bool
) -> list[Judgement]:
    """Judge whether the artifact conforms to its quantization spec, and whether its census is that of the baseline.

    Args:
        censuses: one per seed; each must conform to the spec, the first is compared with the baseline's.
        trained: whether the weights were trained in this run, so that no two censuses are equal.
    """
    by_seed = [violations(promise, census) for census in censuses]
    sentences = list(dict.fromkeys(sentence for violations in by_seed for sentence in violations))
    return [_quantization_spec(subject, sentences, baseline), _census(subject, censuses[0], baseline, trained)]


def _quantization_spec(subject: Subject, sentences: list[str], baseline: BaselineCell | None) -> Judgement:
    reason = "; ".join(sentences)
    declared = baseline.broken_promise if baseline else None
    actions: list[Action] = []
    if not reason:
        verdict, message = Verdict.PASS, "the artifact is what its name says"
        if declared:
            verdict, message = Verdict.IMPROVED, f"{message}; it was not so before: {declared}"
            actions = subject.choices()
    elif declared is not None and _without_shares(declared) == _without_shares(reason):
        verdict, message = Verdict.UNSUPPORTED, f"not what its name says, as declared: {reason}"
    else:
        verdict, message = Verdict.REGRESSED, f"the artifact is not what its name says: {reason}"
        actions = subject.choices("declare that the tools can do no better")
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
    shown = "; ".join(changes[:MOST_CHANGES])
    more = f"; and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
    return Judgement(
        kind=Kind.STRUCTURE,
        measurement="census",
        against="baseline",
        verdict=Verdict.REGRESSED if changes else Verdict.PASS,
        message=f"the artifact is made of {'something else: ' + shown + more if changes else 'the same'}",
        detail="; ".join(changes),
        actions=subject.choices() if changes else [],
    )


def differences(census: Census, accepted: Census, trained: bool) -> list[str]:
    """Describe each change of the census in one phrase.

    Retrained weights differ in zeros, distinct values and ranges, by as much as :data:`TRAINED` allows; converted
    weights differ only by the rounding of another processor.
    """
    limits = TRAINED if trained else CONVERTED
    changes = _count_changes("constants", census.constants, accepted.constants)
    changes += _count_changes("activations", census.activations, accepted.activations)
    changes += _count_changes("operators", census.operators, accepted.operators)
    changes += _signature_changes(census, accepted)
    changes += _option_changes(census, accepted)
    for what in ("inputs", "outputs"):
        changes += _port_changes(what, getattr(census, what), getattr(accepted, what), limits.range)
    changes += _range_changes(census.ranges, accepted.ranges, limits.range)
    if census.degenerate and not accepted.degenerate:
        changes.append(f"{len(census.degenerate)} activations with an empty range, first {census.degenerate[0]}")
    if len(census.compute) != len(accepted.compute):
        return [*changes, f"{len(census.compute)} weight tensors, not {len(accepted.compute)}"]
    for position, (new, old) in enumerate(zip(census.compute, accepted.compute, strict=True), 1):
        changes += [f"{position}. {old.operator}: {change}" for change in _compute_changes(new, old, limits)]
    return changes


def _count_changes(what: str, new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    changed = [name for name in sorted({*new, *old}) if new.get(name) != old.get(name)]
    return [f"{what} {name} {_shown(new.get(name))}, not {_shown(old.get(name))}" for name in changed]


def _shown(counted: object) -> str:
    if isinstance(counted, Amount):
        return f"{counted.count} of {counted.bytes:,} bytes"
    if isinstance(counted, dict):
        return " + ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    return "none" if counted is None else str(counted)


def _port_changes(what: str, new: list[Port], old: list[Port], tolerance: float) -> list[str]:
    if [(port.dtype, port.shape) for port in new] != [(port.dtype, port.shape) for port in old]:
        types = [", ".join(f"{port.dtype} {port.shape}" for port in ports) for ports in (new, old)]
        return [f"{what} {types[0]}, not {types[1]}"]
    if [port.name for port in new] != [port.name for port in old]:
        names = [", ".join(port.name[:40] for port in ports) for ports in (new, old)]
        return [f"{what} named {names[0]}, not {names[1]}"]
    return [
        f"{what} {mine.name[:40]} {_quantization(mine)}, not {_quantization(his)}"
        for mine, his in zip(new, old, strict=True)
        if not _same_quantization(mine, his, tolerance)
    ]


def _signature_changes(new: Census, old: Census) -> list[str]:
    """Describe how callers would no longer find the model's inputs and outputs by name."""
    if new.signatures is None or old.signatures is None:
        return []
    changes = [f"no signature {key[:40]!r}" for key in sorted({*old.signatures} - {*new.signatures})]
    changes += [f"a new signature {key[:40]!r}" for key in sorted({*new.signatures} - {*old.signatures})]
    for key in sorted({*old.signatures} & {*new.signatures}):
        for what in ("inputs", "outputs"):
            mine, his = getattr(new.signatures[key], what), getattr(old.signatures[key], what)
            if mine != his:
                changes.append(f"signature {key[:40]!r}: {what} {_named(mine)}, not {_named(his)}")
    return changes


def _named(places: Mapping[str, int]) -> str:
    shown = sorted(places, key=lambda name: (places[name], name))
    return ", ".join(f"{places[name]}: {name[:40]}" for name in shown) or "none"


def _option_changes(new: Census, old: Census) -> list[str]:
    """Describe operators whose options changed: strides, padding, fused activations, softmax's beta.

    Where operators came or went, the counts already show it.
    """
    mine, his = _described(new), _described(old)
    if mine is None or his is None or new.operators != old.operators:
        return []
    if [one.split(" ")[0] for one in mine] == [one.split(" ")[0] for one in his]:  # position by position
        changed = [(a, b) for a, b in zip(mine, his, strict=True) if a != b]
    else:  # the same operators in another order
        gone, come = Counter(his) - Counter(mine), Counter(mine) - Counter(his)
        changed = list(
            zip(sorted(come.elements()), sorted(gone.elements()), strict=False)
        )  # a damaged record lacks some
    if not changed:
        return []
    return [f"options of {len(changed)} operators, first {changed[0][0]}, not {changed[0][1]}"]


def _described(census: Census) -> list[str] | None:
    """Return every operator with its options, in file order."""
    if census.options is None or census.order is None or max(census.order, default=0) >= len(census.options):
        return None
    return [census.options[place] for place in census.order]


def disappeared(census: Census, accepted: Census) -> list[str]:
    """Name what the accepted artifact has and this one lacks, so that a smaller file is no improvement."""
    signatures = {*(accepted.signatures or {})} if census.signatures is not None else set()
    gone = [f"no signature {key[:40]!r}" for key in sorted(signatures - {*(census.signatures or {})})]
    for what in ("inputs", "outputs", "compute"):
        count, before = len(getattr(census, what)), len(getattr(accepted, what))
        words = "weight tensors" if what == "compute" else what
        gone += [f"{count} {words}, not {before}"] if count < before else []
    for name, by in sorted(accepted.operators.items()):
        count, before = sum(census.operators.get(name, {}).values()), sum(by.values())
        # Casts are no part of the function; to do with fewer of them is what a converter improves.
        gone += [f"{count} {name}, not {before}"] if count < before and name not in _CASTS else []
    return gone


def _quantization(port: Port) -> str:
    return "unscaled" if port.scale is None else f"scale {port.scale:.4g}, zero point {port.zero_point}"


def _same_quantization(new: Port, old: Port, tolerance: float) -> bool:
    if new.scale is None or old.scale is None:
        return new.scale is old.scale
    return _same_range(new.scale, new.zero_point or 0, old.scale, old.zero_point or 0, tolerance)


def _same_range(scale: float, zero: int, old_scale: float, old_zero: int, tolerance: float) -> bool:
    moved = abs(scale - old_scale)
    # A changed range moves its zero point by as many steps; an unchanged one by none.
    steps = max(1, round(128 * tolerance)) if moved > 1e-6 * abs(old_scale) else 0
    return moved <= tolerance * abs(old_scale) and abs(zero - old_zero) <= steps


def _range_changes(new: list[tuple[float, int]], old: list[tuple[float, int]], tolerance: float) -> list[str]:
    """Describe activations whose range moved; where their number changed, the counts already show it."""
    if len(new) != len(old):
        return []
    changed = [
        f"scale {a:.4g}, zero point {b}, not {c:.4g}, {d}"
        for (a, b), (c, d) in zip(new, old, strict=True)
        if not _same_range(a, b, c, d, tolerance)
    ]
    return [f"{len(changed)} of {len(new)} activation ranges, first {changed[0]}"] if changed else []


def _compute_changes(new: Compute, old: Compute, limits: _Limits) -> list[str]:
    changes = [
        f"{field} {getattr(new, field)}, not {getattr(old, field)}"
        for field in ("operator", "precision", "weights", "granularity", "shape")
        if getattr(new, field) != getattr(old, field)
    ]
    zeros = limits.zeros + (limits.values / old.distinct_in_channel if old.distinct_in_channel else 0.0)
    if new.zeros is not None and old.zeros is not None and abs(new.zeros - old.zeros) > zeros:
        changes.append(f"{100 * new.zeros:.1f} % zeros, not {100 * old.zeros:.1f} %")
    values, where = (new.distinct, old.distinct), ""
    if limits.values:
        values, where = (new.distinct_in_channel, old.distinct_in_channel), " in a channel"
    share, least = limits.distinct
    if values[0] and values[1] and abs(values[0] - values[1]) > max(least, share * values[1]):
        changes.append(f"{values[0]} distinct values{where}, not {values[1]}")
    if new.reach and old.reach:
        if abs(new.reach / old.reach - 1) > limits.scale:
            changes.append(f"weights up to {new.reach:.4g}, not {old.reach:.4g}")
    elif new.scale and old.scale and abs(new.scale / old.scale - 1) > limits.scale:
        changes.append(f"scale {new.scale:.4g}, not {old.scale:.4g}")
    return [*changes, *_range_of_weights(new, old)]


def _range_of_weights(new: Compute, old: Compute) -> list[str]:
    """Describe stored weights that use a value which symmetric quantization leaves out, and did not before."""
    least = -(2 ** (_NARROW[new.weights] - 1)) if new.weights in _NARROW else None
    if new.lowest is None or old.lowest is None or new.lowest != least or old.lowest == least:
        return []
    return [f"weights from {new.lowest}, not {old.lowest}"]
