"""Save tiny models of many kinds, with labels made from their own outputs, so that the right score is known.

Runs in a process of its own, with a folder as argument.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from quantbench.core import tensorflow

COUNT = 240


def main(folder: Path) -> None:
    """Write models and data."""
    tf = tensorflow.tensorflow()
    import keras as keras3

    keras2, rng = tf.keras, np.random.default_rng(0)
    keras2.utils.set_random_seed(0)
    keras3.utils.set_random_seed(0)
    x = rng.normal(size=(COUNT, 8)).astype(np.float32)

    def save(name: str, model: Any, suffix: str, **labels: Any) -> None:
        model.save(folder / f"{name}{suffix}")
        np.savez(folder / f"{name}.npz", x=labels.pop("x", x), **labels)

    given = keras2.Input((8,))
    twelve = keras2.Model(given, [keras2.layers.Dense(1, name=f"head_{i}")(given) for i in range(12)])
    save("twelve", twelve, ".h5", y=np.concatenate(twelve.predict(x, verbose=0), axis=1) + 0.05)

    for keras, name, suffix in ((keras2, "two", ".keras"), (keras3, "by_name", ".keras")):
        given = keras.Input((8,))
        middle = keras.layers.Dense(16, activation="relu")(given)
        kind = keras.layers.Dense(3, activation="softmax", name="kind")(middle)
        colour = keras.layers.Dense(3, activation="softmax", name="colour")(middle)
        heads = {"kind": kind, "colour": colour} if name == "by_name" else [kind, colour]
        model = keras.Model(given, heads)
        found = model.predict(x, verbose=0)
        first, second = (found["kind"], found["colour"]) if name == "by_name" else found
        save(name, model, suffix, y=np.argmax(first, axis=1))
        np.savez(
            folder / f"{name}_labels.npz", x=x, y_kind=np.argmax(first, axis=1), y_colour=np.argmax(second, axis=1)
        )
        if name == "two":  # the same model, whose second output answers the contrary
            head = model.get_layer("colour")
            head.set_weights([-values for values in head.get_weights()])
            model.save(folder / "two_spoiled.keras")

    given = keras2.Input((8,))
    single = keras2.Model(given, keras2.layers.Dense(1)(given))
    save("logit", single, ".h5", y=(single.predict(x, verbose=0)[:, 0] > 0).astype(np.float32))
    single.export(folder / "logit")

    given = keras2.Input((8,))
    same = keras2.layers.Dense(8, kernel_initializer="identity")(given)
    unusual = rng.integers(0, 2, COUNT)
    half = keras2.Model(given, keras2.layers.Rescaling(0.9)(same))
    save("rebuilds", half, ".h5", y=unusual, x=x * (1 + unusual[:, None]))

    given = keras2.Input((6, 6, 2))
    pixels = keras2.Model(given, keras2.layers.Conv2D(3, 3, padding="same", activation="softmax")(given))
    images = rng.normal(size=(COUNT, 6, 6, 2)).astype(np.float32)
    save("pixels", pixels, ".keras", x=images, y=np.argmax(pixels.predict(images, verbose=0), axis=-1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
