"""Judge what trained anew by the spread of trainings: its mean, its worst seed, and its spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from quantbench.core import seed_spread
from quantbench.core.stats import Paired, f_above, p_above, t_quantile
from quantbench.gate._common import Subject, beyond
from quantbench.gate.score.hypotheses import Hypothesis, Thresholds
from quantbench.gate.score.parts import SUSPICIOUS
from quantbench.gate.score.words import IMPLAUSIBLE, score_judgement, show_score, versus, worse_or_better
from quantbench.records import BaselineValue, Judgement, Kind, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

# A mean that gained more than so many standard deviations of one training is looked at before it is believed.
IMPLAUSIBLE_DEVIATIONS = 6.0
# Shares of the budget of a trained score whose baseline has several seeds. It is compared with a dozen degrees of
# freedom, where a small alpha costs far more than in an exact test of many flips: at 1.5e-6 (a run in which everything
# changed) it is red at 8.4 standard errors, at 7.5e-5 at 5.4. All 19 such cells take 950 shares where 2,000 others have
# one each, which moves those from 4.6 to 4.7 standard errors.
SEVERAL_SEEDS_WEIGHT = 50


@dataclass(frozen=True)
class Repeats:
    """Describe how far the scores of trainings with different seeds lie apart.

    Attributes:
        sd: standard deviation of the score of one training, in the metric's unit.
        degrees: degrees of freedom of ``sd``.
        old, new: number of trainings that the accepted and the new score are means of.
        of: what was repeated, for the message.
    """

    sd: float
    degrees: int
    old: int
    new: int
    of: str

    @property
    def error(self) -> float:
        """Return the standard error of the difference between the two means."""
        return self.sd * math.sqrt(1 / self.old + 1 / self.new)

    def tolerance(self, alpha: float) -> float:
        """Return the largest drop that chance explains: half a prediction interval (Student's t)."""
        return t_quantile(alpha, self.degrees) * self.error

    def at_least(self, sd: float) -> Repeats:
        """Return the same with a standard deviation of ``sd`` at least."""
        return replace(self, sd=max(self.sd, sd))


def repeats(
    metric: Metric,
    alike: Sequence[Sequence[float]],
    old: int,
    new: int,
    of: str,
    own: Sequence[float] | None = None,
    others: Sequence[Sequence[float]] = (),
) -> Repeats | None:
    """Describe the spread of one training of a cell by :func:`quantbench.core.seed_spread.of_cell`.

    Return None where no cell has two seeds, as the spread is unknown then.

    Args:
        alike: scores over seeds of each cell that trains as the judged one does, itself among them.
        own: scores of the judged cell over its accepted seeds; None where ``alike`` are its own alone.
        others: the same of the model's other trained cells.
    """
    found = seed_spread.of_cell(
        None if own is None else seed_spread.sample(own),
        [seed_spread.sample(values) for values in alike],
        [seed_spread.sample(values) for values in others],
    )
    return None if found is None else Repeats(metric.scale * found.sd, found.degrees, old, new, of)


def weight_of(accepted: BaselineValue | None) -> int:
    """Return how many shares of the budget a trained score takes; known before the run, from its baseline alone."""
    return SEVERAL_SEEDS_WEIGHT if accepted is not None and len(accepted.values or []) > 1 else 1


def least_sd(metric: Metric, pairs: Paired) -> float:
    """Return the least standard deviation of one training that the flips between two of them allow.

    Two trainings of equal accuracy that differ in k answers each way, every one in a direction of its own, lie
    sqrt(2 k) / n apart (the null variance of McNemar's test). Five seeds may show less by chance. What is lost on top
    of that is no noise, so the smaller of the two directions counts twice.
    """
    return metric.scale * math.sqrt(min(pairs.lost, pairs.gained)) / pairs.n


def by_repeats(
    subject: Subject,
    metric: Metric,
    score: Measurement,
    accepted: BaselineValue,
    repeats: Repeats,
    alpha: float,
    matters: float,
) -> Judgement:
    """Judge a trained cell by a prediction interval, which a loosened tolerance may only widen."""
    drop = metric.drop(score.value, accepted.value)
    tolerance = max(accepted.tolerance, repeats.tolerance(alpha), matters)
    verdict = beyond(drop, tolerance)
    p_value = p_above(drop, repeats.error, repeats.degrees)
    message = (
        f"{versus(metric, score, accepted)}; {repeats.of}, so the spread of trainings counts: tolerance "
        f"{tolerance:.2f} {metric.unit} (p = {p_value:.2g}, fails below {alpha:.2g}; sd {repeats.sd:.2f} "
        f"{metric.unit}, "
        f"{repeats.degrees} degrees of freedom; mean of {repeats.new} against mean of {repeats.old})"
    )
    if verdict is Verdict.PASS and p_value <= SUSPICIOUS and drop >= matters and drop > accepted.tolerance:
        verdict = Verdict.WARN
    if verdict is Verdict.IMPROVED and -drop > IMPLAUSIBLE_DEVIATIONS * repeats.sd:
        verdict, message = Verdict.WARN, f"{message}; {IMPLAUSIBLE}"
    actions = [] if verdict is Verdict.PASS else subject.choices("accept (from a run with --seeds 5)")
    detectable = max(tolerance, _detectable(repeats, alpha))
    judgement = score_judgement(verdict, message, actions, metric, score, accepted, p_value, detectable)
    return judgement.model_copy(update={"tolerance": tolerance})


def _detectable(repeats: Repeats, alpha: float) -> float:
    """Return the drop that is red in four of five runs: the tolerance and the 80 % quantile of the difference."""
    return (t_quantile(alpha, repeats.degrees) + t_quantile(0.2, repeats.degrees)) * repeats.error


def detectable_of(repeats: Repeats, alpha: float, tolerance: float, matters: float) -> float:
    """Return the smallest drop that a repeated training would show in four of five runs."""
    return max(tolerance, matters, _detectable(repeats, alpha))


def too_few_repeats(subject: Subject, metric: Metric, score: Measurement, accepted: BaselineValue) -> Judgement:
    """Refuse to judge a trained cell whose spread is unknown."""
    message = (
        f"{versus(metric, score, accepted)}; it was trained, and the baseline has too few trainings to tell "
        "chance from change"
    )
    actions = subject.choices("record it again (from a run with --seeds 5)")
    return score_judgement(Verdict.ERROR, message, actions, metric, score, accepted)


@dataclass(frozen=True)
class Seeds:
    """The worst of several seeds and how far they lie apart, against the accepted trainings.

    Attributes:
        worst: drop of the worst seed from the accepted mean, in the metric's unit.
        sd: of the new seeds.
        p_worst, p_spread: chance of a worst seed, and of a spread, like this.
    """

    worst: float
    place: int
    value: float
    sd: float
    p_worst: float
    p_spread: float

    @property
    def p_value(self) -> float:
        """Return the p-value of the two together (Bonferroni)."""
        return min(1.0, 2 * min(self.p_worst, self.p_spread))

    def hypothesis(self, cell: str) -> Hypothesis:
        """Return the test of "no seed is worse, and they lie no further apart"."""
        return Hypothesis(seeds_key(cell), self.p_value)


def seeds_key(cell: str) -> str:
    """Name the hypothesis on a cell's seeds."""
    return f"{cell}: seeds"


def seeds(metric: Metric, score: Measurement, accepted: BaselineValue, repeats: Repeats) -> Seeds | None:
    """Compare several seeds with the accepted ones; None where there is one, or where they repeat their scores."""
    values = score.values or []
    known = (accepted.values or [])[: len(values)]
    repeated = len(known) == len(values) and np.allclose(values, known, atol=1e-6, rtol=0)
    if len(values) < 2 or repeated:
        return None
    drops = [metric.drop(value, accepted.value) for value in values]
    place = int(np.argmax(drops))
    of_one = p_above(drops[place], repeats.sd * math.sqrt(1 + 1 / repeats.old), repeats.degrees)
    sd = metric.scale * float(np.std(values, ddof=1))
    spread = 1.0 if repeats.sd == 0 else f_above((sd / repeats.sd) ** 2, len(values) - 1, repeats.degrees)
    return Seeds(drops[place], place, values[place], sd, min(1.0, len(values) * of_one), spread)


def judge_seeds(
    subject: Subject,
    metric: Metric,
    found: Seeds,
    score: Measurement,
    accepted: BaselineValue,
    repeats: Repeats,
    thresholds: Thresholds,
    matters: float,
) -> Judgement:
    """Judge the worst seed and the spread of the seeds (an F test); a mean can hide one seed that collapsed."""
    holm_threshold = thresholds.of(seeds_key(subject.key))
    beyond_effect = found.worst >= max(matters, accepted.tolerance)
    verdict = Verdict.PASS
    if beyond_effect and found.p_value <= SUSPICIOUS:
        verdict = Verdict.REGRESSED if found.p_value <= holm_threshold else Verdict.WARN
    message = (
        f"worst of {len(score.values or [])} seeds: {show_score(metric, found.value)}, {abs(found.worst):.2f} "
        f"{metric.unit} "
        f"{worse_or_better(found.worst)} than the accepted mean; sd of the seeds {found.sd:.2f} {metric.unit}, of the "
        f"baseline {repeats.sd:.2f} (p = {found.p_value:.2g}, fails below {holm_threshold:.2g})"
    )
    return Judgement(
        kind=Kind.ACCURACY,
        measurement="seeds",
        against="baseline",
        verdict=verdict,
        value=found.value,
        reference=accepted.value,
        unit=metric.unit,
        change=found.worst,
        p_value=found.p_value,
        message=message,
        detail=f"seed at place {found.place}",
        actions=[] if verdict is Verdict.PASS else subject.choices("accept (from a run with --seeds 5)"),
    )
