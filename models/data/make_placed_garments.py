"""Make ``placed_garments.npz``: canvases of 64x64 with one or two garments of Fashion-MNIST each, and their boxes.

    python models/data/make_placed_garments.py

Garments are enlarged or made smaller, and placed at random, later ones over earlier ones, before a shaded background;
both as in ``make_garment_scenes.py`` beside this file. The two boxes share no more than a quarter of the smaller one. A
box is x1, y1, x2, y2 as shares of the canvas, and a class; rows of class -1 fill up scenes of one garment. Training
scenes are made of the training images of ``fashion_mnist.npz``, test scenes of its test images. The generator is
seeded; 3 bits per pixel are kept, so that the file stays small.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017; MIT licence, see LICENSE.fashion_mnist beside this file.
"""

import argparse
import hashlib
from pathlib import Path

import make_garment_scenes as scenes
import numpy as np

CANVAS = 64
SIZES = (12, 32)  # sides of a garment's image
MOST = 2  # garments in a scene
SHARED = 0.25  # of the smaller of two boxes
SCENES = {"train": 3_000, "test": 400}
SEEDS = {"train": 0, "test": 1}


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """Image (28, 28) -> (side, side), each pixel the nearest one."""
    nearest = np.arange(side) * len(image) // side
    return image[nearest][:, nearest]


def box_of(covered: np.ndarray, left: int, top: int) -> np.ndarray:
    """Return x1, y1, x2, y2 in pixels of what is covered of an image that is placed there."""
    across, down = (np.flatnonzero(covered.any(axis=axis)) for axis in (0, 1))
    return np.array([left + across[0], top + down[0], left + across[-1] + 1, top + down[-1] + 1])


def area(box: np.ndarray) -> float:
    """Return the area of a box, 0 where it is empty."""
    return float(np.prod(np.maximum(box[2:] - box[:2], 0)))


def shared(box: np.ndarray, other: np.ndarray) -> float:
    """Return which share of the smaller of two boxes is in both."""
    both = np.concatenate([np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])])
    return area(both) / min(area(box), area(other))


def scene(garments: np.ndarray, classes: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one canvas and its boxes, shape (MOST, 5)."""
    canvas, labels = scenes.background(generator, CANVAS), np.full((MOST, 5), -1.0, dtype=np.float32)
    wanted, boxes = generator.integers(1, MOST + 1), list[np.ndarray]()
    while len(boxes) < wanted:
        which, side = scenes.chosen(classes, generator), generator.integers(SIZES[0], SIZES[1] + 1)
        garment = resized(garments[which], side)
        top, left = generator.integers(0, CANVAS - side + 1, 2)
        covered = garment >= scenes.COVERED
        box = box_of(covered, left, top)
        if all(shared(box, other) <= SHARED for other in boxes):
            canvas[top : top + side, left : left + side][covered] = garment[covered]
            labels[len(boxes)] = [*(box / CANVAS), classes[which] - 1]
            boxes.append(box)
    return canvas.astype(np.uint8) & 0xE0, labels


def made(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first canvases of a split and their boxes, shapes (count, 64, 64) and (count, MOST, 5)."""
    generator = np.random.Generator(np.random.PCG64(SEEDS[split]))
    with scenes.source() as images:
        garments, classes = images[f"x_{split}"], scenes.CLASS[images[f"y_{split}"]]
    each = [scene(garments, classes, generator) for _ in range(count)]
    return np.stack([canvas for canvas, _ in each]), np.stack([labels for _, labels in each])


def main() -> None:
    """Write the pack and print its own hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("placed_garments.npz"))
    arguments = parser.parse_args()
    arrays = dict[str, np.ndarray]()
    for split, count in SCENES.items():
        arrays[f"x_{split}"], arrays[f"y_{split}"] = made(split, count)
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
