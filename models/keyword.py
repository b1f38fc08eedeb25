"""keyword: a GRU over frames of synthetic speech; in the matrix for a state that goes through integers step by step.

The steps are unrolled, as for tools that take no loops, and each hands its state on in the artifact's own numbers: with
static ranges it is rounded 32 times before the answer.

Architecture: a gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) of 48 units over 32 frames of 20 mel bands, and
a dense layer on its last state, as in Zhang et al. 2017, "Hello Edge" (arXiv:1711.07128), with fewer units.

Data: words that espeak-ng speaks, in noise; see ``data/make_spoken_words.py``. Nobody spoke them, so that a score here
says nothing of people's voices. A second score is what a listening device is disliked for: how often an hour it hears
a keyword in noise or in another word, at a cut-off of 0.5. Most of these words were chosen to sound like a keyword.

10,325 parameters. Trained in 9 s of CPU time on a 2-core AMD EPYC (Zen 4) virtual machine that had other work.
Accuracy 0.9086 ± 0.0018 (mean ± sd of 5 seeds), pinned seed 0: 0.9090.
"""

from typing import Any

import numpy as np
from quantbench import Floor, Head, Inputs, Recipe, ReferenceModel, by_name

FRAMES, BANDS = 32, 20


def build(keras: Any, units: int = 48) -> Any:
    """32 frames of 20 mel bands -> 5 class probabilities."""
    frames = keras.Input((FRAMES, BANDS))
    state = keras.layers.GRU(units, unroll=True)(frames)
    return keras.Model(frames, keras.layers.Dense(5, activation="softmax")(state), name="keyword")


def prepare(x: Inputs) -> Inputs:
    """uint8 features (n, 32, 20) -> float32 of the same shape in [-1, 1]."""
    assert isinstance(x, np.ndarray)
    return np.asarray(x / np.float32(127.5) - 1, dtype=np.float32)


# The converter gives each unrolled step weights of its own as soon as its numbers are integers, so that a static file
# is larger than float32's, 2.3 times where it is int8 by channel: nothing is won by what it loses.
STATIC = Floor(3.0, "not to be shipped: larger than float32, since no step shares its int8 weights with the next")
INT2 = Floor(45.0, "not to be shipped: the state forgets the word where the dense layers' weights have two bits")

MODEL = ReferenceModel(
    name="keyword",
    description="GRU(48) over 32 frames of synthetic speech: four keywords among other words and noise",
    build=build,
    train=Recipe(epochs=20, batch_size=32, learning_rate=5e-3, schedule="cosine"),
    finetune=Recipe(epochs=2, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/keyword.npz",
    weights_sha256="afe0a1439a78cee59d7e38329d00e0f8f989b7890256b14cc074208ec7d1bb2d",
    data="data/spoken_words.npz",
    data_sha256="c53ac18d67b2c96f9d4256c768f5e0fa5826b1685b6c76b1eee84f41eca565eb",
    floors={
        "ptq_float16": Floor(0.2, "float16 keeps 11 significant bits; a larger drop is a bug, not rounding"),
        "*wi4*": Floor(2.0, "int4 is for devices with no room for int8; this drop is its price"),
        "*wi2*": INT2,
        "*static*": STATIC,
        "ptq": Floor(1.0, "the largest drop this project would ship for half of the size"),
        "qat": Floor(1.0, "quantization-aware training must not be worse than the PTQ limit"),
    },
    metric=by_name("accuracy").of("output_0"),
    heads=(
        Head(
            name="alarms",
            metric=by_name("false_accepts_per_hour:0.5:1").of("output_0"),
            labels="alarms",
            floors={
                "ptq_float16": Floor(9.1, "one more in the 397 s without a keyword; float16 keeps 11 significant bits"),
                "*wi4*": Floor(73.0, "as 2 pp of accuracy: in 2 % of the seconds without a keyword"),
                "*wi2*": Floor(450.0, INT2.reason),
                "*static*": Floor(120.0, STATIC.reason),
                "default": Floor(37.0, "as 1 pp of accuracy: in 1 % of the seconds without a keyword"),
            },
        ),
    ),
    seed_scores=(0.9090, 0.9110, 0.9080, 0.9090, 0.9060),
    prepare=prepare,
    classes=("other", "yes", "no", "stop", "go"),
)
