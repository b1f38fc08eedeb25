"""Train and load Keras models; TensorFlow is imported inside the functions."""

from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs, length
from quantbench.core.tensorflow import tensorflow
from quantbench.errors import BadInput, Unsupported
from quantbench.reference import training_facts
from quantbench.reference.model import Recipe, ReferenceModel

NO_DATA = "it needs training data (x_train, y_train), and there is none"


def seed_everything(seed: int) -> Any:
    """Return TensorFlow with a clean graph and every random generator seeded with ``seed``."""
    tf = tensorflow()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    return tf


def fit(
    keras_model: Any, model: ReferenceModel, recipe: Recipe, seed: int, callbacks: list[Any] | None = None
) -> dict[str, str]:
    """Train ``keras_model`` in place on the model's training split, reproducibly, and return the facts of the training.

    See :func:`quantbench.reference.training_facts.facts`.
    """
    tf = tensorflow()
    x, y = _fit_data(model, recipe)
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = tf.keras.optimizers.schedules.CosineDecay(rate, steps(model, recipe))
    loss = model.loss(tf.keras) if callable(model.loss) else model.loss
    # The same algorithm as Keras' newer class, with one operator per variable instead of a dozen: for MobileNetV2 with
    # fake quantization (158 variables), tracing a step takes 2 s less and 20 images a tenth less.
    keras_model.compile(optimizer=tf.keras.optimizers.legacy.Adam(rate), loss=loss)
    tf.keras.utils.set_random_seed(seed)
    data = batches(tf, (x, y), length(y), recipe.batch_size, seed)
    keras_model.fit(data, epochs=recipe.epochs, verbose=0, callbacks=callbacks or [])
    order = _positions(tf, length(y), recipe.batch_size, seed)
    return training_facts.facts(keras_model, order, y, recipe.batch_size)


def answers(keras_model: Any, inputs: Inputs, batch_size: int) -> Any:
    """Compute the outputs of every example, as Keras returns them."""
    return keras_model.predict(batches(tensorflow(), inputs, length(inputs), batch_size), verbose=0)


def batches(tf: Any, arrays: Any, count: int, batch_size: int, seed: int | None = None) -> Any:
    """Return the examples as a ``tf.data.Dataset``, in order, or shuffled anew each epoch where there is a seed.

    Keras would wrap arrays in an autotuned dataset, whose tuning thread wakes after 10, 20, 40 ms and so on. With a
    single operator thread it sometimes misses the end of an epoch, which then lasts until it next wakes: a training of
    46 s took 82 s. Selecting rows needs no tuning, so autotuning is off.

    Args:
        arrays: an array, or a tuple or dict of arrays, of ``count`` examples each.
    """
    held = tf.nest.map_structure(tf.constant, arrays)
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        _positions(tf, count, batch_size, seed)
        .map(lambda indices: tf.nest.map_structure(lambda values: tf.gather(values, indices), held))
        .with_options(options)
    )


def _positions(tf: Any, count: int, batch_size: int, seed: int | None) -> Any:
    """Return the positions of the examples in batches, as a ``tf.data.Dataset``."""
    picked = tf.data.Dataset.range(count)
    if seed is not None:
        picked = picked.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    return picked.batch(batch_size)


def steps(model: ReferenceModel, recipe: Recipe) -> int:
    """Count the optimizer steps of a training by ``recipe``. Raises Unsupported where there is no training data."""
    return recipe.epochs * -(-len(_fit_data(model, recipe)[1]) // recipe.batch_size)


def _fit_data(model: ReferenceModel, recipe: Recipe) -> tuple[Inputs, Array]:
    train = model.pack().train
    if train is None:
        raise Unsupported(NO_DATA)
    x, y = model.fit_inputs(train.x, train.y)
    return _with_mirrored(x, y) if recipe.flip else (x, y)


def _with_mirrored(x: Inputs, y: Array) -> tuple[Inputs, Array]:
    assert isinstance(x, np.ndarray)
    return np.concatenate([x, np.flip(x, axis=2)]), np.concatenate([y, y])


def untrained(model: ReferenceModel) -> Any:
    """Build a new Keras model of the architecture in the model's file, with reproducible layer names.

    Keras numbers layer names within a process: a second model's layer would be called lstm_1, and the artifact's tensor
    names, and thus its size, would depend on whether a stage was trained before it or came from the store.

    Raises:
        Unsupported: the model has no architecture given as code.
    """
    if model.build is None:
        raise Unsupported("only a model given as code can be trained from scratch")
    keras = tensorflow().keras
    keras.backend.reset_uids()
    return model.build(keras)


def load_pinned(model: ReferenceModel) -> Any:
    """Load the float Keras model with its pinned weights.

    Raises:
        BadInput: the weight file does not match the architecture.
    """
    keras_model = untrained(model)
    arrays = model.weight_arrays()
    expected = [tuple(weight.shape) for weight in keras_model.weights]
    shapes = [array.shape for array in arrays]
    if expected != shapes:
        raise BadInput(
            f"{model.file.parent / model.weights}: weights do not fit {model.name}: expected {len(expected)} arrays "
            f"of shapes {expected}, found {len(shapes)} of shapes {shapes}"
        )
    keras_model.set_weights(arrays)
    return keras_model


def train_from_scratch(model: ReferenceModel, seed: int) -> Any:
    """Train the float Keras model by its recipe."""
    seed_everything(seed)
    keras_model = untrained(model)
    fit(keras_model, model, model.train, seed)
    return keras_model


def score_keras(keras_model: Any, model: ReferenceModel) -> float:
    """Score a Keras model on the test split."""
    test = model.pack().test
    x = model.prepare(test.x)
    outputs = answers(keras_model, x, 256)
    return model.metric.value(model.metric.predict(outputs, x), test.y)
