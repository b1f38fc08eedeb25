"""Compare the answers of two runtimes by the parts of an example that can change by themselves.

No score depends on this. Of detectors, :meth:`Metric.agreement` counts whole scenes, in which any detection may change.
"""

from typing import NamedTuple

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import Compared
from quantbench.reference.metrics.boxes import DETECTION
from quantbench.reference.metrics.metric import Metric

# Of boxes that count as the same. One step of int8 at two sides of a box of 25 steps leaves an IoU of .92.
SAME_IOU = 0.9


class Agreement(NamedTuple):
    """The share in which two runtimes answer alike.

    Attributes:
        of: what it is a share of.
        parts: number of these.
    """

    share: float
    of: Compared
    parts: int


def compared(metric: Metric) -> Compared:
    """Return what the agreement of a metric's predictions is a share of."""
    if metric.takes == "boxes":
        return "detections"
    return "values" if metric.by_value else "examples"


def agreement(metric: Metric, predictions: Array, others: Array, within: float) -> Agreement:
    """Compute the share of equal parts; continuous values agree within a share of their largest magnitude."""
    if (of := compared(metric)) == "detections":
        return of_detections(predictions, others, within)
    parts = others.size if of == "values" else len(others)
    return Agreement(metric.agreement(predictions, others, within), of, parts)


def of_detections(predictions: Array, others: Array, within: float) -> Agreement:
    """Compute the share of detections that both have: of one class, on the same box, with scores that are as near.

    A detection that one side lacks counts as one with a score of 0 there, so that faint ones may come and go; no faint
    one is counted.

    Args:
        predictions, others: rows of x1, y1, x2, y2, score, class of each example, shape (n, boxes * 6).
        within: largest difference between scores, as a share of the largest score of ``others``.
    """
    sides = [each.reshape(len(each), -1, DETECTION).astype(np.float64) for each in (predictions, others)]
    scores = sides[1][..., 4]
    near = within * float(np.max(scores[np.isfinite(scores)], initial=0.0))
    shared = changed = 0
    for one, other in zip(*sides, strict=True):
        rows, columns = _paired(one, other, near)
        faint = np.maximum(one[rows, 4], other[columns, 4]) <= near
        shared += len(rows) - int(np.sum(faint))
        changed += max(_clear(one, near) - _clear(one[rows], near), _clear(other, near) - _clear(other[columns], near))
    total = shared + changed
    return Agreement(shared / total if total else 1.0, "detections", total)


def _clear(detections: Array, near: float) -> int:
    return int(np.sum(detections[:, 4] > near))


def _paired(one: Array, other: Array, near: float) -> tuple[Array, Array]:
    """Return the rows of as many detections of an example as can be paired, each with one that is the same."""
    from scipy.optimize import linear_sum_assignment  # slow to load

    real = [np.flatnonzero(side[:, 4] > 0) for side in (one, other)]
    left, right = one[real[0], None], other[None, real[1]]
    corners = np.minimum(left[..., 2:4], right[..., 2:4]) - np.maximum(left[..., :2], right[..., :2])
    both = np.prod(np.maximum(corners, 0), axis=2)
    areas = [np.prod(np.maximum(side[..., 2:4] - side[..., :2], 0), axis=2) for side in (left, right)]
    union = areas[0] + areas[1] - both
    same = (union > 0) & (both >= SAME_IOU * union) | (left[..., :4] == right[..., :4]).all(axis=2)
    same &= (np.abs(left[..., 4] - right[..., 4]) <= near) & (np.round(left[..., 5]) == np.round(right[..., 5]))
    rows, columns = linear_sum_assignment(same, maximize=True)
    paired = same[rows, columns]
    return real[0][rows[paired]], real[1][columns[paired]]
