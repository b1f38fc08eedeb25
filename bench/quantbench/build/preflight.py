"""Say what a model cannot become, from its declaration and its data alone: no worker starts for it."""

from quantbench.core.tensorflow import has_keras2
from quantbench.reference import float_model, training
from quantbench.reference.model import ReferenceModel
from quantbench.variants import FLOAT_CONTROL, Variant

NO_CALIBRATION = "it needs calibration data, and there is none (x_calibration)"


def refusal(model: ReferenceModel, variant: Variant) -> str:
    """Return why a variant cannot be made of a model, in the words of what would refuse it; empty where it may work.

    Raises:
        BadInput: the model's data cannot be read.
    """
    if variant.trains_keras2 and not has_keras2():
        return training.NO_KERAS_2
    if variant.trained and model.form in float_model.NOT_KERAS_2:
        return float_model.NOT_KERAS_2[model.form]
    if model.form == "tflite" and variant.engine == "TFLite converter" and variant.name != FLOAT_CONTROL:
        return float_model.NOT_CONVERTED_TWICE
    pack = model.pack()
    if variant.trained and pack.train is None:
        return training.NO_DATA
    if needs_calibration(variant) and pack.calibration is None:
        return NO_CALIBRATION
    return ""


def needs_calibration(variant: Variant) -> bool:
    """Check whether ranges are found on calibration examples."""
    return "calibration" in variant.taxonomy.range and not variant.trained
