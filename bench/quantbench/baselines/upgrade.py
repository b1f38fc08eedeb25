"""Rewrite a baseline of an older version of the format in the current one; no value, and no seal of a cell, changes."""

from pathlib import Path
from zipfile import ZipFile

from quantbench.baselines import seals
from quantbench.baselines.files import as_stored, json_path, save, stored_predictions
from quantbench.errors import BadInput
from quantbench.records import SCHEMA_VERSION, BaselineFile, read_record


def upgrade(folder: Path, model: str) -> str:
    """Rewrite one model's files where either is of an older version, and say what was done.

    Raises:
        BadInput: no such file, a file of before seals, one that was edited by hand, or predictions of another.
    """
    path = json_path(folder, model)
    file = read_record(path, BaselineFile, "baseline")
    if not seals.is_sealed(file):
        raise BadInput(
            f"{path}: has no seals, and an upgrade would seal whatever it holds; quantbench baseline seal {model} does "
            "both"
        )
    seals.refuse_edited(file, path)
    both = (path, path.with_suffix(".npz"))
    predictions = stored_predictions(both[1], file.predictions_sha256)
    with ZipFile(both[1]) as stored:  # its arrays, not its bytes, which depend on zlib
        as_now = {name.removesuffix(".npy") for name in stored.namelist()} == set(as_stored(predictions))
    if file.schema_version == SCHEMA_VERSION and as_now:
        return f"{path}: already in version {SCHEMA_VERSION} of the format"
    before = [one.stat().st_size for one in both]
    save(folder, file, predictions)
    sizes = [f"{one.name} {size:,} -> {one.stat().st_size:,} bytes" for one, size in zip(both, before, strict=True)]
    return f"{path}: version {file.schema_version} -> {SCHEMA_VERSION}; {', '.join(sizes)}; no value changed"
