"""Run artifacts on TFLite-Micro's interpreter: runtime ``tflm``.

Which operator is missing or refuses, and how large the arena is, its Python interface only writes to standard error.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.tflite.litert_gpu import Reader


class TFLiteMicro:
    """Run one loaded artifact on one example at a time.

    Args:
        artifact: a ``.tflite`` file.
        reader: of its inputs and outputs.
        arena: bytes that the interpreter may use.
        stateful: whether to reset recurrent state before each example.

    Raises:
        RuntimeError: TFLite-Micro does not load the artifact; why is on standard error.
    """

    def __init__(self, artifact: Path, reader: "Stored", arena: int, stateful: bool) -> None:
        from tflite_micro import runtime

        self._reader = reader
        self._interpreter: Any = runtime.Interpreter.from_file(str(artifact), arena_size=arena)
        self._stateful = stateful

    def print_allocations(self) -> None:
        """Write what the allocator used to standard error, after a call."""
        self._interpreter.print_allocations()

    def run(self, inputs: Inputs) -> Inputs:
        """Compute the outputs of every example, float32, shape (n, ...); several outputs as a dict by name.

        Raises:
            RuntimeError: a call fails.
        """
        prepared = self._reader.prepare(inputs)
        answers = [self._answer([values[i : i + 1] for values in prepared]) for i in range(len(prepared[0]))]
        outputs = [np.concatenate(of_output) for of_output in zip(*answers, strict=True)]
        return self._reader.real(dict(zip(self._reader.output_names(), outputs, strict=True)))

    def _answer(self, stored: Sequence[Array]) -> list[Array]:
        if self._stateful:
            self._interpreter.reset()
        for place, values in enumerate(stored):
            self._interpreter.set_input(values, place)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(place)) for place in range(len(self._reader.output_names()))]


class Stored(Reader):
    """Read an artifact's inputs and outputs through LiteRT, as TFLite-Micro knows no names of a signature."""

    def output_names(self) -> list[str]:
        """List the names of the outputs, in the artifact's order."""
        return [self._names[detail["index"]] for detail in self._outputs]


def behind(artifact: bytes) -> int:
    """Return the bytes of constants behind the flatbuffer, where ai-edge-quantizer writes those of larger models."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(artifact, 0)
    buffers = [model.Buffers(place) for place in range(model.BuffersLength())]
    return sum(int(buffer.Size()) for buffer in buffers if buffer is not None and buffer.Offset() > 1)
