"""Access the layers and operators of a ``.tflite``, to change them in place."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.tflite.graph import COMPUTE


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
        stored = np.asarray(self.model.buffers[tensor.buffer].data, dtype=np.uint8)
        return stored.view(dtype).reshape(tensor.shape).copy()

    def write(self, slot: int, values: Array) -> None:
        """Store other values of the same size."""
        buffer = self.model.buffers[self.tensor(slot).buffer]
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def operators(model: Any, *names: str) -> list[Any]:
    """The operators of these names, in the file's order."""
    from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

    return [one for one in model.subgraphs[0].operators if opcode_to_name(model, one.opcodeIndex) in names]


def layers(model: Any) -> list[Layer]:
    """List the compute operators."""
    return [Layer(model, operator) for operator in operators(model, *COMPUTE)]
