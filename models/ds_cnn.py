"""ds_cnn: depthwise-separable convolutions; in the matrix for per-channel against per-tensor weights.

Each filter of a depthwise convolution has a range of its own, so that one scale for all of them is coarse for most.
Here that costs 0.13 pp of accuracy, within noise, while one scale a channel makes up over a quarter of the int8 file.

Architecture: the keyword spotting network of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597), which is DS-CNN of
"Hello Edge" (Zhang et al. 2017, arXiv:1711.07128): a 10x4 convolution of stride 2 and four depthwise-separable blocks,
64 channels throughout. Changed: 28x28 input in place of 49x10 audio features, 10 classes in place of 12, and neither
dropout nor a weight penalty, which a training this short does not need.

24,778 parameters. Trained in 103 s (87 to 144 s beside other work) on one thread of a 2-core
AMD EPYC (Zen 4) virtual machine.
Accuracy 0.8864 ± 0.0020 (mean ± sd of 5 seeds), pinned seed 0: 0.8846.
"""

from typing import Any

from quantbench import Floor, Recipe, ReferenceModel


def build(keras: Any) -> Any:
    """28x28x1 image -> 10 class probabilities."""
    layers = keras.layers

    def normed_relu(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(x))

    image = keras.Input((28, 28, 1))
    x = normed_relu(layers.Conv2D(64, (10, 4), strides=2, padding="same")(image))
    for _ in range(4):
        x = normed_relu(layers.DepthwiseConv2D(3, padding="same")(x))
        x = normed_relu(layers.Conv2D(64, 1)(x))
    x = layers.GlobalAveragePooling2D()(x)
    classes = layers.Dense(10, activation="softmax")(x)
    return keras.Model(image, classes, name="ds_cnn")


MODEL = ReferenceModel(
    name="ds_cnn",
    description="MLPerf Tiny keyword spotting: a convolution and four depthwise-separable blocks of 64",
    build=build,
    train=Recipe(epochs=7, batch_size=64, learning_rate=3e-3, schedule="cosine", flip=True),
    finetune=Recipe(epochs=1, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/ds_cnn.npz",
    weights_sha256="9b87d7c13a59f28b69597470b02b42ab86eca99b93f0111b4573e99ea25c0cb8",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.8846, 0.8889, 0.8882, 0.8854, 0.8849),
    floors={
        "ptq_float16": Floor(0.1, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi2*": Floor(
            4.0, "int2 weights of dense layers are for devices with no room for int4; this drop is their price"
        ),
        "*wi4*": Floor(4.0, "int4 is for devices with no room for int8; this drop is its price"),
        "pcqat*": Floor(1.0, "half of the weights zero, 16 values a kernel: about half of int8's bytes after deflate"),
        "ptq": Floor(0.5, "the largest drop this project would ship for half the size, also with one scale per tensor"),
        "qat": Floor(0.5, "quantization-aware training must not be worse than the PTQ limit"),
    },
)
