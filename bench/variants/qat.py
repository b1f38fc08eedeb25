"""Quantization-aware training with tensorflow-model-optimization, and the control trained exactly as long.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018; tfmot's guide "Quantization aware training comprehensive guide".
"""

from typing import Any

from bench.errors import Unsupported
from bench.variants import convert
from bench.variants.declare import FINETUNED_CONTROL, Promise, Taxonomy, Variant, Workbench

W_INT8 = "int8 per-channel symmetric uniform for convolutions, per-tensor for dense layers"
OBSERVED = "moving average of min and max while training"
PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization")


def _tfmot_keras() -> Any:
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras


def finetuned(bench: Workbench) -> Any:
    """Stage: the float model trained further, exactly as long as QAT trains."""
    keras_model = bench.float_model()
    bench.finetune(keras_model)
    return keras_model


def _finetuned_float(bench: Workbench) -> bytes:
    return bytes(convert.converter(bench, bench.export(bench.stage(finetuned))).convert())


def train_and_convert(bench: Workbench, fake_quantized: Any) -> bytes:
    """Fine-tune a fake-quantized model and convert it; its answers before conversion are kept for comparison."""
    bench.finetune(fake_quantized)
    bench.expect_answers_of(fake_quantized)
    return bytes(convert.optimizing(bench, bench.export(fake_quantized)).convert())


def _whole_model(bench: Workbench) -> bytes:
    bench.tensorflow()
    keras_model = bench.float_model()
    try:
        fake_quantized = _tfmot_keras().quantize_model(keras_model)
    except (RuntimeError, ValueError) as error:  # tfmot's own ways to refuse a layer
        raise Unsupported(f"tfmot quantize_model: {error}") from error
    return train_and_convert(bench, fake_quantized)


def _observed_dense(bench: Workbench, layer: Any) -> Any:
    """A copy of a dense layer that also observes and fake-quantizes its input.

    tfmot quantizes an annotated layer's weights and output, but not an input that comes from a layer left float.
    The converter then finds no integer operator to make and writes float weights, under an int8 name.
    """
    moving_average = _tfmot_keras().quantizers.MovingAverageQuantizer

    class ObservedDense(bench.tensorflow().keras.layers.Dense):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            super().build(shape)
            self._observer = moving_average(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
            self._range = self._observer.build(shape, "input", self)

        def call(self, inputs: Any, training: Any = None) -> Any:
            return super().call(self._observer(inputs, training, weights=self._range))

    return ObservedDense.from_config(layer.get_config())


def _dense_only(bench: Workbench) -> bytes:
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    keras = bench.tensorflow().keras
    tfmot_keras = _tfmot_keras()
    config_class = default_8bit_quantize_registry.Default8BitQuantizeConfig
    float_model = bench.float_model()
    observed: dict[str, Any] = {}

    def annotate(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Dense):
            return layer
        observed[layer.name] = _observed_dense(bench, layer)
        return tfmot_keras.quantize_annotate_layer(
            observed[layer.name], config_class(["kernel"], ["activation"], False)
        )

    try:
        annotated = keras.models.clone_model(float_model, clone_function=annotate)
        for name, layer in observed.items():
            for new, old in zip(layer.weights, float_model.get_layer(name).weights, strict=False):
                new.assign(old)
        ours = {type(layer).__name__: type(layer) for layer in observed.values()}
        with tfmot_keras.quantize_scope({**ours, config_class.__name__: config_class}):
            fake_quantized = tfmot_keras.quantize_apply(annotated)
    except (RuntimeError, ValueError) as error:
        raise Unsupported(f"tfmot quantize_apply: {error}") from error
    return train_and_convert(bench, fake_quantized)


VARIANTS = [
    Variant(
        "float32_finetuned",
        "the float model trained further exactly as long as QAT: the control of every QAT variant",
        "control",
        "Keras",
        _finetuned_float,
        Taxonomy("float32", "float32", "none"),
        Promise(weights="float32", computes="float"),
        control=None,
        trained=True,
        core=True,
    ),
    Variant(
        "qat_wi8_ai8",
        "fake quantization of the whole model (quantize_model), then fine-tuned and converted",
        "qat",
        "tfmot",
        _whole_model,
        Taxonomy(W_INT8, "int8 per-tensor asymmetric uniform", OBSERVED),
        Promise(weights="int8", computes="integer"),
        control=FINETUNED_CONTROL,
        trained=True,
        core=True,
        packages=PACKAGES,
    ),
    Variant(
        "qat_wi8_ai8_dense_only",
        "fake quantization of the dense layers alone (quantize_annotate_layer, quantize_apply)",
        "qat",
        "tfmot",
        _dense_only,
        Taxonomy(
            "int8 per-tensor symmetric uniform, dense layers; others float32", "int8 around dense layers", OBSERVED
        ),
        Promise(weights="int8", computes="integer", covers=("FULLY_CONNECTED",)),
        control=FINETUNED_CONTROL,
        trained=True,
        core=True,
        packages=PACKAGES,
    ),
]
