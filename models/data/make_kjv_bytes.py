"""Make ``kjv_bytes.npz``: text of the King James Bible as windows of 64 bytes, to train and test a language model.

    apt-get install bible-kjv
    python models/data/make_kjv_bytes.py [--bible PROGRAM] [--data FOLDER]

Debian's package ``bible-kjv-text`` keeps the text in a compressed form that the program ``bible`` of the package
``bible-kjv`` prints. The text is ASCII, one verse a line. Training windows are its first 768,000 bytes, from Genesis
on; test windows are the first 64,000 bytes of the New Testament, which quotes the Old one but is another text.

Source: the Authorized Version of 1611, in the public domain, see LICENSE.kjv_bytes beside this file.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

WINDOW = 64
TRAIN_WINDOWS, TEST_WINDOWS = 12_000, 1_000
VERSES = "genesis1:1-revelation22:21"
TEST_BEGINS = b"\nMatthew 1\n"
SHA256 = "6f74f5589333c56c263963e6347dba662bae2d96861302e690aaae0b4a855eda"  # of the whole text, as printed


def printed(program: str, folder: Path) -> bytes:
    """Return the whole text, one verse a line."""
    command = [program, "-p", str(folder), "-l10000", VERSES]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{program}: cannot print the text ({error}); apt-get install bible-kjv, or give --bible and --data")


def pack(text: bytes) -> dict[str, np.ndarray]:
    """Check the text and cut the windows out of it. Raises SystemExit on a wrong hash."""
    found = hashlib.sha256(text).hexdigest()
    if found != SHA256:
        sys.exit(f"sha256 of the text is {found}, expected {SHA256}")
    return {"x_train": windows(text, 0, TRAIN_WINDOWS), "x_test": windows(text, text.index(TEST_BEGINS), TEST_WINDOWS)}


def windows(text: bytes, start: int, count: int) -> np.ndarray:
    """Return consecutive windows, shape (count, WINDOW)."""
    return np.frombuffer(text, np.uint8, count * WINDOW, start).reshape(count, WINDOW)


def main() -> None:
    """Write the pack and print its own hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bible", default="bible", help="the program that prints the text (default bible)")
    parser.add_argument("--data", type=Path, default=Path("/usr/lib"), help="folder of bible.data (default /usr/lib)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("kjv_bytes.npz"))
    arguments = parser.parse_args()
    np.savez_compressed(arguments.out, **pack(printed(arguments.bible, arguments.data)))
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
