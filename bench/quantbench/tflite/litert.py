"""Run artifacts on LiteRT's CPU interpreter: ``litert-cpu`` with its default kernels (XNNPACK where they apply),
``litert-builtin`` with only the optimized kernels, ``litert-reference`` with the reference kernels.
"""

from collections.abc import Callable, Sequence
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
    """Quantize real values to integers by rounding and clamping; a plain cast would truncate and wrap around."""
    if scale == 0:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    scaled = values / scale
    scaled += zero_point  # in place, as a new array per step costs more than the step itself for 10,000 examples
    np.round(scaled, out=scaled)
    np.clip(scaled, limits.min, limits.max, out=scaled)
    return scaled.astype(dtype)


def dequantize(values: Array, scale: float, zero_point: int) -> Array:
    """Dequantize integers to float32; values of a tensor without scale are returned unchanged."""
    if scale == 0:
        return values
    real = values.astype(np.float32)
    real -= zero_point
    real *= np.float32(scale)
    return real


class LiteRT:
    """Run one loaded artifact on one example at a time, as a device would.

    Args:
        artifact: a ``.tflite`` file.
        threads: CPU threads of the kernels.
        stateful: whether to reset recurrent state before each example (the runtime keeps it between calls).
        runtime: which kernels compute.
        keep_tensors: whether intermediate tensors can be read after a call; if so, their memory is not reused.
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
        """Map tensor index -> name in the signature; the tensors' own names depend on the converter."""
        names = {detail["index"]: detail["name"] for detail in self._inputs + self._outputs}
        if self._interpreter.get_signature_list():
            runner = self._interpreter.get_signature_runner()
            for details in (runner.get_input_details(), runner.get_output_details()):
                names |= {detail["index"]: name for name, detail in details.items()}
        return names

    def input_names(self) -> list[str]:
        """List the names of the inputs, in the artifact's order."""
        return [self._names[detail["index"]] for detail in self._inputs]

    def input_specs(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Return input name -> (shape, dtype)."""
        return {self._names[d["index"]]: (tuple(int(size) for size in d["shape"]), d["dtype"]) for d in self._inputs}

    def prepare(self, inputs: Inputs) -> list[Array]:
        """Convert examples to what the artifact's input tensors take: quantized where they are integers."""
        ordered = [inputs[name] for name in self.input_names()] if isinstance(inputs, dict) else [inputs]
        prepared = []
        for values, detail in zip(ordered, self._inputs, strict=True):
            dtype = np.dtype(detail["dtype"])
            if dtype.kind in "iu" and values.dtype.kind == "f":
                values = quantize(values, dtype, *detail["quantization"])
            prepared.append(np.ascontiguousarray(values, dtype=dtype))
        return prepared

    def feeder(self, inputs: Inputs) -> Callable[[int], None]:
        """Return a function that copies example i (modulo their number) into the input tensors."""
        prepared = self.prepare(inputs)
        n = len(prepared[0])

        def feed(i: int) -> None:
            for detail, values in zip(self._inputs, prepared, strict=True):
                self._interpreter.set_tensor(detail["index"], values[i % n : i % n + 1])

        return feed

    def invoke(self) -> None:
        """Run the loaded example; return when the result is ready."""
        self._interpreter.invoke()

    def tensors(self) -> dict[str, Array]:
        """Return every tensor of the last example by name, as stored; needs ``keep_tensors``."""
        tensors = {}
        for detail in self._interpreter.get_tensor_details():
            try:
                tensors[detail["name"]] = self._interpreter.get_tensor(detail["index"])
            except ValueError:  # no kernel has filled it
                continue
        return tensors

    def call(self, values: Sequence[Array]) -> list[Array]:
        """Run once on whole input tensors, as stored and in the artifact's order; return the outputs as stored."""
        if self._stateful:
            self._interpreter.reset_all_variables()
        for detail, stored in zip(self._inputs, values, strict=True):
            self._interpreter.set_tensor(detail["index"], stored)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]

    def value(self, index: int) -> Array | None:
        """Return a tensor of the last call as stored, by its position; None where no kernel has filled it."""
        try:
            return np.asarray(self._interpreter.get_tensor(index))
        except ValueError:
            return None

    def run(self, inputs: Inputs) -> Inputs:
        """Compute the outputs of every example, float32, shape (n, ...); several outputs as a dict by name."""
        prepared = self.prepare(inputs)
        n = len(prepared[0])
        # Looked up once: a small model's call takes 3 µs, and look-ups for every example took a third of that.
        reset = self._interpreter.reset_all_variables if self._stateful else None
        set_tensor, get_tensor = self._interpreter.set_tensor, self._interpreter.get_tensor
        invoke = self._interpreter.invoke
        fed = list(zip([detail["index"] for detail in self._inputs], prepared, strict=True))
        read: list[tuple[int, Array]] = []
        for i in range(n):
            if reset is not None:
                reset()
            for index, values in fed:
                set_tensor(index, values[i : i + 1])
            invoke()
            # Some outputs' shapes are only known after a call. They are written in place: collecting and joining them
            # would cost more than running a small model.
            read = read or [self._room(detail["index"], n) for detail in self._outputs]
            for index, rows in read:
                rows[i] = get_tensor(index)[0]
        collected = [rows for _, rows in read]
        outputs = [
            dequantize(rows, *detail["quantization"]) if np.dtype(detail["dtype"]).kind in "iu" else rows
            for rows, detail in zip(collected, self._outputs, strict=True)
        ]
        if len(outputs) == 1:
            return outputs[0]
        return {self._names[detail["index"]]: values for detail, values in zip(self._outputs, outputs, strict=True)}

    def _room(self, index: int, n: int) -> tuple[int, Array]:
        """Return an output's index, and room for the output of n examples, of which one was computed."""
        first = self._interpreter.get_tensor(index)[0]
        return index, np.empty((n, *first.shape), first.dtype)
