"""What is really in an artifact: its tensors, and its operators with the dtypes that they compute in.

Read with LiteRT's own tools for the ``.tflite`` flatbuffer; no interpreter is started.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.safety import tflite

# The operators that hold a network's weights and do its arithmetic.
# Which of their inputs are weights, if they are constants (an LSTM has four matrices for its input and four recurrent).
WEIGHTS = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "FULLY_CONNECTED": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "BATCH_MATMUL": (0, 1),
    "SVDF": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), *range(18, 26)),
}
COMPUTE = tuple(WEIGHTS)
CASTS = ("QUANTIZE", "DEQUANTIZE")
# Casts between a constant and its use: converters write one; in a damaged file they may be thousands, or a ring.
_LONGEST_CHAIN = 16
_SPARE_SCALES = 2**16
_COUNTS = ("int32", "int64", "bool")
FLOATS = ("float16", "float32", "float64", "bfloat16")
_NUMPY = {"float32": "<f4", "float16": "<f2", "float64": "<f8"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        dtype: as the file says: ``int8``, ``int4`` (two to a byte), ``float16``, ...
        data: the stored bytes of a constant; None for an activation.
        scales, zero_points: one, or one a channel along ``axis``; empty where it is not quantized.
        block_size: values that share a scale along a row; 0 unless quantized blockwise.
        declared_shape: ``shape``, with -1 where a dimension is free.
        variable: whether it keeps its values from call to call, as an LSTM's state.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | None = field(repr=False)
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    block_size: int = 0
    declared_shape: tuple[int, ...] = ()
    variable: bool = False

    @property
    def granularity(self) -> str:
        """``blockwise``, ``per-channel``, ``per-tensor``, or ``float``."""
        if self.block_size:
            return "blockwise"
        if not self.scales:
            return "float" if self.dtype in FLOATS else "unscaled"
        return "per-channel" if len(self.scales) > 1 else "per-tensor"

    def values(self) -> Array:
        """A constant's stored values, before any scale, in its shape.

        Raises:
            ValueError: the tensor is no constant.
        """
        if self.data is None:
            raise ValueError(f"{self.name} is no constant")
        if self.dtype in ("int4", "int2"):
            flat = _unpacked(np.frombuffer(self.data, dtype=np.uint8), 4 if self.dtype == "int4" else 2)
        else:
            flat = np.frombuffer(self.data, dtype=_NUMPY.get(self.dtype, self.dtype))
        count = int(np.prod(self.shape)) if self.shape else 1
        return np.asarray(flat[:count].reshape(self.shape))

    def real_values(self) -> Array:
        """A constant's values with scale and zero point applied, float64. Not for blockwise tensors."""
        stored = self.values().astype(np.float64)
        if not self.scales:
            return stored
        shape = [1] * stored.ndim
        if len(self.scales) > 1:
            shape[self.axis] = -1
        scales, zero_points = np.reshape(self.scales, shape or ()), np.reshape(self.zero_points, shape or ())
        return np.asarray((stored - zero_points) * scales)


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        name: of the builtin, or of the custom operator.
        inputs: activations first, then weights; None where an optional one is left out.
        options: the builtin's own options, such as strides and padding.
        more_options: options of the newer kind, and the bytes of those of a custom operator.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = field(default=None, repr=False)
    more_options: tuple[Any, bytes] = field(default=(None, b""), repr=False)

    @property
    def result(self) -> int:
        """Which of its outputs it is told by: the largest of those that are no counters or flags; the first of equal.

        A loop passes on how often it ran, and what it computed.
        """
        sizes = [(one.dtype not in _COUNTS, math.prod(one.shape)) for one in self.outputs]
        return sizes.index(max(sizes)) if sizes else 0

    @property
    def label(self) -> str:
        """Name of that output; empty for an operator without any."""
        return self.outputs[self.result].name if self.outputs else ""

    @property
    def precision(self) -> str:
        """``cast``, ``integer``, ``hybrid`` (float activations, integer weights), or ``float``."""
        if self.name in CASTS:
            return "cast"
        if self.name not in COMPUTE:
            touched = [tensor for tensor in (*self.inputs, *self.outputs) if tensor is not None]
            return "float" if any(tensor.dtype in FLOATS for tensor in touched) else "integer"
        if not any(tensor.dtype in FLOATS for tensor in self.outputs):
            return "integer"
        weights = self.inputs[1] if len(self.inputs) > 1 else None
        return "hybrid" if weights is not None and weights.dtype not in FLOATS else "float"


@dataclass(frozen=True)
class Entrance:
    """A signature: what callers name to run the model.

    Attributes:
        inputs, outputs: name -> the position of its tensor among those of its subgraph; -1 for one that is not there.
    """

    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass
class Graph:
    """Everything of a file; the tensors of all its subgraphs together.

    Attributes:
        signatures: by their keys.
        main_tensors, main_operators: how many of the first ones belong to the first subgraph, which is the one that is
            called; a tensor's position there is its index in an interpreter.
        name: of the first subgraph; of one without, that of its signature, or ``main``.
    """

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[Tensor]
    outputs: list[Tensor]
    signatures: dict[str, Entrance] = field(default_factory=dict)
    main_tensors: int = 0
    main_operators: int = 0
    name: str = "main"

    def main(self) -> "Graph":
        """Return the graph of the first subgraph alone, with the same tensors and operators."""
        tensors, operators = self.tensors[: self.main_tensors], self.operators[: self.main_operators]
        counts = {"main_tensors": self.main_tensors, "main_operators": self.main_operators}
        return Graph(tensors, operators, self.inputs, self.outputs, self.signatures, name=self.name, **counts)

    def weights_of(self, operator: Operator) -> list[Tensor]:
        """The constants that a compute operator multiplies by, also where a DEQUANTIZE stands between."""
        slots = [slot for slot in WEIGHTS[operator.name] if slot < len(operator.inputs)]
        constants = [self._constant_behind(operator.inputs[slot]) for slot in slots]
        return [tensor for tensor in constants if tensor is not None]

    def _constant_behind(self, tensor: Tensor | None) -> Tensor | None:
        for _ in range(_LONGEST_CHAIN):
            if tensor is None or tensor.data is not None:
                return tensor
            made_by = self._producer.get(id(tensor))
            if made_by is None or made_by.name not in CASTS:
                return None
            tensor = made_by.inputs[0]
        return tensor if tensor is not None and tensor.data is not None else None

    @cached_property
    def _producer(self) -> dict[int, Operator]:
        return {id(tensor): operator for operator in self.operators for tensor in operator.outputs}


def _unpacked(packed: Array, bits: int) -> Array:
    """Signed integers of fewer than 8 bits, packed from the low end of each byte."""
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    fields = (packed[:, None] >> shifts) & (2**bits - 1)
    return (
        np.asarray(np.where(fields >= 2 ** (bits - 1), fields.astype(np.int8) - 2**bits, fields))
        .astype(np.int8)
        .reshape(-1)
    )


def builtin_operators() -> set[str]:
    """Names of the operators that LiteRT has itself."""
    from ai_edge_litert import schema_py_generated as schema

    return {name for name in vars(schema.BuiltinOperator) if not name.startswith("_")} - {"CUSTOM"}


def read(artifact: bytes) -> Graph:
    """The whole file.

    Raises:
        ValueError: it is no ``.tflite``, damaged, or unpacks to far more than it holds; nothing else, whatever it is.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    if artifact[4:8] != b"TFL3":
        raise ValueError("not a .tflite file")
    try:
        tflite.check_unpacks(artifact)
        return _read(artifact, flatbuffer_utils)
    except tflite.Unfit:
        raise
    except Exception as error:  # a damaged flatbuffer fails in as many ways as it has fields
        raise ValueError(f"a damaged .tflite file ({type(error).__name__}: {' '.join(str(error).split())})") from error


def _read(artifact: bytes, tools: Any) -> Graph:
    model = tools.convert_bytearray_to_object(artifact)
    if not model.subgraphs:
        raise tflite.Unfit("it holds no subgraph")
    codes = [
        _code_name(tools.opcode_to_name(model, place), code) for place, code in enumerate(model.operatorCodes or [])
    ]
    buffers = [_content(buffer, artifact) for buffer in model.buffers or []]
    graph = Graph([], [], [], [])
    scales = 0
    for position, part in enumerate(model.subgraphs):
        raws = part.tensors or []
        tensors = []
        for raw in raws:
            tensors.append(_tensor(raw, raws, buffers, tools))
            scales += len(tensors[-1].scales)
            if scales > len(artifact) + _SPARE_SCALES:  # blockwise ones are in a buffer, which many may name
                raise tflite.Unfit(f"it would unpack to more than {scales} scales, which no model of its size has")
        graph.tensors.extend(tensors)
        for raw in part.operators or []:
            if not 0 <= raw.opcodeIndex < len(codes):
                raise tflite.Unfit(f"an operator has code {raw.opcodeIndex}; the file lists {len(codes)}")
            inputs = _numbers(raw.inputs, len(tensors), "an operator reads", optional=True)
            outputs = _numbers(raw.outputs, len(tensors), "an operator writes")
            graph.operators.append(
                Operator(
                    codes[raw.opcodeIndex],
                    tuple(None if i < 0 else tensors[i] for i in inputs),
                    tuple(tensors[i] for i in outputs),
                    raw.builtinOptions,
                    (raw.builtinOptions2, _bytes(raw.customOptions)),
                )
            )
        if position == 0:
            graph.main_tensors, graph.main_operators = len(graph.tensors), len(graph.operators)
            graph.inputs.extend(tensors[i] for i in _numbers(part.inputs, len(tensors), "the model reads"))
            graph.outputs.extend(tensors[i] for i in _numbers(part.outputs, len(tensors), "the model writes"))
    for raw in model.signatureDefs or []:
        part = model.subgraphs[raw.subgraphIndex]
        key = raw.signatureKey.decode(errors="replace") if raw.signatureKey else ""
        graph.signatures[key] = Entrance(_places(raw.inputs, part.inputs), _places(raw.outputs, part.outputs))
    graph.name = _name_of_main(model)
    return graph


def _name_of_main(model: Any) -> str:
    own = model.subgraphs[0].name
    keys = [raw.signatureKey for raw in model.signatureDefs or [] if raw.subgraphIndex == 0]
    found = own or (keys[0] if keys else None) or b"main"
    return str(found.decode(errors="replace"))


def _places(named: Any, ports: Any) -> dict[str, int]:
    """Name of a signature's tensor -> its position among the ports of the subgraph."""
    order = [] if ports is None else [int(number) for number in ports]
    places = {}
    for one in named or []:
        name = one.name.decode(errors="replace") if one.name else ""
        places[name] = order.index(one.tensorIndex) if one.tensorIndex in order else -1
    return places


def _bytes(content: Any) -> bytes:
    return b"" if content is None else bytes(np.asarray(content, dtype=np.uint8).tobytes())


def _numbers(indices: Any, count: int, what: str, optional: bool = False) -> list[int]:
    """Numbers of tensors, -1 for an optional one that is left out. Raises Unfit where there is no such tensor."""
    numbers = [] if indices is None else [int(number) for number in indices]
    for number in numbers:
        if not (0 <= number < count or (optional and number == -1)):
            raise tflite.Unfit(f"{what} tensor {number}; the file has {count}")
    return numbers


def _tensor(raw: Any, siblings: list[Any], buffers: list[bytes | None], tools: Any) -> Tensor:
    dtype = tools.type_to_name(raw.type).lower()
    shape = () if raw.shape is None else tuple(int(size) for size in raw.shape)
    declared = shape if raw.shapeSignature is None else tuple(int(size) for size in raw.shapeSignature)
    name = raw.name.decode(errors="replace") if raw.name else ""
    data = buffers[raw.buffer]
    quantization = raw.quantization
    if quantization is None:
        return Tensor(name, dtype, shape, data, declared_shape=declared, variable=bool(raw.isVariable))
    block = getattr(quantization.details, "blockSize", 0) if quantization.details is not None else 0
    if block:
        scales_of = siblings[quantization.details.scales]
        stored = buffers[scales_of.buffer] or b""
        scales = np.frombuffer(stored, dtype=_NUMPY.get(tools.type_to_name(scales_of.type).lower(), "<f2"))
    else:
        scales = np.asarray([] if quantization.scale is None else quantization.scale)
    zero_points = [] if quantization.zeroPoint is None else list(quantization.zeroPoint)
    zero_points = zero_points or [0] * len(scales)
    return Tensor(
        name,
        dtype,
        shape,
        data,
        tuple(float(scale) for scale in scales),
        tuple(int(point) for point in zero_points),
        int(quantization.quantizedDimension),
        int(block),
        declared,
        bool(raw.isVariable),
    )


def _content(buffer: Any, artifact: bytes) -> bytes | None:
    if buffer.data is not None and len(buffer.data):
        return bytes(np.asarray(buffer.data, dtype=np.uint8).tobytes())
    # A large model keeps its buffers behind the flatbuffer. By hand, for the tools' reader numbers the buffers anew.
    if buffer.offset > 1:
        return artifact[buffer.offset : buffer.offset + buffer.size]
    return None


def _code_name(name: str | None, code: Any) -> str:
    if name is None:  # newer than the tools
        return str(max(code.builtinCode, code.deprecatedBuiltinCode))
    return code.customCode.decode() if name == "CUSTOM" and code.customCode else name
