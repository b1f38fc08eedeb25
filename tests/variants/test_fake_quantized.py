"""What tfmot makes of a model before it trains: the order of inputs, where ranges start, and what is clustered."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantbench.core.arrays import Inputs
from quantbench.core.tensorflow import tensorflow
from quantbench.errors import Unsupported
from quantbench.variants import channelwise, collaborative, in_order, qat, ranges


def joining() -> Any:
    """A detector's end: boxes in pixels by layers that tfmot fuses, and scores, which it leaves in their place."""
    layers = tensorflow().keras.layers
    image = layers.Input((8, 8, 2))
    boxes = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(image))
    boxes = layers.ReLU(name="boxes")(boxes)
    scores = layers.Conv2D(3, 3, activation="sigmoid", name="scores")(image)
    return tensorflow().keras.Model(image, layers.Concatenate(name="joined")([boxes, scores]))


def inputs_of(quantized: Any) -> list[str]:
    return [layer.name for layer in quantized.get_layer("quant_joined").inbound_nodes[0].inbound_layers]


def test_tfmot_reorders_the_inputs_of_a_concatenation_unless_it_is_kept_from_it() -> None:
    quantize = qat._tfmot_keras().quantize_model
    assert inputs_of(quantize(joining())) == ["quant_scores", "quant_boxes"], "tfmot mends it now: drop in_order"
    with in_order.kept():
        assert inputs_of(quantize(joining())) == ["quant_boxes", "quant_scores"]
    message = r"layer joined \(Concatenate\).*another order.*: do this .*scores, boxes instead of boxes, scores"
    with in_order.refused("do this"), pytest.raises(Unsupported, match=message):
        quantize(joining())
    assert inputs_of(quantize(joining())) == ["quant_scores", "quant_boxes"]  # nothing is left behind


def test_an_input_that_is_joined_twice_is_refused() -> None:
    layers = tensorflow().keras.layers
    image = layers.Input((8, 8, 4))
    first, second = layers.Conv2D(4, 1, name="first")(image), layers.Conv2D(2, 1, name="second")(image)
    model = tensorflow().keras.Model(image, layers.Concatenate(name="joined")([first, second, second]))
    message = r"layer joined \(Concatenate\) only the first output of each of first, second, once"
    for watched in (in_order.kept(), in_order.refused("do this")):
        with watched, pytest.raises(Unsupported, match=message):
            qat._tfmot_keras().quantize_model(model)


@pytest.mark.parametrize(
    "connections",
    [
        pytest.param([["convolved", 0, 0, {}], ["split", 0, 1, {}]], id="the second output"),
        pytest.param([["split", 0, 0, {}], ["split", 0, 1, {}], ["convolved", 0, 0, {}]], id="both outputs"),
        pytest.param([["convolved", 0, 0, {}], ["split", 1, 0, {}]], id="the second call"),
    ],
)
def test_an_output_that_tfmot_would_replace_by_the_first_is_refused(connections: list[Any]) -> None:
    layer = {"config": {"name": "joined"}, "class_name": "Concatenate", "inbound_nodes": [connections]}
    inputs = [SimpleNamespace(layer={"config": {"name": name}}) for name in ("convolved", "split")]
    match = SimpleNamespace(layer=layer, input_layers=inputs)
    for watched in (in_order.kept(), in_order.refused("do this")):
        with watched, pytest.raises(Unsupported, match="only the first output of each of convolved, split, once"):
            model_transformer().ModelTransformer._replace_functional(None, match, match)


def model_transformer() -> Any:
    qat._tfmot_keras()
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import model_transformer

    return model_transformer


class Bench:
    """Two examples to calibrate on, and a training of so many steps."""

    def __init__(self, steps: int, factor: float, given: bool = True) -> None:
        self._steps, self._factor, self._given = steps, factor, given

    def finetune_steps(self) -> int:
        return self._steps

    def calibration(self) -> Iterator[Inputs]:
        if not self._given:
            raise Unsupported("there is nothing to calibrate with")
        return (np.full((1, 4), self._factor * (i - 1), np.float32) for i in (0, 2))


@pytest.mark.parametrize(
    ("bench", "output"),
    [
        (Bench(375, 200.0), (-100.0, 100.0)),  # the average of what two examples show
        (Bench(375, 10.0), (-6.0, 6.0)),  # that is near enough
        (Bench(625, 200.0), (-6.0, 6.0)),  # so many steps get there
        (Bench(375, 200.0, given=False), (-6.0, 6.0)),
    ],
)
def test_a_range_starts_at_what_calibration_shows_where_training_cannot_reach_it(
    bench: Any, output: tuple[float, float]
) -> None:
    keras = tensorflow().keras
    vector = keras.Input((4,))
    quantized = qat._tfmot_keras().quantize_model(
        keras.Model(vector, keras.layers.Dense(4, kernel_initializer="identity")(vector))
    )
    kernel = [weight.numpy() for weight in quantized.weights if "kernel_m" in weight.name]
    ranges.started(bench, quantized)
    found = {weight.name.split("/")[-1]: float(weight) for weight in quantized.weights if "activation_m" in weight.name}
    assert (found["post_activation_min:0"], found["post_activation_max:0"]) == pytest.approx(output)
    assert [weight.numpy().tolist() for weight in quantized.weights if "kernel_m" in weight.name] == [
        values.tolist() for values in kernel
    ]


def test_kernels_with_fewer_weights_than_centroids_stay_as_they_are_and_the_others_are_clustered() -> None:
    """Such a kernel keeps its promise already; tfmot leaves convolutions alone there, and fails at dense layers."""
    keras = tensorflow().keras
    image = keras.Input((6, 6, 1))
    body = keras.layers.Flatten()(keras.layers.Conv2D(3, 3)(image))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Dense(2)(body)))
    trained: list[Any] = []
    bench: Any = SimpleNamespace(tensorflow=tensorflow, finetune=trained.append)
    before = [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]
    clustered = collaborative._cluster(bench, model, 32, keep_zeros=False)
    assert len(trained) == 1
    after = [layer.kernel.numpy() for layer in clustered.layers if hasattr(layer, "kernel")]
    assert [kernel.size for kernel in after] == [27, 96, 2]
    assert [np.array_equal(old, new) for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert len(np.unique(after[1])) <= 32


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_centroids_of_all_channels_at_once_are_those_of_one_after_the_other(data_format: str) -> None:
    tf = tensorflow()
    qat._tfmot_keras()
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_algorithm as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation

    drawn = np.random.default_rng(0)
    first = data_format == "channels_first"
    weights = tf.Variable(drawn.normal(size=(3, 5, 3, 2) if first else (3, 3, 2, 5)).astype(np.float32))
    centroids = tf.Variable(drawn.normal(size=(5, 4)).astype(np.float32))
    algorithm = tfmot.ClusteringAlgorithmPerChannel(centroids, GradientAggregation.SUM, data_format)

    @tf.function
    def step() -> list[Any]:
        nearest = algorithm.get_pulling_indices(weights)
        with tf.GradientTape() as tape:
            clustered = algorithm.get_clustered_weight(nearest, weights)
            loss = tf.reduce_sum(clustered**3)
        return [nearest, clustered, *map(tf.convert_to_tensor, tape.gradient(loss, [centroids, weights]))]

    looped = [each.numpy() for each in step()]
    operators = len(step.get_concrete_function().graph.get_operations())
    again = tf.function(step.python_function)
    with channelwise.at_once(tf):
        whole = [each.numpy() for each in again()]
        fewer = len(again.get_concrete_function().graph.get_operations()) < operators
    assert fewer is not first  # tfmot's loops stay where channels come first
    for one, other in zip(looped, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert tfmot.ClusteringAlgorithmPerChannel.get_pulling_indices.__module__ == tfmot.__name__


@pytest.mark.parametrize("distinct", [(4, 4, 4), (4, 3, 4), (4, 2, 4)])
def test_centroids_are_found_as_tfmot_finds_them(distinct: tuple[int, ...]) -> None:
    """A channel with one value fewer is padded; with two fewer, all channels share their values."""
    tf = tensorflow()
    qat._tfmot_keras()
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
        cluster_preserve_quantize_registry as registry,
    )

    drawn = np.random.default_rng(0)
    channels = [drawn.permutation(np.resize(drawn.normal(size=count), 18)).reshape(3, 3, 2) for count in distinct]
    weight = tf.Variable(np.stack(channels, axis=-1).astype(np.float32))
    wrapped = SimpleNamespace(layer=tf.keras.layers.Conv2D(3, 3))
    looped = registry.get_centroids(wrapped, weight, "channels_last")
    with channelwise.at_once(tf):
        whole = registry.get_centroids(wrapped, weight, "channels_last")
    assert looped[3] is whole[3] is (min(distinct) > 2)
    for one, other in zip(looped[:3], whole[:3], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
