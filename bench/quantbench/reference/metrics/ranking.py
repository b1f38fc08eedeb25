"""Score how well a number ranks or finds examples: areas under curves, retrieval, alarms at a cut-off."""

from collections.abc import Callable

import numpy as np

from quantbench.core.arrays import Array, Inputs, length
from quantbench.errors import BadInput
from quantbench.reference.metrics.metric import Metric, first_output

_SECONDS_AN_HOUR = 3600.0


def _raw_score(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs)).astype(np.float32))


def _auc_of_labels(predictions: Array, labels: Array) -> float:
    return area_under_curve(predictions, labels == 1)


def _auc_of_chosen(predictions: Array, labels: Array) -> Callable[[Array], float] | None:
    return area_of_chosen(predictions, labels == 1)


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
    prepared=_auc_of_chosen,
    takes="binary",
)


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

    def prepared(predictions: Array, labels: Array) -> Callable[[Array], float] | None:
        return area_of_chosen(predictions, unusual(labels))

    def undefined(labels: Array) -> str:
        return _two_classes(labels, unusual)

    return Metric(
        "auc", True, "pp", 100.0, "continuous", predict, value, undefined=undefined, prepared=prepared, takes="normal"
    )


def area_under_curve(scores: Array, positive: Array) -> float:
    """Compute the ROC area of ``scores`` (higher means more likely positive): the share of pairs in which the positive
    example has the higher score, ties counted half. NaN where a class is empty, or a score is NaN.
    """
    chosen = positive.astype(bool)
    above, others = scores[chosen], np.sort(scores[~chosen])
    pairs = len(above) * len(others)
    if not pairs or np.isnan(scores).any():
        return float("nan")
    below = np.searchsorted(others, above, "left") + np.searchsorted(others, above, "right")
    return float(np.sum(below)) / 2 / pairs


def area_of_chosen(scores: Array, positive: Array) -> Callable[[Array], float] | None:
    """Return the same area of chosen examples, which are not sorted again each time; None where a score is NaN."""
    if np.isnan(scores).any():
        return None
    levels, ranks = np.unique(scores, return_inverse=True)
    chosen_up = positive.astype(bool)

    def area(chosen: Array) -> float:
        up = chosen_up[chosen]
        above, others = ranks[chosen[up]], np.bincount(ranks[chosen[~up]], minlength=len(levels))
        pairs = len(above) * (len(chosen) - len(above))
        if not pairs:
            return float("nan")
        below = 2 * np.cumsum(others) - others  # twice, so that a tie is a whole number
        return float(np.sum(below[above])) / 2 / pairs

    return area


def false_accepts_per_hour(cut_off: float, seconds: float) -> Metric:
    """Measure how often per hour an example of class 0 is taken for another, as by a detector of a wake word.

    Args:
        cut_off: score from which an example is accepted: the only output value, or the largest of classes 1, 2, ...
        seconds: duration of an example.
    """
    if not seconds > 0:
        raise BadInput(f"--metric: false_accepts_per_hour takes examples of more than 0 seconds, found {seconds:g}")

    def predict(outputs: Inputs, _inputs: Inputs) -> Array:
        flat = first_output(outputs).reshape(length(outputs), -1)
        return np.asarray((flat[:, 1:] if flat.shape[1] > 1 else flat).max(axis=1).astype(np.float32))

    def losses(predictions: Array, labels: Array) -> Array:
        negative = labels == 0
        hours = np.count_nonzero(negative) * seconds / _SECONDS_AN_HOUR
        return np.asarray((negative & (predictions >= cut_off)) * (len(labels) / hours))

    def value(predictions: Array, labels: Array) -> float:
        return float(np.mean(losses(predictions, labels))) if np.any(labels == 0) else float("nan")

    def undefined(labels: Array) -> str:
        return "" if np.any(labels == 0) else "false_accepts_per_hour needs examples of class 0, and there are none"

    return Metric(
        f"false_accepts_per_hour:{cut_off:g}:{seconds:g}",
        False,
        "an hour",
        1.0,
        "continuous",
        predict,
        value,
        losses=losses,
        undefined=undefined,
        takes="identities",
    )


def recall_at(k: int) -> Metric:
    """Measure how often one of the k nearest other examples (by cosine) has the same label, as in retrieval.

    Source: Jegou et al. 2011, "Product Quantization for Nearest Neighbor Search". Examples that are the only one of
    their label have nothing to find, and are left out.
    """
    if k < 1:
        raise BadInput(f"--metric: recall_at takes k of at least 1, found {k}")

    def predict(outputs: Inputs, _inputs: Inputs) -> Array:
        return np.asarray(first_output(outputs).reshape(length(outputs), -1).astype(np.float32))

    def missed(predictions: Array, labels: Array) -> Array:
        norms = np.linalg.norm(predictions, axis=1, keepdims=True)
        unit = predictions / np.where(norms > 0, norms, 1)
        found = np.zeros(len(labels), dtype=bool)
        for start in range(0, len(labels), 1000):  # 1,000 rows of similarities at a time
            near = unit[start : start + 1000] @ unit.T
            own = np.arange(len(near))
            near[own, start + own] = -np.inf
            best = np.argsort(-near, axis=1, kind="stable")[:, :k]
            found[start : start + 1000] = (labels[best] == labels[start : start + 1000, None]).any(axis=1)
        return ~found

    def losses(predictions: Array, labels: Array) -> Array:
        able = _has_another(labels)
        return np.asarray(missed(predictions, labels) * able * (len(labels) / max(1, int(np.count_nonzero(able)))))

    def value(predictions: Array, labels: Array) -> float:
        return 1 - float(np.mean(losses(predictions, labels))) if _has_another(labels).any() else float("nan")

    def undefined(labels: Array) -> str:
        return "" if _has_another(labels).any() else f"recall_at:{k} needs two examples of a label, and all differ"

    return Metric(
        f"recall_at:{k}",
        True,
        "pp",
        100.0,
        "continuous",
        predict,
        value,
        losses=losses,
        undefined=undefined,
        takes="identities",
    )


def _has_another(labels: Array) -> Array:
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(counts[which] > 1)
