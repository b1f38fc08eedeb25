"""Prove what an operator explains: repair it, and measure the error of the outputs again.

A repair leaves the operator in float, as in the control, or gives it the parts of the accepted artifact.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.measure import regions
from quantbench.measure.attribution import INPUT, paired
from quantbench.records import EXPLAINS, ONE_MODEL, Attribution, Change, Suspect, Untried
from quantbench.tflite import changes, graph, matching, surgery
from quantbench.tflite.graph import CASTS, Graph
from quantbench.tflite.litert import LiteRT

Scorer = Callable[[bytes], float]
How = Literal["float", "range", "accepted"]
Why = Literal["partner", "inputs", "subgraph", "weights", "shapes", "runtime"]  # as in Untried
# From this multiple of the accepted artifact's error on, an artifact is worse, and what changed is the suspect.
WORSE = 1.05


@dataclass(frozen=True)
class Repair:
    """Hold an artifact in which one suspect is repaired.

    Attributes:
        places: positions of its operators, the one that it is named by first.
        by: how.
    """

    places: list[int]
    by: How
    artifact: bytes


class Beside:
    """Compare the outputs of artifacts with those of a reference.

    Args:
        few: examples.
        stateful: whether to reset recurrent state before each.
        names: of the outputs that count; empty: all.
    """

    def __init__(self, reference: bytes, few: Inputs, stateful: bool = False, names: Sequence[str] = ()) -> None:
        self.reference = reference
        self._few, self._stateful, self._names = few, stateful, names
        self._exact = self._outputs(reference)

    def error(self, artifact: bytes) -> float:
        """Return the mean squared error of the outputs, as a share of the reference's mean square.

        Raises:
            ValueError: the two have other outputs.
        """
        return _distance(self._outputs(artifact), self._exact, self._names)

    def _outputs(self, artifact: bytes) -> dict[str, Array]:
        """Return the outputs on the kernels that scores come from; a single one under an empty name."""
        made = LiteRT(artifact, stateful=self._stateful).run(self._few)
        named = made if isinstance(made, dict) else {"": made}
        return {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}


def explained(
    found: Attribution,
    artifact: bytes,
    beside: Beside,
    accepted: bytes | None = None,
    score: Scorer | None = None,
) -> Attribution:
    """Repair the suspects one at a time, and order them by the error of the outputs that goes with each.

    Args:
        found: see :func:`quantbench.measure.attribution.errors`.
        beside: the reference, float or the accepted artifact.
        accepted: the accepted artifact; where given, what differs from it is repaired first, by its parts.
        score: artifact -> score on some examples; of the one that explains most, and of those that explain a tenth.
    """
    told = changes.between(accepted, artifact) if accepted is not None else []
    before = beside.error(artifact)
    if not math.isfinite(before):
        return found.model_copy(update={"changes": told})
    suspects: list[Suspect] = []
    untried: list[Untried] = []
    whole = _main(artifact)
    if before > 0 and found.matched >= ONE_MODEL:
        least = beside.error(accepted) if accepted is not None and told else math.inf
        worse = before > WORSE * least
        if worse and accepted is not None:
            tested = partial(_tested, whole=whole, beside=beside, errors=(before, least))
            suspects = [tested(one, score=score) for one in _by_accepted(artifact, accepted, told)]
            suspects += _at_once(_several_accepted(artifact, accepted, suspects), tested, score)
        for repairs in _repairs(found, beside.reference, artifact, untried):
            if max((one.recovered for one in suspects), default=0.0) >= EXPLAINS:
                break
            suspects += [_tested(one, whole, beside, (before, 0.0), score) for one in repairs]
    best: dict[int, Suspect] = {}
    for one in _ordered(suspects):
        best.setdefault(one.position, one)
    repaired = {place for one in best.values() for place in (one.position, *one.together)}
    left = sorted((one for one in untried if one.position not in repaired), key=lambda one: -one.error)
    told_of = {"suspects": list(best.values()), "untried": left, "changes": told, "output_error": before}
    return found.model_copy(update=told_of)


# Of repairs that win back at least this share of what the best one does, the smallest is the cause: a range mended
# leaves the rounding, which sixteen operators in float do not.
_CLOSE = 0.9


def _ordered(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Order suspects by what they explain; first, of those that explain nearly as much as the best, the smallest."""
    most = max((one.recovered for one in suspects), default=0.0)

    def key(one: Suspect) -> tuple[bool, int, float]:
        close = one.recovered >= _CLOSE * most
        size = len(one.together) if close and one.repaired_by == "float" else 0  # a range is one, wherever it goes on
        return (not close, size, -one.recovered)

    return sorted(suspects, key=key)


def _tested(
    repair: Repair,
    whole: Graph,
    beside: Beside,
    errors: tuple[float, float],
    score: Scorer | None,
) -> Suspect:
    """Measure what a repair takes away of the error of the outputs.

    Args:
        errors: of the artifact, and of the accepted one where the repair has its parts; else 0.
    """
    before, least = errors
    after = beside.error(repair.artifact)
    recovered = (before - after) / (before - least) if math.isfinite(after) else -1.0
    operator, tensor = _named(whole, repair.places[0])
    return Suspect(
        position=repair.places[0],
        together=repair.places[1:],
        operator=operator,
        tensor=tensor,
        repaired_by=repair.by,
        recovered=max(-1.0, recovered),
        score=score(repair.artifact) if score is not None and recovered >= EXPLAINS else None,
    )


def _named(whole: Graph, place: int) -> tuple[str, str]:
    if place == INPUT:
        return "INPUT", next((tensor.name for tensor in whole.inputs if tensor.scales), "")
    return whole.operators[place].name, whole.operators[place].label


def _repairs(found: Attribution, control: bytes, artifact: bytes, untried: list[Untried]) -> Iterator[Iterator[Repair]]:
    """Yield kinds of repairs, the next of which is tried where none before explains the error.

    Args:
        untried: receives the suspects that could not be repaired.
    """
    yield chain(_in_float(found, control, artifact, untried), _by_range(found, artifact))
    yield _several_in_float(found, control, artifact)


def _by_accepted(artifact: bytes, accepted: bytes, told: Sequence[Change]) -> Iterator[Repair]:
    partner = _partners(accepted, artifact)
    at = [one.position for one in told if one.position >= 0 or one.operator == "INPUT"]
    for places in regions.together(at, _main(artifact))[: 4 * regions.SUSPECTS]:
        if isinstance(repaired := _with_accepted(artifact, accepted, partner, places), bytes):
            yield Repair(places, "accepted", repaired)


def _partners(accepted: bytes, artifact: bytes) -> dict[int, int]:
    """Map the operators of an artifact to those of the accepted one, casts included."""
    matched = matching.match(_main(accepted), _main(artifact))
    return {theirs: ours for ours, theirs in [*matched.pairs, *matched.casts]}


def _with_accepted(artifact: bytes, accepted: bytes, partner: Mapping[int, int], places: Sequence[int]) -> bytes | Why:
    """Return the artifact with the accepted parts at some places, or why there is none."""
    pairs = [(partner[place], place) for place in sorted(places) if place in partner]
    if not pairs and INPUT not in places:
        return "partner"
    return _tried(partial(surgery.with_parts_of, artifact, accepted, pairs, inputs=INPUT in places))


def _several_accepted(artifact: bytes, accepted: bytes, tested: Sequence[Suspect]) -> Iterator[Repair]:
    """Give the two operators that explain most their accepted parts at once, then the first three, and so on.

    None where one explains nearly all alone: a calibration that went wrong moves every range, and each does harm.
    """
    order = sorted(tested, key=lambda one: -one.recovered)[: regions.SUSPECTS]
    if not order or order[0].recovered >= _CLOSE:
        return
    partner = _partners(accepted, artifact)
    for count in range(2, len(order) + 1):
        first, *more = (place for one in order[:count] for place in (one.position, *one.together))
        places = [first, *sorted(set(more) - {first})]
        if isinstance(repaired := _with_accepted(artifact, accepted, partner, places), bytes):
            yield Repair(places, "accepted", repaired)


def _at_once(repairs: Iterator[Repair], tested: Callable[..., Suspect], score: Scorer | None) -> list[Suspect]:
    """Test repairs of several operators until one explains nearly all; return the best, with its score."""
    best: tuple[float, Repair] | None = None
    for one in repairs:
        recovered = tested(one, score=None).recovered
        if best is None or recovered > best[0]:
            best = recovered, one
        if recovered >= _CLOSE:
            break
    return [] if best is None else [tested(best[1], score=score)]


def _in_float(found: Attribution, control: bytes, artifact: bytes, untried: list[Untried]) -> Iterator[Repair]:
    left_in_float, whole = _float_surgeon(control, artifact), _main(artifact)
    errors = {one.position: one.error for one in found.operators}
    for places in regions.regions(regions.suspicious(found.operators), whole):
        if whole.operators[places[0]].name in CASTS:
            continue  # it gets a range, see below
        repaired = left_in_float(places)
        if isinstance(repaired, bytes):
            yield Repair(places, "float", repaired)
        else:
            operator, tensor = _named(whole, places[0])
            untried.append(
                Untried(
                    position=places[0],
                    operator=operator,
                    tensor=tensor,
                    error=errors.get(places[0], 0.0),
                    why=repaired,
                )
            )


def _several_in_float(found: Attribution, control: bytes, artifact: bytes) -> Iterator[Repair]:
    """Repair the first two suspects at once, the first three, and so on.

    Where a fault sits in every block of a network, mending one of them leaves the outputs as wrong as they were: a
    causal mask of -1e9 takes the range of each attention's scores.
    """
    left_in_float, whole = _float_surgeon(control, artifact), _main(artifact)
    every = regions.regions(regions.suspicious(found.operators), whole)
    able = [region for region in every if isinstance(left_in_float(region), bytes)]
    for count in range(2, len(able) + 1):
        first = able[0][0]
        places = [first, *sorted({place for region in able[:count] for place in region} - {first})]
        if isinstance(repaired := left_in_float(places), bytes):
            yield Repair(places, "float", repaired)


def _float_surgeon(control: bytes, artifact: bytes) -> Callable[[Sequence[int]], bytes | Why]:
    """Return what leaves the operators at some places in float, or says why that cannot be done."""
    pairing = paired(control, artifact)
    partner = {theirs: ours for ours, theirs in pairing.matched.pairs}

    def left_in_float(places: Sequence[int]) -> bytes | Why:
        pairs = [(partner[place], place) for place in sorted(places) if place in partner]
        if not pairs:
            return "partner"
        if not all(pairing.reads_the_same(ours, theirs) for ours, theirs in pairs):
            return "inputs"
        return _tried(partial(surgery.in_float, artifact, control, pairs))

    return left_in_float


def _by_range(found: Attribution, artifact: bytes) -> Iterator[Repair]:
    for places, ranges in regions.ill_ranged(found, graph.read(artifact)):
        if isinstance(repaired := _tried(partial(surgery.with_ranges, artifact, ranges)), bytes):
            yield Repair(places, "range", repaired)


def _main(artifact: bytes) -> Graph:
    return graph.read(artifact).main()


def _tried(repair: Callable[[], bytes]) -> bytes | Why:
    """Return the repaired artifact, or why there is none."""
    try:
        repaired = repair()
        LiteRT(repaired, runtime="litert-builtin")
    except surgery.Uncuttable as refused:
        return refused.why
    except (RuntimeError, ValueError):
        return "runtime"
    return repaired


def _distance(made: Mapping[str, Array], exact: Mapping[str, Array], counted: Sequence[str] = ()) -> float:
    """Return the mean squared error of all outputs, each as a share of its own mean square; infinite for no number.

    Args:
        counted: outputs that count alone, where both have them.

    Raises:
        ValueError: they have other outputs.
    """
    if counted and set(counted) <= set(made) & set(exact):
        made, exact = ({name: of[name] for name in counted} for of in (made, exact))
    if len(made) != len(exact):
        raise ValueError("the two have another number of outputs")
    names = list(exact) if set(made) == set(exact) else list(made)
    shares = []
    for name, other in zip(names, (exact.values() if set(made) != set(exact) else map(exact.get, names)), strict=True):
        one = made[name]
        if other is None or one.shape != other.shape:
            raise ValueError("the two have outputs of other shapes")
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            return math.inf
        error, signal = float(np.mean((one - other) ** 2)), float(np.mean(other**2))
        shares.append(error / signal if signal else error)
    return float(np.mean(shares)) if shares else 0.0
