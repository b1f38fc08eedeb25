"""detector: a small one-stage detector; in the matrix for outputs of unlike ranges.

Distances are in pixels of a frame of 640x640, of which the canvas is a tenth, as detectors export them: up to 244
beside scores of at most 1. The same features leave the graph twice, by layers of their own: as boxes and scores apart,
and joined in one tensor, whose single int8 range has steps of 1.03. A score is then 0 or 1.03: static int8 loses
16.45 pp of mean average precision where they are joined, and none where they leave apart. With int16 activations the
step is 0.008, and 0.31 pp are lost.

tfmot's default training gives the joined tensor its parts in the other order, and clips the distances, see
``studies.fake_quantized_start``; all other variants that train keep the order, and start from ranges that fit.

Architecture: FCOS (Tian et al. 2019, arXiv:1904.01355) with one level: every cell of 8x8 pixels gives a score of each
class, and the distances in pixels from its centre to the four sides of a box. The cell that an object's centre is in
answers for it. Found is what scores highest among its neighbours (Zhou et al. 2019, arXiv:1904.07850), so that no
non-maximum suppression is needed; this is done outside the graph.

Data: one or two garments of Fashion-MNIST of several sizes on a shaded canvas of 64x64; see
``data/make_placed_garments.py``. Mean average precision is no mean over scenes, so the paired bootstrap over scenes
judges it.

51,718 parameters. Trained in 28 s of CPU time on a 2-core AMD EPYC (Zen 4) virtual machine that had other work. Mean
average precision 0.5243 ± 0.0171 (mean ± sd of 5 seeds), pinned seed 0: 0.5290.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from quantbench import Array, Floor, Head, Inputs, Recipe, ReferenceModel, as_unit_floats, by_name

CANVAS, FRAME, CELLS, CLASSES = 64, 640, 8, 5
CENTRES = (np.arange(CELLS) + 0.5) * (FRAME / CELLS)
TYPICAL, SPREAD = 80.0, 40.0  # of a distance, in pixels
RARE = -4.6  # logit of a class in a cell
BOXES, SCORES, JOINED = "output_0", "output_1", "output_2"
MOST = 4  # detections that are kept of a scene
LEAST = 1 / 64  # score


def build(keras: Any) -> Any:
    """64x64x1 canvas -> distances (8, 8, 4) in pixels, scores (8, 8, 5), and both together (8, 8, 9)."""
    layers = keras.layers

    def block(x: Any, channels: int, stride: int) -> Any:
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    def head(x: Any) -> list[Any]:
        constant = keras.initializers.Constant
        sides = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        sides = layers.BatchNormalization(gamma_initializer=constant(SPREAD), beta_initializer=constant(TYPICAL))(sides)
        scores = layers.Conv2D(CLASSES, 3, padding="same", bias_initializer=constant(RARE), activation="sigmoid")(x)
        return [layers.ReLU()(sides), scores]

    canvas = x = keras.Input((CANVAS, CANVAS, 1))
    for channels, stride in ((12, 2), (24, 2), (48, 2), (64, 1)):
        x = block(x, channels, stride)
    return keras.Model(canvas, [*head(x), layers.Concatenate()(head(x))], name="detector")


def training(x: Array, y: Array) -> tuple[Inputs, Array]:
    """Canvases and their mirror images, with the answers of each cell in all three outputs."""
    left, top, right, bottom, kind = np.moveaxis(y, -1, 0)
    mirrored = np.stack([1 - right, top, 1 - left, bottom, kind], axis=-1)
    inputs = as_unit_floats(np.concatenate([x, x[:, :, ::-1]]))
    assert isinstance(inputs, np.ndarray)
    return inputs, _cells(np.concatenate([y, mirrored]))


def _cells(y: Array) -> Array:
    """Boxes (n, 2, 5) -> targets of the three outputs in one row; distances are -1 in cells without an object."""
    distances = np.full((len(y), CELLS, CELLS, 4), -1, dtype=np.float32)
    scores = np.zeros((len(y), CELLS, CELLS, CLASSES), dtype=np.float32)
    scene, place = np.nonzero(y[..., 4] >= 0)
    left, top, right, bottom = y[scene, place, :4].T * FRAME
    column, row = ((ends / 2 * CELLS / FRAME).astype(int) for ends in (left + right, top + bottom))
    across, down = CENTRES[column], CENTRES[row]
    sides = [across - left, down - top, right - across, bottom - down]
    distances[scene, row, column] = np.stack(sides, axis=1)
    scores[scene, row, column, y[scene, place, 4].astype(int)] = 1
    outputs = [distances, scores, np.concatenate([distances, scores], axis=3)]
    return np.concatenate([each.reshape(len(y), -1) for each in outputs], axis=1)


def loss(_keras: Any) -> Any:
    """Return the loss of distances, of scores, or of both, by the number of values of a cell.

    Sources: Yu et al. 2016, "UnitBox" (arXiv:1608.01471); Lin et al. 2017, "Focal Loss" (arXiv:1708.02002).
    """
    import tensorflow as tf

    def area(sides: Any) -> Any:
        return (sides[..., 0] + sides[..., 2]) * (sides[..., 1] + sides[..., 3])

    def of_boxes(real: Any, found: Any) -> Any:
        there = tf.cast(real[..., 0] >= 0, tf.float32)
        shared = area(tf.minimum(real, found))  # both boxes hold the cell's centre
        iou = (shared + 1) / (area(real) + area(found) - shared + 1)
        return tf.reduce_sum(there * -tf.math.log(tf.maximum(iou, 1e-3)), axis=[1, 2])

    def of_scores(real: Any, found: Any) -> Any:
        found = tf.clip_by_value(found, 1e-6, 1 - 1e-6)
        right = tf.where(real > 0, found, 1 - found)
        return tf.reduce_sum(-((1 - right) ** 2) * tf.math.log(right) / 2, axis=[1, 2, 3])

    def of_output(real: Any, found: Any) -> Any:
        if found.shape[-1] == 4:
            return of_boxes(real, found)
        if found.shape[-1] == CLASSES:
            return of_scores(real, found)
        return of_boxes(real[..., :4], found[..., :4]) + of_scores(real[..., 4:], found[..., 4:])

    return of_output


def _detections(distances: Array, scores: Array) -> Array:
    """Return rows of x1, y1, x2, y2, score, class as shares of the canvas, shape (n, MOST * 6), in the cells' order.

    Corners are rounded to a quarter of a pixel and scores to a thousandth, so that baselines stay small.
    """
    n = len(scores)
    framed = np.pad(scores, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = [framed[:, i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3)]
    peaks = np.where(scores >= np.maximum.reduce(around), scores, 0).reshape(n, -1)
    best = np.sort(np.argsort(-peaks, axis=1, kind="stable")[:, :MOST], axis=1)
    cell, found = best // CLASSES, best % CLASSES
    across, down = CENTRES[cell % CELLS], CENTRES[cell // CELLS]
    left, top, right, bottom = np.moveaxis(np.take_along_axis(distances.reshape(n, -1, 4), cell[..., None], 1), 2, 0)
    corners = np.stack([across - left, down - top, across + right, down + bottom], axis=2) / FRAME
    kept = np.take_along_axis(peaks, best, 1)
    rows = [np.rint(np.clip(corners, 0, 1) * 256) / 256, np.rint(kept[..., None] * 1024) / 1024, found[..., None]]
    return np.asarray(np.where(kept[..., None] < LEAST, 0, np.concatenate(rows, axis=2)).reshape(n, -1), np.float32)


def apart(outputs: Inputs, _inputs: Inputs) -> Array:
    """Detections of the outputs for boxes and scores."""
    assert isinstance(outputs, dict)
    return _detections(outputs[BOXES], outputs[SCORES])


def joined(outputs: Inputs, _inputs: Inputs) -> Array:
    """Detections of the output that holds both."""
    assert isinstance(outputs, dict)
    return _detections(outputs[JOINED][..., :4], outputs[JOINED][..., 4:])


# Of mean average precision, by the sd between trainings of float32, which is 1.71 pp.
HALF = Floor(0.43, "float16 keeps 11 significant bits; a drop of a quarter of the sd between trainings is a bug")
SHIPPED = Floor(1.71, "the sd between trainings: a larger drop is not to be shipped for a third of the size")
CLOSE = Floor(1.0, "boxes survive int8: a larger drop is a bug")
COARSE = Floor(20.0, "four bits are too coarse for so few channels: not to be shipped, kept to see them get better")
HALVED = Floor(20.0, "half of the weights zero cost 4.38 pp in float32: not to be shipped, kept to see it get better")
PRUNED = {"pqat*": HALVED, "pcqat*": HALVED}

MODEL = ReferenceModel(
    name="detector",
    description="A small one-stage detector of garments: boxes and scores apart, and joined in one tensor",
    build=build,
    train=Recipe(epochs=9, batch_size=32, learning_rate=4e-3, schedule="cosine"),
    finetune=Recipe(epochs=1, batch_size=16, learning_rate=3e-4, schedule="cosine"),
    weights="weights/detector.npz",
    weights_sha256="799ffd13afd4e942b6bc7e99ba2d27003cf11f6abf7578401d4b6984b9db928c",
    data="data/placed_garments.npz",
    data_sha256="119760bbb3ff2beaea9f505873216c9ab0460a8fa8279dc99bc8c35c2336cf9b",
    floors={"ptq": SHIPPED, "qat": SHIPPED, "*wi4*": COARSE, "*float16": HALF, **PRUNED},
    seed_scores=(0.5290, 0.5190, 0.5426, 0.5332, 0.4978),
    classes=("top", "trousers", "dress", "footwear", "bag"),
    metric=replace(by_name("mean_average_precision"), predict=apart, outputs=(BOXES, SCORES)),
    heads=(
        Head(
            "joined",
            replace(by_name("mean_average_precision"), predict=joined, outputs=(JOINED,)),
            # None for int8 activations, of which one step is larger than any score.
            floors={"*wi4*afp32": COARSE, "*_afp32": SHIPPED, "*ai16": SHIPPED, "*float16": HALF},
        ),
        Head(
            "box_iou",
            replace(by_name("box_iou"), predict=apart, outputs=(BOXES, SCORES)),
            floors={"ptq": CLOSE, "qat": CLOSE, "*wi4*": COARSE, **PRUNED},
        ),
    ),
    loss=loss,
    training=training,
    trained_outputs=(BOXES, SCORES, JOINED),
)
