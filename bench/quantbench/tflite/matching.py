"""Match the operators of two artifacts of one model by their place in the graph, not by name alone.

Every comparison of two graphs uses this: of two files, and of what is recorded of two.

Quantizers insert casts, fold batch normalization, fuse activations and rename tensors; the order of what computes stays
that of the model. So the two lists of operators are aligned as two sequences, casts left out, by what an operator is,
the shapes of its output and weights, and the names of its output.

Source: Needleman and Wunsch 1970 (global alignment), here for the largest sum of scores; gaps are free.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from quantbench.tflite.graph import CASTS, Graph, Operator, Tensor

# What a pair scores. Two operators of one kind with outputs of one shape are a pair; of two kinds only where shape and
# names agree, as where a fully connected layer became a batched product.
_SAME_KIND, _SAME_SHAPE, _SAME_SIZE, _SAME_WEIGHTS, _NAMES = 3.0, 2.0, 1.0, 2.0, 3.0
_LEAST = 4.0
# Operators of long models are compared within this distance from the diagonal, so that time grows with their number.
_BAND, _WIDEST = 64, 512
_ALIKE = 0.5  # share of operators with partners from which on what lies between two pairs is the same step
_ENOUGH = 0.5  # share of common words in names that pairs operators whose order differs


@dataclass(frozen=True)
class Matching:
    """Pair the operators of two graphs, by their positions in ``Graph.operators``.

    Attributes:
        pairs: (first, second), in the order of the first.
        only_first, only_second: operators without a partner; casts are never listed.
        parts: how many of these are parts of a step that one graph takes in one operator and the other in several.
        casts: pairs of casts whose outputs are read in the same place.
        casts_first, casts_second: casts without a partner.
    """

    pairs: tuple[tuple[int, int], ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    casts: tuple[tuple[int, int], ...] = ()
    casts_first: tuple[int, ...] = ()
    casts_second: tuple[int, ...] = ()
    parts: int = 0

    @property
    def share(self) -> float:
        """Return the share of all operators, casts left out, that have a partner or are parts of one; else 1."""
        matched, alone = 2 * len(self.pairs), len(self.only_first) + len(self.only_second)
        return (matched + self.parts) / (matched + alone) if matched + alone else 1.0


@dataclass(frozen=True)
class Traits:
    """Hold what an operator is recognized by.

    Attributes:
        kind: name of the builtin.
        shape, size: of its output, where they are known.
        weights: shapes of its constants.
        words: parts of its output's name.
    """

    kind: str
    shape: tuple[int, ...] = ()
    size: int = 1
    weights: tuple[tuple[int, ...], ...] = ()
    words: frozenset[str] = frozenset()


def match(first: Graph, second: Graph) -> Matching:
    """Pair the operators of two graphs that do the same step of the model."""
    ours, theirs = _computing(first), _computing(second)
    traits = [_traits(first.operators[place]) for place in ours], [_traits(second.operators[place]) for place in theirs]
    found, parts = _with_steps(aligned(*traits), *traits)
    left, right = {i for i, _ in found}, {j for _, j in found}
    pairs = [(ours[i], theirs[j]) for i, j in found]
    casts = _casts(first, second, pairs)
    return Matching(
        tuple(pairs),
        tuple(place for i, place in enumerate(ours) if i not in left),
        tuple(place for j, place in enumerate(theirs) if j not in right),
        casts,
        _without(first, [place for place, _ in casts]),
        _without(second, [place for _, place in casts]),
        parts,
    )


def _with_steps(
    found: Sequence[tuple[int, int]], ours: Sequence[Traits], theirs: Sequence[Traits]
) -> tuple[list[tuple[int, int]], int]:
    """Take one operator and several for the same step where they lie between the same two pairs of alike graphs.

    A dense layer may be a product, a scale and a sum elsewhere, and an LSTM a loop.

    Returns:
        The pairs, with that of the last operators of a step where they write as much; and how many other operators are
        parts of a step.
    """
    if 2 * len(found) < _ALIKE * (len(ours) + len(theirs)):
        return list(found), 0
    edges = [(-1, -1), *found, (len(ours), len(theirs))]
    added, parts = [], 0
    for (left, right), (until, end) in pairwise(edges):
        alone = until - left - 1, end - right - 1
        if min(alone) == 1:
            same = ours[until - 1].size == theirs[end - 1].size
            added += [(until - 1, end - 1)] if same else []
            parts += sum(alone) - 2 * same
    return sorted([*found, *added]), parts


def _without(graph: Graph, paired: Sequence[int]) -> tuple[int, ...]:
    """List the casts that are not among these."""
    known = set(paired)
    return tuple(place for place, one in enumerate(graph.operators) if one.name in CASTS and place not in known)


def _casts(first: Graph, second: Graph, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Pair the casts before operators that are a pair, and those before the outputs."""
    made = [
        {id(tensor): place for place, one in enumerate(whole.operators) if one.name in CASTS for tensor in one.outputs}
        for whole in (first, second)
    ]
    read = [(first.operators[one].inputs, second.operators[other].inputs) for one, other in pairs]
    found: dict[int, int] = {}
    for inputs in [*read, (tuple(first.outputs), tuple(second.outputs))]:
        for one, other in zip(*inputs, strict=False):
            if id(one) in made[0] and id(other) in made[1]:
                found.setdefault(made[1][id(other)], made[0][id(one)])
    return tuple((ours, theirs) for theirs, ours in sorted(found.items()))


def _computing(graph: Graph) -> list[int]:
    """List the operators that are steps of the model: no casts, and nothing that only unpacks constants."""
    constant: set[int] = set()
    found = []
    for place, operator in enumerate(graph.operators):
        read = [one for one in operator.inputs if one is not None]
        if read and all(one.data is not None or id(one) in constant for one in read):
            constant.update(id(one) for one in operator.outputs)
        elif operator.name not in CASTS:
            found.append(place)
    return found


def _traits(operator: Operator) -> Traits:
    output = operator.outputs[operator.result] if operator.outputs else None
    shape = output.shape if output is not None else ()
    size = 1
    for length in shape:
        size *= max(1, length)
    weights = tuple(one.shape for one in operator.inputs if one is not None and one.data is not None and one.shape)
    return Traits(operator.name, shape, size, weights, _words(output))


_SPLIT = re.compile(r"[;/:]+")
# What converters append to a name, and what says nothing of a place.
_SUFFIX = re.compile(r"(?:_quantized|_dequantized|_requantized|\d+)$")


def _words(tensor: Tensor | None) -> frozenset[str]:
    """Return the parts of a tensor's name, which converters join from the layers that they fused."""
    if tensor is None:
        return frozenset()
    return frozenset(word for word in _SPLIT.split(_SUFFIX.sub("", tensor.name)) if word)


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one and other else 0.0


def _score(one: Traits, other: Traits) -> float:
    found = _SAME_KIND if one.kind == other.kind else 0.0
    found += _SAME_SHAPE if one.shape == other.shape else _SAME_SIZE if one.size == other.size else 0.0
    found += _SAME_WEIGHTS if one.weights and one.weights == other.weights else 0.0
    found += _NAMES * _alike(one.words, other.words)
    return found if found >= _LEAST else 0.0


def aligned(ours: Sequence[Traits], theirs: Sequence[Traits]) -> list[tuple[int, int]]:
    """Pair two lists of operators, in the order of the first."""
    found = _in_order(ours, theirs)
    return sorted([*found, *_out_of_order(ours, theirs, found)])


def _in_order(ours: Sequence[Traits], theirs: Sequence[Traits]) -> list[tuple[int, int]]:
    """Return the pairs of the alignment with the largest sum of scores."""
    rows, columns = len(ours), len(theirs)
    if not rows or not columns:
        return []
    band = _BAND + min(abs(rows - columns), _WIDEST)
    best: list[dict[int, float]] = [{}]
    steps: list[dict[int, str]] = [{}]
    for i in range(rows):
        low, high = _window(i, rows, columns, band)
        above = best[-1]
        row: dict[int, float] = {}
        step: dict[int, str] = {}
        for j in range(low, high):
            up, left, across = above.get(j, 0.0), row.get(j - 1, 0.0), above.get(j - 1, 0.0)
            pair = _score(ours[i], theirs[j])
            row[j], step[j] = max((across + pair, "pair") if pair else (0.0, ""), (up, "up"), (left, "left"))
        best.append(row)
        steps.append(step)
    return _traced(steps, rows, columns)


def _window(row: int, rows: int, columns: int, band: int) -> tuple[int, int]:
    centre = row * columns // rows
    return max(0, centre - band), min(columns, centre + band + 1)


def _traced(steps: Sequence[dict[int, str]], rows: int, columns: int) -> list[tuple[int, int]]:
    pairs, i, j = [], rows - 1, columns - 1
    while i >= 0 and j >= 0:
        step = steps[i + 1].get(j, "left")
        if step == "pair":
            pairs.append((i, j))
            i, j = i - 1, j - 1
        elif step == "up":
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _out_of_order(
    ours: Sequence[Traits], theirs: Sequence[Traits], found: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pair what is left by kind, shape and name, as branches may be written in another order."""
    left, right = {i for i, _ in found}, {j for _, j in found}
    free: dict[tuple[object, ...], list[int]] = {}
    for j, other in enumerate(theirs):
        if j not in right:
            free.setdefault((other.kind, other.shape, other.weights), []).append(j)
    pairs = []
    for i, one in enumerate(ours):
        same = free.get((one.kind, one.shape, one.weights), []) if i not in left else []
        partner = next((j for j in same[:_BAND] if _alike(one.words, theirs[j].words) >= _ENOUGH), None)
        if partner is not None:
            pairs.append((i, partner))
            same.remove(partner)
    return pairs
