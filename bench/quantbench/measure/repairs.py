"""Prove what an operator explains: repair it, and measure the error of the outputs again.

A repair leaves the operator in float, as in the control, or gives it the parts of the accepted artifact.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.measure.attribution import examples
from quantbench.records import Attribution, Change, OperatorError, Suspect
from quantbench.tflite import changes, graph, matching, surgery
from quantbench.tflite.graph import CASTS, COMPUTE, Graph, Operator
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
        found: see :func:`errors`.
        accepted: the accepted artifact; where given, its parts are the repair, and what differs from it the suspects.
        score: artifact -> score on some examples; of the one that explains most, and of those that explain a tenth.
    """
    few = examples(artifact, inputs)
    exact = _outputs(control, few, stateful)
    before = _distance(_outputs(artifact, few, stateful), exact)
    told = changes.between(accepted, artifact) if accepted is not None else []
    repairs = list(_repairs(found, control, artifact, accepted, told))
    suspects = []
    for places, by, repaired in repairs:
        after = _distance(_outputs(repaired, few, stateful), exact)
        recovered = 1 - after / before if before else 0.0
        worth = score is not None and (recovered >= 0.1 or len(repairs) == 1)
        named = _main(artifact).operators[places[0]]
        suspects.append(
            Suspect(
                position=places[0],
                together=places[1:],
                operator=named.name,
                tensor=named.outputs[0].name,
                repaired_by=by,
                recovered=recovered,
                score=score(repaired) if worth and score is not None else None,
            )
        )
    best: dict[int, Suspect] = {}
    for one in sorted(suspects, key=lambda one: -one.recovered):
        best.setdefault(one.position, one)
    suspects = list(best.values())
    return found.model_copy(update={"suspects": suspects, "changes": told})


def output_error(control: bytes, artifact: bytes, inputs: Inputs, stateful: bool = False) -> float:
    """Return the mean squared error of an artifact's outputs, as a share of the float outputs' mean square."""
    few = examples(artifact, inputs)
    return _distance(_outputs(artifact, few, stateful), _outputs(control, few, stateful))


def passes_on(operator: str) -> bool:
    """Check whether an operator's output has the range of what it reads."""
    return operator in _SAME_RANGE


def _repairs(
    found: Attribution, control: bytes, artifact: bytes, accepted: bytes | None, told: Sequence[Change]
) -> Iterator[tuple[list[int], str, bytes]]:
    """Yield (positions, how, repaired artifact) of each suspect that can be repaired."""
    if accepted is not None and told:
        partner = {theirs: ours for ours, theirs in matching.match(*map(_main, (accepted, artifact))).pairs}
        for places in _together([one.position for one in told], _main(artifact))[: 4 * SUSPECTS]:
            pairs = [(partner[place], place) for place in places if place in partner]
            repaired = _tried(partial(surgery.with_parts_of, artifact, accepted, pairs))
            if pairs and repaired is not None:
                yield places, "accepted", repaired
    else:
        partner = {theirs: ours for ours, theirs in matching.match(*map(_main, (control, artifact))).pairs}
        for places in _regions(suspicious(found.operators), _main(artifact)):
            pairs = [(partner[place], place) for place in sorted(places) if place in partner]
            repaired = _tried(partial(surgery.in_float, artifact, control, pairs))
            if pairs and repaired is not None:
                yield places, "float", repaired
        for places, ranges in _ill_ranged(found, graph.read(artifact)):
            if (repaired := _tried(partial(surgery.with_ranges, artifact, ranges))) is not None:
                yield places, "range", repaired


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
    ill = [one for one in found.operators if one.steps is not None and _ill(one, main.operators[one.position])]
    for one in sorted(ill, key=lambda one: -(one.own or one.error))[:SUSPECTS]:
        places, waiting = [one.position], [one.position]
        while waiting:
            written = {id(tensor) for tensor in main.operators[waiting.pop()].outputs}
            for place, reader in enumerate(main.operators):
                reads = any(id(tensor) in written for tensor in reader.inputs)
                if reads and passes_on(reader.name) and place not in places:
                    places.append(place)
                    waiting.append(place)
        tensors = [tensor for place in places for tensor in main.operators[place].outputs if len(tensor.scales) == 1]
        yield places, {indices[id(tensor)]: (one.low, one.high) for tensor in tensors}


# A range that the converter found on other examples leaves out few values, and is not several times too wide.
_MOST_CLIPPED, _LEAST_USED = 0.01, 0.3


def _ill(one: OperatorError, operator: Operator) -> bool:
    if operator.name in _FIXED_RANGE or passes_on(operator.name) or one.steps is None:
        return False
    steps = 2 ** (16 if operator.outputs[0].dtype == "int16" else 8) - 1
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
        if any(position in region for region in found):
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


def _tried(repair: Callable[[], bytes]) -> bytes | None:
    try:
        repaired = repair()
        LiteRT(repaired, runtime="litert-builtin")
    except (surgery.Uncuttable, RuntimeError, ValueError):
        return None
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


def _outputs(artifact: bytes, few: Inputs, stateful: bool) -> list[Array]:
    made = LiteRT(artifact, runtime="litert-builtin", stateful=stateful).run(few)
    named = made if isinstance(made, dict) else {"": made}
    return [np.asarray(values, dtype=np.float64) for values in named.values()]


def _distance(made: Sequence[Array], exact: Sequence[Array]) -> float:
    """Return the mean squared error of all outputs, each as a share of its own mean square."""
    shares = []
    for one, other in zip(made, exact, strict=True):
        signal = float(np.mean(other**2))
        if one.shape == other.shape and signal:
            shares.append(float(np.mean((one - other) ** 2)) / signal)
    return float(np.mean(shares)) if shares else 0.0
