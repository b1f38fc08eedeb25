"""Provide Keras layers that fake-quantize internally, where tfmot's wrapper only sees outputs.

Weights and activations are quantized by tfmot's default 8-bit scheme (Jacob et al., CVPR 2018).
"""

from typing import Any

from quantbench.variants.declare import Workbench


def classes(bench: Workbench) -> dict[str, Any]:
    """Map the name of each replaced Keras class to its fake-quantizing layer class."""
    tf = bench.tensorflow()
    import tensorflow_model_optimization as tfmot

    quantizers = tfmot.quantization.keras.quantizers

    class Quantized:
        """Hold a quantizer and its variables in ``layer``."""

        def __init__(self, layer: Any, name: str, is_weight: bool = False) -> None:
            kind = quantizers.LastValueQuantizer if is_weight else quantizers.MovingAverageQuantizer
            self._quantizer = kind(num_bits=8, per_axis=False, symmetric=is_weight, narrow_range=is_weight)
            self._range = self._quantizer.build(None, name, layer)

        def __call__(self, values: Any, training: Any) -> Any:
            return self._quantizer(values, training, weights=self._range)

    class ObservedEinsumDense(tf.keras.layers.EinsumDense):  # type: ignore[misc, name-defined]
        """Quantize weights, product, bias and sum each, as the converter makes the bias a separate addition."""

        def build(self, shape: Any) -> None:
            super().build(shape)
            self._kernel_range = Quantized(self, "kernel", is_weight=True)
            self._product_range = Quantized(self, "product")
            self._bias_range = Quantized(self, "bias", is_weight=True)
            self._sum_range = Quantized(self, "sum")

        def call(self, inputs: Any, training: Any = None) -> Any:
            kernel = self._kernel_range(self.kernel, training)
            product = self._product_range(tf.einsum(self.equation, inputs, kernel), training)
            if self.bias is None:
                return self.activation(product)
            return self.activation(self._sum_range(product + self._bias_range(self.bias, training), training))

    class ObservedAttention(tf.keras.layers.MultiHeadAttention):  # type: ignore[misc, name-defined]
        """Compute attention with fake-quantized projections, scores and result."""

        def _build_from_signature(self, query: Any, value: Any, key: Any = None) -> None:
            super()._build_from_signature(query, value, key)
            for name in PROJECTIONS:
                setattr(self, name, ObservedEinsumDense.from_config(getattr(self, name).get_config()))
            for name in ("scaled", "scores", "mixed"):
                setattr(self, f"_{name}_range", Quantized(self, name))

        def _compute_attention(
            self, query: Any, key: Any, value: Any, attention_mask: Any = None, training: Any = None
        ) -> Any:
            scaled = self._scaled_range(query * self._key_dim**-0.5, training)
            scores = self._scores_range(tf.einsum(self._dot_product_equation, key, scaled), training)
            shares = self._masked_softmax(scores, attention_mask)
            dropped = self._dropout_layer(shares, training=training)
            return self._mixed_range(tf.einsum(self._combine_equation, dropped, value), training), shares

    return {"EinsumDense": ObservedEinsumDense, "MultiHeadAttention": ObservedAttention}


PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")


def take_over(new: Any, old: Any) -> None:
    """Copy the weights of the replaced layer."""
    for name in PROJECTIONS if hasattr(new, PROJECTIONS[0]) else ():
        take_over(getattr(new, name), getattr(old, name))
    for name in ("kernel", "bias"):
        if getattr(new, name, None) is not None:
            getattr(new, name).assign(getattr(old, name))
