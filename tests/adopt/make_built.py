"""Make files as other tools would build them, of one dense layer: float, quantized, damaged, compiled."""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from made_up_graphs import Made

INPUTS, CLASSES = 64, 16
_RANDOM = np.random.default_rng(3)
KERNEL = _RANDOM.normal(size=(CLASSES, INPUTS)).astype(np.float32)
X = _RANDOM.normal(size=(600, INPUTS)).astype(np.float32)
Y = (X @ KERNEL.T + _RANDOM.normal(size=(600, CLASSES))).argmax(axis=1)


def dense(kernel: np.ndarray = KERNEL, scale: float = 0.0) -> bytes:
    """A dense layer; its weights are int8 where there is a scale."""
    made = Made()
    x, out = made.tensor("x", (1, kernel.shape[1])), made.tensor("out", (1, len(kernel)))
    stored = np.clip(np.round(kernel / scale), -127, 127).astype(np.int8) if scale else kernel
    constant = made.constant("kernel", stored, (scale,) if scale else ())
    made.operator("FULLY_CONNECTED", (x, constant, -1), (out,), schema.FullyConnectedOptionsT())
    return made.file((x,), (out,))


def custom(name: bytes, left: int = 1) -> bytes:
    """A file of one custom operator, and softmaxes that are left to the CPU."""
    made = Made()
    x, last = made.tensor("x", (1, 4)), made.tensor("h", (1, 4))
    made.operator("CUSTOM", (x,), (last,))
    made.model.operatorCodes[0].customCode = name
    for number in range(left):
        out = made.tensor(f"out{number}", (1, 4))
        made.operator("SOFTMAX", (last,), (out,), schema.SoftmaxOptionsT())
        last = out
    return made.file((x,), (last,))


def written(folder: Path) -> Path:
    """Write float.tflite, good.tflite, bad.tflite (weights saturate), nan.tflite and eval.npz into a folder."""
    (folder / "float.tflite").write_bytes(dense())
    (folder / "good.tflite").write_bytes(dense(scale=float(np.abs(KERNEL).max()) / 127))
    (folder / "bad.tflite").write_bytes(dense(scale=float(np.abs(KERNEL).max()) / 1000))
    (folder / "nan.tflite").write_bytes(dense(np.where(KERNEL > 2.5, np.nan, KERNEL).astype(np.float32)))
    np.savez(folder / "eval.npz", x=X, y=Y)
    return folder
