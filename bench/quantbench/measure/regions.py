"""Choose what to repair: suspicious operators, those that go with them, and ranges that do not fit."""

import math
from collections.abc import Iterator, Sequence

from quantbench.measure.attribution import INPUT
from quantbench.records import Attribution, OperatorError
from quantbench.tflite.graph import CASTS, COMPUTE, Graph, Operator

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


def passes_on(operator: str) -> bool:
    """Check whether an operator's output has the range of what it reads."""
    return operator in _SAME_RANGE


def _hands_on(operator: Operator) -> bool:
    """Check whether an operator holds the values that it reads: it passes their range on, or stores them otherwise."""
    if passes_on(operator.name):
        return True
    read = operator.inputs[0] if operator.name == "QUANTIZE" and operator.inputs else None
    return read is not None and bool(read.scales)  # from one integer type or range to another


def together(positions: Sequence[int], whole: Graph) -> list[list[int]]:
    """Group operators that pass on a range with the one, or the input, that it begins at; each in the file's order."""
    made_by = {id(tensor): place for place, one in enumerate(whole.operators) for tensor in one.outputs}
    made_by |= {id(tensor): INPUT for tensor in whole.inputs}
    groups: dict[int, list[int]] = {}
    head: dict[int, int] = {}
    for place in sorted(set(positions)):
        read = whole.operators[place].inputs if place != INPUT and _hands_on(whole.operators[place]) else ()
        before = {made_by.get(id(tensor)) for tensor in read if tensor is not None}
        head[place] = min((head[one] for one in before if one in head), default=place)
        groups.setdefault(head[place], []).append(place)
    return list(groups.values())


def ill_ranged(found: Attribution, whole: Graph) -> Iterator[tuple[list[int], dict[int, tuple[float, float]]]]:
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
                if reads and _hands_on(reader) and place not in places:
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


def regions(positions: Sequence[int], whole: Graph) -> list[list[int]]:
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
