"""Cut one operator out of an artifact, or exchange operators for those of another artifact of the same model.

An artifact is unpacked into objects and packed again, see :mod:`quantbench.tflite.edit`; only the first subgraph is
changed, the one that is called. Positions are those of ``Graph.operators``.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from quantbench.tflite.edit import edited, unpacked
from quantbench.tflite.transplant import Uncuttable as Uncuttable
from quantbench.tflite.transplant import (
    called,
    casts_of_constants,
    code_place,
    copied,
    intermediates,
    is_constant,
    is_integer,
    renumbered,
    scales_of,
    taken_over,
    type_name,
    with_subgraphs,
)
from quantbench.tflite.transplant import name_of as name_of

_FUSED = "fusedActivationFunction"
# Operators that a quantizer may fuse into the one before.
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "TANH")


# ---------------------------------------------------------------- one operator as a model of its own


def alone(model: Any, position: int) -> tuple[bytes, list[int]]:
    """Return one operator as a model of its own, with its constants and the casts that they pass through.

    Its state is a variable of the small model, and the subgraphs that it calls come along.

    Args:
        model: see :func:`quantbench.tflite.edit.unpacked`.

    Returns:
        The file, and the tensors of ``model`` that are its inputs, in their order; its outputs are the operator's.

    Raises:
        Uncuttable: it reads nothing but constants.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    graph = model.subgraphs[0]
    operator = graph.operators[position]
    chain = [*casts_of_constants(model, operator), operator]
    made = {int(index) for one in chain for index in one.outputs}
    read = [int(index) for one in chain for index in one.inputs if index >= 0]
    fed = [
        index
        for index in dict.fromkeys(read)
        if index not in made and not is_constant(model, index) and not graph.tensors[index].isVariable
    ]
    if not fed:
        raise Uncuttable("it reads constants only")
    small = schema.ModelT()
    small.version, small.buffers, small.operatorCodes = model.version, [schema.BufferT()], []
    part = schema.SubGraphT()
    small.subgraphs = [part]
    held = [*fed, *read, *(int(index) for one in chain for index in [*one.outputs, *intermediates(one)])]
    place = taken_over(model, graph, small, part, held)
    part.operators = [renumbered(model, small, one, place) for one in chain]
    part.inputs = [place[index] for index in fed]
    part.outputs = [place[int(index)] for index in operator.outputs]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(small)), fed


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
    if len(called(ours)) != len(called(theirs)):
        raise Uncuttable("it calls other subgraphs than in the float model", "subgraph")
    graph = model.subgraphs[0]
    before: list[Any] = []
    after: list[Any] = []
    inputs = []
    constants = _constants_of(source, ours)
    for mine, other in zip(ours.inputs, theirs.inputs, strict=True):
        if int(mine) in constants:
            graph.tensors.append(_copied_constant(source, model, constants[int(mine)]))
            inputs.append(len(graph.tensors) - 1)
        elif mine >= 0 and source.subgraphs[0].tensors[mine].isVariable:  # its state, from now on in float
            graph.tensors.append(copied(source, model, source.subgraphs[0].tensors[mine]))
            inputs.append(len(graph.tensors) - 1)
        elif mine < 0 or other < 0 or not is_integer(graph.tensors[other]):
            inputs.append(int(other) if mine >= 0 else -1)
        elif int(other) in in_float:
            inputs.append(in_float[int(other)])
        else:
            inputs.append(_cast(model, "DEQUANTIZE", before, read=int(other)))
    outputs = []
    for index in (int(index) for index in theirs.outputs):
        if is_integer(graph.tensors[index]):
            in_float[index] = _cast(model, "QUANTIZE", after, write=index)
        outputs.append(in_float.get(index, index))
    place = next(at for at, one in enumerate(graph.operators) if one is theirs)
    theirs.inputs, theirs.outputs = inputs, outputs
    theirs.builtinOptions = with_subgraphs(source, model, ours) if called(ours) else _with_fused(source, ours, theirs)
    theirs.builtinOptionsType = ours.builtinOptionsType
    theirs.builtinOptions2, theirs.builtinOptions2Type = ours.builtinOptions2, ours.builtinOptions2Type
    theirs.opcodeIndex = code_place(model, source.operatorCodes[ours.opcodeIndex])
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
    casts = {int(one.outputs[0]): int(one.inputs[0]) for one in casts_of_constants(source, operator)}
    read = [int(index) for index in operator.inputs if index >= 0]
    found = {index: index for index in read if is_constant(source, index)}
    for index, behind in casts.items():
        tensor = source.subgraphs[0].tensors[behind]
        if type_name(tensor) not in ("FLOAT32", "FLOAT16"):
            raise Uncuttable("its weights are not float in the model it is compared with", "weights")
        found[index] = behind
    return found


def _copied_constant(source: Any, model: Any, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    if scales_of(source.subgraphs[0].tensors[index]) or is_integer(source.subgraphs[0].tensors[index]):
        raise Uncuttable("its weights are quantized in the model it is compared with", "weights")
    tensor = copied(source, model, source.subgraphs[0].tensors[index])
    if type_name(tensor) == "FLOAT16":
        buffer = model.buffers[tensor.buffer]
        values = np.asarray(buffer.data, dtype=np.uint8).view(np.float16).astype(np.float32)
        buffer.data, tensor.type = values.view(np.uint8), schema.TensorType.FLOAT32
    return tensor


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
    cast.opcodeIndex = code_place(model, code)
    cast.inputs, cast.outputs = ([read], [made]) if read >= 0 else ([made], [write])
    casts.append(cast)
    return made


_VERSIONS = {"DEQUANTIZE": 3, "QUANTIZE": 2}  # the first that know int16


def with_parts_of(artifact: bytes, accepted: bytes, pairs: Sequence[tuple[int, int]], *, inputs: bool = False) -> bytes:
    """Return an artifact in which some operators have the constants, options and output ranges of another one.

    What they only read stays as it is; biases of all readers follow the ranges.

    Args:
        pairs: positions of (the accepted operator, the artifact's).
        inputs: whether the model's inputs get the accepted ranges too.

    Raises:
        Uncuttable: their tensors are of other shapes or types.
    """
    source = unpacked(accepted)

    def change(model: Any) -> None:
        good, bad = source.subgraphs[0], model.subgraphs[0]
        fed = [(int(mine), int(other)) for mine, other in zip(good.inputs, bad.inputs, strict=False)] if inputs else []
        for mine, other in fed:
            _take_parts(source, good.tensors[mine], model, bad.tensors[other])
        for ours, theirs in pairs:
            _repaired(source, good.operators[ours], model, bad.operators[theirs])
        written = [int(index) for _, theirs in pairs for index in bad.operators[theirs].outputs]
        read = [int(bad.operators[theirs].inputs[0]) for _, theirs in pairs if len(bad.operators[theirs].inputs)]
        settle_biases(model, [*(other for _, other in fed), *written, *read])

    return edited(artifact, change)


def with_ranges(artifact: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """Return an artifact in which tensors have other ranges, from the least to the largest value, 0 within.

    Args:
        ranges: index of an int8, uint8 or int16 tensor with one scale -> its range.
    """

    def change(model: Any) -> None:
        for index, (low, high) in ranges.items():
            tensor = model.subgraphs[0].tensors[index]
            limits = np.iinfo(type_name(tensor).lower())
            low, high = min(low, 0.0), max(high, 0.0)
            quantization = copy(tensor.quantization)
            if type_name(tensor) == "INT16":  # symmetric: the kernels take no zero point
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
        if not (is_integer(source) and type_name(bias) in ("INT32", "INT64") and is_constant(model, read[2])):
            continue
        if not _has_scale(weights) or not _has_scale(bias):
            continue
        wanted = np.asarray(source.quantization.scale, np.float64) * np.asarray(weights.quantization.scale, np.float64)
        stored = np.asarray(bias.quantization.scale, np.float64)
        if np.allclose(stored, wanted, rtol=1e-6, atol=0):
            continue
        dtype = np.dtype(type_name(bias).lower())
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
    if called(ours) or called(theirs):
        raise Uncuttable("it calls a subgraph, which may differ in any part", "subgraph")
    written = {int(index) for index in theirs.outputs}
    for mine, other in zip([*ours.inputs, *ours.outputs], [*theirs.inputs, *theirs.outputs], strict=True):
        if mine < 0 or other < 0:
            continue
        if not (int(other) in written or is_constant(source, int(mine)) or good[mine].isVariable):
            continue
        _take_parts(source, good[mine], model, bad[other])
    for one, another in zip(intermediates(ours), intermediates(theirs), strict=False):
        bad[another].quantization = good[one].quantization
    theirs.builtinOptions, theirs.builtinOptionsType = ours.builtinOptions, ours.builtinOptionsType


def _take_parts(source: Any, good: Any, model: Any, bad: Any) -> None:
    """Give a tensor the quantization, and as a constant the content, of the accepted one."""
    if (good.type, _shape(good), len(scales_of(good))) != (bad.type, _shape(bad), len(scales_of(bad))):
        raise Uncuttable("its tensors have other shapes or types than the accepted ones")
    if scales_of(good):
        if good.quantization.details.blockSize != bad.quantization.details.blockSize:
            raise Uncuttable("its blocks have another size than the accepted ones")
        for one, other in zip(scales_of(good), scales_of(bad), strict=True):
            _take_content(source, source.subgraphs[0].tensors[one], model, model.subgraphs[0].tensors[other])
    else:
        bad.quantization = good.quantization
    _take_content(source, good, model, bad)


def _take_content(source: Any, good: Any, model: Any, bad: Any) -> None:
    data = source.buffers[good.buffer].data
    if data is not None and len(data):
        model.buffers.append(copy(source.buffers[good.buffer]))
        bad.buffer = len(model.buffers) - 1
