"""Run artifacts on LiteRT's GPU accelerator (WebGPU over Vulkan), with the CPU for the rest: runtime ``litert-gpu``.

A call returns long before its result is ready, so every function here reads the outputs back before it returns. The
accelerator computes in float16 where the device can, which is its default.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs
from quantbench.tflite.litert import LiteRT, dequantize

# These facts are only found in what the accelerator writes to standard error.
_SELECTED = re.compile(r"Selected adapter: (.+?), arch=")
_OPENVINO = re.compile(r"Using Intel OpenVINO device: (\w+)")
_SELECTED_BY_PLUGIN = re.compile(r"Partitioned subgraph<0>, selected (\d+) ops, from a total of (\d+) ops")
_SHARED = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations will run on the CPU")
_NONE = re.compile(r"No operations will run on the GPU, and all (\d+) operations will run on the CPU")
_REFUSED = re.compile(
    r"operations are not supported by GPU delegate:\n(.*?)\n(?:\d+|No) operations will run", re.DOTALL
)
_REFUSED_WHOLE = re.compile(r"ERROR: \[model_load\.cc:\d+\] (.+)")
_NO_KERNEL = re.compile(r"Failed to create litert::ml_drift::DelegateKernelLiteRt: (.+)")
_NO_TYPE = re.compile(r"ValueError: Unsupported dtype: (\w+)")
_PREFIX = re.compile(r"^[IWEF]\d{4} \S+ +\d+ (?=\S+:\d+\] )")  # time and thread: other ones in each process
MESA_TOO_OLD, MESA_THAT_WORKS = "22.3", "25.0"  # of those that were tried
_NO_ADAPTER = "No adapters found"
_LACKING = re.compile(r"^Warning: (Vulkan .+ required)", re.MULTILINE)
_LOST = re.compile(r".*device (?:was|is|has been) lost.*|.*device lost.*|.*VK_ERROR_DEVICE_LOST.*", re.IGNORECASE)


class LiteRTGPU:
    """Run one loaded artifact on one example at a time, given as the artifact's own tensors store it.

    Args:
        artifact: a ``.tflite`` file.

    Raises:
        RuntimeError: LiteRT refuses the artifact, or has no device.
    """

    def __init__(self, artifact: Path) -> None:
        self._model = self._load(artifact)
        signature = self._model.get_signature_by_index(0)
        self._input_names: list[str] = signature["inputs"]
        self._output_names: list[str] = signature["outputs"]
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)
        details = [buffer.get_tensor_details() for buffer in self._outputs]
        self._shapes = [(tuple(int(size) for size in d["shape"]), np.dtype(d["dtype"])) for d in details]

    def _load(self, artifact: Path) -> Any:
        from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator

        both = HardwareAccelerator.GPU | HardwareAccelerator.CPU
        return CompiledModel.from_file(str(artifact), hardware_accel=both)

    def feeder(self, inputs: Mapping[str, Array]) -> Callable[[int], None]:
        """Return a function that writes example i (modulo their number) into the input buffers."""
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

    def run(self, inputs: Mapping[str, Array], enough: Callable[[int], bool]) -> dict[str, Array]:
        """Compute the outputs of the examples as the artifact stores them, by name, each of shape (n, ...).

        Args:
            enough: asked before every example with the number of those that are computed; true where the rest is left
                out.
        """
        feed = self.feeder(inputs)
        collected: list[list[Array]] = [[] for _ in self._outputs]
        for i in range(len(inputs[self._input_names[0]])):
            if enough(i):
                break
            feed(i)
            for rows, values in zip(collected, self.invoke(), strict=True):
                rows.append(values)
        return {
            name: np.stack(rows).reshape(-1, *shape[1:])
            for name, rows, (shape, _) in zip(self._output_names, collected, self._shapes, strict=True)
        }

    def close(self) -> None:
        """Free the device's memory."""
        for buffer in (*self._inputs, *self._outputs):
            buffer.destroy()
        self._model.close()


class Reader(LiteRT):
    """Read an artifact's inputs and outputs through the CPU's interpreter, as the GPU's lacks their scales."""

    def stored(self, inputs: Inputs) -> dict[str, Array]:
        """Convert examples to what the artifact's input tensors take, by name."""
        return dict(zip(self.input_names(), self.prepare(inputs), strict=True))

    def real(self, stored: Mapping[str, Array]) -> Inputs:
        """Convert outputs from how the artifact stores them to float32, as :meth:`LiteRT.run` returns them."""
        outputs = {}
        for detail in self._outputs:
            values = stored[self._names[detail["index"]]]
            integers = np.dtype(detail["dtype"]).kind in "iu"
            outputs[self._names[detail["index"]]] = dequantize(values, *detail["quantization"]) if integers else values
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def adapter(log: str) -> str:
    """Parse the name of the adapter that LiteRT chose from its log; empty where it logged none."""
    match, openvino = _SELECTED.search(log), _OPENVINO.search(log)
    if openvino is not None:
        return f"OpenVINO {openvino[1]}"
    return match[1] if match else ""


def on_cpu(log: str) -> tuple[int, int, list[tuple[str, str]]]:
    """Parse LiteRT's log: operators left to the CPU, all operators, and (operator, reason) for each.

    All operators are 0 where it logged nothing: then the GPU computes everything. The API's own
    ``is_fully_accelerated`` is true even where operators are left, because it also counts the CPU's delegate.
    """
    none, shared, refused = _NONE.search(log), _SHARED.search(log), _REFUSED.search(log)
    lines = refused[1].splitlines() if refused else []
    why = [(name.strip(), reason.strip()) for name, _, reason in (line.partition(":") for line in lines)]
    if (plugin := _SELECTED_BY_PLUGIN.search(log)) is not None:
        return int(plugin[2]) - int(plugin[1]), int(plugin[2]), []
    if none is not None:
        return int(none[1]), int(none[1]), why
    if shared is None:
        return 0, 0, []
    return int(shared[2]), int(shared[1]) + int(shared[2]), why


def refusal(log: str) -> str:
    """Parse why LiteRT refuses the whole artifact; empty where it accepts it."""
    match = _REFUSED_WHOLE.search(log) or _NO_KERNEL.search(log)
    no_type = _NO_TYPE.search(log)
    if match is None and no_type is not None:
        return f"LiteRT's buffers hold no {no_type[1]}, the type of its input or output"
    return match[1] if match else ""


def no_adapter(log: str) -> str:
    """Say that LiteRT accepts no device of the driver, and which feature it misses; empty where it accepted one."""
    if _NO_ADAPTER not in log:
        return ""
    lacking = _LACKING.search(log)
    why = f" ({lacking[1]})" if lacking else ""
    tried = f"{MESA_TOO_OLD} of Mesa is too old and {MESA_THAT_WORKS} is not"
    return f"LiteRT accepts no device of this driver{why}: install a newer one, as {tried}"


def trouble(log: str) -> str:
    """Select the log lines that best describe a failure, or the last one, joined to one line."""
    lines = log.strip().splitlines() or ["no output"]
    lines_of_interest = [line.strip() for line in lines if line.startswith(("Warning: Vulkan", "ERROR: ["))]
    return "; ".join(lines_of_interest[:2]) or _PREFIX.sub("", lines[-1].strip())


def lost(log: str) -> str:
    """Find the log line about a lost device; empty where there is none."""
    match = _LOST.search(log)
    return match[0].strip() if match else ""
