"""List what differs between two artifacts of one model, operator by operator: weights, bias, scales, options."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from quantbench.records import Change
from quantbench.tflite import graph, matching
from quantbench.tflite.graph import WEIGHTS, Graph, Operator, Tensor

# Scales are written as float32: two converters that find the same range may differ in its last bits.
_SAME = 1e-5
ORDER = "order of inputs"
_LONGEST = 60
_BIASES = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (12, 13, 14, 15), "SVDF": (3,)}


def between(accepted: bytes, artifact: bytes) -> list[Change]:
    """List the differences of an artifact from the accepted one, in the order of its operators.

    An activation's range is told at the operator that writes it. Operators without a partner are told as well; casts
    that came or went last, for they follow from what changed beside them. What a loop calls is compared too, without a
    position.

    Raises:
        ValueError: a file is damaged.
    """
    files = [graph.read(one) for one in (accepted, artifact)]
    found = _between(*(file.main() for file in files))
    called = _between(*map(_called, files))
    return found + [one.model_copy(update={"position": -1, "what": f"{one.what} in a loop"}) for one in called]


def matched_share(accepted: bytes, artifact: bytes) -> float:
    """Return the share of the operators of two artifacts that have a partner in the other one. Raises ValueError."""
    return matching.match(*(graph.read(one).main() for one in (accepted, artifact))).share


def reordered(reference: bytes, artifact: bytes) -> list[Change]:
    """List the concatenations that have the reference's parts in another order, as far as their shapes tell.

    tfmot's quantization-aware training may do that without a word (tensorflow/model-optimization, issue 1179).

    Raises:
        ValueError: a file is damaged.
    """
    return [one for one in between(reference, artifact) if one.what == ORDER]


def _called(whole: Graph) -> Graph:
    """Return the operators of all subgraphs but the first, which loops and branches call."""
    return Graph(whole.tensors[whole.main_tensors :], whole.operators[whole.main_operators :], [], [])


def _between(old: Graph, new: Graph) -> list[Change]:
    matched = matching.match(old, new)
    found = [
        _change(place, new.operators[place], what, **more)
        for ours, place in matched.pairs
        for what, more in _differences(old.operators[ours], new.operators[place])
    ]
    found += [
        _change(place, new.operators[place], what, **more)
        for ours, place in matched.casts
        for what, more in _activation(old.operators[ours].outputs[0], new.operators[place].outputs[0])
    ]
    for one, other in zip(old.inputs, new.inputs, strict=False):
        found += [
            Change(position=-1, operator="INPUT", tensor=other.name, what=what, **more)
            for what, more in _activation(one, other)
        ]
    found += _came_and_went(old, new, matched.only_first, matched.only_second)
    found.sort(key=lambda one: one.position)
    return [*found, *_came_and_went(old, new, matched.casts_first, matched.casts_second)]


def _came_and_went(old: Graph, new: Graph, removed: Sequence[int], added: Sequence[int]) -> list[Change]:
    return [
        *(_change(-1, old.operators[place], "operator", old="removed") for place in removed),
        *(_change(place, new.operators[place], "operator", new="added") for place in added),
    ]


def _change(place: int, operator: Operator, what: str, **more: Any) -> Change:
    return Change(position=place, operator=operator.name, tensor=operator.label, what=what, **more)


def _differences(old: Operator, new: Operator) -> Iterator[tuple[str, dict[str, Any]]]:
    if old.name != new.name:
        yield "operator", {"old": old.name, "new": new.name}
        return
    if new.name == "CONCATENATION" and (parts := _parts(old)) != (now := _parts(new)) and sorted(parts) == sorted(now):
        yield ORDER, {"old": _shapes(parts), "new": _shapes(now)}
    if (before := _options(old)) != (after := _options(new)):
        yield "options", {"old": _only(before, after), "new": _only(after, before)}
    for slot, (one, other) in enumerate(zip(old.inputs, new.inputs, strict=False)):
        if one is None or other is None:
            if (one is None) != (other is None):
                yield _role(new, slot), _there(one, other)
        elif one.data is not None or other.data is not None:
            yield from _constant(_role(new, slot), one, other)
    for one, other in zip(old.outputs, new.outputs, strict=False):
        yield from _activation(one, other)


def _parts(operator: Operator) -> list[tuple[int, ...]]:
    return [() if one is None else one.shape for one in operator.inputs]


def _shapes(parts: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("×".join(map(str, shape)) for shape in parts)


def _role(operator: Operator, slot: int) -> str:
    weights = WEIGHTS.get(operator.name, ())
    if slot in weights:
        return "weights"
    return "bias" if slot in _BIASES.get(operator.name, (2,) if weights == (1,) else ()) else f"input {slot}"


def _there(old: Tensor | None, new: Tensor | None) -> dict[str, str]:
    return {"old": "absent" if old is None else "present", "new": "absent" if new is None else "present"}


def _options(operator: Operator) -> dict[str, str]:
    given = [one for one in (operator.options, operator.more_options[0]) if one is not None]
    told = {name: str(np.asarray(value).tolist()) for one in given for name, value in vars(one).items()}
    told = {name: value for name, value in told.items() if "ubgraph" not in name}  # a file's own numbering
    return told | ({"custom": operator.more_options[1].hex()[:_LONGEST]} if operator.more_options[1] else {})


def _only(one: dict[str, str], other: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.items() if other.get(name) != value)[:_LONGEST]


def _constant(role: str, old: Tensor, new: Tensor) -> Iterator[tuple[str, dict[str, Any]]]:
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        yield "types", {"old": f"{role} {old.dtype} {old.shape}", "new": f"{role} {new.dtype} {new.shape}"}
        return
    if old.granularity != new.granularity:
        yield f"{role} granularity", {"old": old.granularity, "new": new.granularity}
    elif (factor := _factor(old, new)) is not None and role != "bias":  # the scale of a bias follows from the others
        yield f"{role} scale", {"factor": factor}
    if old.data != new.data and old.data is not None and new.data is not None:
        yield role, {"old": "", "new": _moved(old, new)}


def _moved(old: Tensor, new: Tensor) -> str:
    """Say how many values of a constant differ; of a type that NumPy lacks, or in a damaged file, only that some do."""
    try:
        one, other = old.values(), new.values()
    except (TypeError, ValueError):
        return "stored bytes differ"
    return f"{int(np.sum(one != other)):,} of {one.size:,} stored values differ"


def _activation(old: Tensor, new: Tensor) -> Iterator[tuple[str, dict[str, Any]]]:
    if old.dtype != new.dtype:
        yield "types", {"old": f"output {old.dtype}", "new": f"output {new.dtype}"}
        return
    factor = _factor(old, new)
    if factor is not None:
        yield "output range", {"factor": factor, "old": _range(old), "new": _range(new)}
    elif old.zero_points != new.zero_points:
        yield "zero point", {"old": str(old.zero_points[:1]), "new": str(new.zero_points[:1])}


def _factor(old: Tensor, new: Tensor) -> float | None:
    """Return by how much scales differ, the median where they are many; None where they do not."""
    one, other = np.asarray(old.scales), np.asarray(new.scales)
    if one.shape != other.shape or not one.size:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(one == other, 1.0, other / one)
    if np.all(np.abs(ratios - 1) <= _SAME):
        return None
    moved = ratios[np.abs(ratios - 1) > _SAME]
    return float(np.median(moved))


def _range(tensor: Tensor) -> str:
    if not tensor.scales or tensor.dtype not in ("int8", "uint8", "int16"):
        return ""
    limits, scale, zero = np.iinfo(tensor.dtype), tensor.scales[0], tensor.zero_points[0]
    return f"{(limits.min - zero) * scale:.4g} to {(limits.max - zero) * scale:.4g}"
