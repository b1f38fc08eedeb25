"""Import TensorFlow in one place, after choosing its Keras."""

import os
import warnings
from typing import Any

from quantbench.core.environment import package_version

# Sums of floats depend on the number of threads, so training always uses the same number:
# a result must not change with the machine's core count.
TRAINING_THREADS = 1


def has_keras2() -> bool:
    """Check whether Keras 2 is installed, the only one that tfmot trains."""
    return package_version("tf-keras") != "absent"


def tensorflow() -> Any:
    """Import TensorFlow as this project needs it: Keras 2 (the only one tfmot supports), quiet, deterministic.

    Where tf-keras is not installed, as beside a TensorFlow that it does not follow yet, Keras 3 builds the models, and
    nothing can be trained. This is the only place where its environment variables are set.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if has_keras2() else "0"
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
