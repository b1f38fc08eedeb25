"""Take the census of an artifact: constants and activations by dtype, operators by precision, weights one by one."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.build.artifact import code_sha256
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.measure.operator_options import in_order
from quantbench.records import Amount, Census, Compute, Contents, Port, Range, Signature
from quantbench.safety import tflite
from quantbench.tflite import graph as structure
from quantbench.tflite.graph import COMPUTE, Graph, Tensor

EMPTY_SPAN = 1e-5  # the converter gives an empty range a span of 2e-6
_CONTENTS = "contents.json"
_LONGEST_NAME = 200
# Limits how often the bytes of constants are read as weights: a shared one is read again for each shape or dtype.
_COUNTED = 4
_COUNTED_BYTES = 2**22
_BITS = {"int2": 2, "int4": 4, "int8": 8, "uint8": 8, "int16": 16, "int32": 32}


def through_store(artifact: Path, sha256: str, store: Store) -> Contents:
    """Read the census and ranges of a file once, for all runs."""

    def make() -> dict[str, bytes]:
        return {_CONTENTS: _contents(artifact.read_bytes()).model_dump_json(exclude_none=True).encode()}

    def read(folder: Path, _cached: bool) -> Contents:
        return Contents.model_validate_json((folder / _CONTENTS).read_text(encoding="utf-8"))

    return store.remember(recipe(sha256), make, read)


def recipe(sha256: str) -> dict[str, Any]:
    """List everything that affects what is read from a file."""
    return {
        "what": "contents",
        "artifact": sha256,
        "code": code_sha256(
            "quantbench.tflite.graph", "quantbench.measure.census", "quantbench.measure.operator_options"
        ),
    }


def of_file(path: Path) -> Contents:
    """Read the contents of any ``.tflite``. Raises BadInput where it is invalid."""
    content = tflite.content(path)
    try:
        return _contents(content)
    except tflite.Unfit as error:
        raise BadInput(f"{path}: is not a .tflite of a model: {error}") from None
    except ModuleNotFoundError:  # ai-edge-litert, which a container that reads reports may lack
        raise
    except Exception as error:  # a damaged flatbuffer can fail in many ways
        raise BadInput(f"{path}: is not a whole .tflite file ({type(error).__name__}: {error})") from None


def _contents(artifact: bytes) -> Contents:
    graph = structure.read(artifact)
    return Contents(census=_census(graph), ranges=_ranges(graph))


def census(artifact: bytes) -> Census:
    """Collect everything that a variant's quantization spec can check. Raises ValueError for an invalid ``.tflite``."""
    return _census(structure.read(artifact))


def _census(graph: Graph) -> Census:
    constants: dict[str, list[int]] = {}
    for tensor in graph.tensors:
        if tensor.data is not None:
            constants.setdefault(tensor.dtype, []).append(len(tensor.data))
    activations = [tensor for tensor in graph.tensors if tensor.data is None]
    operators: dict[str, Counter[str]] = {}
    for operator in graph.operators:
        operators.setdefault(operator.name, Counter())[operator.precision] += 1
    options, order = in_order(graph.operators)
    return Census(
        constants={name: Amount(count=len(sizes), bytes=sum(sizes)) for name, sizes in constants.items()},
        scales=sum(len(tensor.scales) for tensor in graph.tensors),
        activations=dict(Counter(tensor.dtype for tensor in activations)),
        operators={name: dict(counts) for name, counts in operators.items()},
        inputs=[_port(tensor) for tensor in graph.inputs],
        outputs=[_port(tensor) for tensor in graph.outputs],
        compute=_compute(graph),
        ranges=[
            (tensor.scales[0], tensor.zero_points[0])
            for tensor in activations
            if tensor.scales and math.isfinite(tensor.scales[0])
        ],
        degenerate=[tensor.name[:80] for tensor in activations if _is_degenerate(tensor)],
        signatures={
            key[:_LONGEST_NAME]: Signature(inputs=entrance.inputs, outputs=entrance.outputs)
            for key, entrance in graph.signatures.items()
        },
        options=options,
        order=order,
    )


def ranges(artifact: bytes) -> list[Range]:
    """Compute the range of every quantized tensor, in real values."""
    return _ranges(structure.read(artifact))


def _ranges(graph: Graph) -> list[Range]:
    ranges = []
    for tensor in graph.tensors:
        bits = _BITS.get(tensor.dtype)
        if not tensor.scales or bits is None or bits == 32:  # a bias has the scale of its products, not a range
            continue
        widest = int(np.argmax(tensor.scales))
        scale, zero_point = (
            tensor.scales[widest],
            (tensor.zero_points or (0,))[min(widest, len(tensor.zero_points) - 1)],
        )
        least = 0 if tensor.dtype.startswith("u") else -(2 ** (bits - 1))
        low, high = scale * (least - zero_point), scale * (least + 2**bits - 1 - zero_point)
        if math.isfinite(low) and math.isfinite(high):
            name = tensor.name[:120]
            constant = tensor.data is not None
            ranges.append(
                Range(
                    tensor=name,
                    dtype=tensor.dtype,
                    granularity=tensor.granularity,
                    constant=constant,
                    low=low,
                    high=high,
                )
            )
    return ranges


def _port(tensor: Tensor) -> Port:
    finite = bool(tensor.scales) and math.isfinite(tensor.scales[0])  # otherwise the tensor is degenerate
    scale, zero_point = (tensor.scales[0], tensor.zero_points[0]) if finite else (None, None)
    return Port(name=tensor.name, dtype=tensor.dtype, shape=list(tensor.shape), scale=scale, zero_point=zero_point)


def _is_degenerate(tensor: Tensor) -> bool:
    steps = 2 ** _BITS.get(tensor.dtype, 32) - 1
    return any(not math.isfinite(scale) or scale * steps < EMPTY_SPAN for scale in tensor.scales)


class _Statistics:
    """Compute statistics of weights, once for each: thousands of operators may share one in a hostile file."""

    def __init__(self, graph: Graph) -> None:
        constants = {id(tensor.data): len(tensor.data) for tensor in graph.tensors if tensor.data is not None}
        self._left = _COUNTED * sum(constants.values()) + _COUNTED_BYTES
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def of(self, tensor: Tensor, operator: str) -> dict[str, Any]:
        """Return the fields of :class:`Compute` that are computed from the weights themselves. Raises Unfit."""
        # The stored integer for 0 is the zero point; weights are nearly always symmetric, and then it is 0.
        zero = tensor.zero_points[0] if len(set(tensor.zero_points)) == 1 else 0
        scaled = (tensor.scales, tensor.zero_points, tensor.axis)
        key = (id(tensor.data), tensor.dtype, tensor.shape, operator == "DEPTHWISE_CONV_2D", zero, scaled)
        if key not in self._known:
            self._left -= len(tensor.data or b"")
            if self._left < 0:
                raise tflite.Unfit("its constants are weights in more ways than those of any model")
            values = tensor.values()
            self._known[key] = {
                "zeros": float(np.mean(values == zero)) if values.size else 0.0,
                "distinct": len(np.unique(values)),
                "distinct_in_channel": _distinct_in_channel(values, operator),
                **_extremes(values),
                "reach": _reach(tensor),
            }
        return self._known[key]


def _compute(graph: Graph) -> list[Compute]:
    computes = []
    seen: set[int] = set()
    statistics = _Statistics(graph)
    for index, operator in enumerate(graph.operators):
        if operator.name not in COMPUTE:
            continue
        weights = graph.weights_of(operator)
        for tensor in weights:
            computes.append(
                Compute(
                    operator=operator.name,
                    index=index,
                    again=id(tensor) in seen,
                    precision=operator.precision,
                    weights=tensor.dtype,
                    granularity=tensor.granularity,
                    shape=list(tensor.shape),
                    scale=max(tensor.scales) if tensor.scales and all(map(math.isfinite, tensor.scales)) else None,
                    **statistics.of(tensor, operator.name),
                )
            )
            seen.add(id(tensor))
        if not weights:
            computes.append(Compute(operator=operator.name, index=index, precision=operator.precision))
    return computes


def _extremes(values: Array) -> dict[str, int | None]:
    if values.dtype.kind not in "iu" or not values.size:
        return {"lowest": None, "highest": None}
    return {"lowest": int(values.min()), "highest": int(values.max())}


def _reach(tensor: Tensor) -> float | None:
    """Largest magnitude of a constant's real values; None where it is blockwise or not finite."""
    if tensor.block_size:
        return None
    real = tensor.real_values()
    reach = float(np.max(np.abs(real))) if real.size else 0.0
    return reach if math.isfinite(reach) else None


def _distinct_in_channel(values: Array, operator: str) -> int:
    # Output channels come first, except in a depthwise convolution, where they come last.
    last = operator == "DEPTHWISE_CONV_2D"
    rows = np.moveaxis(values, -1, 0) if last else values
    rows = np.sort(rows.reshape(len(rows), -1) if rows.ndim > 1 else rows.reshape(1, -1), axis=1)
    if rows.size == 0:
        return 0
    return int(1 + (rows[:, 1:] != rows[:, :-1]).sum(axis=1).max()) if rows.shape[1] > 1 else 1
