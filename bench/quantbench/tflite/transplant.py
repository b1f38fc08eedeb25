"""Take operators of an unpacked artifact over into another one: with their tensors, constants, codes and subgraphs."""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, Literal

from quantbench.tflite.graph import CASTS

_INTEGERS = ("INT8", "UINT8", "INT16")


class Uncuttable(ValueError):
    """Raised where an operator cannot be cut out or exchanged; the message says why.

    Attributes:
        why: as in :class:`quantbench.records.Untried`.
    """

    def __init__(self, message: str, why: Literal["subgraph", "weights", "shapes"] = "shapes") -> None:
        super().__init__(message)
        self.why = why


def intermediates(operator: Any) -> list[int]:
    """List the tensors that hold the ranges of what an operator computes within itself, as an int8 LSTM has."""
    return [] if operator.intermediates is None else [int(index) for index in operator.intermediates]


def taken_over(source: Any, graph: Any, target: Any, part: Any, indices: Iterable[int]) -> dict[int, int]:
    """Copy tensors of a subgraph, with what holds the scales of blockwise ones, to a new one; return their new places.

    Args:
        graph: the subgraph of ``source``.
        part: that of ``target``; what it has is replaced.
    """
    held = list(dict.fromkeys(indices))
    held += [scales for index in held for scales in scales_of(graph.tensors[index]) if scales not in held]
    place = {old: new for new, old in enumerate(dict.fromkeys(held))}
    part.tensors = [copied(source, target, graph.tensors[index]) for index in place]
    for tensor in part.tensors:
        _renumber_scales(tensor, place)
    return place


def _renumber_scales(tensor: Any, place: Mapping[int, int]) -> None:
    """Let a blockwise tensor name the new places of what holds its scales."""
    if not scales_of(tensor):
        return
    tensor.quantization = copy(tensor.quantization)
    details = copy(tensor.quantization.details)
    tensor.quantization.details = details
    details.scales = place[int(details.scales)]
    if int(details.zeroPoints or 0) > 0:
        details.zeroPoints = place[int(details.zeroPoints)]


def scales_of(tensor: Any) -> list[int]:
    """List the tensors that hold the scales, and the zero points, of a blockwise one; none for any other."""
    details: Any = getattr(tensor.quantization, "details", None)
    if not getattr(details, "blockSize", 0):
        return []
    points = int(details.zeroPoints or 0)  # 0 stands for none
    return [int(details.scales), *([points] if points > 0 else [])]


def called(operator: Any) -> dict[str, int]:
    """Map the options that name a subgraph, as a loop's body, to its number."""
    options = operator.builtinOptions
    fields = {} if options is None else vars(options)
    return {name: int(value) for name, value in fields.items() if "ubgraph" in name and isinstance(value, int)}


_DEEPEST = 8  # loops within loops; in a damaged file they may be a ring


def with_subgraphs(source: Any, target: Any, operator: Any, depth: int = 0) -> Any:
    """Return an operator's options, with the subgraphs that it calls copied into another model.

    Raises:
        Uncuttable: they are nested too deep, or are not there.
    """
    from ai_edge_litert import schema_py_generated as schema

    options = operator.builtinOptions
    if not called(operator):
        return options
    options = copy(options)
    for name, number in called(operator).items():
        if depth >= _DEEPEST or not 0 < number < len(source.subgraphs):
            raise Uncuttable("it calls a subgraph that is not there", "subgraph")
        graph, part = source.subgraphs[number], schema.SubGraphT()
        target.subgraphs.append(part)
        setattr(options, name, len(target.subgraphs) - 1)
        part.name = graph.name
        place = taken_over(source, graph, target, part, range(len(graph.tensors)))
        part.operators = [renumbered(source, target, one, place, depth + 1) for one in graph.operators or []]
        part.inputs = [place[int(index)] for index in graph.inputs]
        part.outputs = [place[int(index)] for index in graph.outputs]
    return options


def is_constant(model: Any, index: int) -> bool:
    """Check whether a tensor of the first subgraph has content."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def casts_of_constants(model: Any, operator: Any) -> list[Any]:
    """List the casts, first to last, between constants and what an operator reads."""
    graph = model.subgraphs[0]
    made_by = {int(index): one for one in graph.operators for index in one.outputs}
    found: list[Any] = []
    for index in (int(index) for index in operator.inputs if index >= 0):
        maker = made_by.get(index)
        if maker is not None and name_of(model, maker) in CASTS and is_constant(model, int(maker.inputs[0])):
            found.append(maker)
    return found


def name_of(model: Any, operator: Any) -> str:
    """Return an operator's name; empty for one that the tools do not know."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) or ""


def copied(source: Any, target: Any, original: Any) -> Any:
    """Copy a tensor of ``source`` with its content; one without is an activation, or a variable."""
    tensor = copy(original)
    content = source.buffers[tensor.buffer]
    if content.data is None or not len(content.data):
        tensor.buffer = 0
        return tensor
    target.buffers.append(copy(content))
    tensor.buffer = len(target.buffers) - 1
    return tensor


def renumbered(source: Any, target: Any, operator: Any, place: dict[int, int], depth: int = 0) -> Any:
    """Copy an operator that reads and writes the new places of its tensors."""
    taken = copy(operator)
    taken.inputs = [place[int(index)] if index >= 0 else -1 for index in operator.inputs]
    taken.outputs = [place[int(index)] for index in operator.outputs]
    taken.intermediates = [place[index] for index in intermediates(operator)] or None
    taken.builtinOptions = with_subgraphs(source, target, operator, depth)
    taken.opcodeIndex = code_place(target, source.operatorCodes[operator.opcodeIndex])
    return taken


def code_place(model: Any, code: Any) -> int:
    """Return the position of an operator's code, added where the file has none of that version."""
    wanted = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
    for place, known in enumerate(model.operatorCodes):
        if (known.builtinCode, known.deprecatedBuiltinCode, known.customCode, known.version) == wanted:
            return place
    model.operatorCodes.append(copy(code))
    return len(model.operatorCodes) - 1


def type_name(tensor: Any) -> str:
    """Return the name of a tensor's type, as INT8."""
    from ai_edge_litert.tools import flatbuffer_utils

    return str(flatbuffer_utils.type_to_name(tensor.type))


def is_integer(tensor: Any) -> bool:
    """Check whether a tensor is quantized to integers."""
    scaled = tensor.quantization is not None and tensor.quantization.scale is not None
    return type_name(tensor) in _INTEGERS and scaled and len(tensor.quantization.scale) > 0
