"""Rewrite a baseline of an older version of the format in the current one; no value, and no seal, changes."""

from pathlib import Path

from quantbench.baselines import seals
from quantbench.baselines.files import json_path, save
from quantbench.errors import BadInput
from quantbench.records import SCHEMA_VERSION, BaselineFile, read_record


def upgrade(folder: Path, model: str) -> str:
    """Rewrite one model's file where it is of an older version, and say what was done.

    Raises:
        BadInput: no such file, a file of before seals, or one that was edited by hand.
    """
    path = json_path(folder, model)
    file = read_record(path, BaselineFile, "baseline")
    if not seals.is_sealed(file):
        raise BadInput(
            f"{path}: has no seals, and an upgrade would seal whatever it holds; quantbench baseline seal {model} does "
            "both"
        )
    seals.refuse_edited(file, path)
    if file.schema_version == SCHEMA_VERSION:
        return f"{path}: already in version {SCHEMA_VERSION} of the format"
    before = path.stat().st_size
    save(folder, file, None)
    return (
        f"{path}: version {file.schema_version} -> {SCHEMA_VERSION}, {before:,} -> {path.stat().st_size:,} bytes; "
        "no value changed"
    )
