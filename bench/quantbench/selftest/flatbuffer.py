"""Access the layers and operators of a ``.tflite``, to change them in place."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.tflite.graph import COMPUTE


class Inapplicable(Exception):
    """Raised where an artifact has no place for a fault; the message says what it lacks."""


@dataclass
class Layer:
    """Read and write a compute operator's weights and bias in place."""

    model: Any
    operator: Any

    def tensor(self, slot: int) -> Any:
        """Return one of its input tensors: 1 for the weights, 2 for the bias."""
        return self.model.subgraphs[0].tensors[self.operator.inputs[slot]]

    def read(self, slot: int, dtype: str) -> Array:
        """Return a copy of the stored values, in their shape."""
        tensor = self.tensor(slot)
        data = self.model.buffers[tensor.buffer].data if self.operator.inputs[slot] >= 0 else None
        stored = np.asarray([] if data is None else data, dtype=np.uint8)
        if stored.nbytes != int(np.prod(tensor.shape)) * np.dtype(dtype).itemsize:
            raise Inapplicable(f"the layer has no {dtype} constant as input {slot}")
        return stored.view(dtype).reshape(tensor.shape).copy()

    def write(self, slot: int, values: Array) -> None:
        """Store other values of the same size."""
        buffer = self.model.buffers[self.tensor(slot).buffer]
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def operators(model: Any, *names: str) -> list[Any]:
    """The operators of these names, in the file's order. Raises Inapplicable where there is none."""
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    found = [one for one in model.subgraphs[0].operators if opcode_to_name(model, one.opcodeIndex) in names]
    if not found:
        raise Inapplicable(f"it has no {' or '.join(names[:2])}")
    return found


def layers(model: Any) -> list[Layer]:
    """List the compute operators."""
    return [Layer(model, operator) for operator in operators(model, *COMPUTE)]


def insert_behind(model: Any, source: int, operator: str, version: int) -> tuple[Any, Any]:
    """Insert an operator behind the one that writes a tensor, which it reads; return its output, and itself.

    The output is a copy of the tensor that it reads. Nothing reads the output yet.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensor, code, added = copy.copy(graph.tensors[source]), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = version
    model.operatorCodes.append(code)
    graph.tensors.append(tensor)
    added.opcodeIndex = len(model.operatorCodes) - 1
    added.inputs, added.outputs = [source], [len(graph.tensors) - 1]
    tensor.name, tensor.shapeSignature = b"planted", None
    producer = next(i for i, other in enumerate(graph.operators) if source in other.outputs)
    graph.operators.insert(producer + 1, added)
    return tensor, added
