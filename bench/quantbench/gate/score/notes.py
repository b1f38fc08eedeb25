"""What a reader should know of a test split, once and not for each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.gate.score.flips import Examples, has_classes
from quantbench.gate.score.pairs import too_coarse

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric

_NAMED = 5
# Neighbours whose values correlate so closely are nearly the same picture, frame or recording.
_ALIKE = 0.98
_OFTEN = 0.1  # share of neighbours from which the split looks like frames of clips
_LOOKED_AT = 500
_VALUES = 4096  # of an example, evenly spread: as telling of a correlation as all of a large picture


def of_split(metric: Metric, examples: Examples, x: Inputs, alpha: float) -> list[str]:
    """Say what a test split cannot judge."""
    found = [too_coarse(metric, examples, alpha), _empty_classes(metric, examples.labels)]
    if examples.groups is None:
        found.append(_neighbours(x))
    return [one for one in found if one]


def _empty_classes(metric: Metric, labels: Array) -> str:
    if metric.correct is None or not has_classes(labels) or labels.dtype.kind == "b":
        return ""
    largest = int(labels.max())
    if labels.min() < 0 or largest > 100_000:
        return ""
    empty = np.flatnonzero(np.bincount(labels.astype(np.int64), minlength=largest + 1) == 0)
    if not len(empty):
        return ""
    named = ", ".join(map(str, empty[:_NAMED])) + (f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else "")
    return f"no test example has label {named}, so these classes are not gated"


def _neighbours(x: Inputs) -> str:
    """Warn of examples that look like their neighbour, as frames of one clip do."""
    values = next(iter(x.values())) if isinstance(x, dict) else x
    count, size = min(len(values), _LOOKED_AT), int(np.prod(values.shape[1:]))
    if values.dtype.kind not in "iuf" or count < 20 or size < 16:
        return ""
    spread = slice(None, None, max(1, size // _VALUES))
    flat = np.stack([np.asarray(values[place]).reshape(-1)[spread] for place in range(count)]).astype(np.float64)
    flat = flat - flat.mean(axis=0)  # what all examples share says nothing of a pair
    norms = np.linalg.norm(flat, axis=1)
    known = (norms[1:] > 0) & (norms[:-1] > 0)
    if not known.any():
        return ""
    products = np.sum(flat[1:] * flat[:-1], axis=1)[known] / (norms[1:] * norms[:-1])[known]
    share = float(np.mean(products > _ALIKE))
    if share < _OFTEN:
        return ""
    return (
        f"{100 * share:.0f} % of the test examples are nearly equal to the one before them; if examples belong "
        "together, add an integer array 'groups' to the data: chance is underestimated otherwise"
    )
