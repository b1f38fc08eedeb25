"""Save a tiny classifier as it is adopted, retrained, spoiled and changed; runs in a process of its own."""

import sys
from pathlib import Path

import numpy as np
from quantbench.core import tensorflow

CENTRES = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32) * 1.3


def blobs(seed: int, count: int) -> dict[str, np.ndarray]:
    """Draw examples of four overlapping classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, count)
    return {"x": (CENTRES[y] + rng.normal(size=(count, 8))).astype(np.float32), "y": y}


def main(folder: Path) -> None:
    """Write models and data."""
    tf = tensorflow.tensorflow()
    import keras as keras3

    train, test = blobs(2, 3000), blobs(3, 1500)
    np.savez(folder / "eval.npz", **test)  # type: ignore[arg-type]
    np.savez(folder / "other_eval.npz", **blobs(4, 1500))  # type: ignore[arg-type]
    np.savez(folder / "calibration.npz", x=train["x"][:100])

    def built(keras: object, size: int = 8) -> object:
        layers = keras.layers  # type: ignore[attr-defined]
        return keras.Sequential(  # type: ignore[attr-defined]
            [layers.Input((size,)), layers.Dense(32, activation="relu"), layers.Dense(4, activation="softmax")]
        )

    def fit(model: object, epochs: int) -> None:
        model.compile("adam", "sparse_categorical_crossentropy")  # type: ignore[attr-defined]
        model.fit(train["x"], train["y"], epochs=epochs, verbose=0)  # type: ignore[attr-defined]

    tf.keras.utils.set_random_seed(0)
    model = built(tf.keras)
    fit(model, 4)
    model.save(folder / "first.keras")
    fit(model, 2)
    model.save(folder / "retrained.keras")
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    model.save(folder / "spoiled.keras")
    built(tf.keras, 5).save(folder / "other_shape.keras")

    image = tf.keras.Input((8,))
    inner = tf.keras.Sequential([tf.keras.layers.Input((8,)), tf.keras.layers.Dense(16, activation="relu")])
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    half = tf.keras.Sequential([tf.keras.layers.Input((16,)), tf.keras.layers.Dense(16, activation="relu")])
    tf.keras.Model(image, tf.keras.layers.Dense(4, activation="softmax")(half(inner(image)))).save(folder / "half2.h5")
    tf.keras.mixed_precision.set_global_policy("float32")
    keras3.utils.set_random_seed(0)
    keras3.config.set_dtype_policy("mixed_float16")
    model = built(keras3)
    fit(model, 4)
    model.save(folder / "half3.keras")
    keras3.config.set_dtype_policy("float32")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
