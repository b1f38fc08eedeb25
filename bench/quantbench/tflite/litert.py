"""The LiteRT interpreter on the CPU: ``litert-cpu`` with its default kernels (XNNPACK where they apply),
``litert-builtin`` with the optimized kernels alone, ``litert-reference`` with the reference kernels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quantbench.core.arrays import Array, Inputs

Runtime = Literal["litert-cpu", "litert-builtin", "litert-reference"]
_RESOLVERS = {
    "litert-cpu": "AUTO",
    "litert-builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "litert-reference": "BUILTIN_REF",
}


def quantize(values: Array, dtype: Any, scale: float, zero_point: int) -> Array:
    """Real values -> integers by round and clamp; a plain cast would truncate and wrap around."""
    if scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    scaled = values / scale
    scaled += zero_point  # in place: for 10,000 examples a new array a step costs more than the step itself
    np.round(scaled, out=scaled)
    np.clip(scaled, limits.min, limits.max, out=scaled)
    return scaled.astype(dtype)


def dequantize(values: Array, scale: float, zero_point: int) -> Array:
    """Integers -> float32; values of a tensor without scale are returned as they are."""
    if scale == 0:
        return values
    real = values.astype(np.float32)
    real -= zero_point
    real *= np.float32(scale)
    return real


class LiteRT:
    """One loaded artifact. Examples are run one at a time, as a device would.

    Args:
        artifact: a ``.tflite`` file.
        threads: CPU threads of the kernels.
        stateful: reset recurrent state before each example (the runtime keeps it between calls).
        runtime: which kernels compute.
        keep_tensors: whether intermediate tensors can be read after a call; memory is not reused then.
    """

    def __init__(
        self,
        artifact: Path | bytes,
        threads: int = 1,
        stateful: bool = False,
        runtime: Runtime = "litert-cpu",
        keep_tensors: bool = False,
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        where = {"model_content": artifact} if isinstance(artifact, bytes) else {"model_path": str(artifact)}
        self._interpreter = Interpreter(
            num_threads=threads,
            experimental_op_resolver_type=OpResolverType[_RESOLVERS[runtime]],
            experimental_preserve_all_tensors=keep_tensors,
            **where,
        )
        self._interpreter.allocate_tensors()
        self._stateful = stateful
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._names = self._signature_names()

    def _signature_names(self) -> dict[int, str]:
        """Tensor index -> the name that the signature gives it; tensors' own names are the converter's affair."""
        names = {detail["index"]: detail["name"] for detail in self._inputs + self._outputs}
        if self._interpreter.get_signature_list():
            runner = self._interpreter.get_signature_runner()
            for details in (runner.get_input_details(), runner.get_output_details()):
                names |= {detail["index"]: name for name, detail in details.items()}
        return names

    def input_names(self) -> list[str]:
        """Names of the inputs, in the artifact's order."""
        return [self._names[detail["index"]] for detail in self._inputs]

    def input_specs(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Input name -> (shape, dtype)."""
        return {self._names[d["index"]]: (tuple(int(size) for size in d["shape"]), d["dtype"]) for d in self._inputs}

    def prepare(self, inputs: Inputs) -> list[Array]:
        """Examples as the artifact's own input tensors take them: quantized where they are integers."""
        ordered = [inputs[name] for name in self.input_names()] if isinstance(inputs, dict) else [inputs]
        prepared = []
        for values, detail in zip(ordered, self._inputs, strict=True):
            dtype = np.dtype(detail["dtype"])
            if dtype.kind in "iu" and values.dtype.kind == "f":
                values = quantize(values, dtype, *detail["quantization"])
            prepared.append(np.ascontiguousarray(values, dtype=dtype))
        return prepared

    def feeder(self, inputs: Inputs) -> Callable[[int], None]:
        """A function that puts example i (modulo their number) into the input tensors."""
        prepared = self.prepare(inputs)
        n = len(prepared[0])

        def feed(i: int) -> None:
            for detail, values in zip(self._inputs, prepared, strict=True):
                self._interpreter.set_tensor(detail["index"], values[i % n : i % n + 1])

        return feed

    def invoke(self) -> None:
        """Run the loaded example; the call returns when the result is there."""
        self._interpreter.invoke()

    def tensors(self) -> dict[str, Array]:
        """Every tensor of the last example by name, as stored; needs ``keep_tensors``."""
        found = {}
        for detail in self._interpreter.get_tensor_details():
            try:
                found[detail["name"]] = self._interpreter.get_tensor(detail["index"])
            except ValueError:  # one that no kernel has filled
                continue
        return found

    def run(self, inputs: Inputs) -> Inputs:
        """Outputs of every example, float32, shape (n, ...); several outputs as a dict by name."""
        prepared = self.prepare(inputs)
        interpreter = self._interpreter
        n = len(prepared[0])
        collected: list[Array] = []
        in_indices = [detail["index"] for detail in self._inputs]
        out_indices = [detail["index"] for detail in self._outputs]
        for i in range(n):
            if self._stateful:
                interpreter.reset_all_variables()
            for index, values in zip(in_indices, prepared, strict=True):
                interpreter.set_tensor(index, values[i : i + 1])
            interpreter.invoke()
            if i == 0:  # some outputs' shapes are known after a call only
                first = [interpreter.get_tensor(index)[0] for index in out_indices]
                # Written where they stay: outputs kept one by one and joined at the end cost more than small models.
                collected = [np.empty((n, *output.shape), output.dtype) for output in first]
            for index, rows in zip(out_indices, collected, strict=True):
                rows[i] = interpreter.get_tensor(index)[0]
        outputs = [
            dequantize(rows, *detail["quantization"]) if np.dtype(detail["dtype"]).kind in "iu" else rows
            for rows, detail in zip(collected, self._outputs, strict=True)
        ]
        if len(outputs) == 1:
            return outputs[0]
        return {self._names[detail["index"]]: values for detail, values in zip(self._outputs, outputs, strict=True)}
