"""Judge metrics that count right and wrong examples, by those that turned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from quantbench.core.randomization import detectable_loss
from quantbench.gate._common import Subject
from quantbench.gate.score.flips import Examples, Flips
from quantbench.gate.score.parts import SUSPICIOUS
from quantbench.gate.score.words import IMPLAUSIBLE, score_judgement, versus
from quantbench.records import BaselineValue, Judgement, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

# Answers assumed to flip in each direction where none did, for what a run could have seen: 0.2 % of the examples, as
# another kernel or processor flips of an int8 model.
ASSUMED_CHURN = 0.002
# A gain beyond so many binomial standard deviations of the score is looked at before it is believed: conversion and
# quantization do not add so much.
IMPLAUSIBLE_DEVIATIONS = 3.0
# Power of 80 % to see a drop of so many points is the least that a test split should have.
COARSEST = 5.0


def churn_of(found: Flips | None, n: int) -> int:
    """Return how many answers flip in each direction besides what is lost: those seen, or the assumed ones."""
    seen = min(found.lost, found.gained) if found is not None else 0
    return max(seen, math.ceil(ASSUMED_CHURN * n))


def detectable(metric: Metric, n: int, churn: int, alpha: float, matters: float) -> float:
    """Return the smallest drop that McNemar's test finds in four of five runs, in the metric's unit."""
    return max(matters, metric.scale * detectable_loss(churn, alpha) / n)


def too_coarse(metric: Metric, examples: Examples, alpha: float) -> str:
    """Say that a test split cannot judge a score, and how many examples could; empty where it can."""
    n = len(examples)
    if metric.correct is None or metric.scale != 100:
        return ""
    found = detectable(metric, n, churn_of(None, n), alpha, 0.0)
    if found <= COARSEST:
        return ""
    enough = n
    while detectable(metric, enough, churn_of(None, enough), alpha, 0.0) > COARSEST:
        enough = math.ceil(1.1 * enough)
    digits = 10 ** max(0, len(str(enough)) - 2)
    needed = math.ceil(enough / digits) * digits
    return (
        f"{n} test examples are too few for {metric.name}: only a drop of {min(found, 100):.0f} {metric.unit} is "
        "found in "
        f"four of five runs; finding {COARSEST:g} {metric.unit} needs about {needed} examples"
    )


def by_pairs(
    subject: Subject,
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    found: Flips,
    alpha: float,
    matters: float,
) -> Judgement:
    """Judge by McNemar's exact test, or by random signs of whole groups where examples belong together."""
    drop = metric.drop(score.value, accepted.value)
    worse, better = found.p_worse(), found.p_better()
    grouped = len(found.differences) != found.lost + found.gained
    p_value = min(worse, better)
    test = "sign flips by group" if grouped else "exact McNemar"
    chance = ", consistent with chance" if p_value > SUSPICIOUS else ""
    message = (
        f"{versus(metric, score, accepted)}; {found.lost} newly wrong, {found.gained} newly right of "
        f"{found.n:,}{chance} "
        f"({test} p = {p_value:.2g}; fails below {alpha:.2g})"
    )
    verdict = Verdict.PASS
    if drop > accepted.tolerance and drop >= matters and worse <= SUSPICIOUS:
        verdict = Verdict.REGRESSED if worse <= alpha else Verdict.WARN
    elif -drop >= matters and better <= alpha:
        verdict = Verdict.IMPROVED
        if _implausible(found):
            verdict, message = Verdict.WARN, f"{message}; {IMPLAUSIBLE}"
    churn = churn_of(found, found.n)
    return score_judgement(
        verdict,
        message,
        [] if verdict is Verdict.PASS else subject.choices(),
        metric,
        score,
        accepted,
        p_value=worse,
        detectable=max(accepted.tolerance, detectable(metric, found.n, churn, alpha, matters)),
        churn=churn,
    )


def _implausible(found: Flips) -> bool:
    share = found.right / found.n
    sd = math.sqrt(max(share * (1 - share), 1 / found.n) / found.n)
    return -found.drop > IMPLAUSIBLE_DEVIATIONS * sd
