"""seed_cnn: one convolution, one pooling, one dense layer; the smallest case that is still useful.

Architecture: the introductory Keras example for 28x28 grey images. 54,410 parameters. Trained in 6 s on one thread of
a 2-core AMD EPYC (Zen 4) virtual machine; accuracy 0.870 ± 0.003 (mean ± sd of 5 seeds), pinned seed 0: 0.8736.
"""

from typing import Any

from quantbench import Floor, Recipe, ReferenceModel


def build(keras: Any) -> Any:
    """28x28x1 image -> 10 class probabilities."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
        name="seed_cnn",
    )


MODEL = ReferenceModel(
    name="seed_cnn",
    description="Conv2D(32) - MaxPooling - Dense(10): the smallest useful case",
    build=build,
    train=Recipe(epochs=5, batch_size=32, learning_rate=1e-3),
    finetune=Recipe(epochs=1, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/seed_cnn.npz",
    weights_sha256="469752e3001dee1a4a52ef1b36398f89bc8e84d09b829b0c78b730ed5bafbc8e",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.8736, 0.8666, 0.8683, 0.8681, 0.8730),
    trains_in_gate=True,
    floors={
        "ptq_float16": Floor(0.1, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi2*": Floor(
            4.0, "int2 weights of dense layers are for devices with no room for int4; this drop is their price"
        ),
        "*wi4*": Floor(1.0, "int4 is for devices with no room for int8; this drop is its price"),
        "pcqat*": Floor(1.0, "half of the weights zero, 16 values a kernel: about half of int8's bytes after deflate"),
        "ptq": Floor(0.5, "the largest drop this project would ship for a quarter of the size"),
        "qat": Floor(0.5, "quantization-aware training must not be worse than the PTQ limit"),
    },
)
