"""On which scale of the inputs the float model runs all probed examples, and where it stops after the first ones."""

from typing import Any

import numpy as np
from quantbench.adopt import scales, task
from quantbench.adopt.outputs import Output
from quantbench.adopt.task import Asked, Judged, Probe
from quantbench.core.arrays import length
from quantbench.reference.float_model import batch_of
from quantbench.reference.model import Scaled

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (60, 320, 320, 3), dtype=np.uint8)  # large ones: a batch of Keras is a few of them
SCALES = [Scaled(how, {"x": "float32"}) for how in ("as_given", "unit", "symmetric")]  # type: ignore[arg-type]
OUTPUT = [Output("", "out", "")]


class Model:
    """A classifier that is as sure as it is told to be on each scale, and counts the examples that it is run on."""

    def __init__(self, labels: Any, sureness: dict[str, float]) -> None:
        self.labels, self.sureness = labels, sureness
        self.ran = dict.fromkeys(sureness, 0)
        self.calls: list[int] = []

    def run(self, scale: Scaled, raw: Any) -> Probe:
        start = self.ran[scale.how]
        self.ran[scale.how] += length(raw)
        self.calls.append(length(raw))
        rng = np.random.default_rng([start, len(scale.how)])
        logits = np.eye(4)[self.labels[start : start + len(raw)]] * self.sureness[scale.how]
        logits += rng.normal(size=logits.shape)
        return Probe(scale(raw), {"": logits.astype(np.float32)})

    def judged(self, first: list[Probe]) -> Judged | None:
        return task.work_out(first, OUTPUT, {"": self.labels}, Asked(), "e.npz")[0]


def test_a_scale_that_surely_loses_is_run_on_the_first_examples_alone() -> None:
    labels = RNG.integers(0, 4, len(PICTURES))
    model = Model(labels, {"as_given": 0.0, "unit": 6.0, "symmetric": 0.0})
    found = scales.probed(SCALES, PICTURES, model.run, model.judged)
    first = model.ran["as_given"]
    assert scales.FIRST_EXAMPLES <= first < len(PICTURES) / 2
    assert model.ran == {"as_given": first, "unit": len(PICTURES), "symmetric": first}
    judged = task.work_out(found, OUTPUT, {"": labels}, Asked(), "e.npz")[0]
    assert task.best_probe(judged, found) == 1
    assert np.array_equal(np.asarray(found[1].inputs), np.asarray(SCALES[1](PICTURES)))
    assert len(found[1].outputs[""]) == len(PICTURES)


def test_the_first_examples_are_whole_batches_so_that_outputs_do_not_depend_on_the_division() -> None:
    model = Model(RNG.integers(0, 4, len(PICTURES)), {"as_given": 0.0, "unit": 6.0, "symmetric": 0.0})
    scales.probed(SCALES, PICTURES, model.run, model.judged)
    assert model.calls[0] % batch_of(SCALES[0](PICTURES[:1])) == 0


def test_scales_between_which_the_first_examples_do_not_decide_are_run_on_all() -> None:
    labels = RNG.integers(0, 4, len(PICTURES))
    model = Model(labels, {"as_given": 3.0, "unit": 3.2, "symmetric": 0.0})
    scales.probed(SCALES, PICTURES, model.run, model.judged)
    assert model.ran["as_given"] == model.ran["unit"] == len(PICTURES) > model.ran["symmetric"]


def test_a_scale_that_the_first_examples_leave_open_is_looked_at_again_after_twice_as_many() -> None:
    labels = RNG.integers(0, 4, len(PICTURES))
    model = Model(labels, {"as_given": 0.0, "unit": 6.0, "symmetric": 0.0})
    looks: list[int] = []

    def judged(probes: list[Probe]) -> Judged | None:
        looks.append(len(probes[0].outputs[""]))
        return None if len(looks) == 1 else model.judged(probes)

    scales.probed(SCALES, PICTURES, model.run, judged)
    assert looks[1] == 2 * looks[0] == model.ran["as_given"] < model.ran["unit"] == len(PICTURES)


def test_where_the_first_examples_do_not_tell_what_is_scored_every_scale_is_run_on_all() -> None:
    model = Model(RNG.integers(0, 4, len(PICTURES)), {"as_given": 0.0, "unit": 6.0, "symmetric": 0.0})
    scales.probed(SCALES, PICTURES, model.run, lambda _: None)
    assert set(model.ran.values()) == {len(PICTURES)}


def test_one_scale_or_few_examples_are_run_in_one_go() -> None:
    model = Model(RNG.integers(0, 4, len(PICTURES)), {"as_given": 0.0, "unit": 6.0, "symmetric": 0.0})
    scales.probed(SCALES[:1], PICTURES, model.run, model.judged)
    assert model.calls == [len(PICTURES)]
    scales.probed(SCALES, PICTURES[:10], model.run, model.judged)
    assert model.calls[1:] == [10, 10, 10]


def test_a_metric_without_a_likelihood_drops_no_scale() -> None:
    y = RNG.normal(size=60)
    probes = [Probe(PICTURES[:, :2, :2], {"": (y + shift).reshape(-1, 1)}) for shift in (0.0, 50.0)]
    judged = task.work_out(probes, OUTPUT, {"": y}, Asked(), "e.npz")[0]
    assert task.maybe_best(judged, probes) == [0, 1]
    assert task.best_probe(judged, probes) == 0
    short = [Probe(PICTURES[:10, :2, :2], {"": y[:10].reshape(-1, 1)}), probes[1]]
    assert task.best_probe(judged, short) == 1  # the shorter one has lost before
