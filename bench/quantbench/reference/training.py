"""Train and load Keras models; TensorFlow is imported inside the functions."""

from typing import Any

import numpy as np

from quantbench.core.arrays import Array, Inputs, length
from quantbench.core.tensorflow import has_keras2, tensorflow
from quantbench.errors import BadInput, Unsupported
from quantbench.reference import training_facts
from quantbench.reference.model import Recipe, ReferenceModel

NO_KERAS_2 = "it trains a Keras 2 model, and tf-keras is not installed beside this TensorFlow"
NO_DATA = "it needs training data with labels, and there is none (x_train and y_train)"


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
    if not has_keras2():
        raise Unsupported(NO_KERAS_2)
    tf = tensorflow()
    x, y = _fit_data(model, recipe)
    part, targets, losses = _trained_part(tf, keras_model, model, recipe, y)
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = tf.keras.optimizers.schedules.CosineDecay(rate, steps(model, recipe))
    # The same algorithm as Keras' newer class, with one operator per variable instead of a dozen: for MobileNetV2 with
    # fake quantization (158 variables), tracing a step takes 2 s less and 20 images a tenth less.
    part.compile(optimizer=tf.keras.optimizers.legacy.Adam(rate), loss=losses)
    tf.keras.utils.set_random_seed(seed)
    data = batches(tf, (x, targets), length(y), recipe.batch_size, seed)
    part.fit(data, epochs=recipe.epochs, verbose=0, callbacks=callbacks or [])
    if part is not keras_model:
        keras_model.optimizer = part.optimizer  # which has counted the steps
    order = _positions(tf, length(y), recipe.batch_size, seed)
    return training_facts.facts(part, order, _together(targets), recipe.batch_size)


def _trained_part(tf: Any, keras_model: Any, model: ReferenceModel, recipe: Recipe, y: Array) -> tuple[Any, Any, Any]:
    """Return the model of those outputs that have labels, sharing all weights, with its targets and losses.

    An output without labels gets no loss: trained on the labels of another, it would learn nonsense.

    Raises:
        Unsupported: no output has labels, or the model's outputs cannot be told apart.
    """

    def made(loss: Any) -> Any:
        return loss(tf.keras) if callable(loss) else loss

    if not model.heads and not model.metric.outputs:
        if not model.loss:
            raise Unsupported(
                f"the metric {model.metric.name} says how to score its labels, and not how to train on them"
            )
        return keras_model, y, made(model.loss)
    found = _keras_outputs(keras_model, model)
    outputs, targets, losses = [], [], []
    if model.loss:
        names = model.trained_outputs or model.metric.outputs
        parts = _columns(y, [found[name] for name in names])
        for name, part in zip(names, parts, strict=True):
            outputs.append(found[name])
            targets.append(part)
            losses.append(made(model.loss))
    train = model.pack().train
    more = train.more if train is not None else {}
    for head in model.heads:
        if head.loss and head.labels in more:
            labels = more[head.labels]
            outputs.append(found[head.metric.output])
            targets.append(np.concatenate([labels, labels]) if recipe.flip else labels)
            losses.append(made(head.loss))
    if not outputs:
        raise Unsupported("it needs training labels of an output, and there are none")
    if len(outputs) == 1:
        return tf.keras.Model(keras_model.inputs, outputs[0]), targets[0], losses[0]
    return tf.keras.Model(keras_model.inputs, outputs), tuple(targets), losses


def _keras_outputs(keras_model: Any, model: ReferenceModel) -> dict[str, Any]:
    """Return name in the artifact -> Keras tensor of each output that is scored, see :func:`named`."""
    tensors = list(keras_model.outputs)  # of a dict: in the order of its sorted keys
    wanted = [*model.metric.outputs, *(name for head in model.heads for name in head.metric.outputs)]
    by_place = {f"output_{i}": tensor for i, tensor in enumerate(tensors)}
    if set(wanted) <= set(by_place) and not isinstance(keras_model.output, dict):
        return by_place
    keys = sorted(keras_model.output) if isinstance(keras_model.output, dict) else sorted(set(wanted))
    if len(keys) != len(tensors) or not set(wanted) <= set(keys):
        raise Unsupported(f"the outputs of the model to train, {', '.join(keys)}, are not those that have labels")
    return dict(zip(keys, tensors, strict=True))


def _columns(y: Array, tensors: list[Any]) -> list[Array]:
    """Divide labels of several outputs, one row of values per example, among these outputs."""
    if len(tensors) == 1:
        return [y]
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(y.reshape(len(y), -1), ends[:-1], axis=1)
    return [part.reshape(len(y), *shape) for part, shape in zip(parts, shapes, strict=True)]


def _together(targets: Any) -> Array:
    """Return the targets of all outputs as one array."""
    if not isinstance(targets, tuple):
        return np.asarray(targets)
    return np.concatenate([part.reshape(len(part), -1) for part in targets], axis=1)


def answers(keras_model: Any, inputs: Inputs, batch_size: int) -> Inputs:
    """Compute the outputs of every example, several by name, see :func:`named`."""
    return named(keras_model.predict(batches(tensorflow(), inputs, length(inputs), batch_size), verbose=0))


def named(outputs: Any) -> Inputs:
    """Name what Keras returns as the exported signature does: output_0, output_1, ... in a list, its own in a dict."""
    if isinstance(outputs, np.ndarray):
        return outputs
    by_name = outputs if isinstance(outputs, dict) else {f"output_{i}": output for i, output in enumerate(outputs)}
    return next(iter(by_name.values())) if len(by_name) == 1 else dict(by_name)


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
    if has_keras2():
        keras.backend.reset_uids()
    else:
        keras.backend.clear_session()
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
