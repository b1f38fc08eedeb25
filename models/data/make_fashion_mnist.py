"""Make ``fashion_mnist.npz``: the first 10,000 training and all 10,000 test images of Fashion-MNIST.

    python models/data/make_fashion_mnist.py [--source FOLDER]

The canonical files are read from FOLDER (Debian: ``apt-get install dataset-fashion-mnist``), or, where
there is none, downloaded with ``tf.keras.datasets``. Their uncompressed bytes are checked: gzip headers
differ between distributions.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017; MIT licence, see LICENSE.fashion_mnist beside this file.
"""

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAIN_EXAMPLES = 10_000
# name in the pack -> (file, header bytes, shape of one example, sha256 of the uncompressed file)
SOURCES = {
    "x_train": (
        "train-images-idx3-ubyte",
        16,
        (28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "y_train": ("train-labels-idx1-ubyte", 8, (), "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "x_test": (
        "t10k-images-idx3-ubyte",
        16,
        (28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "y_test": ("t10k-labels-idx1-ubyte", 8, (), "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}


def from_folder(folder: Path) -> dict[str, bytes]:
    """Uncompressed bytes of the four canonical files."""
    return {name: gzip.decompress((folder / f"{file}.gz").read_bytes()) for name, (file, *_) in SOURCES.items()}


def from_download() -> dict[str, bytes]:
    """The same bytes, rebuilt from what ``tf.keras.datasets`` downloads (arrays without their IDX headers)."""
    import tensorflow as tf

    (x_train, y_train), (x_test, y_test) = tf.keras.datasets.fashion_mnist.load_data()
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return {name: idx_header(array) + array.tobytes() for name, array in arrays.items()}


def idx_header(array: np.ndarray) -> bytes:
    """IDX header of a uint8 array: two zero bytes, type 8, rank, then big-endian sizes."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)


def pack(raw: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Check every source and cut the pack out of it. Raises SystemExit on a wrong hash."""
    arrays = {}
    for name, (file, header, shape, expected) in SOURCES.items():
        found = hashlib.sha256(raw[name]).hexdigest()
        if found != expected:
            sys.exit(f"{file}: sha256 of the uncompressed bytes is {found}, expected {expected}")
        array = np.frombuffer(raw[name], np.uint8, offset=header).reshape(-1, *shape)
        arrays[name] = array[:TRAIN_EXAMPLES] if name.endswith("train") else array
    return arrays


def main() -> None:
    """Write the pack and print its own hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=DEBIAN, help=f"folder with the .gz files (default {DEBIAN})")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_mnist.npz"))
    arguments = parser.parse_args()
    raw = from_folder(arguments.source) if arguments.source.is_dir() else from_download()
    np.savez_compressed(arguments.out, **pack(raw))
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
