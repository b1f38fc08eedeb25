"""Quantization-aware training with tensorflow-model-optimization, and a control trained for equally many steps.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018; tfmot's guide "Quantization aware training comprehensive guide".
"""

from collections.abc import Callable
from typing import Any

from quantbench.errors import Unsupported
from quantbench.variants import convert, fold, in_order, observed, ranges
from quantbench.variants.declare import FINETUNED_CONTROL, QuantizationSpec, Taxonomy, Variant, Workbench

W_INT8 = "int8 per-channel symmetric uniform for convolutions, per-tensor for dense layers"
A_INT8 = "int8 per-tensor asymmetric uniform"
OBSERVED = "moving average of min and max while training"
PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization")
MENDED = "qat_wi8_ai8_custom"


def _tfmot_keras() -> Any:
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras


def attempt(what: str, make: Callable[[], Any]) -> Any:
    """Call ``make``; raise Unsupported with tfmot's message where it refuses."""
    try:
        return make()
    except (RuntimeError, TypeError, ValueError) as error:  # what tfmot raises for unsupported layers and inputs
        raise Unsupported(f"tfmot {what}: {error}") from error


def fake_quantized(keras_model: Any, scheme: Any) -> Any:
    """Apply one of tfmot's fake quantization schemes to the whole model."""
    tfmot_keras = _tfmot_keras()

    def apply() -> Any:
        with in_order.kept():
            return tfmot_keras.quantize_apply(tfmot_keras.quantize_annotate_model(keras_model), scheme)

    return attempt("quantize_apply", apply)


def finetuned(bench: Workbench) -> Any:
    """Stage: train the float model further, for as many steps as QAT."""
    keras_model = bench.float_model()
    bench.finetune(keras_model)
    return keras_model


def _finetuned_float(bench: Workbench) -> bytes:
    return bytes(convert.converter(bench, bench.export(bench.stage(finetuned))).convert())


def finetuned_twice(bench: Workbench) -> Any:
    """Stage: train further for as many steps as a compression followed by QAT."""
    keras_model = bench.stage(finetuned)
    bench.finetune(keras_model)
    return keras_model


def finetuned_thrice(bench: Workbench) -> Any:
    """Stage: train further for as many steps as two compressions followed by QAT."""
    keras_model = bench.stage(finetuned_twice)
    bench.finetune(keras_model)
    return keras_model


def _finetuned_float_2x(bench: Workbench) -> bytes:
    return bytes(convert.converter(bench, bench.export(bench.stage(finetuned_twice))).convert())


def _finetuned_float_3x(bench: Workbench) -> bytes:
    return bytes(convert.converter(bench, bench.export(bench.stage(finetuned_thrice))).convert())


def train_and_convert(bench: Workbench, quantized: Any) -> bytes:
    """Fine-tune a fake-quantized model and convert it, from ranges that its training can reach."""
    ranges.started(bench, quantized)
    return _train_and_convert_as_it_is(bench, quantized)


def _train_and_convert_as_it_is(bench: Workbench, quantized: Any) -> bytes:
    """Fine-tune a fake-quantized model and convert it; its outputs before conversion are kept for comparison."""
    bench.finetune(quantized)
    bench.expect_answers_of(quantized)
    return bytes(convert.optimizing(bench, bench.export(quantized)).convert())


def _whole_model(bench: Workbench) -> bytes:
    bench.tensorflow()
    keras_model = bench.float_model()
    with in_order.refused(f"choose {MENDED}, which keeps it"):
        quantized = attempt("quantize_model", lambda: _tfmot_keras().quantize_model(keras_model))
    return _train_and_convert_as_it_is(bench, quantized)


def _per_tensor(bench: Workbench) -> bytes:
    bench.tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_scheme

    scheme = default_8bit_quantize_scheme.Default8BitQuantizeScheme(disable_per_axis=True)
    folded = fold.folded(bench, bench.float_model(), ("Conv2D", "DepthwiseConv2D", "Dense"))
    return train_and_convert(bench, quantize_folded(bench, folded, scheme, _int8_kernel(), observed.classes(bench)))


def _custom(bench: Workbench) -> bytes:
    bench.tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_scheme

    # tfmot puts fake quantization between a dense layer's batch norm and ReLU, where no integer operator exists.
    folded = fold.folded(bench, bench.float_model(), ("Dense",))
    scheme = default_8bit_quantize_scheme.Default8BitQuantizeScheme()
    return train_and_convert(bench, quantize_folded(bench, folded, scheme, _int8_kernel(), observed.classes(bench)))


def _int8_kernel() -> Any:
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    return default_8bit_quantize_registry.Default8BitQuantizeConfig(["kernel"], [], False)


def quantize_folded(
    bench: Workbench, folded: fold.Folded, scheme: Any, kernel_only: Any, stand_ins: dict[str, Any]
) -> Any:
    """Apply fake quantization with our QuantizeConfig around folded batch norms, and tfmot's own elsewhere.

    Args:
        kernel_only: config of a layer that a batch norm was folded into.
        stand_ins: layers that fake-quantize internally, by the name of the Keras class that each replaces.
    """
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_configs

    tfmot_keras = _tfmot_keras()
    output_only = default_8bit_quantize_configs.Default8BitOutputQuantizeConfig

    def config(layer: Any) -> Any:
        if layer.name in folded.merged:
            kernel = "depthwise_kernel" if type(layer).__name__ == "DepthwiseConv2D" else "kernel"
            return type(kernel_only).from_config(kernel_only.get_config() | {"weight_attrs": [kernel]})
        if layer.name in folded.identities:
            return output_only(not _feeds_relu(layer))
        return output_only() if stand_ins and type(layer).__name__ == "LayerNormalization" else None

    def annotate(layer: Any) -> Any:
        if type(layer).__name__ in stand_ins:
            return stand_ins[type(layer).__name__].from_config(layer.get_config())
        return tfmot_keras.quantize_annotate_layer(layer, config(layer))

    def apply() -> Any:
        annotated = bench.tensorflow().keras.models.clone_model(folded.keras_model, clone_function=annotate)
        for layer in annotated.layers:
            if type(layer) in stand_ins.values():
                observed.take_over(layer, folded.keras_model.get_layer(layer.name))
        ours = {quantizing.__name__: quantizing for quantizing in (type(kernel_only), output_only, *stand_ins.values())}
        with tfmot_keras.quantize_scope(ours), in_order.kept():
            return tfmot_keras.quantize_apply(annotated, scheme)

    return attempt("quantize_apply", apply)


def _feeds_relu(layer: Any) -> bool:
    """Check whether only a ReLU reads the layer, so that the converter fuses both and one range suffices."""
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return len(readers) == 1 and type(readers[0]).__name__ == "ReLU"


def _int4_weights(bench: Workbench) -> bytes:
    bench.tensorflow()
    from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (
        default_n_bit_quantize_registry,
    )

    bits = {"num_bits_weight": 4, "num_bits_activation": 8}
    scheme = _tfmot_keras().experimental.default_n_bit.DefaultNBitQuantizeScheme(**bits)
    kernel_only = default_n_bit_quantize_registry.DefaultNBitQuantizeConfig(["kernel"], [], False, **bits)
    folded = fold.folded(bench, bench.float_model(), ("Dense",))
    return train_and_convert(bench, quantize_folded(bench, folded, scheme, kernel_only, {}))


def _observed_dense(bench: Workbench, layer: Any) -> Any:
    """Copy a dense layer so that it also observes and fake-quantizes its input.

    tfmot quantizes an annotated layer's weights and output, but not an input from a layer in float. The converter then
    cannot make an integer operator and writes float weights, under a name that says int8.
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
            quantized = tfmot_keras.quantize_apply(annotated)
    except (RuntimeError, ValueError) as error:
        raise Unsupported(f"tfmot quantize_apply: {error}") from error
    return train_and_convert(bench, quantized)


VARIANTS = [
    Variant(
        "float32_finetuned",
        "the float model trained further exactly as long as QAT: the reference of every QAT variant",
        "control",
        "Keras",
        _finetuned_float,
        Taxonomy("float32", "float32", "none"),
        QuantizationSpec(weights="float32", computes="float"),
        control=None,
        trained=True,
        gate="all",
    ),
    Variant(
        "qat_wi8_ai8",
        "fake quantization of the whole model (quantize_model), then fine-tuned and converted",
        "qat",
        "tfmot",
        _whole_model,
        Taxonomy(W_INT8, A_INT8, OBSERVED),
        QuantizationSpec(weights="int8", computes="integer"),
        control=FINETUNED_CONTROL,
        trained=True,
        gate="all",
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
        QuantizationSpec(weights="int8", computes="integer", covers=("FULLY_CONNECTED",)),
        control=FINETUNED_CONTROL,
        trained=True,
        gate="all",
        packages=PACKAGES,
    ),
    Variant(
        "float32_finetuned_2x",
        "the float model trained further twice as long: the reference of variants that train in two stages",
        "control",
        "Keras",
        _finetuned_float_2x,
        Taxonomy("float32", "float32", "none"),
        QuantizationSpec(weights="float32", computes="float"),
        control=None,
        trained=True,
    ),
    Variant(
        "float32_finetuned_3x",
        "the float model trained further three times as long: the reference of variants that train in three stages",
        "control",
        "Keras",
        _finetuned_float_3x,
        Taxonomy("float32", "float32", "none"),
        QuantizationSpec(weights="float32", computes="float"),
        control=None,
        trained=True,
    ),
    Variant(
        "qat_wi8_ai8_per_tensor",
        "fake quantization of the whole model, one scale for all of a convolution's weights",
        "qat",
        "tfmot",
        _per_tensor,
        Taxonomy("int8 per-tensor symmetric uniform", A_INT8, OBSERVED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-tensor"),
        control=FINETUNED_CONTROL,
        trained=True,
        packages=PACKAGES,
    ),
    Variant(
        MENDED,
        "fake quantization also where quantize_model refuses or leaves float: outputs of unknown layers, batch norms "
        "folded into dense layers, concatenations that it reorders, ranges that it cannot reach",
        "qat",
        "tfmot",
        _custom,
        Taxonomy(W_INT8, A_INT8, OBSERVED),
        QuantizationSpec(weights="int8", computes="integer"),
        control=FINETUNED_CONTROL,
        trained=True,
        packages=PACKAGES,
    ),
    Variant(
        "qat_wi4_ai8",
        "fake quantization of the whole model, weights to 4 bits",
        "qat",
        "tfmot",
        _int4_weights,
        Taxonomy(W_INT8.replace("int8", "int4"), A_INT8, OBSERVED),
        QuantizationSpec(weights="int4", computes="integer", distinct=15),
        control=FINETUNED_CONTROL,
        trained=True,
        packages=PACKAGES,
    ),
]
