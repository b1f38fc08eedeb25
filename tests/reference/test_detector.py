"""The detector's targets and detections are each other's inverse, and joining them spoils the scores alone."""

from pathlib import Path

import numpy as np
import pytest
from quantbench.core.arrays import Array
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel, load_models

MODELS = Path(__file__).parents[2] / "models"
STEP = 230 / 255  # of int8 where distances are up to 230 pixels


@pytest.fixture(scope="module")
def detector() -> ReferenceModel:
    return load_models(MODELS)["detector"]


def perfect(model: ReferenceModel, count: int, score: float) -> tuple[dict[str, Array], Array]:
    """Return what the model should answer to the first test scenes, all scores alike, and their labels."""
    test = model.pack().test
    assert model.training is not None
    x, targets = model.training(test.x[:count], test.y[:count])
    assert len(x) == len(targets) == 2 * count  # with their mirror images
    shapes = [(8, 8, 4), (8, 8, 5), (8, 8, 9)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    parts = [part.reshape(-1, *shape)[:count] for part, shape in zip(np.split(targets, ends, 1), shapes, strict=True)]
    scores, both = parts[1] * score, np.concatenate([parts[0], parts[1] * score], axis=3)
    assert np.array_equal(parts[2][..., 4:] > 0, scores > 0)
    return {"output_0": parts[0], "output_1": scores, "output_2": both}, test.y[:count]


def test_all_outputs_are_scored_as_their_targets_say(detector: ReferenceModel) -> None:
    outputs, labels = perfect(detector, 40, 0.4)
    for name, of in by_output(detector).items():
        found = of.metric.predict(outputs, np.zeros(0))
        assert of.metric.value(found, labels) == pytest.approx(1, abs=1e-3), name
        assert of.pack().test.y is detector.pack().test.y


def test_one_step_for_boxes_and_scores_spoils_the_scores_alone(detector: ReferenceModel) -> None:
    outputs, labels = perfect(detector, 40, 0.4)
    rounded = {name: np.rint(values / STEP) * STEP for name, values in outputs.items()}
    apart, joined = {**rounded, "output_1": outputs["output_1"]}, by_output(detector)["joined"].metric
    assert detector.metric.value(detector.metric.predict(apart, np.zeros(0)), labels) > 0.99
    assert joined.value(joined.predict(rounded, np.zeros(0)), labels) == 0
