"""Baselines on disk: ``<model>.json`` and, beside it, ``<model>.npz`` with the stored per-example predictions."""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from bench.datasets import Array, read_npz
from bench.errors import BadInput
from bench.options import CARRIED
from bench.records import BaselineCell, BaselineFile, read_record, write_json
from bench.reference import ReferenceModel


@dataclass
class Baseline:
    """What the maintainers last accepted for one model.

    Attributes:
        file: values by variant; None where the model has no baseline yet.
        predictions: variant -> stored predictions of its first seed, shape (n,).
    """

    file: BaselineFile | None = None
    predictions: dict[str, Array] = field(default_factory=dict)

    def cell(self, variant: str) -> BaselineCell | None:
        """A variant's accepted values; None where there are none."""
        return None if self.file is None else self.file.cells.get(variant)

    def seed_scores(self) -> list[list[float]]:
        """Scores over seeds, a list for each cell that trains."""
        cells = self.file.cells.values() if self.file else []
        scores = [cell.measurements["score"].values for cell in cells if "score" in cell.measurements]
        return [values for values in scores if values]


def json_path(folder: Path, model: str) -> Path:
    """The file of a model's accepted values."""
    return folder / f"{model}.json"


def load(folder: Path, model: ReferenceModel) -> Baseline:
    """Read and check a model's baseline; an empty one where there is no file.

    Raises:
        BadInput: not JSON, wrong type, unknown key, newer schema, NaN, or predictions that do not belong to it.
    """
    path = json_path(folder, model.name)
    if not path.exists():
        return Baseline()
    file = read_record(path, BaselineFile, "baseline")
    if file.model != model.name:
        raise BadInput(f"{path}: field 'model': expected {model.name!r} as in the file's name, found {file.model!r}")
    if file.metric != model.metric.name:
        raise BadInput(f"{path}: field 'metric': {model.name} is scored by {model.metric.name}, found {file.metric!r}")
    if file.data_sha256 != model.data_sha256:
        raise BadInput(
            f"{path}: field 'data_sha256': recorded on another data pack ({file.data_sha256[:12]}…) than the model "
            f"uses ({model.data_sha256[:12]}…); record the baseline again"
        )
    predictions = _load_predictions(path.with_suffix(".npz"), file.predictions_sha256, len(model.pack().test))
    return Baseline(file, predictions)


def _load_predictions(path: Path, sha256: str, examples: int) -> dict[str, Array]:
    if not path.exists():
        raise BadInput(f"{path}: stored predictions not found; restore the file from git")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise BadInput(
            f"{path}: stored predictions do not match 'predictions_sha256' in {path.with_suffix('.json').name}; "
            "restore both from git"
        )
    predictions = read_npz(path, "stored predictions")
    for name, array in predictions.items():
        if array.ndim == 0 or len(array) != examples:
            raise BadInput(f"{path}: array {name!r}: expected {examples} predictions, found shape {array.shape}")
    return predictions


def save(folder: Path, file: BaselineFile, predictions: dict[str, Array]) -> list[Path]:
    """Write a model's baseline; predictions first, so that a broken write is noticed by their hash.

    Raises:
        BadInput: the folder is the installed package's own, or cannot be written.
    """
    if folder.resolve().parent == CARRIED.resolve():
        raise BadInput(f"--baseline-dir: {folder} belongs to the installed package; give a folder of your own")
    path = json_path(folder, file.model)
    content = packed(predictions)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".npz.tmp")
        temporary.write_bytes(content)
        temporary.replace(path.with_suffix(".npz"))
        write_json(path, file.model_copy(update={"predictions_sha256": hashlib.sha256(content).hexdigest()}))
    except OSError as error:
        raise BadInput(f"--baseline-dir: cannot write to {folder}: {error.strerror}; give another") from None
    return [path, path.with_suffix(".npz")]


def packed(predictions: dict[str, Array]) -> bytes:
    """Predictions as npz bytes, the same bytes for the same content."""
    buffer = BytesIO()
    small = {name: _narrow(predictions[name]) for name in sorted(predictions)}
    np.savez_compressed(buffer, **small)  # type: ignore[arg-type]
    return buffer.getvalue()


def _narrow(array: Array) -> Array:
    if array.dtype.kind == "u" and array.size and int(array.max()) < 256:
        return array.astype(np.uint8)
    return array
