"""Find where a fake-quantized Keras model and the artifact made from it diverge: the first tensor that differs."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs, rows
from quantbench.tflite import graph as structure
from quantbench.tflite.litert import LiteRT

EXAMPLES = 8
# Relative to the tensor's RMS. An int8 activation in steps of 1/255 of its range differs by about 1 % where a value is
# rounded differently; beyond this the layer computes something else.
LIMIT = 0.1


def first_divergent_tensor(
    keras_model: Any, tensorflow: Any, artifact: bytes, inputs: Inputs, stateful: bool = False
) -> str:
    """Name the first layer whose output differs, in the order of the Keras model's layers, in one sentence.

    Args:
        inputs: prepared examples; the first 8 are used.
        stateful: whether to reset the runtime's recurrent state before each.
    """
    compared: dict[str, float] = {}
    for name, error in _errors(keras_model, tensorflow, artifact, rows(inputs, slice(0, EXAMPLES)), stateful):
        compared[name] = error
        if error > LIMIT:
            return f"first tensor that differs: {name}, by {100 * error:.0f} % of its RMS"
    if not compared:
        return "no tensor of the artifact could be matched with a layer"
    most = max(compared, key=compared.__getitem__)
    return (
        f"none of {len(compared)} tensors differs by more than {100 * LIMIT:g} % of its RMS, {most} most "
        f"({100 * compared[most]:.1f} %): rounding adds up"
    )


def _errors(keras_model: Any, tf: Any, artifact: bytes, few: Inputs, stateful: bool) -> Iterator[tuple[str, float]]:
    """Yield (layer, RMS error relative to its output) for every layer whose output the artifact contains."""
    output_of = {layer: _output_within(keras_model, tf, layer) for layer in keras_model.layers}
    layers = [layer for layer, output in output_of.items() if output is not None]
    if not layers:
        return
    outputs = tf.keras.Model(keras_model.inputs, [output_of[layer] for layer in layers])(few, training=False)
    computed = _activations(artifact, few, stateful)
    results = {tensor.name for tensor in structure.read(artifact).outputs}
    for layer, output in zip(layers, outputs if isinstance(outputs, list) else [outputs], strict=True):
        expected = np.asarray(output)
        # The converter names a tensor after all the operators that it fused into it, the last one first; results have
        # names of their own. A layer with an activation has two tensors, so the nearest is compared.
        errors = [
            _relative_error(values.reshape(expected.shape), expected)
            for name, values in computed.items()
            if (f"/{layer.name}/" in name.split(";")[0] or name in results) and values.size == expected.size
        ]
        if errors:
            yield layer.name, min(errors)


def _relative_error(actual: Array, expected: Array) -> float:
    scale = float(np.sqrt(np.mean(expected**2))) or 1.0
    return float(np.sqrt(np.mean((actual - expected) ** 2))) / scale


def _output_within(keras_model: Any, tf: Any, layer: Any) -> Any:
    """Return the layer's output tensor in this model; a layer of a cloned model also belongs to the original."""
    if type(layer).__name__ == "InputLayer":
        return None
    for node in reversed(range(len(layer.inbound_nodes))):
        output = layer.get_output_at(node)
        if isinstance(output, list | tuple | dict):
            continue
        try:
            tf.keras.Model(keras_model.inputs, output)
        except ValueError:  # it belongs to another model's graph
            continue
        return output
    return None


def _activations(artifact: bytes, few: Inputs, stateful: bool) -> dict[str, Array]:
    """Compute the real values of every activation, shape (examples, ...), by name."""
    runner = LiteRT(artifact, runtime="litert-builtin", keep_tensors=True, stateful=stateful)
    graph = structure.read(artifact)
    quantized = {
        t.name: t for t in graph.tensors if t.data is None and t.dtype in ("int8", "int16", "uint8", "float32")
    }
    activations: dict[str, list[Array]] = {}
    count = len(next(iter(few.values())) if isinstance(few, dict) else few)
    for i in range(count):
        runner.run(rows(few, slice(i, i + 1)))
        for name, values in runner.tensors().items():
            if name in quantized:
                tensor = quantized[name]
                scale, zero = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (1.0, 0)
                activations.setdefault(name, []).append((values.astype(np.float64) - zero) * scale)
    return {name: np.stack(values) for name, values in activations.items() if len(values) == count}
