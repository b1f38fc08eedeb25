"""Fold batch norms into the preceding layer, in Keras, before anything is quantized.

The converter folds them itself, but not into weights that are fake-quantized per tensor: it then leaves both in float.
Source: Jacob et al., CVPR 2018, section 3.2; here with frozen moving averages.
"""

from dataclasses import dataclass
from typing import Any

from quantbench.variants.declare import Workbench


@dataclass(frozen=True)
class Folded:
    """Hold a model with folded batch norms.

    Attributes:
        merged: names of the layers that a batch norm was folded into.
        identities: names of linear activations, each in place of a batch norm. Without them, tfmot would see a
            convolution or dense layer right before a ReLU, and not quantize its weights (LayerReLUQuantize).
    """

    keras_model: Any
    merged: frozenset[str]
    identities: frozenset[str]


def folded(bench: Workbench, keras_model: Any, behind: tuple[str, ...]) -> Folded:
    """Copy the model without the batch norms that directly follow a layer of exactly one of these classes."""
    keras = bench.tensorflow().keras
    norms = [layer for layer in keras_model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    pairs = {norm.name: before for norm in norms if (before := _only_source(keras_model, norm, behind)) is not None}
    merged = frozenset(before.name for before in pairs.values())

    def clone(layer: Any) -> Any:
        if layer.name in pairs:
            return keras.layers.Activation("linear", name=layer.name)
        bias = {"use_bias": True} if layer.name in merged else {}
        return type(layer).from_config({**layer.get_config(), **bias})

    weights = {layer.name: layer.get_weights() for layer in keras_model.layers if layer.name not in pairs}
    weights.update((before.name, _merged(before, keras_model.get_layer(name))) for name, before in pairs.items())
    copy = keras.models.clone_model(keras_model, clone_function=clone)
    for name, values in weights.items():
        copy.get_layer(name).set_weights(values)
    return Folded(copy, merged, frozenset(pairs))


def _only_source(keras_model: Any, norm: Any, behind: tuple[str, ...]) -> Any:
    """Find the layer whose output only this batch norm reads, if it is of one of these classes."""
    before = norm.inbound_nodes[0].inbound_layers
    if isinstance(before, list) or type(before).__name__ not in behind or before.activation.__name__ != "linear":
        return None
    read_elsewhere = len(before.outbound_nodes) != 1 or any(before.output is output for output in keras_model.outputs)
    return None if read_elsewhere else before


def _merged(layer: Any, norm: Any) -> list[Any]:
    kernel, *rest = layer.get_weights()
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    gain = (norm.gamma.numpy() if norm.scale else 1.0) / (variance + norm.epsilon) ** 0.5
    shift = norm.beta.numpy() if norm.center else 0.0
    bias = rest[0] if rest else 0.0
    by_channel = gain.reshape(kernel.shape[2:]) if type(layer).__name__ == "DepthwiseConv2D" else gain
    return [kernel * by_channel, (bias - mean) * gain + shift]
