"""A second opinion on int8: convolution and dense layers worked out in NumPy from the artifact's own scales and zero
points, against what the reference kernels make of the same inputs.

The arithmetic is that of Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 2; rounding may differ by one step.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench.build import artifact
from quantbench.build.store import Store
from quantbench.core.arrays import Array
from quantbench.reference.model import load_models
from quantbench.tflite.graph import Operator, Tensor, read
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS

EXAMPLES = 3
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.mark.parametrize("model_name", ["seed_cnn", "ds_cnn"])
@pytest.mark.parametrize("variant", ["ptq_static_wi8_ai8", "aeq_static_wi8_ai8"])
def test_the_reference_kernels_compute_what_the_scales_say(model_name: str, variant: str, store: Path) -> None:
    model = load_models(ROOT / "models")[model_name]
    built = artifact.artifact(model, VARIANTS[variant], 0, None, Store(store))
    assert built.path is not None
    graph = read(built.path.read_bytes())
    layers = [operator for operator in graph.operators if operator.name in LAYERS]
    assert layers
    runner = LiteRT(built.path, runtime="litert-reference", keep_tensors=True)
    x = model.prepare(model.pack().test.x[:EXAMPLES])
    assert isinstance(x, np.ndarray)
    for i in range(EXAMPLES):
        runner.run(x[i : i + 1])
        computed = runner.tensors()
        for layer in layers:
            source, result = layer.inputs[0], layer.outputs[0]
            assert source is not None
            expected = _layer(layer, computed[source.name])
            off = np.abs(expected - computed[result.name].astype(np.int64))
            assert off.max() <= 1, f"{layer.name} {result.name}: off by {off.max()} steps"


def _layer(operator: Operator, stored: Array) -> Array:
    """Stored integers in -> stored integers out."""
    source, weights, *rest = operator.inputs
    assert source is not None
    assert weights is not None
    centred = stored.astype(np.int64) - source.zero_points[0]
    if operator.name == "FULLY_CONNECTED":
        sums = centred.reshape(-1, weights.shape[1]) @ weights.values().astype(np.int64).T
    else:
        sums = _convolve(operator, centred, weights, source.shape)
    if rest and rest[0] is not None:
        sums = sums + rest[0].values().astype(np.int64)
    return _requantized(operator, sums, source.scales[0], weights)


def _requantized(operator: Operator, sums: Array, scale: float, weights: Tensor) -> Array:
    result = operator.outputs[0]
    real = sums * (scale * np.asarray(weights.scales))
    real = _activated(operator.options, real)
    steps = np.round(real / result.scales[0]) + result.zero_points[0]
    return np.clip(steps, -128, 127).astype(np.int64).reshape(result.shape)


def _activated(options: Any, real: Array) -> Array:
    kind = options.fusedActivationFunction
    if kind == 0:
        return real
    assert kind in (1, 3), f"fused activation {kind} is neither ReLU nor ReLU6"
    return np.clip(real, 0, 6 if kind == 3 else None)


def _convolve(operator: Operator, centred: Array, weights: Tensor, shape: tuple[int, ...]) -> Array:
    """Sums of products, shape (1, rows, columns, channels); padding adds zeros, which is what the zero point means."""
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    kernel = weights.values().astype(np.int64)
    height, width = kernel.shape[1:3]
    stride_h, stride_w = operator.options.strideH, operator.options.strideW
    _, rows, columns, _ = operator.outputs[0].shape
    padded = centred.reshape(shape)
    if operator.options.padding == 0:  # SAME: as much before as after, the odd one after
        missing = [
            max(0, (count - 1) * stride + size - have)
            for count, stride, size, have in ((rows, stride_h, height, shape[1]), (columns, stride_w, width, shape[2]))
        ]
        pads = [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)]
        padded = np.pad(padded, pads)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))  # type: ignore[call-overload]
    windows = windows[:, ::stride_h, ::stride_w][:, :rows, :columns]
    if depthwise:
        return np.asarray(np.einsum("brcihw,hwi->brci", windows, kernel[0]))
    return np.asarray(np.einsum("brcihw,ohwi->brco", windows, kernel))
