"""Judge what a cell answers on a target: example by example against the answers here, or the accepted ones there.

Another processor rounds otherwise, so a few examples near a tie turn: that is ``changed`` beyond what other kernels of
one processor turn, and red only where it is worse beyond chance. Times and memory there are shown and not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.randomization import by_group, sign_flip_p
from quantbench.core.stats import binomial_tail, bootstrap_drop_sd, normal_p
from quantbench.gate._common import Subject
from quantbench.gate._fidelity import CHANGED_FLIPS
from quantbench.gate.score.flips import Examples, flips
from quantbench.gate.score.losses import garbage
from quantbench.gate.score.words import show_score, worse_or_better
from quantbench.records import Action, Judgement, Kind, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

# Shared evenly by every cell on every target of a run, beside the run's own budget: answers on one machine and another
# are a new question. With four cells on two targets 13 newly wrong examples are red where none is newly right.
TARGETS_BUDGET = 0.001
_SUSPICIOUS = 0.05
_FLIP_ALARM = 0.01
# A continuous prediction is another one beyond this share of the largest, as where kernels are compared.
_WITHIN = 0.02


@dataclass(frozen=True)
class Paired:
    """Two sets of answers to the same examples.

    Attributes:
        score, reference: of the answers there and of those that they are compared with.
        lost, gained: newly wrong and newly right examples; None where the metric does not count them.
        differing: examples with another prediction.
        p_value: one-sided, of no loss.
    """

    n: int
    score: float
    reference: float
    lost: int | None
    gained: int | None
    differing: int
    p_value: float


def paired(metric: Metric, there: Array, others: Array, examples: Examples) -> Paired:
    """Compare answers example by example.

    By McNemar's exact test where examples are right or wrong, by random signs of the paired losses where the metric
    has losses, and by the paired bootstrap else.

    Args:
        there, others: shape (n, ...), of the first n examples.
    """
    n = len(there)
    some = Examples(examples.labels[:n], None if examples.groups is None else examples.groups[:n])
    score, reference = metric.value(there, some.labels), metric.value(others, some.labels)
    if np.array_equal(there, others):
        none = None if metric.correct is None else 0
        return Paired(n, score, reference, none, none, 0, 1.0)
    if metric.correct is not None:
        found = flips(metric, there, others, some)
        differing = int(np.count_nonzero((there != others).reshape(n, -1).any(axis=1)))
        return Paired(n, score, reference, found.lost, found.gained, differing, found.p_worse())
    differing = round(n * (1 - metric.agreement(there, others, _WITHIN)))
    if metric.losses is not None:
        losses = metric.losses(there, some.labels) - metric.losses(others, some.labels)
        p_value = sign_flip_p(by_group(losses, some.groups))
    else:
        sd = bootstrap_drop_sd(metric.drop_of_chosen(there, others, some.labels), n)
        p_value = normal_p(metric.drop(score, reference), sd)
    return Paired(n, score, reference, None, None, differing, float(p_value))


def on_target(
    subject: Subject,
    name: str,
    metric: Metric,
    there: Array,
    others: Array,
    examples: Examples,
    against: Literal["litert-cpu", "baseline"],
    alpha: float,
    matters: float,
    nonfinite: int = 0,
) -> tuple[Judgement, Paired | None]:
    """Judge the answers of a cell on a target.

    Args:
        name: of the target.
        others: the answers here, or the accepted ones of the target's results class.
        alpha: p-value at which a loss is red.
        matters: smallest drop that matters, in the metric's unit.
        nonfinite: examples with a NaN or infinite output there.
    """
    if nonfinite:
        words = f"on {name}: {nonfinite:,} of {len(there):,} examples have a NaN or infinite output"
        return judged_on(name, Verdict.REGRESSED, words, against, actions=_actions(subject, name)), None
    seen = paired(metric, there, others, examples)
    drop = metric.drop(seen.score, seen.reference)
    wrecked = garbage(metric, there, others, examples.labels[: seen.n]) if metric.correct is None else None
    verdict = Verdict.PASS
    if wrecked is not None:
        verdict = Verdict.REGRESSED
    elif drop >= matters and seen.p_value <= _SUSPICIOUS:
        verdict = Verdict.REGRESSED if seen.p_value <= alpha else Verdict.WARN
    elif seen.differing and binomial_tail(seen.differing, seen.n, CHANGED_FLIPS) <= _FLIP_ALARM:
        verdict = Verdict.CHANGED
    judged = judged_on(
        name,
        verdict,
        _words(name, metric, seen, drop, against, alpha, verdict),
        against,
        seen.score,
        seen.reference,
        metric.unit,
        drop,
        seen.p_value if seen.differing else None,
        [] if verdict is Verdict.PASS else _actions(subject, name),
    )
    return judged, seen


def _words(name: str, metric: Metric, seen: Paired, drop: float, against: str, alpha: float, verdict: Verdict) -> str:
    other = "here" if against == "litert-cpu" else "accepted there"
    if not seen.differing and not drop:
        return f"on {name}: {metric.name} {show_score(metric, seen.score)}, all {seen.n:,} answers as {other}"
    change = f"{abs(drop):.2f} {metric.unit} {worse_or_better(drop)}" if drop else "unchanged"
    turned = f"{seen.lost} newly wrong, {seen.gained} newly right, " if seen.lost is not None else ""
    words = (
        f"on {name}: {metric.name} {show_score(metric, seen.score)}, {other} {show_score(metric, seen.reference)} "
        f"({change}); {seen.differing:,} of {seen.n:,} answers differ ({turned}p = {seen.p_value:.2g}; fails below "
        f"{alpha:.2g})"
    )
    if verdict is Verdict.CHANGED:
        words += f"; more than the {100 * CHANGED_FLIPS:g} % that other kernels change, but not clearly worse"
    return words


def no_answers(subject: Subject, name: str, reason: str) -> Judgement:
    """Judge a cell that could not be run on a target."""
    again = subject.again("run it there again", "--target", name)
    return judged_on(name, Verdict.ERROR, f"on {name}: not run: {reason}", "nothing", actions=[again], detail=reason)


def targets_alpha(judgements: int) -> float:
    """Return the p-value at which one of so many judgements on targets is red."""
    return TARGETS_BUDGET / max(1, judgements)


def target_measurement(name: str) -> str:
    """Return the name of the judgement of a cell's answers on a target."""
    return f"target_score@{name}"


def _actions(subject: Subject, name: str) -> list[Action]:
    return [
        Action(what=f"the same file answers otherwise on {name}: find out why before it is shipped to such a machine"),
        subject.again("measure again", "--target", name),
        subject.accept("accept the answers of this target", "--target", name),
    ]


def judged_on(
    name: str,
    verdict: Verdict,
    message: str,
    against: Literal["litert-cpu", "baseline", "nothing"],
    value: float | None = None,
    reference: float | None = None,
    unit: str = "",
    change: float | None = None,
    p_value: float | None = None,
    actions: list[Action] | None = None,
    detail: str = "",
) -> Judgement:
    """Build a judgement on a target."""
    return Judgement(
        kind=Kind.TARGET,
        measurement=target_measurement(name),
        against=against,
        verdict=verdict,
        value=value,
        reference=reference,
        unit=unit,
        change=change,
        p_value=p_value,
        message=message,
        detail=detail,
        actions=actions or [],
    )
