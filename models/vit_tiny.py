"""vit_tiny: a small vision transformer; in the matrix for softmax, LayerNorm and GELU under int8.

LayerNorm becomes a chain of mean, squared difference and reciprocal root, each rounded to 8 bits by itself. Static int8
costs 1.54 pp, the most in the matrix and more than the floor below allows, and takes twice as long as float32. With
int16 activations the model converts but does not run: ``SquaredDifference only supports FLOAT32 and INT32``.

Architecture: ViT (Dosovitskiy et al. 2020, arXiv:2010.11929) with 4 pre-norm blocks of width 64, 4 heads and a hidden
width of 128, on the 16 patches of 7x7. Changed: the mean over the patches in place of a class token, as in
Beyer et al. 2022 (arXiv:2205.01580). Only layers that Keras brings are used, so that no tool needs to be told of a
class of ours.

138,826 parameters. Trained in 122 s (112 to 148 s beside other work) on one thread of a 2-core
AMD EPYC (Zen 4) virtual machine.
Accuracy 0.8545 ± 0.0031 (mean ± sd of 5 seeds), pinned seed 0: 0.8587.
"""

from typing import Any

from quantbench import Floor, Recipe, ReferenceModel

PATCH = 7
WIDTH = 64
HEADS = 4
BLOCKS = 4


def build(keras: Any) -> Any:
    """28x28x1 image -> 10 class probabilities."""
    layers = keras.layers

    def norm(x: Any) -> Any:
        return layers.LayerNormalization(epsilon=1e-6)(x)

    image = keras.Input((28, 28, 1))
    side = 28 // PATCH
    x = layers.Reshape((side, PATCH, side, PATCH))(image)
    x = layers.Permute((1, 3, 2, 4))(x)
    x = layers.Reshape((side * side, PATCH * PATCH))(x)
    # One matrix for every patch, and a bias of its own for every position: the learned positions.
    x = layers.EinsumDense(
        "btp,pw->btw",
        output_shape=(side * side, WIDTH),
        bias_axes="tw",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02),
    )(x)
    for _ in range(BLOCKS):
        y = norm(x)
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)
        x = layers.Add()([x, y])
        y = layers.Dense(2 * WIDTH, activation="gelu")(norm(x))
        x = layers.Add()([x, layers.Dense(WIDTH)(y)])
    x = layers.GlobalAveragePooling1D()(norm(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x), name="vit_tiny")


STATIC_INT8 = (
    "softmax and LayerNorm in int8 cost 1.5 pp here; kept for integer-only devices, which have no other choice: "
    "elsewhere ship dynamic int8, which is smaller, faster and loses 0.04 pp"
)

MODEL = ReferenceModel(
    name="vit_tiny",
    description="A small vision transformer: four attention blocks over 7x7 patches",
    build=build,
    train=Recipe(epochs=12, batch_size=64, learning_rate=2e-3, schedule="cosine", flip=True),
    finetune=Recipe(epochs=1, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/vit_tiny.npz",
    weights_sha256="51f185531ad8711edfbdcde7101315ddeb21950111a4a9e2f125d7060385312d",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.8587, 0.8562, 0.8532, 0.8505, 0.8538),
    floors={
        "ptq_float16": Floor(0.1, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "clustered*static*": Floor(2.5, "static int8 as below, and clustered weights on top"),
        "*static*": Floor(2.0, STATIC_INT8),
        "*wi4*": Floor(1.0, "int4 is for devices with no room for int8; this drop is its price"),
        "ptq": Floor(0.5, "dynamic int8 is no larger, is faster and loses 0.04 pp: so nothing worse is shipped"),
        "qat": Floor(0.5, "quantization-aware training must not be worse than the PTQ limit"),
    },
)
