"""Quantize by Keras 3 itself: ``model.quantize(...)``, exported to LiteRT by Keras 3 as it is.

Keras quantizes the kernels of Dense, EinsumDense and Embedding layers alone, so that convolutions and recurrent layers
stay in float. What the converter makes of it is in ``reports/reference/keras3_quantization.md``: what fails is declared
in the baselines, and is tried in every nightly run.

Sources: keras.io, "Quantization in Keras" and the guides of its modes; GPTQ (Frantar et al. 2022, arXiv:2210.17323);
AWQ (Lin et al. 2023, arXiv:2306.00978); float8 (Micikevicius et al. 2022, arXiv:2209.05433).
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from quantbench.core.arrays import Array
from quantbench.errors import Unsupported
from quantbench.variants import keras_twin
from quantbench.variants.declare import QuantizationSpec, Taxonomy, Variant, Workbench

ENGINE = "Keras 3"
PACKAGES = ("tensorflow", "tf-keras", "keras")
W_INT8 = "int8 per-channel symmetric uniform, dense layers alone"
W_INT4_B128 = "int4 asymmetric uniform in blocks of 128, dense layers alone"
FLOAT = "float32"
PER_ROW = "float32 between operators, int8 inside them, one range for each row"
BLOCK = 128  # Keras's default
CALIBRATED_ON = 128  # examples, as in the papers of GPTQ and AWQ
LONGEST_ROW = 2048  # GPTQ inverts a matrix of the row length squared, and rounds one column after the other


class WholeModel:
    """Stand for a model as one block that Keras calibrates, given the numbers of the examples in place of tokens.

    Keras's GPTQ and AWQ are written for language models: they take calibration data as token ids (int32), and a list of
    blocks that they run one after the other.
    """

    def __init__(self, keras_model: Any, examples: Any) -> None:
        self._model, self._examples = keras_model, examples

    def _flatten_layers(self, **options: Any) -> Any:
        return self._model._flatten_layers(**options)

    def __call__(self, numbers: Any) -> Any:
        """Run the model on the examples of these numbers."""
        return self._model(self._examples[np.asarray(numbers).reshape(-1)], training=False)


def _quantized(bench: Workbench, mode: str, config: Callable[[Any, Any], Any]) -> bytes:
    """Quantize the float model and export it.

    Args:
        mode: Keras's name of it.
        config: (Keras module, model) -> Keras's configuration.
    """
    keras_model = keras_twin.of_float_model(bench)
    keras = keras_twin.keras3(bench)
    chosen = {id(layer) for layer in keras_model._flatten_layers() if _takes(keras, layer, mode)}
    if not chosen:
        raise Unsupported("the model has no dense layer that Keras 3 quantizes in this way")
    with _quickly():
        keras_model.quantize(mode, config=config(keras, keras_model), filters=lambda layer: id(layer) in chosen)
    return keras_twin.litert(bench, keras_model)


@contextmanager
def _quickly() -> Iterator[None]:
    """Let Keras quantize without two things that take half of the time and change no number.

    It collects garbage for each kernel that it replaces, through all that TensorFlow has loaded: a third of a second
    each, unless that is frozen. And GPTQ writes each column by an operator that XLA compiles anew for each shape.
    """
    from keras.src import ops

    by_xla = ops.slice_update
    gc.freeze()
    ops.slice_update = _updated
    try:
        yield
    finally:
        ops.slice_update = by_xla
        gc.unfreeze()


def _updated(inputs: Any, start_indices: Sequence[int], updates: Any) -> Any:
    """Return a tensor with part of its values replaced, see ``keras.ops.slice_update``."""
    import tensorflow as tf

    values, new = np.array(inputs), np.asarray(updates)
    values[tuple(slice(start, start + size) for start, size in zip(start_indices, new.shape, strict=True))] = new
    return tf.constant(values)


def _takes(keras: Any, layer: Any, mode: str) -> bool:
    """Check whether Keras quantizes a layer in a mode: a subclass is not taken."""
    if type(layer) is keras.layers.Embedding:
        return mode in ("int8", "int4")
    if type(layer) not in (keras.layers.Dense, keras.layers.EinsumDense):
        return False
    return mode != "gptq" or _row(keras, layer) <= LONGEST_ROW


def _row(keras: Any, layer: Any) -> int:
    """Return how many inputs one output is computed from; Keras takes the largest dimension for the model's width."""
    shape = [int(size) for size in layer.kernel.shape]
    first = type(layer) is keras.layers.Dense or len(shape) == 2 or shape.index(max(shape)) == 0
    return shape[0] if first else shape[0] * shape[1]


def _calibration(bench: Workbench, keras_model: Any) -> dict[str, Any]:
    """Return what Keras's calibration takes: all examples as one sample, so that their order is the same in each run.

    Keras starts its samples at a place that depends on Python's hash of a text, which differs between processes, unless
    there is only one such place.
    """
    examples: list[Array] = []
    for _, x in zip(range(CALIBRATED_ON), bench.calibration(), strict=False):
        if isinstance(x, dict):
            raise Unsupported("Keras 3 calibrates models of one input only")
        examples.append(x)
    return {
        "dataset": [np.arange(len(examples), dtype=np.int32)],
        "tokenizer": lambda text: text,  # asked for, and not called where there are numbers
        "num_samples": 1,
        "sequence_length": len(examples),
        "quantization_layer_structure": {
            "pre_block_layers": [],
            "sequential_blocks": [WholeModel(keras_model, np.concatenate(examples))],
        },
    }


def _int8(bench: Workbench) -> bytes:
    return _quantized(bench, "int8", lambda keras, _: keras.quantizers.Int8QuantizationConfig())


def _int8_weight_only(bench: Workbench) -> bytes:
    return _quantized(
        bench, "int8", lambda keras, _: keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    )


def _int4_blocks(bench: Workbench) -> bytes:
    return _quantized(bench, "int4", lambda keras, _: keras.quantizers.Int4QuantizationConfig(block_size=BLOCK))


def _float8(bench: Workbench) -> bytes:
    return _quantized(bench, "float8", lambda keras, _: keras.quantizers.Float8QuantizationConfig())


def _gptq(bench: Workbench) -> bytes:
    return _quantized(
        bench,
        "gptq",
        lambda keras, model: keras.quantizers.GPTQConfig(group_size=BLOCK, **_calibration(bench, model)),
    )


def _awq(bench: Workbench) -> bytes:
    return _quantized(
        bench, "awq", lambda keras, model: keras.quantizers.AWQConfig(group_size=BLOCK, **_calibration(bench, model))
    )


def _variant(
    name: str, description: str, make: Callable[[Workbench], bytes], taxonomy: Taxonomy, promise: QuantizationSpec
) -> Variant:
    return Variant(
        name, f"Keras 3: {description}", "ptq", ENGINE, make, taxonomy, promise, packages=PACKAGES, gate="nightly"
    )


CALIBRATION = "on the calibration split"
VARIANTS = [
    _variant(
        "keras_dynamic_wi8_afp32",
        "int8 weights, activations quantized at run time (its int8)",
        _int8,
        Taxonomy(W_INT8, PER_ROW, "weights min-max; activations per call and row"),
        QuantizationSpec(weights="int8", computes="hybrid"),
    ),
    _variant(
        "keras_weight_only_wi8_afp32",
        "int8 weights, expanded before they are used (its int8 without an activation quantizer)",
        _int8_weight_only,
        Taxonomy(W_INT8, FLOAT, "weights min-max"),
        QuantizationSpec(weights="int8", computes="float", stored="int8"),
    ),
    _variant(
        "keras_weight_only_wi4_b128_afp32",
        "int4 weights in blocks of 128, expanded before they are used (its int4)",
        _int4_blocks,
        Taxonomy(W_INT4_B128, FLOAT, "weights min-max of each block"),
        QuantizationSpec(weights="int4", computes="float", stored="int4"),
    ),
    _variant(
        "keras_weight_only_wi4_gptq_afp32",
        "int4 weights in blocks of 128, rounded for least error of the layer's output (GPTQ)",
        _gptq,
        Taxonomy(W_INT4_B128, FLOAT, f"weights min-max of each block, rounded by GPTQ {CALIBRATION}"),
        QuantizationSpec(weights="int4", computes="float", stored="int4"),
    ),
    _variant(
        "keras_weight_only_wi4_awq_afp32",
        "int4 weights in blocks of 128, scaled by the size of the activations before rounding (AWQ)",
        _awq,
        Taxonomy(W_INT4_B128, FLOAT, f"weights min-max of each block, scaled by AWQ {CALIBRATION}"),
        QuantizationSpec(weights="int4", computes="float", stored="int4"),
    ),
    _variant(
        "keras_float8",
        "float8 (e4m3) weights and activations, as Keras trains with them",
        _float8,
        Taxonomy("float8_e4m3, dense layers alone", "float8_e4m3 inside dense layers", "scale 1, without training"),
        QuantizationSpec(weights="float8_e4m3fn", computes="float"),
    ),
]
