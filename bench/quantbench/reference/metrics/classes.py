"""Score classes: how often they are right, per example or per position, and F1."""

from collections.abc import Callable
from functools import partial

import numpy as np

from quantbench.core.arrays import Array, Inputs, length
from quantbench.errors import BadInput
from quantbench.reference.metrics.metric import Metric, Predict, first_output

TOP_K_BASE = 2**12  # larger class indices would not fit, five to an integer
TOP_K_MOST = 5


def _argmax(outputs: Inputs, _inputs: Inputs) -> Array:
    first = first_output(outputs)
    flat = first.reshape(len(first), -1)
    return np.asarray(np.argmax(flat, axis=1).astype(np.uint16 if flat.shape[1] <= 2**16 else np.uint32))


def _equal(predictions: Array, labels: Array) -> Array:
    return np.equal(predictions, labels)


def _mean_equal(predictions: Array, labels: Array) -> float:
    return float(np.mean(predictions == labels))


ACCURACY = Metric("accuracy", True, "pp", 100.0, "right_or_wrong", _argmax, _mean_equal, _equal, takes="classes")


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
    return Metric(f"top{k}", True, "pp", 100.0, "right_or_wrong", predict, value, correct, takes="classes")


def _over_half(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs)) > 0.5).astype(np.uint8)


def _over_zero(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs)) > 0).astype(np.uint8)


BINARY_ACCURACY = Metric(
    "binary_accuracy", True, "pp", 100.0, "right_or_wrong", _over_half, _mean_equal, _equal, takes="binary"
)
# The single output is a logit, whose sigmoid is over a half where the logit is over 0.
BINARY_ACCURACY_LOGITS = Metric(
    "binary_accuracy_logits", True, "pp", 100.0, "right_or_wrong", _over_zero, _mean_equal, _equal, takes="binary"
)


# ---------------------------------------------------------------- a class per position


def _argmax_positions(outputs: Inputs, _inputs: Inputs) -> Array:
    first = first_output(outputs)
    dtype = np.uint8 if first.shape[-1] <= 2**8 else np.uint16 if first.shape[-1] <= 2**16 else np.uint32
    return np.asarray(np.argmax(first, axis=-1).reshape(len(first), -1).astype(dtype))


def _positions_over_half(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs), -1) > 0.5).astype(np.uint8)


def _positions_over_zero(outputs: Inputs, _inputs: Inputs) -> Array:
    return np.asarray(first_output(outputs).reshape(length(outputs), -1) > 0).astype(np.uint8)


def _mean_right(predictions: Array, labels: Array) -> float:
    return float(np.mean(predictions == labels.reshape(predictions.shape)))


def _share_wrong(predictions: Array, labels: Array) -> Array:
    return np.asarray(np.mean(predictions != labels.reshape(predictions.shape), axis=1))


def mean_iou(predictions: Array, labels: Array) -> float:
    """Compute the mean intersection over union of the classes that occur, over all positions of all examples.

    Source: Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A Retrospective".
    """
    return _iou_of(_overlaps(predictions.reshape(1, -1), labels.reshape(1, -1))[0])


def _overlaps(predictions: Array, labels: Array) -> Array:
    """Count the positions in the intersection of each class, and then in its union: shape (n, 2 x classes)."""
    n = len(labels)
    found, real = (one.reshape(n, -1).astype(np.int64) for one in (predictions, labels))
    classes = int(max(found.max(initial=0), real.max(initial=0))) + 1
    numbers = np.arange(n)[:, None]

    def counted(chosen: Array, kinds: int) -> Array:
        return np.bincount(chosen.ravel(), minlength=n * kinds).reshape(n, kinds)

    if n * classes**2 <= found.size:  # all pairs of a real and a found class at once, ten times as fast
        pairs = counted((classes * numbers + real) * classes + found, classes**2).reshape(n, classes, classes)
        both, of_real, of_found = pairs.diagonal(axis1=1, axis2=2), pairs.sum(axis=2), pairs.sum(axis=1)
    else:
        first, second = classes * numbers + real, classes * numbers + found
        both, of_real, of_found = (counted(one, classes) for one in (first[real == found], first, second))
    return np.concatenate([both, of_real + of_found - both], axis=1)


def _iou_of_chosen(predictions: Array, labels: Array) -> Callable[[Array], float] | None:
    """Sum up the overlaps of each example, where they are fewer than its positions."""
    classes = int(max(predictions.max(initial=0), labels.max(initial=0))) + 1
    if 2 * classes * len(labels) > predictions.size:
        return None
    overlaps = _overlaps(predictions, labels)
    return lambda chosen: _iou_of(overlaps[chosen].sum(axis=0))


def _iou_of(overlaps: Array) -> float:
    both, either = np.split(overlaps, 2)
    return float(np.mean(both[either > 0] / either[either > 0])) if either.any() else float("nan")


_of_positions = partial(
    Metric,
    higher_is_better=True,
    unit="pp",
    scale=100.0,
    kind="continuous",
    takes="positions",
    rows=True,
    by_value=True,
)


def _iou(name: str, predict: Predict) -> Metric:
    return _of_positions(name=name, predict=predict, value=mean_iou, prepared=_iou_of_chosen)


def _position_accuracy(name: str, predict: Predict, also: tuple[Metric, ...] = ()) -> Metric:
    return _of_positions(name=name, predict=predict, value=_mean_right, losses=_share_wrong, also=also)


MEAN_IOU = _iou("mean_iou", _argmax_positions)
PIXEL_ACCURACY = _position_accuracy("pixel_accuracy", _argmax_positions, (MEAN_IOU,))
TOKEN_ACCURACY = _position_accuracy("token_accuracy", _argmax_positions)
# One value per pixel: a probability or a logit of the foreground.
MASK_ACCURACY = _position_accuracy("mask_accuracy", _positions_over_half, (_iou("mean_iou", _positions_over_half),))
MASK_ACCURACY_LOGITS = _position_accuracy(
    "mask_accuracy_logits", _positions_over_zero, (_iou("mean_iou", _positions_over_zero),)
)


# ---------------------------------------------------------------- F1


def _classes_found(outputs: Inputs, inputs: Inputs) -> Array:
    flat = first_output(outputs).reshape(length(outputs), -1)
    return _argmax(outputs, inputs) if flat.shape[1] > 1 else _over_half(outputs, inputs)


def macro_f1(predictions: Array, labels: Array) -> float:
    """Compute the mean F1 of the classes that occur; with the classes 0 and 1 alone, the F1 of class 1.

    Source: van Rijsbergen 1979, "Information Retrieval", chapter 7.
    """
    found, real = predictions.ravel().astype(np.int64), labels.ravel().astype(np.int64)
    classes = int(max(found.max(initial=0), real.max(initial=0))) + 1
    both = np.bincount(real[real == found], minlength=classes)
    occur = np.bincount(real, minlength=classes) + np.bincount(found, minlength=classes)
    chosen = np.flatnonzero(occur)
    if classes <= 2:
        chosen = chosen[chosen == 1]
    return float(np.mean(2 * both[chosen] / occur[chosen])) if len(chosen) else float("nan")


def _no_positive(labels: Array) -> str:
    return "" if np.any(labels) else f"f1 needs positive examples, and all {len(labels)} labels are 0"


F1 = Metric(
    "f1",
    True,
    "pp",
    100.0,
    "continuous",
    _classes_found,
    macro_f1,
    undefined=_no_positive,
    takes="classes",
    by_value=True,
)
F1_LOGITS = Metric(
    "f1_logits",
    True,
    "pp",
    100.0,
    "continuous",
    _over_zero,
    macro_f1,
    undefined=_no_positive,
    takes="binary",
    by_value=True,
)


def _flag_f1(name: str, predict: Predict) -> Metric:
    return Metric(
        name,
        True,
        "pp",
        100.0,
        "continuous",
        predict,
        macro_f1,
        undefined=_no_positive,
        takes="flags",
        rows=True,
        by_value=True,
    )


# Several of the labels may hold at once: F1 over all pairs of example and label (micro-averaged).
LABEL_F1 = _flag_f1("label_f1", _positions_over_half)
LABEL_F1_LOGITS = _flag_f1("label_f1_logits", _positions_over_zero)
