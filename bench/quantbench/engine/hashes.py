"""Hash what float models are told apart by."""

from functools import lru_cache
from pathlib import Path

from quantbench.records import ModelHashes
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import ReferenceModel


def hashes_of(model: ReferenceModel) -> ModelHashes:
    """Return what a float model is told apart by."""
    return ModelHashes(file=_file_hash(model.file), weights=model.weights_sha256)


@lru_cache
def _file_hash(file: Path) -> str:
    """Hash a model's file as it is when the run begins; of one that is gone, or has none, there is nothing to hash."""
    return file_sha256(file, follow=True) if file.is_file() else ""
