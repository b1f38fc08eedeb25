"""Write the smallest files that show how LiteRT's GPU accelerator ignores a stride, and run them on both processors.

    QUANTBENCH_VULKAN=swiftshader python -m studies.gpu_stride --report-dir reports/reference

Each file is one convolution of a picture of eight by eight, which the CPU and the accelerator compute. *Of the CPU's*:
values that equal the CPU's to one step. *Of a stride of one*: values that equal the corner of what the CPU computes
with a stride of one. The device computes float shaders and the three-by-three kernel with the same driver, so that it
is not the device that loses the stride, but the kernel that the accelerator chooses for a pointwise convolution.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.core.arrays import Array
from quantbench.tflite.litert import LiteRT

from studies.gpu_operators import compare_files, on_gpu

SIZE, CHANNELS = 8, 4


@dataclass(frozen=True)
class Case:
    """Describe one file: a kernel's side, the stride, and whether it is int8 or float."""

    side: int
    stride: int
    quantized: bool

    @property
    def words(self) -> str:
        """Name it in the table."""
        return f"{'int8' if self.quantized else 'float32'}, {self.side} x {self.side}, stride {self.stride}"


CASES = (
    Case(1, 2, True),
    Case(1, 1, True),
    Case(3, 2, True),
    Case(1, 2, False),
)


def file_of(case: Case, stride: int | None = None) -> bytes:
    """Return the artifact of a case, or the same with another stride."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    stride = stride or case.stride
    random = np.random.default_rng(0)
    kernel = random.integers(-90, 90, (CHANNELS, case.side, case.side, CHANNELS))
    stored = kernel.astype(np.int8) if case.quantized else (kernel / 64).astype(np.float32)
    bias = np.zeros(CHANNELS, np.int32 if case.quantized else np.float32)
    out = -(-SIZE // stride)
    model, graph, code, layer = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [layer], [0], [3]

    def tensor(name: str, shape: list[int], scales: list[float], values: Array | None = None) -> None:
        made = schema.TensorT()
        kind = schema.TensorType.INT32 if values is bias and case.quantized else schema.TensorType.INT8
        made.name, made.shape, made.buffer = name.encode(), shape, 0
        made.type = kind if case.quantized else schema.TensorType.FLOAT32
        if case.quantized:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = scales, [0] * len(scales)
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)

    tensor("x", [1, SIZE, SIZE, CHANNELS], [1 / 64])
    tensor("kernel", list(stored.shape), [1 / 64] * CHANNELS, stored)
    tensor("bias", [CHANNELS], [1 / 4096] * CHANNELS, bias)
    tensor("y", [1, out, out, CHANNELS], [1 / 16])
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if case.quantized else 1
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, stride, stride
    options.dilationHFactor = options.dilationWFactor = 1
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, 2], [3]
    layer.builtinOptions, layer.builtinOptionsType = options, schema.BuiltinOptions.Conv2DOptions
    return signed(model, 3, schema, flatbuffer_utils)


def signed(model: Any, output: int, schema: Any, tools: Any) -> bytes:
    """Return a file with its input, tensor 0, and its output named in a signature, which the accelerator asks for."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    for names, index, name in (("inputs", 0, b"x"), ("outputs", output, b"y")):
        port = schema.TensorMapT()
        port.name, port.tensorIndex = name, index
        setattr(signature, names, [port])
    model.signatureDefs = [signature]
    return bytes(tools.convert_object_to_bytearray(model))


def examples(case: Case) -> Array:
    """Return one picture."""
    values = np.random.default_rng(1).integers(-100, 100, (1, SIZE, SIZE, CHANNELS))
    return values.astype(np.int8) if case.quantized else (values / 64).astype(np.float32)


def row(case: Case, folder: Path | None = None, driver: str | None = None) -> list[str]:
    """Compare one case; the file is left in the folder."""
    file, values = file_of(case), examples(case)
    if folder is not None:
        (folder / f"{case.words.replace(', ', '_').replace(' ', '')}.tflite").write_bytes(file)
    cpu = np.asarray(LiteRT(file, runtime="litert-reference").call([values])[0], np.float64)
    whole = LiteRT(file_of(case, 1), runtime="litert-reference").call([values])[0]
    corner = np.asarray(whole, np.float64)[:, : cpu.shape[1], : cpu.shape[2]]
    step = 1.0 if case.quantized else 2e-2  # a device may compute in float16
    made = on_gpu(file, {"x": values}, driver)
    if made is None:
        return [case.words, f"{len(file):,}", "does not run", ""]
    gpu = made.reshape(cpu.shape).astype(np.float64)
    equal = [int(np.sum(np.abs(gpu - other) <= step)) for other in (cpu, corner)]
    return [case.words, f"{len(file):,}", *(f"{count} of {gpu.size}" for count in equal)]


def main() -> None:
    """Compare all cases, and write the table."""
    headers = ["convolution", "bytes of the file", "of the CPU's", "of a stride of one"]
    compare_files(
        __doc__ or "",
        "gpu_stride.md",
        "A stride that is ignored",
        headers,
        lambda folder, driver: [row(case, folder, driver) for case in CASES],
    )


if __name__ == "__main__":
    main()
