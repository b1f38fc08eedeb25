"""Read the evidence beside a report in a run's folder, and make pictures of examples whose prediction flipped.

Missing or damaged evidence is left out: the page of a report alone is made in the same way.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quantbench import files
from quantbench.core.arrays import Array
from quantbench.errors import BadInput
from quantbench.records import Cell, Evidence, Report

if TYPE_CHECKING:
    from quantbench.reference.model import ReferenceModel

MOST_BYTES = 2 * 2**20  # of all pictures together, as encoded in the page
OF_ATTENTION, OF_OTHERS = 12, 4  # pictures per cell
LARGEST_SIDE = 64  # pixels; larger pictures are subsampled
SMALLEST_SIDE = 8  # below this, an array with three axes is hardly an image
CLASSES = ("accuracy", "binary_accuracy")  # metrics whose prediction is the class itself


@dataclass(frozen=True)
class Picture:
    """Show an example whose prediction differs between the variant and its control."""

    example: int
    label: str
    control: str
    variant: str
    source: str


@dataclass
class Behind:
    """Hold evidence by model and variant, and make pictures of examples where their data is available.

    Attributes:
        spent: bytes of the pictures so far.
        left_out: cells that have pictures which did not fit.
    """

    evidence: dict[str, dict[str, Evidence]] = field(default_factory=dict)
    folder: Path | None = None
    models: Mapping[str, ReferenceModel] = field(default_factory=dict)
    spent: int = 0
    left_out: int = 0
    _sources: dict[str, _Source | None] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, report: Report, models: Mapping[str, ReferenceModel]) -> Behind:
        """Read what a run's folder holds besides the report."""
        names = sorted({cell.model for cell in report.cells})
        same = {
            name: models[name]
            for name in names
            if name in models and models[name].data_sha256 == report.data_sha256.get(name)
        }
        return Behind({name: _evidence(folder, name) for name in names}, folder, same)

    def of_cell(self, cell: Cell) -> Evidence | None:
        """Return the evidence of a cell; None where there is none."""
        return self.evidence.get(cell.model, {}).get(cell.variant)

    def pictures(self, cell: Cell, most: int) -> list[Picture]:
        """Make pictures of the flipped examples, those that the control predicted correctly first."""
        evidence = self.of_cell(cell)
        if evidence is None or not evidence.flipped or cell.metric not in CLASSES or cell.control is None:
            return []
        source = self._source(cell.model)
        pictures = [] if source is None else source.pictures(evidence.flipped, cell.variant, cell.control, most)
        size = sum(len(picture.source) for picture in pictures)
        if self.spent + size > MOST_BYTES:
            self.left_out += 1
            return []
        self.spent += size
        return pictures

    def _source(self, model: str) -> _Source | None:
        if model not in self._sources:
            self._sources[model] = self._open(model)
        return self._sources[model]

    def _open(self, model: str) -> _Source | None:
        if self.folder is None or model not in self.models:
            return None
        from quantbench.reference.datasets import read_predictions

        try:
            path = self.folder / "predictions" / f"{model}.npz"
            predictions = read_predictions(path, "predictions", inside=self.folder)
            test = self.models[model].pack().test
        except BadInput:
            return None
        if isinstance(test.x, dict) or not _are_images(test.x):
            return None
        return _Source(test.x, test.y, predictions)


@dataclass(frozen=True)
class _Source:
    images: Array
    labels: Array
    predictions: dict[str, Array]

    def pictures(self, flipped: list[int], variant: str, control: str, most: int) -> list[Picture]:
        new, old = self.predictions.get(variant), self.predictions.get(control)
        if new is None or old is None or not new.shape == old.shape == self.labels.shape:
            return []
        inside = [i for i in flipped if 0 <= i < len(self.images)]
        lost = sorted(inside, key=lambda i: bool(old[i] != self.labels[i]))
        return [
            Picture(i, str(self.labels[i]), str(old[i]), str(new[i]), _data_uri(self.images[i])) for i in lost[:most]
        ]


def _evidence(folder: Path, model: str) -> dict[str, Evidence]:
    try:
        path = folder / "evidence" / f"{model}.json"
        cells = json.loads(files.read_text(path, "evidence", files.LARGEST_EVIDENCE, inside=folder))
        return {variant: Evidence.model_validate(data) for variant, data in cells.items()}
    except (BadInput, ValueError, AttributeError, RecursionError):
        return {}


def _are_images(x: Array) -> bool:
    """Check whether an array holds grey or colour images, of bytes or of floats from 0 to 1."""
    shaped = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))
    if not shaped or min(x.shape[1:3]) < SMALLEST_SIDE or not len(x):
        return False
    few = x[:100]
    return x.dtype == np.uint8 or (x.dtype.kind == "f" and bool((few >= 0).all() and (few <= 1).all()))


def _data_uri(image: Array) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def png(image: Array) -> bytes:
    """Encode an image of shape (h, w), (h, w, 1) or (h, w, 3), of bytes or of floats from 0 to 1, as a PNG file."""
    every = -(-max(image.shape[:2]) // LARGEST_SIDE)
    small = image[::every, ::every]
    pixels = small if small.dtype == np.uint8 else np.clip(255 * np.nan_to_num(small), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    colour = 2 if rows.shape[1] == 3 * width else 0
    lines = np.hstack([np.zeros((height, 1), np.uint8), rows])  # filter type 0 (none) before each row
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
