"""Which answers turned from right to wrong or back, over all examples, by class and by slice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from quantbench.core.arrays import Array
from quantbench.core.randomization import by_group, sign_flip_p, smallest_p
from quantbench.gate.score.hypotheses import Hypothesis

if TYPE_CHECKING:
    from quantbench.reference.metrics import Metric


@dataclass(frozen=True)
class Examples:
    """Describe the test split.

    Attributes:
        labels: shape (n,) or (n, ...).
        groups: equal integers belong together, shape (n,); None where each example stands alone.
        slices: name -> integers that divide the examples, shape (n,).
    """

    labels: Array
    groups: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


Of = Literal["cell", "classes", "slices"]


@dataclass(frozen=True)
class Flips:
    """Hold how the answers of one set of examples changed.

    Attributes:
        name: empty for a whole cell, else e.g. ``class 3``.
        n: examples in the set.
        lost, gained: newly wrong and newly right examples.
        differences: newly wrong less newly right, by example or by group; what random signs are given to.
        places: of the differences, among those of all examples or groups.
        right: examples that were right before.
    """

    of: Of
    name: str
    n: int
    lost: int
    gained: int
    differences: Array
    places: Array
    right: int

    @property
    def drop(self) -> float:
        """Return the drop of the fraction right; negative is better."""
        return (self.lost - self.gained) / self.n

    def p_worse(self) -> float:
        """Return the one-sided p-value: exact McNemar, or sign flips by group."""
        return sign_flip_p(self.differences)

    def p_better(self) -> float:
        """Return the p-value in the other direction."""
        return sign_flip_p(-self.differences)

    def hypothesis(self, cell: str, model: str) -> Hypothesis:
        """Return the test of "nothing got worse here"."""
        return Hypothesis(
            key_of(cell, self.name),
            self.p_worse(),
            smallest_p(self.differences),
            evidence_of(model, self.places, self.differences),
        )


def key_of(cell: str, name: str) -> str:
    """Name the hypothesis of a part of a cell; the cell's own is its id."""
    return f"{cell}: {name}" if name else cell


def evidence_of(model: str, places: Array, differences: Array) -> str:
    """Hash what moved where; equal hashes are equal tests."""
    content = places.astype(np.int64).tobytes() + differences.astype(np.int64).tobytes()
    return hashlib.sha256(model.encode() + b"\0" + content).hexdigest()


def right_before_less_now(metric: Metric, new: Array, stored: Array, labels: Array) -> Array:
    """Return 1 where an answer is newly wrong, -1 where newly right and 0 elsewhere; shape (n,), int8."""
    assert metric.correct is not None
    before, now = metric.correct(stored, labels), metric.correct(new, labels)
    return np.asarray(before.astype(np.int8) - now.astype(np.int8))


def flips(
    metric: Metric,
    new: Array,
    stored: Array,
    examples: Examples,
    of: Of = "cell",
    name: str = "",
    chosen: Array | None = None,
) -> Flips:
    """Compare two sets of predictions on all examples, or on the chosen ones (their indices)."""
    assert metric.correct is not None
    where = np.arange(len(examples)) if chosen is None else chosen
    before = metric.correct(stored[where], examples.labels[where])
    now = metric.correct(new[where], examples.labels[where])
    by_example = before.astype(np.int8) - now.astype(np.int8)
    groups = None if examples.groups is None else examples.groups[where]
    differences = by_group(by_example, groups)
    places = where if groups is None else np.unique(groups)
    moved = differences != 0
    lost, gained = int(np.count_nonzero(by_example > 0)), int(np.count_nonzero(by_example < 0))
    return Flips(of, name, len(where), lost, gained, differences[moved], places[moved], int(np.count_nonzero(before)))


def parts(metric: Metric, new: Array, stored: Array, examples: Examples) -> Iterator[Flips]:
    """Compare class by class and slice by slice, where anything moved.

    Classes are the integer labels of metrics that count right and wrong examples.
    """
    if metric.correct is None:
        return
    moved = np.flatnonzero(right_before_less_now(metric, new, stored, examples.labels))
    for of, names, values in _divisions(examples):
        for value in np.unique(values[moved]):
            chosen = np.flatnonzero(values == value)
            yield flips(metric, new, stored, examples, of, f"{names} {value}", chosen)


def _divisions(examples: Examples) -> Iterator[tuple[Of, str, Array]]:
    if has_classes(examples.labels):
        yield "classes", "class", examples.labels
    from quantbench.reference.datasets import SLICE

    for name, values in examples.slices.items():
        yield "slices", name.removeprefix(SLICE), values


def has_classes(labels: Array) -> bool:
    """Check whether labels name classes: integers, more than one of them, and one for each example."""
    return labels.ndim == 1 and labels.dtype.kind in "biu" and len(labels) > 0 and bool((labels != labels[0]).any())


def divisions_count(examples: Examples) -> dict[str, int]:
    """Count the parts that classes and slices divide the examples into."""
    found = {"classes": 0, "slices": 0}
    for of, _, values in _divisions(examples):
        found[of] += len(np.unique(values))
    return found
