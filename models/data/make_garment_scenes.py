"""Make ``garment_scenes.npz``: canvases of 32x32 with two garments of Fashion-MNIST each, and a class for each pixel.

    python models/data/make_garment_scenes.py

Garments are halved to 14x14 and placed at random, later ones over earlier ones, before a shaded background. A pixel
that a garment darkens or brightens belongs to it. Training scenes are made of the training images of
``fashion_mnist.npz`` beside this file, test scenes of its test images. The generator is seeded; 4 bits per pixel are
kept, so that the file stays small.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017; MIT licence, see LICENSE.fashion_mnist beside this file.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_name("fashion_mnist.npz")
SOURCE_SHA256 = "6e9a6139df4712e9f5bdef6ef9571b0bd40a31abc48f9207d32b7d357eaf5e0a"
CANVAS = 32
GARMENT = 14
PER_SCENE = 2
SCENES = {"train": 3_000, "test": 400}
SEEDS = {"train": 0, "test": 1}
COVERED = 32  # grey value from which a pixel belongs to its garment
# Label in Fashion-MNIST -> class of a pixel; 0 is the background.
# 1 top (T-shirt, pullover, coat, shirt), 2 trousers, 3 dress, 4 footwear (sandal, sneaker, boot), 5 bag
CLASS = np.array([1, 2, 1, 3, 1, 4, 1, 4, 5, 4], dtype=np.uint8)
CLASSES = 6


def halved(images: np.ndarray) -> np.ndarray:
    """Images (n, 28, 28) -> means of 2x2 pixels, shape (n, 14, 14)."""
    return np.rint(images.reshape(-1, GARMENT, 2, GARMENT, 2).mean(axis=(2, 4))).astype(np.uint8)


def chosen(classes: np.ndarray, generator: np.random.Generator) -> int:
    """Draw an image, its class first, so that all classes are as frequent."""
    return int(generator.choice(np.flatnonzero(classes == generator.integers(1, CLASSES))))


def background(generator: np.random.Generator, side: int = CANVAS) -> np.ndarray:
    """A square plane of grey values that slopes in a random direction."""
    across, down = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    low, slope = generator.uniform(0, 96), generator.uniform(-48, 48, 2)
    return np.clip(low + slope[0] * across + slope[1] * down, 0, 160)


def scene(garments: np.ndarray, classes: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one canvas and the classes of its pixels."""
    canvas, labels = background(generator), np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    for _ in range(PER_SCENE):
        which = chosen(classes, generator)
        top, left = generator.integers(0, CANVAS - GARMENT + 1, 2)
        place = np.s_[top : top + GARMENT, left : left + GARMENT]
        covered = garments[which] >= COVERED
        canvas[place][covered] = garments[which][covered]
        labels[place][covered] = classes[which]
    return canvas.astype(np.uint8) & 0xF0, labels


def scenes(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return canvases and classes of pixels, both of shape (count, 32, 32)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    garments, classes = halved(images), CLASS[labels]
    made = [scene(garments, classes, generator) for _ in range(count)]
    return np.stack([canvas for canvas, _ in made]), np.stack([classes for _, classes in made])


def source() -> Any:
    """Open Fashion-MNIST as an ``.npz``, hash-checked."""
    found = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        sys.exit(f"{SOURCE}: sha256 is {found}, expected {SOURCE_SHA256}; restore the file from git")
    return np.load(SOURCE, allow_pickle=False)


def main() -> None:
    """Write the pack and print its own hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("garment_scenes.npz"))
    arguments = parser.parse_args()
    arrays = {}
    with source() as images:
        for split, count in SCENES.items():
            x, y = scenes(images[f"x_{split}"], images[f"y_{split}"], count, SEEDS[split])
            arrays |= {f"x_{split}": x, f"y_{split}": y}
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
