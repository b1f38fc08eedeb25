"""Write the smallest files that show how LiteRT's GPU accelerator reads constants of several rows, and run them.

    QUANTBENCH_VULKAN=swiftshader python -m studies.gpu_constants --report-dir reports/reference

Each file is one float operator of an input and a constant, both of the shape that is named. *Of the CPU's*: values that
equal the CPU's. *Of the first row*: values that equal what the CPU computes with the first row of the constant in place
of all of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quantbench.core.arrays import Array
from quantbench.tflite.litert import LiteRT

from studies.gpu_operators import compare_files, on_gpu
from studies.gpu_stride import signed


@dataclass(frozen=True)
class Case:
    """Describe one file: its operator, and the shape of input, constant and output."""

    operator: str
    shape: tuple[int, ...]

    @property
    def words(self) -> str:
        """Name it in the table."""
        return f"{self.operator}, {' x '.join(map(str, self.shape))}"


CASES = (
    Case("MUL", (3, 4)),
    Case("ADD", (3, 4)),
    Case("SUB", (3, 4)),
    Case("MUL", (1, 3, 4)),
    Case("MUL", (1, 4)),
)


def file_of(case: Case, constant: Array) -> bytes:
    """Return the artifact of a case with this constant."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model, graph, code, layer = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    held = schema.BufferT()
    held.data = np.frombuffer(constant.astype(np.float32).tobytes(), np.uint8)
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), held]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [layer], [0], [2]
    for name, buffer in (("x", 0), ("constant", 1), ("y", 0)):
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = (
            name.encode(),
            list(case.shape),
            buffer,
            schema.TensorType.FLOAT32,
        )
        graph.tensors.append(made)
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, case.operator)
    code.version = 1
    name = f"{case.operator.capitalize()}Options"
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1], [2]
    layer.builtinOptions, layer.builtinOptionsType = getattr(schema, f"{name}T")(), getattr(schema.BuiltinOptions, name)
    return signed(model, 2, schema, flatbuffer_utils)


def row(case: Case, folder: Path | None = None, driver: str | None = None) -> list[str]:
    """Compare one case; the file is left in the folder."""
    random = np.random.default_rng(0)
    constant, values = (random.integers(1, 9, case.shape).astype(np.float32) for _ in range(2))
    file = file_of(case, constant)
    if folder is not None:
        (folder / f"{case.words.replace(', ', '_').replace(' ', '')}.tflite").write_bytes(file)
    rows = constant.reshape(-1, case.shape[-1])
    first = file_of(case, np.broadcast_to(rows[:1], rows.shape))
    made = on_gpu(file, {"x": values[np.newaxis]}, driver)
    if made is None:
        return [case.words, f"{len(file):,}", "does not run", ""]
    kernels = [np.asarray(LiteRT(one, runtime="litert-reference").call([values])[0]) for one in (file, first)]
    equal = [int(np.sum(np.abs(made.reshape(case.shape) - one) <= 1e-3)) for one in kernels]
    return [case.words, f"{len(file):,}", *(f"{count} of {values.size}" for count in equal)]


def main() -> None:
    """Compare all cases, and write the table."""
    headers = ["operator, shape", "bytes of the file", "of the CPU's", "of the first row"]
    compare_files(
        __doc__ or "",
        "gpu_constants.md",
        "Rows of a constant",
        headers,
        lambda folder, driver: [row(case, folder, driver) for case in CASES],
    )


if __name__ == "__main__":
    main()
