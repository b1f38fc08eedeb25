"""Cut one operator out of an artifact, or exchange operators for those of another artifact of the same model.

An artifact is unpacked into objects and packed again, see :mod:`quantbench.tflite.edit`; only the first subgraph is
changed, the one that is called. Positions are those of ``Graph.operators``.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from quantbench.tflite.edit import edited, unpacked
from quantbench.tflite.graph import CASTS

_INTEGERS = ("INT8", "UINT8", "INT16")
_FUSED = "fusedActivationFunction"
# Operators that a quantizer may fuse into the one before.
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "TANH")


class Uncuttable(ValueError):
    """Raised where an operator cannot be cut out or exchanged; the message says why."""


# ---------------------------------------------------------------- one operator as a model of its own


def alone(model: Any, position: int) -> tuple[bytes, list[int]]:
    """Return one operator as a model of its own, with its constants and the casts that they pass through.

    Args:
        model: see :func:`quantbench.tflite.edit.unpacked`.

    Returns:
        The file, and the tensors of ``model`` that are its inputs, in their order; its outputs are the operator's.

    Raises:
        Uncuttable: it keeps state, calls another subgraph, or reads nothing but constants.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    graph = model.subgraphs[0]
    operator = graph.operators[position]
    _check_plain(model, operator)
    chain = [*_casts_of_constants(model, operator), operator]
    made = {int(index) for one in chain for index in one.outputs}
    read = [int(index) for one in chain for index in one.inputs if index >= 0]
    fed = [index for index in dict.fromkeys(read) if index not in made and not _is_constant(model, index)]
    if not fed:
        raise Uncuttable("it reads constants only")
    kept = list(dict.fromkeys([*fed, *read, *(int(index) for one in chain for index in one.outputs)]))
    place = {old: new for new, old in enumerate(kept)}
    small = schema.ModelT()
    small.version, small.buffers, small.operatorCodes = model.version, [schema.BufferT()], []
    part = schema.SubGraphT()
    part.tensors = [_copied(model, small, index) for index in kept]
    part.operators = [_renumbered(model, small, one, place) for one in chain]
    part.inputs = [place[index] for index in fed]
    part.outputs = [place[int(index)] for index in operator.outputs]
    small.subgraphs = [part]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(small)), fed


def _check_plain(model: Any, operator: Any) -> None:
    graph = model.subgraphs[0]
    if any(graph.tensors[index].isVariable for index in operator.inputs if index >= 0):
        raise Uncuttable("it keeps state from call to call")
    options = operator.builtinOptions
    if options is not None and any("ubgraph" in name for name in vars(options)):
        raise Uncuttable("it calls another subgraph")


def _is_constant(model: Any, index: int) -> bool:
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def _casts_of_constants(model: Any, operator: Any) -> list[Any]:
    """List the casts, first to last, between constants and what an operator reads."""
    graph = model.subgraphs[0]
    made_by = {int(index): one for one in graph.operators for index in one.outputs}
    found: list[Any] = []
    for index in (int(index) for index in operator.inputs if index >= 0):
        maker = made_by.get(index)
        if maker is not None and name_of(model, maker) in CASTS and _is_constant(model, int(maker.inputs[0])):
            found.append(maker)
    return found


def name_of(model: Any, operator: Any) -> str:
    """Return an operator's name; empty for one that the tools do not know."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) or ""


def _copied(source: Any, target: Any, index: int) -> Any:
    """Copy a tensor of ``source`` with its content, and the scales that are stored beside blockwise ones."""
    tensor = copy(source.subgraphs[0].tensors[index])
    if getattr(getattr(tensor.quantization, "details", None), "blockSize", 0):
        raise Uncuttable("its weights are quantized blockwise")
    content = source.buffers[tensor.buffer]
    if content.data is None or not len(content.data):
        tensor.buffer = 0
        return tensor
    target.buffers.append(copy(content))
    tensor.buffer = len(target.buffers) - 1
    return tensor


def _renumbered(source: Any, target: Any, operator: Any, place: dict[int, int]) -> Any:
    taken = copy(operator)
    taken.inputs = [place[int(index)] if index >= 0 else -1 for index in operator.inputs]
    taken.outputs = [place[int(index)] for index in operator.outputs]
    taken.intermediates = None
    taken.opcodeIndex = _code(target, source.operatorCodes[operator.opcodeIndex])
    return taken


def _code(model: Any, code: Any) -> int:
    """Return the position of an operator's code, added where the file has none of that version."""
    wanted = (code.builtinCode, code.deprecatedBuiltinCode, code.customCode, code.version)
    for place, known in enumerate(model.operatorCodes):
        if (known.builtinCode, known.deprecatedBuiltinCode, known.customCode, known.version) == wanted:
            return place
    model.operatorCodes.append(copy(code))
    return len(model.operatorCodes) - 1


# ---------------------------------------------------------------- operators of another artifact in their place


def in_float(artifact: bytes, control: bytes, pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return an artifact in which some operators compute in float32, between casts, as in the control.

    Args:
        pairs: positions of (the control's operator, the artifact's), in the order of the file. What one of them writes
            for another stays in float.

    Raises:
        Uncuttable: two operators do not read and write the same things.
    """
    source = unpacked(control)

    def change(model: Any) -> None:
        operators = model.subgraphs[0].operators
        chosen = [(source.subgraphs[0].operators[ours], operators[theirs]) for ours, theirs in pairs]
        in_float: dict[int, int] = {}
        for ours, theirs in chosen:
            _exchange(source, ours, model, theirs, in_float)

    return edited(artifact, change)


def _exchange(source: Any, ours: Any, model: Any, theirs: Any, in_float: dict[int, int]) -> None:
    """Exchange one operator.

    Args:
        in_float: integer tensor -> the float tensor that it is made from here; what this operator writes is added.
    """
    if len(ours.inputs) != len(theirs.inputs) or len(ours.outputs) != len(theirs.outputs):
        raise Uncuttable("it has other inputs or outputs than in the float model")
    _check_plain(source, ours)
    _check_plain(model, theirs)
    graph = model.subgraphs[0]
    before: list[Any] = []
    after: list[Any] = []
    inputs = []
    constants = _constants_of(source, ours)
    for mine, other in zip(ours.inputs, theirs.inputs, strict=True):
        if int(mine) in constants:
            graph.tensors.append(_copied_constant(source, model, constants[int(mine)]))
            inputs.append(len(graph.tensors) - 1)
        elif mine < 0 or other < 0 or not _is_integer(graph.tensors[other]):
            inputs.append(int(other) if mine >= 0 else -1)
        elif int(other) in in_float:
            inputs.append(in_float[int(other)])
        else:
            inputs.append(_cast(model, "DEQUANTIZE", before, read=int(other)))
    outputs = []
    for index in (int(index) for index in theirs.outputs):
        if _is_integer(graph.tensors[index]):
            in_float[index] = _cast(model, "QUANTIZE", after, write=index)
        outputs.append(in_float.get(index, index))
    place = next(at for at, one in enumerate(graph.operators) if one is theirs)
    theirs.inputs, theirs.outputs = inputs, outputs
    theirs.builtinOptions = _with_fused(source, ours, theirs)
    theirs.builtinOptionsType = ours.builtinOptionsType
    theirs.builtinOptions2, theirs.builtinOptions2Type = ours.builtinOptions2, ours.builtinOptions2Type
    theirs.opcodeIndex = _code(model, source.operatorCodes[ours.opcodeIndex])
    theirs.intermediates = None
    graph.operators[place : place + 1] = [*before, theirs, *after]


def _with_fused(source: Any, ours: Any, theirs: Any) -> Any:
    """Return the options of the float operator; with the activation that is fused into the other one alone."""
    options, other = ours.builtinOptions, theirs.builtinOptions
    if getattr(options, _FUSED, None) != 0 or not getattr(other, _FUSED, 0):
        return options
    written = {int(index) for index in ours.outputs}
    follows = any(
        name_of(source, one) in ACTIVATIONS and int(one.inputs[0]) in written for one in source.subgraphs[0].operators
    )
    if not follows:
        return options
    fused = copy(options)
    setattr(fused, _FUSED, getattr(other, _FUSED))
    return fused


def _constants_of(source: Any, operator: Any) -> dict[int, int]:
    """Map what an operator reads to the constant behind it; integer constants, such as a shape, included."""
    casts = {int(one.outputs[0]): int(one.inputs[0]) for one in _casts_of_constants(source, operator)}
    read = [int(index) for index in operator.inputs if index >= 0]
    found = {index: index for index in read if _is_constant(source, index)}
    for index, behind in casts.items():
        tensor = source.subgraphs[0].tensors[behind]
        if _type_name(tensor) not in ("FLOAT32", "FLOAT16"):
            raise Uncuttable("its weights are not float in the model it is compared with")
        found[index] = behind
    return found


def _copied_constant(source: Any, model: Any, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    tensor = _copied(source, model, index)
    if _type_name(tensor) == "FLOAT16":
        buffer = model.buffers[tensor.buffer]
        values = np.asarray(buffer.data, dtype=np.uint8).view(np.float16).astype(np.float32)
        buffer.data, tensor.type = values.view(np.uint8), schema.TensorType.FLOAT32
    return tensor


def _type_name(tensor: Any) -> str:
    from ai_edge_litert.tools import flatbuffer_utils

    return str(flatbuffer_utils.type_to_name(tensor.type))


def _is_integer(tensor: Any) -> bool:
    scaled = tensor.quantization is not None and tensor.quantization.scale is not None
    return _type_name(tensor) in _INTEGERS and scaled and len(tensor.quantization.scale) > 0


def _cast(model: Any, name: str, casts: list[Any], read: int = -1, write: int = -1) -> int:
    """Add a cast from or to a tensor; return the float tensor on its other side."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensor = copy(graph.tensors[read if read >= 0 else write])
    tensor.name, tensor.type = (tensor.name or b"") + b"_float", schema.TensorType.FLOAT32
    tensor.quantization, tensor.buffer = None, 0
    graph.tensors.append(tensor)
    made = len(graph.tensors) - 1
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = min(127, code.builtinCode), _VERSIONS[name]
    cast = schema.OperatorT()
    cast.opcodeIndex = _code(model, code)
    cast.inputs, cast.outputs = ([read], [made]) if read >= 0 else ([made], [write])
    casts.append(cast)
    return made


_VERSIONS = {"DEQUANTIZE": 3, "QUANTIZE": 2}  # the first that know int16


def with_parts_of(artifact: bytes, accepted: bytes, pairs: Sequence[tuple[int, int]]) -> bytes:
    """Return an artifact in which some operators have the constants, options and output ranges of another one.

    What they only read stays as it is; biases of all readers follow the ranges.

    Args:
        pairs: positions of (the accepted operator, the artifact's).

    Raises:
        Uncuttable: their tensors are of other shapes or types.
    """
    source = unpacked(accepted)

    def change(model: Any) -> None:
        operators = model.subgraphs[0].operators
        for ours, theirs in pairs:
            _repaired(source, source.subgraphs[0].operators[ours], model, operators[theirs])
        written = [int(index) for _, theirs in pairs for index in operators[theirs].outputs]
        read = [int(operators[theirs].inputs[0]) for _, theirs in pairs if len(operators[theirs].inputs)]
        settle_biases(model, [*written, *read])

    return edited(artifact, change)


def with_ranges(artifact: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """Return an artifact in which tensors have other ranges, from the least to the largest value, 0 within.

    Args:
        ranges: index of an int8, uint8 or int16 tensor with one scale -> its range.
    """

    def change(model: Any) -> None:
        for index, (low, high) in ranges.items():
            tensor = model.subgraphs[0].tensors[index]
            limits = np.iinfo(_type_name(tensor).lower())
            low, high = min(low, 0.0), max(high, 0.0)
            quantization = copy(tensor.quantization)
            if _type_name(tensor) == "INT16":  # symmetric: the kernels take no zero point
                scale, zero = max(-low, high) / limits.max or 1.0, 0
            else:
                scale = (high - low) / (limits.max - limits.min) or 1.0
                zero = round(limits.min - low / scale)
            quantization.scale, quantization.zeroPoint = [scale], [int(np.clip(zero, limits.min, limits.max))]
            tensor.quantization = quantization
        settle_biases(model, ranges)

    return edited(artifact, change)


def settle_biases(model: Any, changed: Iterable[int]) -> None:
    """Store the biases of the operators that read these tensors in the scale that their kernels take them in.

    That is the scale of the input times that of the weights: where it is another one now, the bias is rounded anew from
    its real values.

    Args:
        changed: tensors of the first subgraph whose scale was changed.
    """
    graph, moved = model.subgraphs[0], {int(index) for index in changed}
    for operator in graph.operators:
        read = [int(index) for index in operator.inputs]
        if len(read) < 3 or read[0] not in moved or min(read[:3]) < 0:
            continue
        source, weights, bias = (graph.tensors[index] for index in read[:3])
        if not (_is_integer(source) and _type_name(bias) in ("INT32", "INT64") and _is_constant(model, read[2])):
            continue
        if not _has_scale(weights) or not _has_scale(bias):
            continue
        wanted = np.asarray(source.quantization.scale, np.float64) * np.asarray(weights.quantization.scale, np.float64)
        stored = np.asarray(bias.quantization.scale, np.float64)
        if np.allclose(stored, wanted, rtol=1e-6, atol=0):
            continue
        dtype = np.dtype(_type_name(bias).lower())
        values = np.asarray(model.buffers[bias.buffer].data, dtype=np.uint8).view(dtype).astype(np.float64) * stored
        rounded = np.clip(np.round(values / wanted), np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
        tensor, buffer = copy(bias), copy(model.buffers[bias.buffer])
        buffer.data = np.ascontiguousarray(rounded).view(np.uint8)
        model.buffers.append(buffer)
        tensor.buffer, tensor.quantization = len(model.buffers) - 1, copy(bias.quantization)
        scales = np.broadcast_to(wanted, np.broadcast(wanted, stored).shape).reshape(-1)
        tensor.quantization.scale = [float(scale) for scale in scales]
        tensor.quantization.zeroPoint = [0] * len(tensor.quantization.scale)
        graph.tensors.append(tensor)  # its own, as others may share the bias
        operator.inputs = [*read[:2], len(graph.tensors) - 1, *read[3:]]


def _has_scale(tensor: Any) -> bool:
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return scale is not None and len(scale) > 0 and bool(np.all(np.asarray(scale) > 0))


def _shape(tensor: Any) -> list[int]:
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def _repaired(source: Any, ours: Any, model: Any, theirs: Any) -> None:
    if len(ours.inputs) != len(theirs.inputs) or len(ours.outputs) != len(theirs.outputs):
        raise Uncuttable("it has other inputs or outputs than the accepted one")
    good, bad = source.subgraphs[0].tensors, model.subgraphs[0].tensors
    written = {int(index) for index in theirs.outputs}
    for mine, other in zip([*ours.inputs, *ours.outputs], [*theirs.inputs, *theirs.outputs], strict=True):
        if mine < 0 or other < 0 or not (int(other) in written or _is_constant(source, int(mine))):
            continue
        if (good[mine].type, _shape(good[mine])) != (bad[other].type, _shape(bad[other])):
            raise Uncuttable("its tensors have other shapes or types than the accepted ones")
        bad[other].quantization = good[mine].quantization
        if _is_constant(source, int(mine)):
            model.buffers.append(copy(source.buffers[good[mine].buffer]))
            bad[other].buffer = len(model.buffers) - 1
    theirs.builtinOptions, theirs.builtinOptionsType = ours.builtinOptions, ours.builtinOptionsType
