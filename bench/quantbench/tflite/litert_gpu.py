"""LiteRT's GPU accelerator (WebGPU over Vulkan), with the CPU for what it does not take: runtime ``litert-gpu``.

A call returns long before its result is there, so nothing here returns before the outputs have been read back. The
accelerator computes in float16 where the device can, as it does in the field.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.tflite.litert import LiteRT, dequantize

# What the accelerator writes to standard error is all that tells of these.
_SELECTED = re.compile(r"Selected adapter: (.+?), arch=")
_SHARED = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations will run on the CPU")
_NONE = re.compile(r"No operations will run on the GPU, and all (\d+) operations will run on the CPU")
_REFUSED = re.compile(
    r"operations are not supported by GPU delegate:\n(.*?)\n(?:\d+|No) operations will run", re.DOTALL
)
_REFUSED_WHOLE = re.compile(r"ERROR: \[model_load\.cc:\d+\] (.+)")
_LOST = re.compile(r".*device (?:was|is|has been) lost.*|.*device lost.*|.*VK_ERROR_DEVICE_LOST.*", re.IGNORECASE)


class LiteRTGPU:
    """One loaded artifact. Examples are run one at a time, as the artifact's own tensors hold them.

    Args:
        artifact: a ``.tflite`` file.

    Raises:
        RuntimeError: LiteRT does not take it, or has no device.
    """

    def __init__(self, artifact: Path) -> None:
        from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator

        both = HardwareAccelerator.GPU | HardwareAccelerator.CPU
        self._model = CompiledModel.from_file(str(artifact), hardware_accel=both)
        signature = self._model.get_signature_by_index(0)
        self._input_names: list[str] = signature["inputs"]
        self._output_names: list[str] = signature["outputs"]
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)
        details = [buffer.get_tensor_details() for buffer in self._outputs]
        self._shapes = [(tuple(int(size) for size in d["shape"]), np.dtype(d["dtype"])) for d in details]

    def feeder(self, inputs: Mapping[str, Array]) -> Callable[[int], None]:
        """A function that writes example i (modulo their number) into the input buffers."""
        ordered = [inputs[name] for name in self._input_names]
        n = len(ordered[0])

        def feed(i: int) -> None:
            for buffer, values in zip(self._inputs, ordered, strict=True):
                buffer.write(values[i % n : i % n + 1])

        return feed

    def invoke(self) -> list[Array]:
        """Run the loaded example and read its outputs back, flat."""
        self._model.run_by_index(0, self._inputs, self._outputs)
        return [
            buffer.read(int(np.prod(shape)), dtype)
            for buffer, (shape, dtype) in zip(self._outputs, self._shapes, strict=True)
        ]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of every example as the artifact stores them, by name, each of shape (n, ...)."""
        feed = self.feeder(inputs)
        collected: list[list[Array]] = [[] for _ in self._outputs]
        for i in range(len(inputs[self._input_names[0]])):
            feed(i)
            for rows, values in zip(collected, self.invoke(), strict=True):
                rows.append(values)
        return {
            name: np.stack(rows).reshape(len(rows), *shape[1:])
            for name, rows, (shape, _) in zip(self._output_names, collected, self._shapes, strict=True)
        }

    def close(self) -> None:
        """Give the device's memory back."""
        for buffer in (*self._inputs, *self._outputs):
            buffer.destroy()
        self._model.close()


class Reader(LiteRT):
    """The CPU's view of an artifact's inputs and outputs, whose scales the GPU's does not tell."""

    def stored(self, inputs: Inputs) -> dict[str, Array]:
        """Examples as the artifact's own input tensors take them, by name."""
        return dict(zip(self.input_names(), self.prepare(inputs), strict=True))

    def real(self, stored: Mapping[str, Array]) -> Inputs:
        """Outputs as the artifact stores them -> float32, as :meth:`LiteRT.run` returns them."""
        outputs = {}
        for detail in self._outputs:
            values = stored[self._names[detail["index"]]]
            integers = np.dtype(detail["dtype"]).kind in "iu"
            outputs[self._names[detail["index"]]] = dequantize(values, *detail["quantization"]) if integers else values
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def adapter(log: str) -> str:
    """Name of the adapter that LiteRT chose, from what it wrote; empty where it wrote none."""
    found = _SELECTED.search(log)
    return found[1] if found else ""


def on_cpu(log: str) -> tuple[int, int, list[tuple[str, str]]]:
    """Read from what LiteRT wrote: operators left to the CPU, operators in all, and (operator, reason) each.

    Operators in all are 0 where it wrote nothing: then the GPU computes everything. The API's own
    ``is_fully_accelerated`` is true even where operators are left, for it counts the CPU's delegate too.
    """
    none, shared, refused = _NONE.search(log), _SHARED.search(log), _REFUSED.search(log)
    lines = refused[1].splitlines() if refused else []
    why = [(name.strip(), reason.strip()) for name, _, reason in (line.partition(":") for line in lines)]
    if none is not None:
        return int(none[1]), int(none[1]), why
    if shared is None:
        return 0, 0, []
    return int(shared[2]), int(shared[1]) + int(shared[2]), why


def refusal(log: str) -> str:
    """Why LiteRT does not take the artifact at all, in its own words; empty where it does."""
    found = _REFUSED_WHOLE.search(log)
    return found[1] if found else ""


def trouble(log: str) -> str:
    """The lines that tell best what went wrong, or the last one; one line."""
    lines = log.strip().splitlines() or ["no output"]
    found = [line.strip() for line in lines if line.startswith(("Warning: Vulkan", "ERROR: ["))]
    return "; ".join(found[:2]) or lines[-1].strip()


def lost(log: str) -> str:
    """The line that tells of a lost device; empty where there is none."""
    found = _LOST.search(log)
    return found[0].strip() if found else ""
