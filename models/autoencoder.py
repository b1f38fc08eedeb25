"""autoencoder: dense layers that rebuild their input; in the matrix for a metric that is not accuracy.

The score ranks examples by their reconstruction error, a small difference of two nearly equal values. Measured, PTQ
leaves it alone all the same (0.01 pp at most): what the network gets wrong in an anomaly is far more than rounding.

Architecture: the anomaly detection network of MLPerf Tiny (Banbury et al. 2021, arXiv:2106.07597), taken from the
DCASE 2020 baseline (Koizumi et al. 2020, arXiv:2006.05822): four dense layers of 128, one of 8, four of 128, each with
batch norm and ReLU, then a linear layer. Changed: 784 pixels in place of 640 spectrogram values.

Trained on one class alone, the trousers; every other class is an anomaly at test time. Trousers were chosen before
training: no other class shares their outline, as one machine's sound is unlike a faulty one's. They are also among the
two classes that vary least. The task is easy: the plain distance to the mean training image already reaches an AUC of
0.9736.

307,000 parameters. Trained in 10 s (8 to 12 s beside other work) on one thread of a 2-core
AMD EPYC (Zen 4) virtual machine.
AUC 0.9784 ± 0.0008 (mean ± sd of 5 seeds), pinned seed 0: 0.9781.
"""

from typing import Any

import numpy as np
from quantbench import Array, Floor, Inputs, Recipe, ReferenceModel, reconstruction_auc

NORMAL = 1  # trouser


def build(keras: Any) -> Any:
    """784 pixels -> 784 reconstructed pixels."""
    layers = keras.layers
    pixels = keras.Input((784,))
    x = pixels
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = layers.Dense(units)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return keras.Model(pixels, layers.Dense(784)(x), name="autoencoder")


def prepare(x: Inputs) -> Inputs:
    """uint8 images (n, 28, 28) -> float32 (n, 784) in [0, 1]."""
    assert isinstance(x, np.ndarray)
    return np.asarray(x.reshape(len(x), -1) / np.float32(255), dtype=np.float32)


def training(x: Array, y: Array) -> tuple[Inputs, Array]:
    """Normal examples only, each its own target."""
    normal = prepare(x[y == NORMAL])
    assert isinstance(normal, np.ndarray)
    return normal, normal


MODEL = ReferenceModel(
    name="autoencoder",
    description="MLPerf Tiny anomaly detection: a dense autoencoder trained on one class, judged by AUC",
    build=build,
    train=Recipe(epochs=50, batch_size=32, learning_rate=1e-3, schedule="cosine"),
    finetune=Recipe(epochs=10, batch_size=32, learning_rate=3e-4, schedule="cosine"),
    weights="weights/autoencoder.npz",
    weights_sha256="e18633ec60584bf00a2351cd870115e41d230e7a26184483dddd24c72ee5a417",
    data="data/fashion_mnist.npz",
    data_sha256="6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a",
    seed_scores=(0.9781, 0.9781, 0.9785, 0.9798, 0.9778),
    floors={
        "ptq_float16": Floor(0.05, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi2*": Floor(
            9.0, "int2 weights of dense layers are for devices with no room for int4; this drop is their price"
        ),
        "*wi4*": Floor(0.5, "int4 is for devices with no room for int8; this drop is its price"),
        "ptq": Floor(
            0.2, "over twice the sd between training runs (0.08 pp); a smaller drop could come from retraining alone"
        ),
        "qat": Floor(0.2, "quantization-aware training must not be worse than the PTQ limit"),
    },
    loss="mse",
    metric=reconstruction_auc(NORMAL),
    prepare=prepare,
    training=training,
)
