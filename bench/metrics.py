"""How a model's outputs become one prediction an example, and those one score.

A metric is two pure functions, so that a score can be worked out again from stored
predictions, and two runs can be compared example by example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from bench.datasets import Array, Inputs


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    Attributes:
        name: as the reports show it.
        higher_is_better: direction; a drop is always "in the bad direction".
        unit: unit of a drop, ``pp`` (percentage points) or the score's own.
        scale: factor from score to ``unit``: 100 for a fraction shown in pp, otherwise 1.
        kind: ``right_or_wrong`` where an example is simply right or wrong (McNemar's test applies),
            otherwise ``continuous`` (paired bootstrap).
        predict: (outputs, inputs) -> one stored prediction an example, shape (n,).
            Outputs have shape (n, ...), inputs are the prepared inputs.
        correct: (predictions, labels) -> bool, shape (n,); only for ``right_or_wrong``.
        value: (predictions, labels) -> the score.
    """

    name: str
    higher_is_better: bool
    unit: str
    scale: float
    kind: Literal["right_or_wrong", "continuous"]
    predict: Callable[[Inputs, Inputs], Array]
    value: Callable[[Array, Array], float]
    correct: Callable[[Array, Array], Array] | None = None

    def drop(self, value: float, reference: float) -> float:
        """How much worse ``value`` is than ``reference``, in ``unit``; negative means better."""
        difference = reference - value if self.higher_is_better else value - reference
        return difference * self.scale


def _argmax(outputs: Inputs, _inputs: Inputs) -> Array:
    assert isinstance(outputs, np.ndarray)
    return np.asarray(np.argmax(outputs.reshape(len(outputs), -1), axis=1).astype(np.uint16))


def _equal(predictions: Array, labels: Array) -> Array:
    return np.equal(predictions, labels)


def _mean_equal(predictions: Array, labels: Array) -> float:
    return float(np.mean(predictions == labels))


ACCURACY = Metric("accuracy", True, "pp", 100.0, "right_or_wrong", _argmax, _mean_equal, _equal)


def reconstruction_auc(normal: int) -> Metric:
    """Area under the ROC curve of the reconstruction error as a detector of ``label != normal``.

    The area is the Mann-Whitney statistic with ties counted half (Hanley & McNeil 1982).
    """

    def predict(outputs: Inputs, inputs: Inputs) -> Array:
        assert isinstance(outputs, np.ndarray)
        assert isinstance(inputs, np.ndarray)
        flat = (len(outputs), -1)
        error = outputs.reshape(flat).astype(np.float64) - inputs.reshape(flat)
        return np.asarray(np.mean(error**2, axis=1).astype(np.float32))

    def value(predictions: Array, labels: Array) -> float:
        return area_under_curve(predictions, labels != normal)

    return Metric("auc", True, "pp", 100.0, "continuous", predict, value)


def area_under_curve(scores: Array, positive: Array) -> float:
    """ROC area of ``scores`` (higher means more likely positive); NaN where one class is empty."""
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(scores) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    rank_sum = float(np.sum(rankdata(scores)[positive.astype(bool)]))
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
