"""Post-training quantization of a float ``.tflite`` with Google's ai-edge-quantizer; needs no Keras model.

Source: the recipes of ai-edge-quantizer, whose names decode in the same way as ours.
"""

import warnings
from collections.abc import Callable
from typing import Any

from bench.variants.declare import Promise, Taxonomy, Variant, Workbench

PACKAGES = ("tensorflow", "tf-keras", "ai-edge-quantizer", "ai-edge-litert")
W_INT8 = "int8 per-channel symmetric uniform"
W_INT4 = "int4 per-channel symmetric uniform"
A_FLOAT = "float32"
PER_CALL = "float32 between operators, int8 inside them"


def _quantize(bench: Workbench, recipe_name: str) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # calibration keeps all tensors, and LiteRT warns of the memory
        worker = quantizer.Quantizer(bench.float_artifact())
        worker.load_quantization_recipe(getattr(recipe, recipe_name)())
        calibrated = worker.calibrate(_calibration(bench)) if worker.need_calibration else None
        return bytes(worker.quantize(calibrated).quantized_model)


def _calibration(bench: Workbench) -> dict[str, list[dict[str, Any]]]:
    from bench.runtimes.litert import LiteRT

    names = LiteRT(bench.float_artifact()).input_names()
    examples = [x if isinstance(x, dict) else {names[0]: x} for x in bench.calibration()]
    return {"serving_default": examples}


def _make(recipe_name: str) -> Callable[[Workbench], bytes]:
    def make(bench: Workbench) -> bytes:
        return _quantize(bench, recipe_name)

    return make


def _variant(name: str, description: str, recipe_name: str, taxonomy: Taxonomy, promise: Promise) -> Variant:
    make = _make(recipe_name)
    return Variant(
        f"aeq_{name}", description, "ptq", "ai-edge-quantizer", make, taxonomy, promise, packages=PACKAGES, core=True
    )


VARIANTS = [
    _variant(
        "dynamic_wi8_afp32",
        "ai-edge-quantizer: int8 weights, activations quantized at run time",
        "dynamic_wi8_afp32",
        Taxonomy(W_INT8, PER_CALL, "weights min-max; activations per call"),
        Promise(weights="int8", computes="hybrid"),
    ),
    _variant(
        "dynamic_wi4_afp32",
        "ai-edge-quantizer: int4 weights, activations quantized at run time",
        "dynamic_wi4_afp32",
        Taxonomy(W_INT4, PER_CALL, "weights min-max; activations per call"),
        Promise(weights="int4", computes="hybrid"),
    ),
    _variant(
        "weight_only_wi8_afp32",
        "ai-edge-quantizer: int8 weights, expanded before they are used",
        "weight_only_wi8_afp32",
        Taxonomy(W_INT8, A_FLOAT, "weights min-max"),
        Promise(weights="int8", computes="float"),
    ),
    _variant(
        "static_wi8_ai8",
        "ai-edge-quantizer: int8 weights and activations",
        "static_wi8_ai8",
        Taxonomy(W_INT8, "int8 per-tensor asymmetric uniform", "moving average of min and max over calibration"),
        Promise(weights="int8", computes="integer", io="int8"),
    ),
]
