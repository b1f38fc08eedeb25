"""Judge metrics that do not count right and wrong examples: paired losses under random signs, and the worst of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.randomization import by_group, sign_flip_p
from quantbench.core.stats import bootstrap_drop_sd, normal_p, normal_quantile
from quantbench.gate._common import Subject
from quantbench.gate.score.flips import Examples
from quantbench.gate.score.parts import SUSPICIOUS
from quantbench.gate.score.words import IMPLAUSIBLE, score_judgement, versus
from quantbench.records import BaselineValue, Judgement, Measurement, Verdict

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

# An example is garbage where its loss is so many times the largest accepted loss. Kernels and quantizers move a worst
# loss by a fraction of itself.
GARBAGE = 10.0
_GAIN_DEVIATIONS = 8.0  # of the sign-flip null, beyond which a gain is looked at before it is believed


@dataclass(frozen=True)
class Garbage:
    """Examples whose loss, or prediction where the metric has no losses, is out of all proportion.

    Attributes:
        count: how many.
        worst: largest loss as a multiple of the largest accepted loss; of predictions where the metric has no losses.
        first: index of the first one.
    """

    count: int
    worst: float
    first: int


def garbage(metric: Metric, new: Array, stored: Array, labels: Array) -> Garbage | None:
    """Find outputs that are garbage; None where there are none.

    A mean of many examples is a mean of garbage after a handful, and no test of a mean can tell it from chance: k such
    examples have a p-value of 2**-k whatever their size. So the bound is on the examples themselves. It holds only
    where they move the score by more than the smallest drop that matters. An area under a curve has no losses: there
    the predictions themselves are looked at, by their size.
    """
    before, now = _losses_or_sizes(metric, stored, labels), _losses_or_sizes(metric, new, labels)
    largest = float(np.max(before, initial=0.0))
    beyond = np.flatnonzero(now > GARBAGE * largest)
    if not beyond.size or largest == 0:
        return None
    mixed = new.copy()
    mixed[beyond] = stored[beyond]
    of_garbage = metric.drop(metric.value(new, labels), metric.value(mixed, labels))
    if of_garbage < metric.matters(metric.value(stored, labels)):
        return None
    return Garbage(len(beyond), float(np.max(now)) / largest, int(beyond[0]))


def _losses_or_sizes(metric: Metric, predictions: Array, labels: Array) -> Array:
    """Return one number per example that no fault of rounding makes ten times as large, shape (n,)."""
    if metric.losses is not None:
        return metric.losses(predictions, labels)
    sizes = np.abs(predictions.astype(np.float64)).reshape(len(predictions), -1)
    return np.asarray(sizes.max(axis=1, initial=0.0))


def by_losses(
    subject: Subject,
    metric: Metric,
    new: Array,
    score: Measurement,
    accepted: BaselineValue,
    stored: Array,
    examples: Examples,
    alpha: float,
    matters: float,
) -> Judgement:
    """Judge a drop by random signs of the paired losses; without losses, by the paired bootstrap."""
    labels = examples.labels
    # Computed from the predictions, as the file rounds the score to nine digits, which no test explains.
    drop = metric.drop(metric.value(new, labels), metric.value(stored, labels))
    sd = bootstrap_drop_sd(metric.drop_of_chosen(new, stored, labels), len(labels))
    if metric.losses is None:
        worse, better, how = normal_p(drop, sd), normal_p(-drop, sd), f"paired bootstrap sd {sd:.3g} {metric.unit}"
    else:
        before, now = metric.losses(stored, labels), metric.losses(new, labels)
        differences = by_group(now - before, examples.groups)
        worse, better = sign_flip_p(differences), sign_flip_p(-differences)
        how = "sign-flip test of the paired losses"
    message = f"{versus(metric, score, accepted)}; {how}, p = {min(worse, better):.2g} (fails below {alpha:.2g})"
    found = garbage(metric, new, stored, labels)
    verdict = Verdict.PASS
    if found is not None:
        verdict = Verdict.REGRESSED
        message += (
            f"; {found.count} of {len(labels)} examples have a {'loss' if metric.losses else 'prediction'} more than "
            f"{GARBAGE:g} times the largest accepted one (up to {found.worst:.3g} times; first: example {found.first})"
        )
    elif drop > accepted.tolerance and drop >= matters and worse <= SUSPICIOUS:
        verdict = Verdict.REGRESSED if worse <= alpha else Verdict.WARN
    elif -drop >= matters and better <= alpha:
        implausible = sd > 0 and -drop > _GAIN_DEVIATIONS * sd and -drop > 10 * matters
        verdict = Verdict.WARN if implausible else Verdict.IMPROVED
        message += f"; {IMPLAUSIBLE}" if implausible else ""
    power = normal_quantile(alpha) + normal_quantile(0.2)
    detectable = max(accepted.tolerance, matters, power * sd)
    actions = [] if verdict is Verdict.PASS else subject.choices()
    return score_judgement(verdict, message, actions, metric, score, accepted, worse, detectable)
