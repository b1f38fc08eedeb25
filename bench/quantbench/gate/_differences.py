"""Compare two censuses: what an artifact holds now and what it held, difference by difference.

Differences are facts; :func:`summed_up` makes sentences of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantbench.records import Amount, Census, Compute, Port
from quantbench.tflite import matching

_CASTS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Difference:
    """One thing in which two censuses differ.

    Attributes:
        what: what changed; where nothing was there before, or is now, the whole of it.
        new, old: what it is and was; both empty where ``what`` says all.
        number: whether both are numbers of ``what``, such as ``24 distinct values``.
        place: of a weight tensor, e.g. ``1. CONV_2D``; empty elsewhere.
        factor: the new number as a multiple of the old one; None where there is none.
    """

    what: str
    new: str = ""
    old: str = ""
    number: bool = False
    place: str = ""
    factor: float | None = None

    @property
    def key(self) -> str:
        """Return the phrase that baselines keep of an expected difference; it stays as it is for their sake."""
        place = f"{self.place}: " if self.place else ""
        if not self.new:
            return f"{place}{self.what}"
        return (
            f"{place}{self.new} {self.what}, not {self.old}"
            if self.number
            else (f"{place}{self.what} {self.new}, not {self.old}")
        )

    @property
    def words(self) -> str:
        """Return the difference in words: ``1. CONV_2D: scale 0.545 → 0.872``."""
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.what} {self.change}" if self.new else f"{place}{self.what}"

    @property
    def change(self) -> str:
        """Return what it was and is."""
        return f"{self.old} → {self.new}"


SAME_FACTOR = 0.05  # factors that differ by less than this share count as one


def summed_up(differences: Sequence[Difference], tensors: int) -> list[str]:
    """Describe differences in few sentences: weight tensors that changed alike share one.

    Args:
        tensors: number of weight tensors of the artifact.
    """
    found: list[str] = []
    of_tensors: dict[str, list[Difference]] = {}
    for one in differences:
        if one.place:
            of_tensors.setdefault(one.what, []).append(one)
        else:
            found.append(one.words)
    alike = [_alike(what, group, tensors) for what, group in of_tensors.items()]
    return [*alike, *found]  # what holds for all weights explains the rest


def _alike(what: str, group: Sequence[Difference], tensors: int) -> str:
    """Describe one kind of difference of some weight tensors."""
    first, count = group[0], len(group)
    if count == 1:
        return first.words
    which = f"{count} of {tensors}" if count < tensors else "both" if count == 2 else f"all {count}"
    example = f"e.g. {first.place}: {first.change}"
    if len({one.change for one in group}) == 1:
        return f"{which} weight tensors: {what} {first.change}"
    factors = [one.factor for one in group if one.factor is not None]
    if len(factors) == count and max(factors) <= (1 + SAME_FACTOR) * min(factors):
        return f"{which} weight tensors: {what} {_times(sum(factors) / count)} ({example})"
    return f"{which} weight tensors: {what} changed ({example})"


def _times(factor: float) -> str:
    """Say a factor: ``1.6 times larger``, or in per cent where it is near 1."""
    word = "larger" if factor > 1 else "smaller"
    if 1 / 1.1 < factor < 1.1:
        return f"{100 * abs(factor - 1):.1f} % {word}"
    return f"{max(factor, 1 / factor):.2g} times {word}"


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


def differences(census: Census, accepted: Census, trained: bool) -> list[Difference]:
    """List each change of the census.

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
        changes.append(
            Difference(f"{len(census.degenerate)} activations with an empty range, first {census.degenerate[0]}")
        )
    if len(census.compute) != len(accepted.compute):
        counts = str(len(census.compute)), str(len(accepted.compute))
        changes.append(Difference("weight tensors", *counts, number=True))
    pairs = _paired(census.compute, accepted.compute)
    for mine, his in pairs:
        old = accepted.compute[his]
        changes += _compute_changes(f"{mine + 1}. {old.operator}", census.compute[mine], old, limits)
    return changes + _unpaired(census.compute, accepted.compute, pairs)


def _paired(new: Sequence[Compute], old: Sequence[Compute]) -> list[tuple[int, int]]:
    """Pair the weights of two censuses: one by one, and where operators came or went by their place in the graph."""
    if [one.operator for one in new] == [one.operator for one in old]:
        return [(place, place) for place in range(len(new))]
    traits = [[matching.Traits(one.operator, weights=(tuple(one.shape),)) for one in side] for side in (new, old)]
    return matching.aligned(*traits)


def _unpaired(new: Sequence[Compute], old: Sequence[Compute], pairs: Sequence[tuple[int, int]]) -> list[Difference]:
    """Name the weights that only one of two censuses has."""
    mine, his = {one for one, _ in pairs}, {other for _, other in pairs}
    come = [f"{place + 1}. {one.operator} {_size(one)}" for place, one in enumerate(new) if place not in mine]
    gone = [f"{place + 1}. {one.operator} {_size(one)}" for place, one in enumerate(old) if place not in his]
    return [Difference(f"added {name}") for name in come] + [Difference(f"removed {name}") for name in gone]


def _size(one: Compute) -> str:
    return "x".join(map(str, one.shape))


def _count_changes(what: str, new: Mapping[str, object], old: Mapping[str, object]) -> list[Difference]:
    changed = [name for name in sorted({*new, *old}) if new.get(name) != old.get(name)]
    return [Difference(f"{what} {name}", _shown(new.get(name)), _shown(old.get(name))) for name in changed]


def _shown(counted: object) -> str:
    if isinstance(counted, Amount):
        return f"{counted.count} of {counted.bytes:,} bytes"
    if isinstance(counted, dict):
        return " + ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    return "none" if counted is None else str(counted)


def _port_changes(what: str, new: list[Port], old: list[Port], tolerance: float) -> list[Difference]:
    if [(port.dtype, port.shape) for port in new] != [(port.dtype, port.shape) for port in old]:
        types = [", ".join(f"{port.dtype} {port.shape}" for port in ports) for ports in (new, old)]
        return [Difference(what, types[0], types[1])]
    if [port.name for port in new] != [port.name for port in old]:
        names = [", ".join(port.name[:40] for port in ports) for ports in (new, old)]
        return [Difference(f"{what} named", names[0], names[1])]
    return [
        Difference(f"{what} {mine.name[:40]}", _quantization(mine), _quantization(his))
        for mine, his in zip(new, old, strict=True)
        if not _same_quantization(mine, his, tolerance)
    ]


def _signature_changes(new: Census, old: Census) -> list[Difference]:
    """Describe how callers would no longer find the model's inputs and outputs by name."""
    if new.signatures is None or old.signatures is None:
        return []
    changes = [Difference(f"no signature {key[:40]!r}") for key in sorted({*old.signatures} - {*new.signatures})]
    changes += [Difference(f"a new signature {key[:40]!r}") for key in sorted({*new.signatures} - {*old.signatures})]
    for key in sorted({*old.signatures} & {*new.signatures}):
        for what in ("inputs", "outputs"):
            mine, his = getattr(new.signatures[key], what), getattr(old.signatures[key], what)
            if mine != his:
                changes.append(Difference(f"signature {key[:40]!r}: {what}", _named(mine), _named(his)))
    return changes


def _named(places: Mapping[str, int]) -> str:
    shown = sorted(places, key=lambda name: (places[name], name))
    return ", ".join(f"{places[name]}: {name[:40]}" for name in shown) or "none"


def _option_changes(new: Census, old: Census) -> list[Difference]:
    """Describe operators whose options changed: strides, padding, fused activations, softmax's beta.

    Where operators came or went, those are compared that have a partner; the counts show the others.
    """
    mine, his = _described(new), _described(old)
    if mine is None or his is None:
        return []
    kinds = [[one.split(" ")[0] for one in side] for side in (mine, his)]
    if new.operators != old.operators and Counter(kinds[0]) == Counter(kinds[1]):
        return []  # the same operators compute in other types, with options of their own
    if kinds[0] == kinds[1]:  # position by position
        changed = [(a, b) for a, b in zip(mine, his, strict=True) if a != b]
    elif Counter(kinds[0]) != Counter(kinds[1]):
        traits = [
            [matching.Traits(kind, words=frozenset(one.split())) for kind, one in zip(*both, strict=True)]
            for both in zip(kinds, (mine, his), strict=True)
        ]
        changed = [(mine[a], his[b]) for a, b in matching.aligned(*traits) if mine[a] != his[b]]
    else:  # the same operators in another order
        gone, come = Counter(his) - Counter(mine), Counter(mine) - Counter(his)
        changed = list(
            zip(sorted(come.elements()), sorted(gone.elements()), strict=False)
        )  # a damaged record lacks some
    if not changed:
        return []
    return [Difference(f"options of {len(changed)} operators, first", *changed[0])]


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


def _range_changes(new: list[tuple[float, int]], old: list[tuple[float, int]], tolerance: float) -> list[Difference]:
    """Describe activations whose range moved; where their number changed, the counts already show it."""
    if len(new) != len(old):
        return []
    changed = [
        (f"scale {a:.4g}, zero point {b}", f"scale {c:.4g}, zero point {d}")
        for (a, b), (c, d) in zip(new, old, strict=True)
        if not _same_range(a, b, c, d, tolerance)
    ]
    return [Difference(f"{len(changed)} of {len(new)} activation ranges, first", *changed[0])] if changed else []


def _compute_changes(place: str, new: Compute, old: Compute, limits: _Limits) -> list[Difference]:
    changes = [
        Difference(field, str(getattr(new, field)), str(getattr(old, field)), place=place)
        for field in ("operator", "precision", "weights", "granularity", "shape")
        if getattr(new, field) != getattr(old, field)
    ]
    zeros = limits.zeros + (limits.values / old.distinct_in_channel if old.distinct_in_channel else 0.0)
    if new.zeros is not None and old.zeros is not None and abs(new.zeros - old.zeros) > zeros:
        shares = f"{100 * new.zeros:.1f} %", f"{100 * old.zeros:.1f} %"
        changes.append(Difference("zeros", *shares, number=True, place=place))
    values, where = (new.distinct, old.distinct), ""
    if limits.values:
        values, where = (new.distinct_in_channel, old.distinct_in_channel), " in a channel"
    share, least = limits.distinct
    if values[0] and values[1] and abs(values[0] - values[1]) > max(least, share * values[1]):
        counts = str(values[0]), str(values[1])
        changes.append(
            Difference(f"distinct values{where}", *counts, number=True, place=place, factor=values[0] / values[1])
        )
    if new.reach and old.reach:
        if abs(new.reach / old.reach - 1) > limits.scale:
            changes.append(_scaled("weights up to", new.reach, old.reach, place))
    elif new.scale and old.scale and abs(new.scale / old.scale - 1) > limits.scale:
        changes.append(_scaled("scale", new.scale, old.scale, place))
    return [*changes, *_range_of_weights(place, new, old)]


def _scaled(what: str, new: float, old: float, place: str) -> Difference:
    return Difference(what, f"{new:.4g}", f"{old:.4g}", place=place, factor=new / old)


def _range_of_weights(place: str, new: Compute, old: Compute) -> list[Difference]:
    """Describe stored weights that use a value which symmetric quantization leaves out, and did not before."""
    least = -(2 ** (_NARROW[new.weights] - 1)) if new.weights in _NARROW else None
    if new.lowest is None or old.lowest is None or new.lowest != least or old.lowest == least:
        return []
    return [Difference("weights from", str(new.lowest), str(old.lowest), place=place)]
