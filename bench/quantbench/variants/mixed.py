"""Make mixed-precision variants: static int8 with a few layers in float, chosen by position or by measured error.

Source: TensorFlow's guide "Inspecting Quantization Errors with Quantization Debugger": run a model whose layers compute
in int8 and in float side by side, then leave those with the largest error out (``denylisted_nodes``).
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from quantbench.errors import Unsupported
from quantbench.tflite.graph import COMPUTE
from quantbench.tflite.litert import LiteRT
from quantbench.variants import convert
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

MOST = 5  # layers left in float, so that even a deep model stays mostly int8
MEASURED_ON = 100  # examples; every layer's output is read and compared for each
WEIGHTS = "int8 per-channel symmetric uniform; float32 in the layers left out"
ACTIVATIONS = "int8 per-tensor asymmetric uniform; float32 around the layers left out"


@dataclass(frozen=True)
class Layer:
    """Describe a compute operator of the quantized model.

    Attributes:
        name: of its output, as used in the denylist.
        operator: name of the builtin operator.
        error: root mean square of (int8 - float) on the same quantized inputs, in steps of the output's scale.
    """

    name: str
    operator: str
    error: float


def _ends(layers: Sequence[Layer]) -> list[Layer]:
    return [layers[0], *layers[1:][-1:]]


def _worst(layers: Sequence[Layer]) -> list[Layer]:
    """Select the worst tenth of the layers, at least one."""
    return sorted(layers, key=lambda layer: -layer.error)[: min(MOST, ceil(len(layers) / 10))]


def _debugger(bench: Workbench) -> Any:
    examples = [x for _, x in zip(range(MEASURED_ON), bench.calibration(), strict=False)]
    # Unlike the converter, the debugger only takes inputs by position.
    names = LiteRT(bench.float_artifact()).input_names() if isinstance(examples[0], dict) else []
    return bench.tensorflow().lite.experimental.QuantizationDebugger(
        converter=convert.calibrated(bench, bench.saved_float_model()),
        debug_dataset=lambda: ([x[name] for name in names] if isinstance(x, dict) else [x] for x in examples),
    )


def _layers(debugger: Any) -> list[Layer]:
    """List every compute operator that the converter quantized, in execution order, with its measured error."""
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    rows = [row for row in csv.DictReader(io.StringIO(table.getvalue())) if row["op_name"] in COMPUTE]
    if not rows:
        raise Unsupported("the converter quantized no compute operator of which some could be left in float")
    return [Layer(row["tensor_name"], row["op_name"], _in_steps(row)) for row in rows]


def _in_steps(row: Mapping[str, str]) -> float:
    error, step = float(row["mean_squared_error"]) ** 0.5, float(row["scale"])
    return error / step if step else 0.0  # without a range there is no step: the layer's output is constant


def _without(choose: Callable[[Sequence[Layer]], list[Layer]], bench: Workbench) -> bytes:
    debugger = _debugger(bench)
    layers = _layers(debugger)
    chosen = choose(layers)
    if len(chosen) == len(layers):
        if len(layers) == 1:
            raise Unsupported("the converter quantizes one compute layer of the model, which would be left in float")
        raise Unsupported(f"the model has {len(layers)} compute layers, and all of them would be left in float")
    for layer in chosen:
        print(f"left in float: {layer.operator} {layer.name}, error {layer.error:.2f} steps, of {len(layers)} layers")
    options = bench.tensorflow().lite.experimental.QuantizationDebugOptions
    debugger.options = options(denylisted_nodes=[layer.name for layer in chosen])
    return bytes(debugger.get_nondebug_quantized_model())


def _ends_float(bench: Workbench) -> bytes:
    return _without(_ends, bench)


def _worst_float(bench: Workbench) -> bytes:
    return _without(_worst, bench)


VARIANTS = [
    Variant(
        "mixed_static_wi8_ai8_ends_float",
        "int8 weights and activations, but for the first and the last compute layer, left in float",
        "ptq",
        "TFLite converter",
        _ends_float,
        Taxonomy(WEIGHTS, ACTIVATIONS, "min-max over the calibration split"),
        QuantizationSpec(weights="int8", computes="integer", in_float=(1, 2)),
    ),
    Variant(
        "mixed_static_wi8_ai8_worst_float",
        "int8 weights and activations, but for the tenth of the layers with the largest measured error, left in float",
        "ptq",
        "TFLite converter",
        _worst_float,
        Taxonomy(WEIGHTS, ACTIVATIONS, "min-max over the calibration split"),
        QuantizationSpec(weights="int8", computes="integer", in_float=(1, MOST)),
    ),
]
