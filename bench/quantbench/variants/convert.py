"""Set up the TFLite converter for every family: from a SavedModel, with or without calibration.

Source: the converter's own guide, "Post-training quantization", on the LiteRT site.
"""

from typing import Any

from quantbench.tflite.graph import read
from quantbench.variants import calibration
from quantbench.variants.declare import Workbench

# Printed where the converter's calibrator may crash without a word, so that the log of the cell says why.
UNCALIBRATED_LOOP = "calibrating a model with a WHILE loop"


def converter(bench: Workbench, saved: str) -> Any:
    """Create a converter that quantizes nothing."""
    return bench.tensorflow().lite.TFLiteConverter.from_saved_model(saved)


def optimizing(bench: Workbench, saved: str) -> Any:
    """Create a converter with the default optimizations, which is dynamic range unless more is set."""
    converting = converter(bench, saved)
    converting.optimizations = [bench.tensorflow().lite.Optimize.DEFAULT]
    return converting


def calibrated(bench: Workbench, saved: str) -> Any:
    """Create a converter that finds static ranges on the representative dataset."""
    converting = optimizing(bench, saved)
    if any(operator.name == "WHILE" for operator in read(bench.float_artifact()).operators):
        print(UNCALIBRATED_LOOP, flush=True)
    examples = list(bench.calibration())
    calibration.shared_by_converters()
    # Several inputs are passed by name, a single one by position.
    converting.representative_dataset = calibration.Shared([x if isinstance(x, dict) else [x] for x in examples])
    return converting
