"""Look up the centroids of all channels of a convolution at once, where tfmot does so one channel after the other.

Cluster-preserving QAT has a row of centroids for each channel. tfmot slices, compares, gathers and differentiates each
row by operators of its own, and sums a gradient of all rows for each of them: of 1,280 channels, 1,280 such gradients.
The values are the same here, to the last bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def at_once(tf: Any) -> Iterator[None]:
    """Replace tfmot's loops over channels meanwhile, where the channels come last."""
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_algorithm as tfmot
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import GradientAggregation

    looping = tfmot.ClusteringAlgorithmPerChannel
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

    looping.get_pulling_indices, looping.get_clustered_weight = get_pulling_indices, get_clustered_weight
    try:
        yield
    finally:
        looping.get_pulling_indices, looping.get_clustered_weight = nearest, looked_up
