"""Define metrics: from a model's outputs to one prediction per example, and from those to one score.

A metric is two pure functions, so that a score can be recomputed from stored predictions, and two runs can be compared
example by example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantbench.core.arrays import Array, Inputs, length
from quantbench.errors import BadInput

# Share of examples on which a fake-quantized model and its artifact agree; below it, the model was another one.
CONVERSION_AGREEMENT = 0.995
# A continuous prediction agrees within this share of the largest one, as kernels round differently.
ROUNDING = 0.02
# The smallest drop that matters, where neither the metric nor the model's file names another: a twentieth of a point of
# metrics in points, and this share of the accepted value of others.
LEAST_POINTS = 0.05
LEAST_SHARE = 0.005
TOP_K_BASE = 2**12  # larger class indices would not fit, five to an integer
TOP_K_MOST = 5


@dataclass(frozen=True)
class Metric:
    """Declare a metric.

    Attributes:
        name: as the reports show it.
        higher_is_better: direction; a drop is always in the bad direction.
        unit: unit of a drop, ``pp`` (percentage points) or the score's own.
        scale: factor from score to ``unit``: 100 for a fraction shown in pp, otherwise 1.
        kind: ``right_or_wrong`` where an example is simply right or wrong (McNemar's test applies),
            otherwise ``continuous`` (paired bootstrap).
        predict: (outputs, inputs) -> one stored prediction per example, shape (n,) or (n, values).
            Outputs have shape (n, ...), inputs are the prepared inputs.
        correct: (predictions, labels) -> bool, shape (n,); only for ``right_or_wrong``.
        value: (predictions, labels) -> the score.
        losses: (predictions, labels) -> loss of each example, shape (n,), whose mean gets larger as the score gets
            worse; only for ``continuous``. Without it (an area under a curve is no mean), the bootstrap judges.
        smallest_drop: smallest drop that matters, in ``unit``; None: see :meth:`matters`.
        undefined: labels -> why the metric has no value on them, empty where it has one.
    """

    name: str
    higher_is_better: bool
    unit: str
    scale: float
    kind: Literal["right_or_wrong", "continuous"]
    predict: Callable[[Inputs, Inputs], Array]
    value: Callable[[Array, Array], float]
    correct: Callable[[Array, Array], Array] | None = None
    losses: Callable[[Array, Array], Array] | None = None
    smallest_drop: float | None = None
    undefined: Callable[[Array], str] | None = None

    def matters(self, accepted: float, declared: float | None = None) -> float:
        """Return the smallest drop that matters, in ``unit``.

        Args:
            accepted: score that is compared with.
            declared: by the model's file, if it does.
        """
        chosen = self.smallest_drop if declared is None else declared
        if chosen is None:
            chosen = LEAST_POINTS if self.scale == 100 else LEAST_SHARE * abs(accepted) * self.scale
        return chosen * (1 - 1e-9)  # a drop of just that size is one, whatever rounding did to it

    def agreement(self, predictions: Array, others: Array, within: float = 1e-3) -> float:
        """Compute the share of equal predictions; continuous ones agree within a share of their largest magnitude."""
        if self.kind == "right_or_wrong":
            return float(np.mean(predictions == others))
        scale = float(np.max(np.abs(others), initial=0.0))
        near = np.abs(predictions - others) <= within * scale
        return float(np.mean(near.reshape(len(near), -1).all(axis=1)))

    def fits(self, predictions: Array, labels: Array) -> bool:
        """Check by shape and dtype whether these can be predictions for these labels."""
        if predictions.dtype.kind not in "biuf" or predictions.shape[:1] != labels.shape[:1]:
            return False
        if self.predict is flat_outputs:
            return predictions.size == labels.size
        return predictions.ndim == 1 or (self.kind == "continuous" and predictions.ndim == 2)

    def drop(self, value: float, reference: float) -> float:
        """Compute how much worse ``value`` is than ``reference``, in ``unit``; negative means better."""
        difference = reference - value if self.higher_is_better else value - reference
        return difference * self.scale


def _argmax(outputs: Inputs, _inputs: Inputs) -> Array:
    first = first_output(outputs)
    flat = first.reshape(len(first), -1)
    return np.asarray(np.argmax(flat, axis=1).astype(np.uint16 if flat.shape[1] <= 2**16 else np.uint32))


def _equal(predictions: Array, labels: Array) -> Array:
    return np.equal(predictions, labels)


def _mean_equal(predictions: Array, labels: Array) -> float:
    return float(np.mean(predictions == labels))


ACCURACY = Metric("accuracy", True, "pp", 100.0, "right_or_wrong", _argmax, _mean_equal, _equal)


def top_k(k: int) -> Metric:
    """Measure how often the label is among the k largest outputs; those k classes are stored in one integer."""

    def predict(outputs: Inputs, _inputs: Inputs) -> Array:
        flat = first_output(outputs).reshape(length(outputs), -1)
        if flat.shape[1] > TOP_K_BASE:
            raise BadInput(f"--metric: top{k} takes at most {TOP_K_BASE} classes, the model has {flat.shape[1]}")
        best = np.argsort(-flat, axis=1, kind="stable")[:, :k].astype(np.uint64)
        weights = np.uint64(TOP_K_BASE) ** np.arange(best.shape[1], dtype=np.uint64)
        return np.asarray((best * weights).sum(axis=1, dtype=np.uint64))

    def correct(predictions: Array, labels: Array) -> Array:
        right = np.zeros(len(labels), dtype=bool)
        rest = predictions.astype(np.uint64)
        for _ in range(k):
            right |= rest % np.uint64(TOP_K_BASE) == labels.astype(np.uint64)
            rest = rest // np.uint64(TOP_K_BASE)
        return right

    def value(predictions: Array, labels: Array) -> float:
        return float(np.mean(correct(predictions, labels)))

    if not 1 <= k <= TOP_K_MOST:
        raise BadInput(f"--metric: top-k takes k from 1 to {TOP_K_MOST}, found {k}")
    return Metric(f"top{k}", True, "pp", 100.0, "right_or_wrong", predict, value, correct)


def _threshold(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs)) > 0.5).astype(np.uint8)


BINARY_ACCURACY = Metric("binary_accuracy", True, "pp", 100.0, "right_or_wrong", _threshold, _mean_equal, _equal)


def first_output(outputs: Inputs) -> Array:
    """Select the output that has labels: the only one, or the first by name."""
    return outputs[min(outputs)] if isinstance(outputs, dict) else outputs


def _raw_score(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs)).astype(np.float32))


def _auc_of_labels(predictions: Array, labels: Array) -> float:
    return area_under_curve(predictions, labels == 1)


def _two_classes(labels: Array, is_positive: Callable[[Array], Array]) -> str:
    positive = int(np.count_nonzero(is_positive(labels)))
    if 0 < positive < len(labels):
        return ""
    found = "positive" if positive else "negative"
    return f"auc needs positive and negative examples, and all {len(labels)} test examples are {found}"


def _is_one(labels: Array) -> Array:
    return np.equal(labels, 1)


AUC = Metric(
    "auc",
    True,
    "pp",
    100.0,
    "continuous",
    _raw_score,
    _auc_of_labels,
    undefined=lambda labels: _two_classes(labels, _is_one),
)


def flat_outputs(outputs: Inputs, _inputs: Inputs) -> Array:
    """Flatten all outputs of an example into one row, shape (n, values), outputs in the order of their names."""
    arrays = [outputs[name] for name in sorted(outputs)] if isinstance(outputs, dict) else [outputs]
    return np.concatenate([array.reshape(len(array), -1).astype(np.float32) for array in arrays], axis=1)


def _mean_absolute_error(predictions: Array, labels: Array) -> float:
    return float(np.mean(np.abs(predictions - labels.reshape(predictions.shape))))


def _absolute_errors(predictions: Array, labels: Array) -> Array:
    errors = np.abs(predictions.astype(np.float64) - labels.reshape(predictions.shape))
    return np.asarray(errors.reshape(len(errors), -1).mean(axis=1))


def _squared_errors(predictions: Array, labels: Array) -> Array:
    errors = (predictions.astype(np.float64) - labels.reshape(predictions.shape)) ** 2
    return np.asarray(errors.reshape(len(errors), -1).mean(axis=1))


MEAN_ABSOLUTE_ERROR = Metric(
    "mean_absolute_error",
    False,
    "units",
    1.0,
    "continuous",
    flat_outputs,
    _mean_absolute_error,
    losses=_absolute_errors,
)


def _mean_squared_error(predictions: Array, labels: Array) -> float:
    return float(np.mean((predictions - labels.reshape(predictions.shape)) ** 2))


MEAN_SQUARED_ERROR = Metric(
    "mean_squared_error",
    False,
    "squared units",
    1.0,
    "continuous",
    flat_outputs,
    _mean_squared_error,
    losses=_squared_errors,
)


def _relative_error(predictions: Array, labels: Array) -> float:
    reference = labels.reshape(predictions.shape).astype(np.float64)
    scale = float(np.sqrt(np.mean(reference**2)))
    return float(np.sqrt(np.mean((predictions - reference) ** 2)) / scale) if scale else float("nan")


def _all_zero(labels: Array) -> str:
    return "" if np.any(labels) else "output_error is relative to the labels' RMS, and all of them are 0"


# For a model without labels, the float model's own outputs are the labels.
RELATIVE_ERROR = Metric(
    "output_error",
    False,
    "% of the outputs' RMS",
    100.0,
    "continuous",
    flat_outputs,
    _relative_error,
    losses=_squared_errors,
    undefined=_all_zero,
)

BY_NAME = {
    metric.name: metric
    for metric in (ACCURACY, BINARY_ACCURACY, AUC, MEAN_ABSOLUTE_ERROR, MEAN_SQUARED_ERROR, RELATIVE_ERROR)
}


def by_name(name: str) -> Metric:
    """Look up a metric by its ``--metric`` name: accuracy, top5, auc, mean_absolute_error, ...

    Raises:
        BadInput: unknown metric.
    """
    if name.startswith("top") and name[3:].isdigit():
        return top_k(int(name[3:]))
    if name not in BY_NAME:
        raise BadInput(f"--metric: unknown metric {name!r}; known: {', '.join(BY_NAME)}, top2 to top{TOP_K_MOST}")
    return BY_NAME[name]


def reconstruction_auc(normal: int) -> Metric:
    """Measure the ROC area of the reconstruction error as a detector of ``label != normal``.

    The area is the Mann-Whitney statistic with ties counted half (Hanley & McNeil 1982).
    """

    def predict(outputs: Inputs, inputs: Inputs) -> Array:
        assert isinstance(outputs, np.ndarray)
        assert isinstance(inputs, np.ndarray)
        flat = (len(outputs), -1)
        error = outputs.reshape(flat).astype(np.float64) - inputs.reshape(flat)
        return np.asarray(np.mean(error**2, axis=1).astype(np.float32))

    def unusual(labels: Array) -> Array:
        return np.not_equal(labels, normal)

    def value(predictions: Array, labels: Array) -> float:
        return area_under_curve(predictions, unusual(labels))

    def undefined(labels: Array) -> str:
        return _two_classes(labels, unusual)

    return Metric("auc", True, "pp", 100.0, "continuous", predict, value, undefined=undefined)


def area_under_curve(scores: Array, positive: Array) -> float:
    """Compute the ROC area of ``scores`` (higher means more likely positive); NaN where a class is empty."""
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(scores) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    from scipy.stats import rankdata  # slow to load

    rank_sum = float(np.sum(rankdata(scores)[positive.astype(bool)]))
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
