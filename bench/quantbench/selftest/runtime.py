"""Declare faults of a runtime: a healthy artifact, and outputs that come out wrong.

Nothing in the file shows them, so that structure and size cannot help. The strengths were fixed before anything was
measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.records import Kind
from quantbench.selftest.faults import SUBJECT_VARIANT
from quantbench.selftest.flatbuffer import Inapplicable

Strength = float | str
_ROUNDED = 0.05  # ten classes in steps of 1/256
Make = Callable[[Array, Array, Any, np.random.Generator], Array]


@dataclass(frozen=True)
class RuntimeFault:
    """Declare a kind of fault.

    Attributes:
        strengths: the weakest first.
        make: (healthy outputs of shape (n, values), labels of shape (n,), strength, random generator) -> the outputs
            that the broken runtime gives.
        always: whether it is harmful whatever is lost.
    """

    name: str
    strengths: tuple[Strength, ...]
    make: Make = field(repr=False)
    always: bool = False
    where: str = "runtime"
    seen_by: Kind = Kind.ACCURACY
    host: str = SUBJECT_VARIANT


def are_probabilities(outputs: Array) -> bool:
    """Check whether each row is a distribution over classes, up to the rounding of int8 outputs."""
    return bool(outputs.shape[1] > 1 and (outputs >= 0).all() and np.abs(outputs.sum(axis=1) - 1).max() <= _ROUNDED)


def _on_probabilities(change: Callable[[Array, Any], Array]) -> Make:
    """Make a fault of probabilities that is not random."""

    def make(outputs: Array, _labels: Array, strength: Any, _random: np.random.Generator) -> Array:
        return change(_probabilities(outputs), strength).astype(np.float32)

    return make


def _probabilities(outputs: Array) -> Array:
    if not are_probabilities(outputs):
        raise Inapplicable("its outputs are no probabilities of classes")
    return outputs.astype(np.float64)


def _logits(p: Array) -> Array:
    return np.asarray(np.log(np.maximum(p, 1e-6)))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _heated(p: Array, temperature: float) -> Array:
    return _softmax(_logits(p) / temperature)


def _without_softmax(p: Array, _strength: Strength) -> Array:
    return _logits(p)


def _times(p: Array, factor: float) -> Array:
    return p * factor


def _one_hot(p: Array, _strength: Strength) -> Array:
    return np.asarray(np.eye(p.shape[1])[np.argmax(p, axis=1)])


def _dead_column(p: Array, label: int) -> Array:
    dead = p.copy()
    dead[:, int(label)] = 0
    return dead


def _columns_swapped(p: Array, _strength: Strength) -> Array:
    order = np.arange(p.shape[1])
    order[:2] = (1, 0)
    return p[:, order]


def _noise(outputs: Array, _labels: Array, sd: float, random: np.random.Generator) -> Array:
    """Add noise: of probabilities, which stay probabilities, of others as a share of their root mean square."""
    values = outputs.astype(np.float64)
    if not are_probabilities(outputs):
        return np.asarray(values + random.normal(0, sd * np.sqrt(np.mean(values**2)), values.shape), dtype=np.float32)
    noisy = np.maximum(values + random.normal(0, sd, values.shape), 0)
    return np.asarray(noisy / np.maximum(noisy.sum(axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _class_lost(outputs: Array, labels: Array, share: float, random: np.random.Generator) -> Array:
    """Lose right answers of class 3, a share of them, and regain as many of other classes: the mean stays."""
    p = _probabilities(outputs).copy()
    answers = np.argmax(p, axis=1)
    right = np.flatnonzero((answers == labels) & (labels == 3))
    lost = random.choice(right, int(share * len(right)), replace=False)
    wrong = np.flatnonzero((answers != labels) & (labels != 3))
    gained = random.choice(wrong, min(len(lost), len(wrong)), replace=False)
    _let_win(p, lost, np.argsort(p[lost], axis=1)[:, -2])
    _let_win(p, gained, labels[gained].astype(int))
    return p.astype(np.float32)


def _lost(outputs: Array, labels: Array, share: float, random: np.random.Generator) -> Array:
    """Lose a share of all answers, right ones, to the class that comes second."""
    p = _probabilities(outputs).copy()
    right = np.flatnonzero(np.argmax(p, axis=1) == labels)
    lost = random.choice(right, min(len(right), round(share * len(labels))), replace=False)
    _let_win(p, lost, np.argsort(p[lost], axis=1)[:, -2])
    return p.astype(np.float32)


def _let_win(p: Array, rows: Array, classes: Array) -> None:
    """Exchange the largest probability of these examples with that of another class."""
    largest = np.argmax(p[rows], axis=1)
    p[rows, largest], p[rows, classes] = p[rows, classes], p[rows, largest].copy()


def _garbage(outputs: Array, _labels: Array, count: float, random: np.random.Generator) -> Array:
    """Let some examples have outputs of 1e6, as memory that was never written may hold."""
    if are_probabilities(outputs):
        raise Inapplicable("its outputs are probabilities, and garbage in them is planted as noise")
    broken = outputs.copy()
    broken[random.choice(len(outputs), int(count), replace=False)] = 1e6
    return broken


def _next_example(outputs: Array, _labels: Array, count: float, _random: np.random.Generator) -> Array:
    """Give the first examples each the outputs of the next one, as a permuted batch does."""
    broken = outputs.copy()
    broken[: int(count)] = np.roll(outputs[: int(count)], 1, axis=0)
    return broken


FAULTS = [
    RuntimeFault("softmax omitted by the runtime", ("",), _on_probabilities(_without_softmax)),
    RuntimeFault("softmax heated, temperature", (1.2, 2.0, 4.0), _on_probabilities(_heated)),
    RuntimeFault("softmax cooled, temperature", (0.8, 0.5, 0.25), _on_probabilities(_heated)),
    RuntimeFault("probabilities times", (0.98, 0.9, 0.5), _on_probabilities(_times)),
    RuntimeFault("one-hot outputs", ("",), _on_probabilities(_one_hot)),
    RuntimeFault("a dead output column, class", (0, 6), _on_probabilities(_dead_column)),
    RuntimeFault("outputs of two classes swapped", ("",), _on_probabilities(_columns_swapped)),
    RuntimeFault("noise on the outputs, sd", (0.002, 0.02, 0.1), _noise),
    RuntimeFault("right answers lost in a class and regained in others, share", (0.02, 0.1, 1.0), _class_lost),
    RuntimeFault("right answers lost, share", (0.002, 0.005, 0.01), _lost),
    RuntimeFault("garbage in the outputs of examples", (8, 100), _garbage, always=True),
    RuntimeFault("outputs of the next example, examples", (8, 100, 1000), _next_example),
]
