"""Read and write what maintainers accepted of a target's answers: ``targets/<target>.json`` and ``.npz``."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from quantbench import files
from quantbench.baselines.files import packed
from quantbench.core.arrays import Array
from quantbench.core.options import CARRIED
from quantbench.errors import BadInput, full_disk_named
from quantbench.records import AnswersBaseline, read_record, write_json

FOLDER = "targets"  # in the folder of baselines


@dataclass(frozen=True)
class Accepted:
    """Hold what was accepted of a target; without a file, nothing was.

    Attributes:
        predictions: cell -> predictions of its first examples.
    """

    file: AnswersBaseline | None = None
    predictions: dict[str, Array] = field(default_factory=dict)


def path(baseline_dir: Path, target: str) -> Path:
    """Return the file of a target."""
    return baseline_dir / FOLDER / f"{target}.json"


def load(baseline_dir: Path, target: str) -> Accepted:
    """Read what was accepted of a target; nothing where there is no file.

    Raises:
        BadInput: a file is damaged, or its predictions are others than it says.
    """
    named = path(baseline_dir, target)
    if not os.path.lexists(named):
        return Accepted()
    file = read_record(named, AnswersBaseline, "accepted answers")
    if file.target != target:
        raise BadInput(f"{named}: field 'target': expected {target!r} as in the file's name, found {file.target!r}")
    from quantbench.reference.datasets import LARGEST_PREDICTIONS, read_predictions

    beside = named.with_suffix(".npz")
    content = files.read_bytes(beside, "accepted predictions", LARGEST_PREDICTIONS)
    if hashlib.sha256(content).hexdigest() != file.predictions_sha256:
        raise BadInput(f"{beside}: not the predictions that {named.name} was written with; restore both from git")
    predictions = read_predictions(beside, "accepted predictions", content=content)
    for cell, accepted in file.cells.items():
        found = predictions.get(cell)
        if found is None or len(found) != accepted.examples:
            count = "none" if found is None else str(len(found))
            raise BadInput(
                f"{beside}: array {cell!r}: expected {accepted.examples} predictions, found {count}; restore both "
                "files from git"
            )
    return Accepted(file, predictions)


def save(baseline_dir: Path, file: AnswersBaseline, predictions: dict[str, Array]) -> list[Path]:
    """Write both files, the predictions first, so that their hash shows an interrupted write.

    Raises:
        BadInput: the folder belongs to the installed package, or cannot be written.
        DiskFull: no space is left.
    """
    if baseline_dir.resolve().parent == CARRIED.resolve():
        raise BadInput(f"--baseline-dir: {baseline_dir} belongs to the installed package; give a folder of your own")
    named, content = path(baseline_dir, file.target), packed(predictions)
    try:
        with full_disk_named(baseline_dir):
            files.own_folder(named.parent)
            files.replace(named.with_suffix(".npz"), content)
            write_json(named, file.model_copy(update={"predictions_sha256": hashlib.sha256(content).hexdigest()}))
    except OSError as error:
        raise BadInput(f"--baseline-dir: cannot write to {named.parent}: {error.strerror}; give another") from None
    return [named, named.with_suffix(".npz")]
