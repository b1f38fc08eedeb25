"""What two runtimes answer alike is counted by the parts of an example that can change by themselves."""

import numpy as np
import pytest
from quantbench.core.arrays import Array
from quantbench.reference.agreement import agreement, compared, of_detections
from quantbench.reference.metrics import ACCURACY, MEAN_IOU, by_name

DETECTOR = by_name("mean_average_precision")
NONE = [0.0] * 6


def boxes(*rows: list[float]) -> Array:
    """One scene's detections: x1, y1, x2, y2, score, class."""
    return np.array([rows], dtype=np.float32).reshape(1, -1)


ONE, TWO = [0.1, 0.1, 0.5, 0.5, 0.9, 1.0], [0.4, 0.4, 0.9, 0.9, 0.6, 2.0]


def changed(row: list[float], **of: float) -> list[float]:
    return [of.get(name, value) for name, value in zip(("x1", "y1", "x2", "y2", "score", "kind"), row, strict=True)]


def test_what_is_compared_follows_from_the_metric() -> None:
    assert [compared(one) for one in (ACCURACY, MEAN_IOU, DETECTOR)] == ["examples", "values", "detections"]
    values = np.zeros((4, 25), np.uint8)
    assert agreement(MEAN_IOU, np.where(np.arange(25) == 0, 1, values), values, 0.02) == (0.96, "values", 100)
    assert agreement(ACCURACY, np.arange(4), np.zeros(4, int), 0.02) == (0.25, "examples", 4)


def test_detections_are_the_same_in_any_order() -> None:
    assert of_detections(boxes(TWO, NONE, ONE), boxes(ONE, TWO, NONE), 0.02) == (1.0, "detections", 2)
    assert DETECTOR.agreement(boxes(TWO, NONE, ONE), boxes(ONE, TWO, NONE)) == 0


@pytest.mark.parametrize(
    ("there", "same"),
    [
        (changed(ONE, x2=0.51), True),
        (changed(ONE, x2=0.55), False),
        (changed(ONE, score=0.89), True),
        (changed(ONE, score=0.8), False),
        (changed(ONE, kind=2.0), False),
        (changed(ONE, score=float("nan")), False),
        (changed(ONE, x1=float("nan")), False),
        (NONE, False),
    ],
)
def test_one_that_changed_leaves_the_others_of_its_scene_the_same(there: list[float], same: bool) -> None:
    assert of_detections(boxes(there, TWO), boxes(ONE, TWO), 0.02) == (1.0 if same else 0.5, "detections", 2)


def test_faint_detections_come_and_go() -> None:
    faint = changed(TWO, score=0.01)
    assert of_detections(boxes(ONE, faint), boxes(ONE, NONE), 0.02) == (1.0, "detections", 1)
    assert of_detections(boxes(faint), boxes(faint), 0.02).parts == 1  # the largest score there is
    assert of_detections(boxes(NONE), boxes(NONE), 0.02) == (1.0, "detections", 0)


def test_no_box_is_paired_twice_and_boxes_without_an_area_are_the_same_where_equal() -> None:
    assert of_detections(boxes(ONE, ONE), boxes(ONE, NONE), 0.02) == (0.5, "detections", 2)
    flat = changed(ONE, x2=0.1)
    assert of_detections(boxes(flat), boxes(flat), 0.02).share == 1
    assert of_detections(boxes(flat), boxes(changed(flat, y2=0.4)), 0.02).share == 0
