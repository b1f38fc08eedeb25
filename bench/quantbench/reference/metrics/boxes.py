"""Score detections by COCO's mean average precision, computed by pycocotools (an optional extra).

An example's detections are rows of x1, y1, x2, y2, score, class; its labels are rows of x1, y1, x2, y2, class, with
rows of class -1 at the end where it has fewer than others. Corners may be in any unit and in either order of axes, if
both have the same. Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; IoU .50 to .95.
"""

import contextlib
import io
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.errors import BadInput
from quantbench.reference.metrics.metric import Metric, first_output

DETECTION, TRUTH = 6, 5  # numbers of a detection and of a label, see above
_OPTIONAL = "quantbench[detection]"
FORM = (
    "outputs of shape (n, boxes, 6) with x1, y1, x2, y2, score, class, or --output BOXES,SCORES,CLASSES of shapes "
    "(n, boxes, 4), (n, boxes), (n, boxes)"
)
LABELS = "labels of shape (n, boxes, 5) with x1, y1, x2, y2, class, filled up with class -1"

# Where labels and the float model's own detections are told to be of other forms: 0..1 against pixels of even a small
# picture is more than this many times, and what overlaps by so much more is no chance.
_OTHER_UNIT, _BULK = 8.0, 0.95
_CLEARLY = 0.3


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
    """Return the mean over labelled boxes of the best IoU with a detection in the same example."""
    best = []
    for detections, boxes in zip(rows, labels, strict=True):
        real, found = boxes[boxes[:, 4] >= 0, None, :4], detections[None, detections[:, 4] > 0, :4]
        if real.size and found.size:
            sides = np.minimum(real[..., 2:], found[..., 2:]) - np.maximum(real[..., :2], found[..., :2])
            shared = np.prod(np.maximum(sides, 0), axis=2)
            areas = [np.prod(np.maximum(each[..., 2:] - each[..., :2], 0), axis=2) for each in (real, found)]
            best += (shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)).max(axis=1).tolist()
    return float(np.mean(best)) if best else 0.0


def average_precision(predictions: Array, labels: Array) -> float:
    """Compute the mean average precision over classes and IoU thresholds; NaN where there is no box.

    Raises:
        BadInput: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise BadInput(f"--metric: mean_average_precision needs pycocotools: pip install '{_OPTIONAL}'") from None
    truths, found = _truths(labels), _found(predictions)
    if not truths:
        return float("nan")
    classes = sorted({one["category_id"] for one in truths})
    images = [{"id": i + 1} for i in range(len(labels))]
    categories = [{"id": one} for one in classes]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sides = []
        for annotations in (truths, found):
            side = COCO()
            side.dataset = {"images": images, "annotations": annotations, "categories": categories}
            side.createIndex()
            sides.append(side)
        evaluated = COCOeval(*sides, "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
    precision = evaluated.eval["precision"][:, :, :, 0, -1]  # all areas, up to 100 detections
    return float(np.mean(precision[precision > -1])) if (precision > -1).any() else float("nan")


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
    return "" if (labels[..., -1] >= 0).any() else "mean_average_precision needs boxes, and every class is -1"


MEAN_AVERAGE_PRECISION = Metric(
    "mean_average_precision",
    True,
    "pp",
    100.0,
    "continuous",
    _detections,
    average_precision,
    undefined=_no_box,
    takes="boxes",
)
