"""Quantize after training with the TFLite converter; also declares the float control."""

from quantbench.variants import convert
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

FLOAT = "float32"
W_INT8 = "int8 per-channel symmetric uniform"
A_INT8 = "int8 per-tensor asymmetric uniform"
CALIBRATED = "min-max over the calibration split"


def _float32(bench: Workbench) -> bytes:
    return bench.float_artifact()


def _float16(bench: Workbench) -> bytes:
    converter = convert.optimizing(bench, bench.saved_float_model())
    converter.target_spec.supported_types = [bench.tensorflow().float16]
    return bytes(converter.convert())


def _dynamic(bench: Workbench) -> bytes:
    return bytes(convert.optimizing(bench, bench.saved_float_model()).convert())


def _static(bench: Workbench) -> bytes:
    return bytes(convert.calibrated(bench, bench.saved_float_model()).convert())


def _static_int_io(bench: Workbench) -> bytes:
    tf = bench.tensorflow()
    converter = convert.calibrated(bench, bench.saved_float_model())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _static_uint8_io(bench: Workbench) -> bytes:
    tf = bench.tensorflow()
    converter = convert.calibrated(bench, bench.saved_float_model())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def _static_int_only(bench: Workbench) -> bytes:
    converter = convert.calibrated(bench, bench.saved_float_model())
    converter.target_spec.supported_ops = [bench.tensorflow().lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _static_per_tensor(bench: Workbench) -> bytes:
    converter = convert.calibrated(bench, bench.saved_float_model())
    converter._experimental_disable_per_channel = True
    # Dense layers have a switch of their own, which is set too in case a later converter honours it alone.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def _static_ai16(bench: Workbench) -> bytes:
    converter = convert.calibrated(bench, bench.saved_float_model())
    ops = bench.tensorflow().lite.OpsSet
    converter.target_spec.supported_ops = [
        ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        ops.TFLITE_BUILTINS,
    ]
    return bytes(converter.convert())


VARIANTS = [
    Variant(
        "float32",
        "the float model, converted and not quantized: the reference of every PTQ variant",
        "control",
        "TFLite converter",
        _float32,
        Taxonomy(FLOAT, FLOAT, "none"),
        QuantizationSpec(weights="float32", computes="float"),
        control=None,
        gate="all",
        timed_in_gate=True,
    ),
    Variant(
        "ptq_float16",
        "weights stored as float16, computed in float32",
        "ptq",
        "TFLite converter",
        _float16,
        Taxonomy("float16", FLOAT, "none"),
        QuantizationSpec(weights="float16", computes="float"),
        gate="all",
    ),
    Variant(
        "ptq_dynamic_wi8_afp32",
        "int8 weights; activations quantized at run time, each call by its own range",
        "ptq",
        "TFLite converter",
        _dynamic,
        Taxonomy(W_INT8, "float32 between operators, int8 inside them", "weights min-max; activations per call"),
        QuantizationSpec(weights="int8", computes="hybrid", min_elements=1024),
        gate="all",
        timed_in_gate=True,
    ),
    Variant(
        "ptq_static_wi8_ai8",
        "int8 weights and activations, float input and output",
        "ptq",
        "TFLite converter",
        _static,
        Taxonomy(W_INT8, A_INT8, CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-channel"),
        gate="all",
        timed_in_gate=True,
    ),
    Variant(
        "ptq_static_wi8_ai8_int_io",
        "int8 throughout, input and output too; fails rather than leave an operator in float",
        "ptq",
        "TFLite converter",
        _static_int_io,
        Taxonomy(W_INT8, A_INT8, CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-channel", io="int8", all_integer=True),
        gate="all",
    ),
    Variant(
        "ptq_static_wi8_ai16",
        "int8 weights, int16 activations, float input and output",
        "ptq",
        "TFLite converter",
        _static_ai16,
        Taxonomy(W_INT8, "int16 per-tensor symmetric uniform", CALIBRATED),
        QuantizationSpec(
            weights="int8", computes="integer"
        ),  # its kernels are 10 to 60 times slower: only for small models
    ),
    Variant(
        "ptq_static_wi8_ai8_uint8_io",
        "int8 throughout, but uint8 input and output, as a camera gives them; fails rather than leave float operators",
        "ptq",
        "TFLite converter",
        _static_uint8_io,
        Taxonomy(W_INT8, A_INT8, CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-channel", io="uint8", all_integer=True),
    ),
    Variant(
        "ptq_static_wi8_ai8_int_only",
        "int8 between float input and output; fails rather than leave an operator in float",
        "ptq",
        "TFLite converter",
        _static_int_only,
        Taxonomy(W_INT8, A_INT8, CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-channel", all_integer=True),
    ),
    Variant(
        "ptq_static_wi8_ai8_per_tensor",
        "int8 weights and activations, one scale for each weight tensor",
        "ptq",
        "TFLite converter",
        _static_per_tensor,
        Taxonomy("int8 per-tensor symmetric uniform", A_INT8, CALIBRATED),
        QuantizationSpec(weights="int8", computes="integer", granularity="per-tensor"),
    ),
]
