"""Look up the centroids of all channels of a convolution at once, where tfmot does so one channel after the other.

Cluster-preserving QAT has a row of centroids for each channel. tfmot slices, compares, gathers and differentiates each
row by operators of its own, and sums a gradient of all rows for each of them: of 1,280 channels, 1,280 such gradients.
It finds the centroids in the same way. The values are the same here, to the last bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from quantbench.core.arrays import Array


@contextmanager
def at_once(tf: Any) -> Iterator[None]:
    """Replace tfmot's loops over channels meanwhile, where the channels come last."""
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_algorithm as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
        cluster_preserve_quantize_registry as registry,
    )

    looping = tfmot.ClusteringAlgorithmPerChannel
    found = registry.get_centroids
    nearest, looked_up = looping.get_pulling_indices, looping.get_clustered_weight

    def of_all(algorithm: Any) -> bool:
        last = algorithm.data_format != "channels_first"
        return bool(last and algorithm.cluster_gradient_aggregation == GradientAggregation.SUM)

    def get_pulling_indices(self: Any, weight: Any) -> Any:
        if not of_all(self):
            return nearest(self, weight)
        return tfmot.ClusteringAlgorithm.get_pulling_indices(self, weight)

    def get_clustered_weight(self: Any, pulling_indices: Any, original_weight: Any) -> Any:
        if not of_all(self):
            return looked_up(self, pulling_indices, original_weight)
        rows = tf.transpose(pulling_indices, (3, 0, 1, 2))
        clustered = tf.transpose(tf.gather(self.cluster_centroids, rows, batch_dims=1), (1, 2, 3, 0))
        return self.add_gradient_to_original_weight(clustered, tf.identity(original_weight))

    def get_centroids(layer: Any, weight: Any, data_format: str) -> Any:
        if not isinstance(layer.layer, tf.keras.layers.Conv2D) or data_format == "channels_first":
            return found(layer, weight, data_format)
        rows = [_unique(row) for row in weight.numpy().reshape(-1, weight.shape[-1]).T]
        most = max(len(values) for values, _ in rows)
        if most - min(len(values) for values, _ in rows) > 1:  # no row of centroids for each channel
            values, places = registry.get_unique(weight)
            return values, tf.size(values), places, False
        centroids = np.stack([np.pad(values, (0, most - len(values)), constant_values=1) for values, _ in rows])
        lookup = np.stack([places for _, places in rows], axis=-1).reshape(weight.shape)
        return tf.constant(centroids), tf.constant(most), tf.constant(lookup), True

    looping.get_pulling_indices, looping.get_clustered_weight = get_pulling_indices, get_clustered_weight
    registry.get_centroids = get_centroids
    try:
        yield
    finally:
        registry.get_centroids = found
        looping.get_pulling_indices, looping.get_clustered_weight = nearest, looked_up


def _unique(row: Array) -> tuple[Array, Array]:
    """Return the distinct values in the order in which they first occur, and each value's place among them."""
    _, first, inverse = np.unique(row, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty(len(order), dtype=np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return row[first[order]], places[inverse]
