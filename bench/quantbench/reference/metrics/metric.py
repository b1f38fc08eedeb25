"""Define what a metric is, and how it selects the outputs that it scores.

A metric is two pure functions, so that a score can be recomputed from stored predictions, and two runs can be compared
example by example.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from quantbench.core.arrays import Array, Inputs

# Share of examples on which a fake-quantized model and its artifact agree; below it, the model was another one.
CONVERSION_AGREEMENT = 0.995
# A continuous prediction agrees within this share of the largest one, as kernels round differently.
ROUNDING = 0.02
# The smallest drop that matters, where neither the metric nor the model's file names another: a twentieth of a point of
# metrics in points, and this share of the accepted value of others.
LEAST_POINTS = 0.05
LEAST_SHARE = 0.005

Predict = Callable[[Inputs, Inputs], Array]
# What a metric needs as labels, by which the label form is worked out:
# classes: one whole number per example, one output value per class; binary: 0 or 1 per example, one output value;
# flags: 0 or 1 per output value; positions: a whole number per position, a class score for each in the last axis;
# values: a number per output value; identities: any whole number per example; normal: any whole number per example,
# for a model that rebuilds its input; tokens: whole numbers per example, -1 after the last; boxes: see boxes.py;
# any: whatever the metric's own code takes.
Takes = Literal["classes", "binary", "flags", "positions", "values", "identities", "normal", "tokens", "boxes", "any"]


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
        prepared: (predictions, labels) -> function of indices of examples that returns ``value`` on these, faster where
            many resamples are scored; None where it would not be.
        smallest_drop: smallest drop that matters, in ``unit``; None: see :meth:`matters`.
        undefined: labels -> why the metric has no value on them, empty where it has one.
        takes: what the labels have to be.
        outputs: names of the outputs that are scored, as in the artifact; empty: all, or the first by name.
        rows: whether predictions are as many values as an example's labels, shape (n, values).
        by_value: whether agreement counts values instead of whole examples, as where an example is an image of classes.
        also: further metrics of the same predictions, to be shown beside this one.
    """

    name: str
    higher_is_better: bool
    unit: str
    scale: float
    kind: Literal["right_or_wrong", "continuous"]
    predict: Predict
    value: Callable[[Array, Array], float]
    correct: Callable[[Array, Array], Array] | None = None
    losses: Callable[[Array, Array], Array] | None = None
    prepared: Callable[[Array, Array], Callable[[Array], float] | None] | None = None
    smallest_drop: float | None = None
    undefined: Callable[[Array], str] | None = None
    takes: Takes = "values"
    outputs: tuple[str, ...] = ()
    rows: bool = False
    by_value: bool = False
    also: "tuple[Metric, ...]" = ()

    @property
    def output(self) -> str:
        """Return the name of the one output that is scored; empty where it is the only one, or several are."""
        return self.outputs[0] if len(self.outputs) == 1 else ""

    def of(self, *outputs: str) -> "Metric":
        """Return this metric of the named outputs alone, several as one row in the given order."""
        return replace(self, outputs=outputs, predict=selecting(self.predict, outputs))

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
        if self.by_value:
            return float(np.mean(predictions == others))
        scale = float(np.max(np.abs(others), initial=0.0))
        near = np.abs(predictions - others) <= within * scale
        return float(np.mean(near.reshape(len(near), -1).all(axis=1)))

    def fits(self, predictions: Array, labels: Array) -> bool:
        """Check by shape and dtype whether these can be predictions for these labels."""
        if predictions.dtype.kind not in "biuf" or predictions.shape[:1] != labels.shape[:1]:
            return False
        if self.rows:
            return predictions.size == labels.size
        return predictions.ndim == 1 or (self.kind == "continuous" and predictions.ndim == 2)

    def drop(self, value: float, reference: float) -> float:
        """Compute how much worse ``value`` is than ``reference``, in ``unit``; negative means better."""
        difference = reference - value if self.higher_is_better else value - reference
        return difference * self.scale

    def of_chosen(self, predictions: Array, labels: Array) -> Callable[[Array], float]:
        """Return the score as a function of the indices of examples, some of them repeated, as a resample has them."""
        prepared = None if self.prepared is None else self.prepared(predictions, labels)
        return prepared or (lambda chosen: self.value(predictions[chosen], labels[chosen]))

    def drop_of_chosen(self, new: Array, old: Array, labels: Array) -> Callable[[Array], float]:
        """Return the drop between two sets of predictions as a function of the indices of examples."""
        value, reference = self.of_chosen(new, labels), self.of_chosen(old, labels)
        return lambda chosen: self.drop(value(chosen), reference(chosen))


def selecting(predict: Predict, names: tuple[str, ...]) -> Predict:
    """Return ``predict`` on the named outputs alone."""

    def selected(outputs: Inputs, inputs: Inputs) -> Array:
        return predict(select(outputs, names), inputs)

    return selected


def select(outputs: Inputs, names: tuple[str, ...]) -> Array:
    """Select outputs by name, several as one row per example in the given order.

    Raises:
        ValueError: there is no output of such a name.
    """
    if isinstance(outputs, np.ndarray):
        return outputs  # a model with a single output does not name it
    missing = [name for name in names if name not in outputs]
    if missing:
        raise ValueError(f"it has the outputs {', '.join(in_order(outputs))}, and none is called {missing[0]!r}")
    if len(names) == 1:
        return outputs[names[0]]
    return np.concatenate([outputs[name].reshape(len(outputs[name]), -1) for name in names], axis=1)


def in_order(outputs: dict[str, Array]) -> list[str]:
    """Sort the names of outputs with numbers as numbers, so that output_10 comes after output_2."""
    return sorted(outputs, key=natural)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key of a name that orders its numbers by size."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part) for part in parts]


def first_output(outputs: Inputs) -> Array:
    """Select the output that has labels where none is named: the only one, or the first by name."""
    return outputs[in_order(outputs)[0]] if isinstance(outputs, dict) else outputs


def flat_outputs(outputs: Inputs, _inputs: Inputs) -> Array:
    """Flatten all outputs of an example into one row, shape (n, values), outputs in the order of their names."""
    arrays = [outputs[name] for name in in_order(outputs)] if isinstance(outputs, dict) else [outputs]
    return np.concatenate([array.reshape(len(array), -1).astype(np.float32) for array in arrays], axis=1)
