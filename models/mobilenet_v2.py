"""mobilenet_v2: inverted residuals with ReLU6; in the matrix for many operators and as a known hard case of PTQ.

Its thin linear bottlenecks and depthwise filters leave little room for rounding, and the errors of 52 convolutions add
up. Trained as here it is not hard: static int8 costs less than the noise of 10,000 test images, and one scale for a
whole weight tensor 0.16 pp.

Architecture: MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 2) at width 0.35, channels rounded to multiples
of 8 as in the authors' code. Changed: one input channel, and the 28x28 image is enlarged to 56x56 by the first layer,
so that the network's five halvings end at 2x2. The layer is an upsampling because tfmot knows that one.

422,730 parameters. Trained in 144 s (129 to 153 s beside other work) on one thread of a 2-core
AMD EPYC (Zen 4) virtual machine.
Accuracy 0.8741 ± 0.0056 (mean ± sd of 5 seeds), pinned seed 0: 0.8748.
"""

from typing import Any

from quantbench import Floor, Recipe, ReferenceModel

WIDTH = 0.35
# Expansion, output channels before scaling by WIDTH, repeats, stride of the first repeat (table 2 of the paper).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LAST_CHANNELS = 1280  # never scaled down for widths below 1


def _scaled(channels: int) -> int:
    """Channels times WIDTH, to the nearest multiple of 8, at least 8, never more than 10 % below."""
    wanted = channels * WIDTH
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def build(keras: Any) -> Any:
    """28x28x1 image, enlarged to 56x56 inside -> 10 class probabilities."""
    layers = keras.layers

    def normed(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def relu6(x: Any) -> Any:
        return layers.ReLU(max_value=6)(x)

    image = keras.Input((28, 28, 1))
    x = layers.UpSampling2D(2, interpolation="bilinear")(image)
    x = relu6(normed(layers.Conv2D(_scaled(32), 3, strides=2, padding="same", use_bias=False)(x)))
    for expansion, channels, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            strides = first_stride if repeat == 0 else 1
            y = x
            if expansion > 1:
                y = relu6(normed(layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False)(y)))
            y = relu6(normed(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)))
            y = normed(layers.Conv2D(_scaled(channels), 1, use_bias=False)(y))
            x = layers.Add()([x, y]) if repeat else y
    x = relu6(normed(layers.Conv2D(LAST_CHANNELS, 1, use_bias=False)(x)))
    x = layers.GlobalAveragePooling2D()(x)
    classes = layers.Dense(10, activation="softmax")(x)
    return keras.Model(image, classes, name="mobilenet_v2")


MODEL = ReferenceModel(
    name="mobilenet_v2",
    description="MobileNetV2 of width 0.35 on 56x56: inverted residuals, depthwise convolutions, ReLU6",
    build=build,
    train=Recipe(epochs=5, batch_size=64, learning_rate=3e-3, schedule="cosine", flip=True),
    finetune=Recipe(epochs=2, batch_size=32, learning_rate=3e-4, schedule="cosine"),
    weights="weights/mobilenet_v2.npz",
    weights_sha256="aab07033ba5b864ed87de67b4ea48805694aabbe9f12a7b7ebe8305b07bbc76f",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.8748, 0.8819, 0.8715, 0.8756, 0.8668),
    floors={
        "ptq_float16": Floor(0.1, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi2*": Floor(
            5.0, "int2 weights of dense layers are for devices with no room for int4; this drop is their price"
        ),
        "*wi4*": Floor(3.0, "int4 is for devices with no room for int8; this drop is its price"),
        "pqat*": Floor(1.0, "half of the weights zero, a quarter fewer bytes after deflate: one training fell 0.81 pp"),
        "pcqat*": Floor(1.0, "half of the weights zero, 16 values a kernel: about half of int8's bytes after deflate"),
        "ptq": Floor(0.5, "the largest drop this project would ship for 40 % of the size, hard case or not"),
        "qat": Floor(0.5, "quantization-aware training must not be worse than the PTQ limit"),
    },
)
