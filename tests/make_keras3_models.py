"""Train a small Keras 3 model, and a worse one of the same form; runs in a process of its own, given a folder."""

import sys
from pathlib import Path

import numpy as np
from quantbench.core import tensorflow
from quantbench.reference.model import load_models

ROOT = Path(__file__).parents[1]
EXAMPLES, BATCH = 2000, 64
STEPS = {"good": 100, "worse": 12}


def main(folder: Path) -> None:
    """Write ``good.keras``, ``worse.keras`` and ``eval.npz``."""
    tensorflow.tensorflow()
    import keras

    pack = load_models(ROOT / "models")["seed_cnn"].pack()
    np.savez(folder / "eval.npz", x=pack.test.x[:EXAMPLES], y=pack.test.y[:EXAMPLES])
    for name, steps in STEPS.items():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                layers.Input((28, 28, 1)),
                layers.Rescaling(1 / 255),
                layers.Conv2D(8, 3, strides=2, activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(pack.train.x[: BATCH * steps], pack.train.y[: BATCH * steps], batch_size=BATCH, verbose=0)
        model.save(folder / f"{name}.keras")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
