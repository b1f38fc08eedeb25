"""Judge classes and slices: what a mean hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantbench.core.arrays import Array
from quantbench.gate._common import Subject
from quantbench.gate.score.flips import Examples, Flips, Of, divisions_count, key_of, parts
from quantbench.gate.score.hypotheses import Thresholds
from quantbench.records import Judgement, Kind, PartChange, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

SUSPICIOUS = 0.05  # unadjusted p-value of a warning
MOST_NAMED = 5  # in a message
MOST_KEPT = 20  # in a report
_WORDS = {"classes": "class", "slices": "slice"}


def judge_parts(
    subject: Subject,
    metric: Metric,
    found: Sequence[Flips],
    examples: Examples,
    thresholds: Thresholds,
    matters: float,
    tolerance: float = 0.0,
) -> list[Judgement]:
    """Judge the classes of a cell together, and its slices; nothing where none changed.

    Args:
        found: parts in which anything moved.
        matters: smallest drop that is red or a warning, in the metric's unit.
        tolerance: drop that maintainers allowed for a while.
    """
    counts = divisions_count(examples)
    kinds: tuple[Of, ...] = ("classes", "slices")
    return [
        _judged(subject, metric, kind, of_kind, counts[kind], thresholds, max(matters, tolerance))
        for kind in kinds
        if (of_kind := [one for one in found if one.of == kind])
    ]


def _judged(
    subject: Subject,
    metric: Metric,
    kind: Of,
    found: Sequence[Flips],
    count: int,
    thresholds: Thresholds,
    least: float,
) -> Judgement:
    changes = [_change(subject, metric, one, count, thresholds, least) for one in found]
    changes.sort(key=lambda one: (one.p_value, -one.change))
    red = [one for one in changes if one.verdict is Verdict.REGRESSED]
    warned = [one for one in changes if one.verdict is Verdict.WARN]
    by_name = {one.name: one for one in found}
    verdict = Verdict.REGRESSED if red else Verdict.WARN if warned else Verdict.PASS
    told = red or warned
    if told:
        listed = "; ".join(_sentence(one, by_name[one.name]) for one in told[:MOST_NAMED])
        more = f"; and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        message = f"{listed}{more}"
    else:
        message = f"no {_WORDS[kind]} of {count} got worse beyond chance; most changed: {changes[0].name}"
    first = changes[0]
    return Judgement(
        kind=Kind.ACCURACY,
        measurement=kind,
        against="baseline",
        verdict=verdict,
        unit=metric.unit,
        change=first.change,
        p_value=first.p_value,
        message=message,
        detail=", ".join(one.name for one in told),
        parts=changes[:MOST_KEPT],
        actions=subject.choices() if told else [],
    )


def _change(
    subject: Subject, metric: Metric, one: Flips, count: int, thresholds: Thresholds, least: float
) -> PartChange:
    p_value, holm_threshold, drop = one.p_worse(), thresholds.of(key_of(subject.key, one.name)), metric.scale * one.drop
    verdict = Verdict.PASS
    if drop >= least:
        if p_value <= holm_threshold:
            verdict = Verdict.REGRESSED
        elif p_value * count <= SUSPICIOUS:  # a warning for the whole division, not for each of its parts
            verdict = Verdict.WARN
    return PartChange(
        name=one.name,
        n=one.n,
        lost=one.lost,
        gained=one.gained,
        change=drop,
        p_value=p_value,
        holm_threshold=holm_threshold,
        verdict=verdict,
    )


def _sentence(one: PartChange, flipped: Flips) -> str:
    before = 100 * flipped.right / flipped.n
    now = 100 * (flipped.right - flipped.lost + flipped.gained) / flipped.n
    return (
        f"{one.name}: {before:.1f} % → {now:.1f} % right ({one.lost} newly wrong, {one.gained} newly right of "
        f"{one.n:,}; p = {one.p_value:.2g}, fails below {one.holm_threshold:.2g})"
    )


def moved_parts(metric: Metric, new: Array, stored: Array, examples: Examples) -> list[Flips]:
    """List the classes and slices in which anything moved."""
    return list(parts(metric, new, stored, examples))
