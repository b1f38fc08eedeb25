"""What the tools raise and print, translated: each text is one that a tool really gave, on a model that shows it."""

import re

import pytest
from quantbench.build import refusals

# TFLite converter of TensorFlow 2.21, on Conv3D, MaxPooling3D, Flatten, Dense saved by Keras 3; call sites shortened.
MAX_POOL_3D = """ConverterError: Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused[\
"MaxPool3D:", \
"sequential_3_1/max_pooling3d_1/MaxPool3D@__inference___call___242"] at callsite(fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall@__inference_signature_wrapper___call___269"] at fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall_1"]))): 'tf.MaxPool3D' op is neither a custom op nor a flex op
<unknown>:0: note: loc(callsite(fused["StatefulPartitionedCall:", "StatefulPartitionedCall@__inference_signature_\
wrapper___call___269"] at fused["StatefulPartitionedCall:", "StatefulPartitionedCall_1"])): called from
<unknown>:0: note: loc(fused["StatefulPartitionedCall:", "StatefulPartitionedCall_1"]): called from
<unknown>:0: error: failed while converting: 'main':\x20
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select. See \
instructions: https://www.tensorflow.org/lite/guide/ops_select\x20
TF Select ops: MaxPool3D
Details:
\ttf.MaxPool3D(tensor<1x6x6x6x8xf32>) -> (tensor<1x3x3x3x8xf32>) : {data_format = "NDHWC", device = "", ksize = \
[1, 2, 2, 2, 1], padding = "VALID", strides = [1, 2, 2, 2, 1]}

<unknown>:0: note: see current operation:\x20
"func.func"() <{function_type = (tensor<1x8x8x8x1xf32>) -> tensor<1x3xf32>, sym_name = "main"}> ({
^bb0(%arg0: tensor<1x8x8x8x1xf32>):
  %8 = "tf.MaxPool3D"(%7) <{data_format = "NDHWC"}> {device = ""} : (tensor<1x6x6x6x8xf32>) -> tensor<1x3x3x3x8xf32>
"""
# The same converter on a Dense model under mixed_float16, exported as it is.
HALF = """ConverterError: Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["MatMul:", \
"sequential_1/dense_1/MatMul@__inference___call___2414"] at fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall"])): 'tf.MatMul' op is neither a custom op nor a flex op
<unknown>:0: error: failed while converting: 'main':\x20
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select. See \
instructions: https://www.tensorflow.org/lite/guide/ops_select\x20
TF Select ops: BiasAdd, MatMul, Relu, Softmax
Details:
\ttf.BiasAdd(tensor<1x32xf16>, tensor<32xf16>) -> (tensor<1x32xf16>) : {data_format = "NHWC", device = ""}
\ttf.MatMul(tensor<1x32xf16>, tensor<4x32xf16>) -> (tensor<1x4xf16>) : {grad_a = false, transpose_b = true}
"""
DETERMINANT = """ConverterError: Could not translate MLIR to FlatBuffer.model.py:63:1: error: 'tf.MatrixDeterminant' \
op is neither a custom op nor a flex op
"""
# The same converter on a Dense layer that Keras 3.15 quantized by its int8.
PLAIN_INT8 = """ConverterError: <unknown>:0: error: 'tfl.fully_connected' op operand #0 must be tensor of 32-bit \
float or QI8 type or QUI8 type or QI16 type or QUI16 type values, but got 'tensor<1x5408xi8>'
"""
FLOAT8 = """ConverterError: Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["Cast:", \
"seed_cnn_1/dense_1/Cast_4@__inference_function_9727"] at fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall_1"])): Failed to convert element type 'f8E4M3FN': Unsupported type
<unknown>:0: error: invalid TFLite type: 'tensor<5408x10xf8E4M3FN>'
"""
# Keras 3 with TensorFlow 2.21, exporting a model whose output is {"top": {"a": ..., "b": ...}}.
NESTED_OUTPUTS = (
    "ValueError: Got a non-Tensor value {'a': <tf.Tensor 'StatefulPartitionedCall:0' shape=(None, 2) dtype=float32>, "
    "'b': <tf.Tensor 'StatefulPartitionedCall:1' shape=(None, 3) dtype=float32>} for key 'top' in the output of the "
    "function __inference___call___95 used to generate the SavedModel signature 'serve'. Outputs for functions used as "
    "signatures must be a single Tensor, a sequence of Tensors, or a dictionary from string to Tensor."
)
NOT_INTEGER = "RuntimeError: Quantization to 16x8-bit not yet supported for op: 'CONV_3D'.\n"
# LiteRT 2.1 on the model above, converted with SELECT_TF_OPS.
SELECT = (
    "RuntimeError: Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. "
    "Make sure you apply/link the Flex delegate before inference. For the Android, it can be resolved by adding "
    '"org.tensorflow:tensorflow-lite-select-tf-ops" dependency. See instructions: '
    "https://www.tensorflow.org/lite/guide/ops_selectNode number 2 (FlexMaxPool3D) failed to prepare."
)
PREPARE = (
    "LiteRT cannot run it: RuntimeError: tflite/kernels/unidirectional_sequence_lstm.cc:971 output_state != nullptr "
    "was not true.Node number 1 (UNIDIRECTIONAL_SEQUENCE_LSTM) failed to prepare."
)
INVOKE = (
    "LiteRT cannot run it: RuntimeError: SquaredDifference only supports FLOAT32 and INT32 now, got 7.Node number 7 "
    "(SQUARED_DIFFERENCE) failed to invoke."
)
# ai-edge-quantizer 0.10, calibrating a GRU.
IN_A_LOOP = "ValueError: Tensor data is null. Run allocate_tensors() first"
# tfmot 0.8
CONV_1D = (
    "tfmot quantize_model: Layer conv1d:<class 'tf_keras.src.layers.convolutional.conv1d.Conv1D'> is not supported. "
    "You can quantize this layer by passing a `tfmot.quantization.keras.QuantizeConfig` instance to the "
    "`quantize_annotate_layer` API."
)
INTEGER_INPUT = (
    'tfmot quantize_model: Exception encountered when calling layer "quantize_layer" (type QuantizeLayer).\n\nin user '
    "code:\n\n    TypeError: Input 'inputs' of 'FakeQuantWithMinMaxVars' Op has type int32 that does not match "
    "expected type of float32."
)
NESTED = "tfmot quantize_model: Quantizing a keras Model inside another keras Model is not supported."
NESTED_LAYER = (
    "tfmot quantize_apply: `to_annotate` can only be a `keras.layers.Layer` instance. You passed an instance of type: "
    "Functional."
)
SUBCLASSED = "ValueError: `to_quantize` can only either be a keras Sequential or Functional model."
LAMBDA = (
    "ValueError: Requested the deserialization of a Lambda layer with a Python `lambda` inside it. This carries a "
    "potential risk of arbitrary code execution and thus it is disallowed by default. If you trust the source of the "
    "saved model, you can pass `safe_mode=False` to the loading function in order to allow Lambda layer loading."
)
K_MEANS = (
    "InvalidArgumentError: {{function_node __wrapped__KmeansPlusPlusInitialization_device_/job:localhost/replica:0/"
    "task:0/device:CPU:0}} Expected num_to_sample <= points.rows(). 16 vs 8. [Op:KmeansPlusPlusInitialization] name: "
)
# TensorFlow 2.21 and LiteRT 2.3, an embedding of 100 rows on tokens of a larger vocabulary.
EMBEDDING = (
    "InvalidArgumentError: Graph execution error:\n\nDetected at node sequential_1/embedding_1/GatherV2 defined at "
    "(most recent call last):\n<stack traces unavailable>\nindices[0,0] = 127 is not in [0, 100)\n\t [[{{node "
    "sequential_1/embedding_1/GatherV2}}]] [Op:__inference_signature_wrapper___call___937]"
)
GATHER = "LiteRT cannot run it: RuntimeError: gather index out of boundsNode number 3 (GATHER) failed to invoke."
LIST = "AttributeError: 'list' object has no attribute 'reshape'"


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (MAX_POOL_3D, "TFLite has no operator for MaxPool3D; it needs Flex ops, which LiteRT's own runtime lacks: "),
        (DETERMINANT, "TFLite has no operator for MatrixDeterminant; it needs Flex ops, which LiteRT's own runtime "),
        (HALF, "the model computes in float16, for which TFLite has no BiasAdd: save it with the dtype policy float32"),
        (HALF.replace("f16", "bf16"), "the model computes in bfloat16, for which TFLite has no BiasAdd: "),
        (
            PLAIN_INT8,
            "the model multiplies plain int8 tensors, as Keras 3's int8 does, and the TFLite converter's FULLY_",
        ),
        (FLOAT8, "the model computes in float8 (f8E4M3FN), a type that TFLite does not have: "),
        (NOT_INTEGER, "the TFLite converter has no integer operator CONV_3D of this kind: "),
        (SELECT, "TFLite has no operator for MaxPool3D; it needs Flex ops, which LiteRT's own runtime lacks: "),
        (
            PREPARE,
            "LiteRT cannot prepare its operator UNIDIRECTIONAL_SEQUENCE_LSTM (node 1): "
            "unidirectional_sequence_lstm.cc: output_state != nullptr was not true",
        ),
        (
            INVOKE,
            "LiteRT cannot run its operator SQUARED_DIFFERENCE (node 7): SquaredDifference only supports FLOAT32 and "
            "INT32 now, got 7",
        ),
        (IN_A_LOOP, "ai-edge-quantizer cannot see inside a loop (WHILE), which recurrent layers become, "),
        (CONV_1D, "tfmot cannot quantize the layer conv1d (Conv1D): "),
        (NESTED, "tfmot cannot quantize a model that is used as a layer of another one: "),
        (NESTED_LAYER, "tfmot cannot quantize a model that is used as a layer of another one: "),
        (SUBCLASSED, "tfmot takes Sequential and functional models only: "),
        (LAMBDA, "tfmot rebuilds the model from its configuration, where Keras refuses Lambda layers: "),
        (
            INTEGER_INPUT,
            "tfmot fakes the quantization of the model's input, which is int32 where it takes float32 alone: ",
        ),
        (K_MEANS, "a layer has 8 weights, too few to cluster them to 16 values: "),
        (EMBEDDING, "the examples hold 127 where the embedding sequential_1/embedding_1 has 100 rows (0 to 99): "),
        (GATHER, "an example holds an index beyond the rows of the table, such as an embedding, "),
        (
            NESTED_OUTPUTS,
            "its output top is itself a dict or a list of several outputs, and TFLite has no nested outputs: save the "
            "model with one flat dict, keras.Model(model.inputs, {NAME: output, ...})",
        ),
        (LIST, "the model, or a layer of it, gives a list of several outputs, which this training does not take: "),
    ],
)
def test_a_tools_text_becomes_a_sentence(raw: str, sentence: str) -> None:
    told = refusals.reason(raw)
    assert told.startswith(sentence)
    assert not told.endswith(".")
    assert refusals.explained(refusals.kept(raw)) == told  # from what is kept of it too


def test_several_operators_are_named_once_each() -> None:
    told = refusals.reason(MAX_POOL_3D.replace("ops: MaxPool3D", "ops: MaxPool3D, Cholesky, MaxPool3D"))
    assert told.startswith("TFLite has no operator for Cholesky, MaxPool3D; they need Flex ops")


def test_every_rule_is_needed_by_a_real_text() -> None:
    texts = [value for name, value in globals().items() if name.isupper() and isinstance(value, str) and name != "DUMP"]
    texts.append("calibrating a model with a WHILE loop")
    first = [next((rule for rule in refusals.RULES if rule.pattern.search(text)), None) for text in texts]
    assert None not in first
    assert {rule.pattern.pattern for rule in refusals.RULES} == {rule.pattern.pattern for rule in first if rule}


def test_what_no_rule_knows_is_shown_as_it_is_on_one_line() -> None:
    assert refusals.explained("ValueError: who knows\nwhat") is None
    assert refusals.reason("ValueError: who knows\n  what") == "ValueError: who knows what"
    assert len(refusals.reason("word " * 1000)) <= 300


def test_of_the_converters_text_call_sites_and_the_dump_of_the_model_are_dropped() -> None:
    kept = refusals.kept(MAX_POOL_3D)
    assert "called from" not in kept
    assert "callsite" not in kept
    assert "func.func" not in kept
    assert "'tf.MaxPool3D' op is neither a custom op nor a flex op" in kept
    assert "TF Select ops: MaxPool3D" in kept
    assert len(refusals.kept("x" * 100_000)) == refusals.RAW


# ---------------------------------------------------------------- crashes

CUDA = [
    "I0000 00:00:1795962784.706155    2073 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will "
    "not be used.",
    "2026-11-29 14:33:01.123456: E external/local_xla/xla/stream_executor/cuda/cuda_driver.cc:152] failed call to "
    "cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)",
    "E0000 00:00:1795962788.197865    2073 cuda_executor.cc:1309] INTERNAL: CUDA Runtime error: Failed call to "
    "cudaGetRuntimeVersion: Error loading CUDA libraries. GPU will not be used.",
    "E0000 00:00:1795962788.197865    2073 computation_placer.cc:177] computation placer already registered. Please "
    "check linkage and avoid linking the same target more than once.",
]
CHATTER = [
    *CUDA,
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "Original model size: 214.70 KiB",
    "Running Calibration::  28%|██▊       | 968/3500 [00:00<00:00, 9669.45it/s]",
    "fully_quantize: 0, inference_type: 6, input_inference_type: FLOAT32, output_inference_type: FLOAT32",
    "W0000 00:00:1795962788.198698    2073 tf_tfl_flatbuffer_helpers.cc:364] Ignored output_format.",
    "/lib/keras/src/models.py:3098: UserWarning: You are saving your model as an HDF5 file via `model.save()`.",
]
DUMP = """Fatal Python error: Segmentation fault

Thread 0x00007f0c (most recent call first):
Current thread 0x00007f0d2b7fe640 (most recent call first):
  File "/lib/python3.11/site-packages/tensorflow/lite/python/optimize/calibrator.py", line 126 in _feed_tensor
  File "/lib/python3.11/site-packages/tensorflow/lite/python/optimize/calibrator.py", line 171 in calibrate_and_quantize
  File "/lib/python3.11/site-packages/tensorflow/lite/python/convert_phase.py", line 205 in wrapper
  File "/lib/python3.11/site-packages/tensorflow/lite/python/lite.py", line 761 in _quantize
  File "/src/quantbench/build/artifact.py", line 186 in _make
"""


@pytest.mark.parametrize("line", CHATTER)
def test_chatter_is_never_the_reason_of_a_crash(line: str) -> None:
    assert refusals.last_line(f"what it did last\n{line}\n") == "what it did last"
    assert refusals.last_line(line) == ""
    assert refusals.of_crash(line, "the worker process died of SIGABRT").endswith("SIGABRT, with no output")


def test_a_fatal_line_says_more_than_what_follows_it() -> None:
    log = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"
    assert refusals.last_line(log).startswith("terminate called")
    assert refusals.last_line("F0000 00:00:1 2 tensor.cc:1] Check failed: x == y\nafterwards\n").startswith("F0000")
    assert refusals.last_line("first\nlast\n") == "last"


def test_a_crash_says_what_the_process_was_doing() -> None:
    assert refusals.doing(DUMP) == " while the TFLite converter calibrated"
    assert refusals.of_crash(f"{CUDA[0]}\n{DUMP}", "it died of SIGSEGV") == (
        "it died of SIGSEGV while the TFLite converter calibrated, with no output"
    )
    running = re.sub(r'File "[^"]*calibrator.py", line \d+ in _feed_tensor', 'File "/x/ai_edge_litert/interpreter.py", '
                     "line 1 in invoke", DUMP)  # fmt: skip
    assert refusals.doing(running) == " while LiteRT ran it"
    assert refusals.doing("nothing\n") == ""


def test_a_crash_while_calibrating_a_loop_is_told_as_that() -> None:
    told = refusals.of_crash(f"calibrating a model with a WHILE loop\n{CUDA[1]}\n{DUMP}", "it died of SIGSEGV")
    assert told.startswith("it died of SIGSEGV while the TFLite converter calibrated: the model has a loop (WHILE), ")
