"""resnet8: three residual stages with batch norm; in the matrix for batch-norm folding and residual additions.

A quantizer must fold each batch norm into the convolution before it, and an addition joins two branches
whose ranges differ, so that one of them is rescaled.

Architecture: the image classification network of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597), a ResNet
(He et al. 2015, arXiv:1512.03385) of 16, 32 and 64 filters, with its He initialisation and weight penalty. Changed:
grey 28x28 input in place of colour 32x32.

78,378 parameters. Trained in 145 s (131 to 158 s beside other work) on one thread of a 2-core
AMD EPYC (Zen 4) virtual machine.
Accuracy 0.8926 ± 0.0031 (mean ± sd of 5 seeds), pinned seed 0: 0.8955.
"""

from typing import Any

from quantbench import Floor, Recipe, ReferenceModel


def build(keras: Any) -> Any:
    """28x28x1 image -> 10 class probabilities."""
    layers = keras.layers

    def conv(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.l2(1e-4),
        )(x)

    def normed(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    image = keras.Input((28, 28, 1))
    x = layers.ReLU()(normed(conv(image, 16)))
    for filters in (16, 32, 64):
        strides = 1 if filters == 16 else 2
        y = layers.ReLU()(normed(conv(x, filters, strides=strides)))
        y = normed(conv(y, filters))
        shortcut = x if strides == 1 else conv(x, filters, size=1, strides=strides)
        x = layers.ReLU()(layers.Add()([shortcut, y]))
    x = layers.GlobalAveragePooling2D()(x)
    classes = layers.Dense(10, activation="softmax", kernel_initializer="he_normal")(x)
    return keras.Model(image, classes, name="resnet8")


MODEL = ReferenceModel(
    name="resnet8",
    description="MLPerf Tiny image classification: three residual stages with batch norm",
    build=build,
    train=Recipe(epochs=8, batch_size=64, learning_rate=3e-3, schedule="cosine", flip=True),
    finetune=Recipe(epochs=1, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/resnet8.npz",
    weights_sha256="0aed70ffa39cc5b227e4d496c2c1fdb1aeb9b91085902b72b90f521126d78a00",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.8955, 0.8938, 0.8918, 0.8942, 0.8876),
    floors={
        "ptq_float16": Floor(0.1, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi2*": Floor(
            5.0, "int2 weights of dense layers are for devices with no room for int4; this drop is their price"
        ),
        "aeq_dynamic_wi4_mse_afp32": Floor(
            8.0, "never shipped: its clipping loses more than min-max; kept to notice when that changes"
        ),
        "*wi4*": Floor(4.0, "int4 is for devices with no room for int8; this drop is its price"),
        "pcqat*": Floor(1.0, "half of the weights zero, 16 values a kernel: about half of int8's bytes after deflate"),
        "ptq": Floor(
            0.5, "the largest drop this project would ship for a third of the size and a third of the latency"
        ),
        "qat": Floor(0.5, "quantization-aware training must not be worse than the PTQ limit"),
    },
)
