"""Score detections: COCO's mean average precision, computed by pycocotools, and how well boxes cover labelled ones.

An example's detections are rows of x1, y1, x2, y2, score, class; its labels are rows of x1, y1, x2, y2, class, with
rows of class -1 at the end where it has fewer than others. Corners may be in any unit and in either order of axes, if
both have the same. Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; IoU .50 to .95.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.reference.metrics.metric import Metric, first_output

DETECTION, TRUTH = 6, 5  # numbers of a detection and of a label, see above
FORM = (
    "outputs of shape (n, boxes, 6) with x1, y1, x2, y2, score, class, or --output BOXES,SCORES,CLASSES of shapes "
    "(n, boxes, 4), (n, boxes), (n, boxes)"
)
LABELS = "labels of shape (n, boxes, 5) with x1, y1, x2, y2, class, filled up with class -1"

# Where labels and the float model's own detections are told to be of other forms: 0..1 against pixels of even a small
# picture is more than this many times, and what overlaps by so much more is no chance.
_OTHER_UNIT, _BULK = 8.0, 0.95
_CLEARLY = 0.3
_RESAMPLES = 2000  # whose values are kept


def _detections(outputs: Inputs, _inputs: Inputs) -> Array:
    """Store detections as rows, shape (n, boxes * 6)."""
    first = first_output(outputs)
    count = len(first)
    if first.ndim == 2:  # boxes, scores and classes joined by Metric.of
        each = first.shape[1] // DETECTION
        parts = first[:, : 4 * each].reshape(count, each, 4), first[:, 4 * each :].reshape(count, 2, each)
        first = np.concatenate([parts[0], parts[1].transpose(0, 2, 1)], axis=2)
    return np.asarray(first.reshape(count, -1).astype(np.float32))


def check(outputs: Array, labels: Array) -> str:
    """Say why outputs or labels are not boxes of the expected form; empty where they are."""
    if not (outputs.ndim == 3 and outputs.shape[2] == DETECTION) and not (
        outputs.ndim == 2 and outputs.shape[1] % DETECTION == 0
    ):
        return f"takes {FORM}; found {outputs.shape}"
    if labels.ndim != 3 or labels.shape[2] != TRUTH:
        return f"takes {LABELS}; found {labels.shape}"
    real = labels[labels[..., 4] >= 0]
    if not len(real):
        return "takes labels with at least one box; every class is -1"
    if (real[:, 2:4] < real[:, 0:2]).any():
        return f"takes {LABELS}; found boxes whose second corner is before the first: are they x, y, width, height?"
    if len(odd := real[real[:, 4] != np.round(real[:, 4]), 4]):
        return f"takes {LABELS}; found the class {odd[0]:.4g}, which is no whole number"
    return _unlike(_detections(outputs, {}), labels[: len(outputs)])


def _unlike(predictions: Array, labels: Array) -> str:
    """Say where labels cannot be of the objects that a float model finds in the same examples."""
    rows = predictions.reshape(len(predictions), -1, DETECTION)
    found, real = rows[(rows[..., 4] > 0) & (rows[..., 5] >= 0)], labels[labels[..., 4] >= 0]
    if not len(found) or not len(real):
        return ""
    answered, given = np.unique(np.round(found[:, 5])), np.unique(real[:, 4])
    if not np.isin(given, answered).any():
        return (
            f"found the classes {given[0]:.0f} to {given[-1]:.0f} in the labels, and {answered[0]:.0f} to "
            f"{answered[-1]:.0f} in the outputs, none of them alike: number both in the same way"
        )
    largest = [float(np.quantile(np.abs(corners[:, :4]), _BULK)) for corners in (real, found)]
    if max(largest) > _OTHER_UNIT * min(largest):
        return (
            f"found corners up to {largest[0]:.4g} in the labels, and up to {largest[1]:.4g} in the outputs: give both "
            "in the same unit"
        )
    overlaps = [_overlap(rows, each) for each in (labels, labels[..., [1, 0, 3, 2, 4]])]
    if overlaps[1] > overlaps[0] + _CLEARLY:
        return (
            f"found boxes that overlap those of the outputs by {overlaps[0]:.2f}, and by {overlaps[1]:.2f} with x and "
            "y exchanged: give both in the same order"
        )
    return ""


def _overlap(rows: Array, labels: Array) -> float:
    """Return the mean over labelled boxes of the best IoU with a detection in the same example; 0 without boxes."""
    best = _best_overlaps(rows, labels)[labels[..., 4] >= 0]
    return float(np.mean(best)) if best.size else 0.0


def _best_overlaps(rows: Array, labels: Array) -> Array:
    """Return the best IoU of each labelled box with a detection in the same example, shape (n, boxes)."""
    boxes, found = labels[:, :, None, :4].astype(np.float64), rows[:, None, :, :4].astype(np.float64)
    sides = np.minimum(boxes[..., 2:], found[..., 2:]) - np.maximum(boxes[..., :2], found[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=3)
    areas = [np.prod(np.maximum(each[..., 2:] - each[..., :2], 0), axis=3) for each in (boxes, found)]
    overlaps = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    return np.asarray(np.where(rows[:, None, :, 4] > 0, overlaps, 0).max(axis=2, initial=0.0))


def average_precision(predictions: Array, labels: Array) -> float:
    """Compute the mean average precision over classes and IoU thresholds; NaN where there is no box."""
    return _scored(_Both.of(predictions, labels))[0]


def _precision_of_chosen(predictions: Array, labels: Array) -> Callable[[Array], float] | None:
    return _scored(_Both.of(predictions, labels))[1]


@dataclass(frozen=True)
class _Both:
    """Hold predictions and labels, equal to others with the same contents."""

    sha256: str
    predictions: Array = field(compare=False, repr=False)
    labels: Array = field(compare=False, repr=False)

    @staticmethod
    def of(predictions: Array, labels: Array) -> "_Both":
        found = hashlib.sha256()
        for array in (predictions, labels):
            found.update(f"{array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return _Both(found.hexdigest(), predictions, labels)


@lru_cache(maxsize=16)
def _scored(both: _Both) -> tuple[float, Callable[[Array], float] | None]:
    """Match detections, which takes longer than all the rest, once: a run compares the same ones several times.

    Returns:
        The mean average precision, and that of chosen examples, see :func:`_of_chosen`.
    """
    evaluated = _matched(both.predictions, both.labels)
    if evaluated is None:
        return float("nan"), None
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated.accumulate()
    precision = evaluated.eval["precision"][:, :, :, 0, -1]  # all areas, up to 100 detections
    there = precision > -1
    whole = float(np.mean(precision[there])) if there.any() else float("nan")
    return whole, _of_chosen(evaluated, both.labels)


def _matched(predictions: Array, labels: Array) -> Any:
    """Return pycocotools' ``COCOeval`` with each detection matched to a labelled box or none; None without boxes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, found = _truths(labels), _found(predictions)
    if not truths:
        return None
    images = [{"id": i + 1} for i in range(len(labels))]
    categories = [{"id": one} for one in sorted({one["category_id"] for one in truths})]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truths, found):
            side = COCO()
            side.dataset = {"images": images, "annotations": annotations, "categories": categories}
            side.createIndex()
            sides.append(side)
        evaluated = COCOeval(*sides, "bbox")
        evaluated.params.areaRng = evaluated.params.areaRng[:1]  # of any size
        evaluated.evaluate()
    return evaluated


def _of_chosen(evaluated: Any, labels: Array) -> Callable[[Array], float]:
    """Weigh detections, whose matches no resample changes, by how often their example is chosen.

    They are laid out by class in falling order of their scores, one row for each class and IoU threshold. All cells of
    a model are compared with the same control on the same resamples, so that each is computed once.
    """
    known: dict[bytes, float] = {}
    n, recalls = len(labels), evaluated.params.recThrs
    classes, thresholds = len(evaluated.params.catIds), len(evaluated.params.iouThrs)
    real = np.stack([np.sum(labels[..., 4] == one, axis=1) for one in evaluated.params.catIds], axis=1)
    by_class = [_ranked(evaluated.evalImgs[one * n : (one + 1) * n], thresholds) for one in range(classes)]
    width = max(1, *(len(examples) for examples, _ in by_class))
    example = np.zeros((classes, width), dtype=np.int64)
    there = np.zeros((classes, 1, width))
    right = np.zeros((classes, thresholds, width))
    for one, (examples, matches) in enumerate(by_class):
        example[one, : len(examples)] = examples
        there[one, :, : len(examples)] = 1
        right[one, :, : len(examples)] = matches
    beyond = labels[..., 0].size + 1  # more boxes than there are
    offsets = (beyond + 1) * np.arange(classes * thresholds).reshape(classes, thresholds, 1)
    end = np.ones((classes, thresholds, 1))

    def weighed(chosen: Array) -> float:
        times = np.bincount(chosen, minlength=n)
        boxes = times @ real
        found = times[example][:, None, :] * there
        hits = np.cumsum(found * right, axis=2)
        precision = hits / np.maximum(np.cumsum(found, axis=2), 1)
        best_after = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
        needed = np.stack([np.searchsorted(np.arange(count + 1) / max(1, count), recalls) for count in boxes])
        # All rows are searched at once, each beyond the one before.
        laid = np.concatenate([hits, beyond * end], axis=2) + offsets
        at = np.searchsorted(laid.ravel(), (needed[:, None, :] + offsets).ravel())
        each = np.concatenate([best_after, 0 * end], axis=2).ravel()[at].reshape(classes, -1)[boxes > 0]
        return float(np.mean(each)) if each.size else float("nan")

    def value(chosen: Array) -> float:
        sha256 = hashlib.sha256(np.ascontiguousarray(chosen).data).digest()
        if sha256 not in known:
            if len(known) >= _RESAMPLES:
                known.clear()
            known[sha256] = weighed(chosen)
        return known[sha256]

    return value


def _ranked(examples: list[Any], thresholds: int) -> tuple[Array, Array]:
    """Return the examples that one class's detections are in, best first, and whether each is right by threshold."""
    with_any = [(number, one) for number, one in enumerate(examples) if one is not None and len(one["dtScores"])]
    if not with_any:
        return np.zeros(0, np.int64), np.zeros((thresholds, 0))
    scores = np.concatenate([one["dtScores"] for _, one in with_any])
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools sorts
    places = np.repeat([number for number, _ in with_any], [len(one["dtScores"]) for _, one in with_any])
    return places[order], np.concatenate([one["dtMatches"] for _, one in with_any], axis=1)[:, order] > 0


def _truths(labels: Array) -> list[dict[str, Any]]:
    return [
        _annotation(number + 1, int(image), box, int(box[4]))
        for number, (image, box) in enumerate(
            (image, box) for image, boxes in enumerate(labels) for box in boxes if box[4] >= 0
        )
    ]


def _found(predictions: Array) -> list[dict[str, Any]]:
    rows = predictions.reshape(len(predictions), -1, DETECTION)
    return [
        _annotation(number + 1, image, box, round(float(box[5]))) | {"score": float(box[4])}
        for number, (image, box) in enumerate(
            (image, box) for image, boxes in enumerate(rows) for box in boxes if box[4] > 0
        )
    ]


def _annotation(number: int, image: int, box: Array, category: int) -> dict[str, Any]:
    x, y, width, height = float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])
    return {
        "id": number,
        "image_id": image + 1,
        "category_id": category,
        "bbox": [x, y, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _no_box(labels: Array) -> str:
    return "" if (labels[..., -1] >= 0).any() else "boxes are needed, and every class is -1"


def _uncovered(predictions: Array, labels: Array) -> Array:
    """Return how much of each example's share of all labelled boxes no detection covers, shape (n,)."""
    missed, boxes = _missed(predictions, labels)
    return np.asarray(missed * (len(labels) / max(1, int(boxes.sum()))))


def _missed(predictions: Array, labels: Array) -> tuple[Array, Array]:
    """Return how much of its boxes no detection covers, and how many boxes it has, of each example."""
    there = labels[..., 4] >= 0
    missed = np.where(there, 1 - _best_overlaps(predictions.reshape(len(labels), -1, DETECTION), labels), 0)
    return missed.sum(axis=1), np.count_nonzero(there, axis=1)


def _iou_of_chosen(predictions: Array, labels: Array) -> Callable[[Array], float]:
    missed, boxes = _missed(predictions, labels)
    return lambda chosen: 1 - float(np.mean(missed[chosen] * (len(chosen) / max(1, int(boxes[chosen].sum())))))


def _box_iou(predictions: Array, labels: Array) -> float:
    return 1 - float(np.mean(_uncovered(predictions, labels)))


MEAN_AVERAGE_PRECISION = Metric(
    "mean_average_precision",
    True,
    "pp",
    100.0,
    "continuous",
    _detections,
    average_precision,
    prepared=_precision_of_chosen,
    undefined=_no_box,
    takes="boxes",
)

# Of each labelled box, with the detection that covers it best, of any class and score.
BOX_IOU = Metric(
    "box_iou",
    True,
    "pp",
    100.0,
    "continuous",
    _detections,
    _box_iou,
    losses=_uncovered,
    prepared=_iou_of_chosen,
    undefined=_no_box,
    takes="boxes",
)
