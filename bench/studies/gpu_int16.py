"""Write the smallest files that show how LiteRT's GPU accelerator computes with int16 values, and run them.

    QUANTBENCH_VULKAN=swiftshader python -m studies.gpu_int16 --report-dir reports/reference

Each file quantizes its float input twice, with the scales that are named, applies one operator to both, and dequantizes
the result; LiteRT's buffers hold no int16, so that there is no smaller one. *Left*: operators that the accelerator left
to the CPU. *Of the CPU's*: values that equal the CPU's to one step. *Of the stored integers*: values that equal the
operator applied to the integers as they are stored, whatever their scales are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.core.arrays import Array
from quantbench.tflite.litert import LiteRT

from studies.gpu_operators import compare_files, on_gpu_with_left
from studies.gpu_stride import signed

SHAPE = (1, 4)
VALUES = np.array([[3, 7, 12, -5]], np.float32)  # in units of the first scale: their products fit int16
UNIT = 1 / 16


@dataclass(frozen=True)
class Case:
    """Describe one file: its operator, and the scales of both inputs and of the output, in units of the first one.

    Attributes:
        options: name of the operator's options in the schema.
    """

    operator: str
    options: str
    scales: tuple[int, int, int]

    @property
    def words(self) -> str:
        """Name it in the table."""
        return f"{self.operator}, scales {' : '.join(map(str, self.scales))}"


CASES = (
    Case("ADD", "AddOptions", (1, 1, 1)),
    Case("ADD", "AddOptions", (1, 2, 4)),
    Case("SUB", "SubOptions", (1, 2, 4)),
    Case("MUL", "MulOptions", (1, 1, 1)),
    Case("CONCATENATION", "ConcatenationOptions", (1, 1, 1)),
)


def file_of(case: Case) -> bytes:
    """Return the artifact of a case."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [0], [4]

    def tensor(name: str, shape: tuple[int, ...], scale: float | None = None) -> None:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), list(shape), 0
        made.type = schema.TensorType.FLOAT32 if scale is None else schema.TensorType.INT16
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        graph.tensors.append(made)

    def operator(name: str, options: str, inputs: list[int], output: int, version: int) -> None:
        code, layer = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        layer.opcodeIndex, layer.inputs, layer.outputs = len(model.operatorCodes), inputs, [output]
        layer.builtinOptions = getattr(schema, f"{options}T")()
        layer.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        _set_apart(layer.builtinOptions)
        model.operatorCodes.append(code)
        graph.operators.append(layer)

    out = (1, 8) if case.operator == "CONCATENATION" else SHAPE
    tensor("x", SHAPE)
    for name, scale, shape in zip("abc", case.scales, (SHAPE, SHAPE, out), strict=True):
        tensor(name, shape, UNIT * scale)
    tensor("y", out)
    for place in (1, 2):
        operator("QUANTIZE", "QuantizeOptions", [0], place, 1)
    operator(case.operator, case.options, [1, 2], 3, 2)
    operator("DEQUANTIZE", "DequantizeOptions", [3], 4, 3)
    return signed(model, 4, schema, flatbuffer_utils)


def _set_apart(options: Any) -> None:
    """Ask for scales of any size, and for rows beside each other."""
    if hasattr(options, "potScaleInt16"):
        options.potScaleInt16 = False
    if hasattr(options, "axis"):
        options.axis = 1


def of_integers(case: Case) -> Array:
    """Return what the operator gives of the stored integers, as the file dequantizes it."""
    a, b = (np.round(VALUES / scale) for scale in case.scales[:2])
    made = {"ADD": a + b, "SUB": a - b, "MUL": a * b, "CONCATENATION": np.concatenate([a, b], axis=1)}[case.operator]
    return np.asarray(made * case.scales[2] * UNIT)


def row(case: Case, folder: Path | None = None, driver: str | None = None) -> list[str]:
    """Compare one case; the file is left in the folder."""
    file, values = file_of(case), UNIT * VALUES
    if folder is not None:
        (folder / f"{case.words.replace(', ', '_').replace(' ', '')}.tflite").write_bytes(file)
    cpu = np.asarray(LiteRT(file, runtime="litert-reference").call([values])[0], np.float64)
    made, left = on_gpu_with_left(file, {"x": values}, driver)
    if made is None:
        return [case.words, f"{len(file):,}", "", "does not run", ""]
    step = 1.001 * UNIT * case.scales[2]
    equal = [int(np.sum(np.abs(made.reshape(cpu.shape) - other) <= step)) for other in (cpu, of_integers(case))]
    return [case.words, f"{len(file):,}", left, *(f"{count} of {cpu.size}" for count in equal)]


def main() -> None:
    """Compare all cases, and write the table."""
    headers = ["operator, scales", "bytes of the file", "left", "of the CPU's", "of the stored integers"]
    compare_files(
        __doc__ or "",
        "gpu_int16.md",
        "Scales of int16 values",
        headers,
        lambda folder, driver: [row(case, folder, driver) for case in CASES],
    )


if __name__ == "__main__":
    main()
