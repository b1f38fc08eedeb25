"""Divide the examples into those that a search looks at and those that judge it, and say how many that takes."""

import math

import numpy as np

from quantbench.adopt import ranking
from quantbench.core.arrays import Array
from quantbench.core.drops import Drop, FractionDrop, standard_errors
from quantbench.core.stats import Paired, normal_quantile
from quantbench.errors import BadInput
from quantbench.reference.metrics import Metric

# A search needs to tell good from bad, a judgement to tell 0.5 pp from 0: that takes more examples.
SEARCHED = 1 / 3
SEED = 20
# One-sided, of the whole sequence of judgements: see :func:`in_sequence`.
ALPHA = ranking.ALPHA / 2
_FEWEST = 30  # on either side: below, neither a mean nor its spread says anything
_MOST = 10**9


def divided(n: int, groups: Array | None = None) -> tuple[Array, Array]:
    """Return the places of the examples to search on and of those to judge on, each in order.

    Args:
        groups: equal integers stay together, shape (n,).
    """
    random = np.random.default_rng(SEED)
    wanted = round(n * SEARCHED)
    if groups is None:
        places = random.permutation(n)
        return np.sort(places[:wanted]), np.sort(places[wanted:])
    names, index = np.unique(groups, return_inverse=True)
    order = random.permutation(len(names))
    filled = np.cumsum(np.bincount(index, minlength=len(names))[order])
    taken = np.isin(index, order[: int(np.searchsorted(filled, wanted, side="right"))])
    return np.flatnonzero(taken), np.flatnonzero(~taken)


def least_judged(metric: Metric, limit: float) -> int:
    """Return on how many examples a variant that answers as float32 on each would be shown to keep a limit."""
    if metric.correct is None:
        return _FEWEST
    if limit <= 0:
        return _MOST

    def shown(n: int) -> bool:
        return FractionDrop(Paired(n, 0, 0), metric.scale).p_below(limit) <= ALPHA

    high = 1
    while not shown(high) and high < _MOST:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return max(_FEWEST, high)


def check_enough(searched: int, judged: int, metric: Metric, limit: float, given: str) -> None:
    """Raise BadInput where even an artifact without any loss could not be shown to keep the limit.

    Args:
        searched, judged: numbers of examples.
        given: what the examples are from, as the user knows it.
    """
    least = least_judged(metric, limit)
    total = searched + judged
    if least >= _MOST:
        raise BadInput(
            f"--max-drop: no number of examples shows a drop of at most {limit:g} {metric.unit}, not even of an "
            "artifact that answers as float32 throughout; give a larger limit"
        )
    if judged >= least and searched >= _FEWEST:
        return
    needed = max(math.ceil(least / (1 - SEARCHED)), math.ceil(_FEWEST / SEARCHED))
    smallest = _smallest_limit(metric, judged)
    wider = f", or a --max-drop of {smallest:.2g} {metric.unit} or more" if smallest else ""
    raise BadInput(
        f"{given}: {total:,} examples leave {judged:,} to judge on once a third is searched on, and {least:,} are "
        f"needed to show a drop of at most {limit:g} {metric.unit} even of an artifact that answers as float32 "
        f"throughout; give {needed:,} examples or more{wider}"
    )


def _smallest_limit(metric: Metric, judged: int) -> float | None:
    """Return the smallest limit that so many examples can show; None where that is not known."""
    if metric.correct is None or judged < _FEWEST:
        return None
    return FractionDrop(Paired(judged, 0, 0), metric.scale).upper(ALPHA) * 1.01


def margin(drop: Drop, limit: float, searched: int, judged: int) -> float:
    """Return how surely a drop seen in the search will be judged to keep the limit, in its own standard errors.

    At 0 the same drop on the examples that judge would just do.
    """
    error = max(standard_errors(drop)[0], 1e-12)
    if not math.isfinite(error) or not math.isfinite(drop.estimate):
        return -math.inf
    of_judgement = error * math.sqrt(searched / judged)
    return (limit - drop.estimate - normal_quantile(ALPHA) * of_judgement) / error
