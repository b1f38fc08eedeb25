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
from quantbench.measure.attribution import INPUT, examples, paired
from quantbench.records import EXPLAINS, ONE_MODEL, Attribution, Change, OperatorError, Suspect, Untried
from quantbench.tflite import changes, graph, matching, surgery
from quantbench.tflite.graph import CASTS, COMPUTE, Graph
from quantbench.tflite.litert import LiteRT

SUSPECTS = 8  # operators that are repaired and measured
_LARGEST_REGION = 16  # operators without weights that are repaired together
# Operators that pass on a range, so that one fault in it is told at all of them: their kernels want the same range for
# what they read and write.
_SAME_RANGE = frozenset(
    "AVERAGE_POOL_2D MAX_POOL_2D RESHAPE TRANSPOSE PAD PADV2 SQUEEZE EXPAND_DIMS STRIDED_SLICE SLICE SPLIT GATHER "  # noqa: SIM905
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH DEPTH_TO_SPACE CONCATENATION MAXIMUM RELU RELU6".split()
)
# Operators whose kernels want a range of their own for what they write.
_FIXED_RANGE = ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")
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


def explained(
    found: Attribution,
    control: bytes,
    artifact: bytes,
    inputs: Inputs,
    accepted: bytes | None = None,
    stateful: bool = False,
    score: Scorer | None = None,
) -> Attribution:
    """Repair the suspects one at a time, and order them by the error of the outputs that goes with each.

    Args:
        found: see :func:`quantbench.measure.attribution.errors`.
        accepted: the accepted artifact; where given, what differs from it is repaired first, by its parts.
        score: artifact -> score on some examples; of the one that explains most, and of those that explain a tenth.
    """
    few = examples(artifact, inputs)
    told = changes.between(accepted, artifact) if accepted is not None else []
    exact, made = _outputs(control, few, stateful), _outputs(artifact, few, stateful)
    before = _distance(made, exact)
    if not math.isfinite(before):
        return found.model_copy(update={"changes": told})
    suspects: list[Suspect] = []
    untried: list[Untried] = []
    whole = _main(artifact)
    if before > 0 and found.matched >= ONE_MODEL:
        least = _distance(_outputs(accepted, few, stateful), exact) if accepted is not None and told else math.inf
        worse = before > WORSE * least
        for repairs in _repairs(found, control, artifact, accepted if worse else None, told, untried):
            rest = least if worse and not suspects else 0.0
            suspects += [_tested(one, whole, few, exact, (before, rest), stateful, score) for one in repairs]
            if max((one.recovered for one in suspects), default=0.0) >= EXPLAINS:
                break
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
    few: Inputs,
    exact: dict[str, Array],
    errors: tuple[float, float],
    stateful: bool,
    score: Scorer | None,
) -> Suspect:
    """Measure what a repair takes away of the error of the outputs.

    Args:
        errors: of the artifact, and of the accepted one where the repair has its parts; else 0.
    """
    before, least = errors
    after = _distance(_outputs(repair.artifact, few, stateful), exact)
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


def output_error(control: bytes, artifact: bytes, inputs: Inputs, stateful: bool = False) -> float:
    """Return the mean squared error of an artifact's outputs, as a share of the float outputs' mean square."""
    few = examples(artifact, inputs)
    return _distance(_outputs(artifact, few, stateful), _outputs(control, few, stateful))


def passes_on(operator: str) -> bool:
    """Check whether an operator's output has the range of what it reads."""
    return operator in _SAME_RANGE


def _repairs(
    found: Attribution,
    control: bytes,
    artifact: bytes,
    accepted: bytes | None,
    told: Sequence[Change],
    untried: list[Untried],
) -> Iterator[Iterator[Repair]]:
    """Yield kinds of repairs, the next of which is tried where none before explains the error.

    Args:
        untried: receives the suspects that could not be repaired.
    """
    if accepted is not None and told:
        yield _by_accepted(artifact, accepted, told)
    yield chain(_in_float(found, control, artifact, untried), _by_range(found, artifact))


def _by_accepted(artifact: bytes, accepted: bytes, told: Sequence[Change]) -> Iterator[Repair]:
    matched = matching.match(_main(accepted), _main(artifact))
    partner = {theirs: ours for ours, theirs in [*matched.pairs, *matched.casts]}
    for places in _together([one.position for one in told], _main(artifact))[: 4 * SUSPECTS]:
        pairs = [(partner[place], place) for place in places if place in partner]
        repaired = _tried(partial(surgery.with_parts_of, artifact, accepted, pairs)) if pairs else None
        if isinstance(repaired, bytes):
            yield Repair(places, "accepted", repaired)


def _in_float(found: Attribution, control: bytes, artifact: bytes, untried: list[Untried]) -> Iterator[Repair]:
    pairing, whole = paired(control, artifact), _main(artifact)
    partner = {theirs: ours for ours, theirs in pairing.matched.pairs}
    errors = {one.position: one.error for one in found.operators}
    for places in _regions(suspicious(found.operators), whole):
        if whole.operators[places[0]].name in CASTS:
            continue  # it gets a range, see below
        pairs = [(partner[place], place) for place in sorted(places) if place in partner]
        repaired: bytes | Why = "partner"
        if pairs:
            same = all(pairing.reads_the_same(ours, theirs) for ours, theirs in pairs)
            repaired = _tried(partial(surgery.in_float, artifact, control, pairs)) if same else "inputs"
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


def _by_range(found: Attribution, artifact: bytes) -> Iterator[Repair]:
    for places, ranges in _ill_ranged(found, graph.read(artifact)):
        if isinstance(repaired := _tried(partial(surgery.with_ranges, artifact, ranges)), bytes):
            yield Repair(places, "range", repaired)


def _together(positions: Sequence[int], whole: Graph) -> list[list[int]]:
    """Group operators that pass on a range with the one that it begins at; each group in the file's order."""
    made_by = {id(tensor): place for place, one in enumerate(whole.operators) for tensor in one.outputs}
    groups: dict[int, list[int]] = {}
    head: dict[int, int] = {}
    for place in sorted({position for position in positions if position >= 0}):
        operator = whole.operators[place]
        before = [
            made_by.get(id(tensor), -1) for tensor in operator.inputs if tensor is not None and tensor.data is None
        ]
        behind = [head[one] for one in before if one in head] if operator.name in _SAME_RANGE else []
        head[place] = min(behind, default=place)
        groups.setdefault(head[place], []).append(place)
    return list(groups.values())


def _ill_ranged(found: Attribution, whole: Graph) -> Iterator[tuple[list[int], dict[int, tuple[float, float]]]]:
    """Yield the operators whose output has a range that does not fit the float values, and the range that would.

    With each go the tensors that it is passed on to. An operator that only passes on a range is not named itself.
    """
    main = whole.main()
    indices = {id(tensor): index for index, tensor in enumerate(main.tensors)}
    for one in sorted(filter(_ill, found.operators), key=lambda one: -(one.own or one.error))[:SUSPECTS]:
        first = [tensor for tensor in main.inputs if one.position == INPUT and tensor.name == one.tensor]
        places, waiting = [one.position], [first or list(main.operators[one.position].outputs)]
        tensors = [tensor for tensor in waiting[0] if len(tensor.scales) == 1]
        while waiting:
            written = {id(tensor) for tensor in waiting.pop()}
            for place, reader in enumerate(main.operators):
                reads = any(id(tensor) in written for tensor in reader.inputs)
                if reads and passes_on(reader.name) and place not in places:
                    places.append(place)
                    waiting.append(list(reader.outputs))
                    tensors += [tensor for tensor in reader.outputs if len(tensor.scales) == 1]
        yield places, {indices[id(tensor)]: (one.low, one.high) for tensor in tensors}


# A range that the converter found on other examples leaves out few values, and is not several times too wide.
_MOST_CLIPPED, _LEAST_USED = 0.01, 0.3


def _ill(one: OperatorError) -> bool:
    if one.operator in _FIXED_RANGE or passes_on(one.operator) or one.steps is None:
        return False
    steps = 2 ** (8 if one.steps < 2**9 else 16) - 1  # a tensor of 16 bits has its own measure
    return one.clipped > _MOST_CLIPPED or one.steps < _LEAST_USED * steps


def _regions(positions: Sequence[int], whole: Graph) -> list[list[int]]:
    """Extend each operator without weights to all that it is connected with through such operators.

    A normalization or an attention's softmax is several of them, and each rounds what the others need exactly: one
    alone in float changes nothing.
    """
    plain = {place for place, one in enumerate(whole.operators) if one.name not in COMPUTE and one.name not in CASTS}
    readers: dict[int, list[int]] = {}
    for place, one in enumerate(whole.operators):
        for tensor in one.inputs:
            readers.setdefault(id(tensor), []).append(place)
    made_by = {id(tensor): place for place, one in enumerate(whole.operators) for tensor in one.outputs}
    found: list[list[int]] = []
    for position in positions:
        if position == INPUT or any(position in region for region in found):
            continue
        region, waiting = {position}, [position] if position in plain else []
        while waiting and len(region) < _LARGEST_REGION:
            one = whole.operators[waiting.pop(0)]
            near = [made_by.get(id(tensor), -1) for tensor in one.inputs]
            near += [place for tensor in one.outputs for place in readers.get(id(tensor), [])]
            new = [place for place in near if place in plain and place not in region]
            region.update(new)
            waiting += new
        found.append([position, *sorted(region - {position})])
    return found


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


def suspicious(operators: Sequence[OperatorError]) -> list[int]:
    """List the positions of the operators with the largest errors of their own, the largest first.

    Where an operator cannot run alone, what its error grew by from the one before stands for it.
    """
    ranked, before = [], 0.0
    for one in operators:
        own = one.own if one.own is not None else math.sqrt(max(0.0, one.error**2 - before**2))
        ranked.append((own, one.position))
        before = one.error
    return [position for _, position in sorted(ranked, reverse=True)[:SUSPECTS]]


def _outputs(artifact: bytes, few: Inputs, stateful: bool) -> dict[str, Array]:
    """Return the outputs on the kernels that scores come from; a single one under an empty name."""
    made = LiteRT(artifact, stateful=stateful).run(few)
    named = made if isinstance(made, dict) else {"": made}
    return {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}


def _distance(made: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """Return the mean squared error of all outputs, each as a share of its own mean square; infinite for no number.

    Raises:
        ValueError: they have other outputs.
    """
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
