"""Import TensorFlow in one place, after choosing its Keras."""

import os
import warnings
from typing import Any

# Sums of floats depend on the number of threads, so training always uses the same number:
# a result must not change with the machine's core count.
TRAINING_THREADS = 1


def tensorflow() -> Any:
    """Import TensorFlow as this project needs it: Keras 2 (the only one tfmot supports), quiet, deterministic.

    This is the only place where its environment variables are set.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module="tensorflow|tf_keras|tensorflow_model_optimization")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(TRAINING_THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(TRAINING_THREADS)
    except RuntimeError:  # already running: set by an earlier call
        pass
    tf.config.experimental.enable_op_determinism()
    return tf
