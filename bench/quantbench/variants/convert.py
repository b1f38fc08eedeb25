"""The TFLite converter as every family uses it: from a SavedModel, with or without calibration.

Source: the converter's own guide, "Post-training quantization", on the LiteRT site.
"""

from typing import Any

from quantbench.variants.declare import Workbench


def converter(bench: Workbench, saved: str) -> Any:
    """A converter that quantizes nothing."""
    return bench.tensorflow().lite.TFLiteConverter.from_saved_model(saved)


def optimizing(bench: Workbench, saved: str) -> Any:
    """A converter with the default optimizations: dynamic range, unless told more."""
    found = converter(bench, saved)
    found.optimizations = [bench.tensorflow().lite.Optimize.DEFAULT]
    return found


def calibrated(bench: Workbench, saved: str) -> Any:
    """A converter that finds static ranges on the calibration split."""
    found = optimizing(bench, saved)
    examples = list(bench.calibration())
    # Several inputs are told apart by name, one goes by position.
    found.representative_dataset = lambda: (x if isinstance(x, dict) else [x] for x in examples)
    return found
