"""Read and write baselines: ``<model>.json``, and ``<model>.npz`` with the stored per-example predictions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quantbench import files
from quantbench.baselines import seals
from quantbench.core.arrays import Array
from quantbench.core.deltas import as_differences
from quantbench.core.distances import are_stored_outputs, owner
from quantbench.core.options import CARRIED
from quantbench.errors import BadInput, full_disk_named
from quantbench.records import SCHEMA_VERSION, BaselineCell, BaselineFile, is_of_target, read_record, write_json

if TYPE_CHECKING:
    from quantbench.reference.model import ReferenceModel


@dataclass
class Baseline:
    """Hold what the maintainers last accepted for one model.

    Attributes:
        file: values by variant; None where the model has no baseline yet.
        predictions: variant -> stored predictions of its first seed, shape (n,); under the names of
            :func:`quantbench.core.distances.stored_as`, distances of its outputs from its control's.
        edits: fields of its cells that are not as they were sealed on disk.
        sealed: whether the file on disk carries seals.
    """

    file: BaselineFile | None = None
    predictions: dict[str, Array] = field(default_factory=dict)
    edits: list[seals.Edit] = field(default_factory=list)
    sealed: bool = True

    def cell(self, variant: str) -> BaselineCell | None:
        """Return a variant's accepted values; None where there are none."""
        return None if self.file is None else self.file.cells.get(variant)

    def seed_scores(self, variant: str) -> tuple[list[list[float]], list[list[float]]]:
        """List the scores over seeds of each cell that trains as this variant does, and of each other trained cell."""
        from quantbench.variants import by_training  # with all models' metrics, which need long to load

        return by_training(variant, {} if self.file is None else scores_over_seeds(self.file.cells))


def scores_over_seeds(cells: Mapping[str, BaselineCell], measurement: str = "score") -> dict[str, list[float]]:
    """Map each trained variant to its accepted scores, one a seed."""
    accepted = {name: cell.measurements.get(measurement) for name, cell in cells.items()}
    return {name: value.values for name, value in accepted.items() if value is not None and value.values}


def json_path(folder: Path, model: str) -> Path:
    """Return the path of a model's baseline file."""
    return folder / f"{model}.json"


def check_folder(folder: Path) -> None:
    """Raise BadInput where baselines can neither be read from a folder nor be recorded in it.

    A folder that does not exist yet has no baselines: that is how the first ones are recorded.
    """
    if folder.is_dir():
        return
    if os.path.lexists(folder):
        raise BadInput(f"--baseline-dir: {folder} is not a folder; give a folder of baselines")
    if not folder.parent.is_dir():
        raise BadInput(f"--baseline-dir: no such folder: {folder}; make it first, or give a folder of baselines")


def fingerprint(folder: Path, model: str) -> str:
    """Hash a model's accepted values and predictions; empty where there are none."""
    path = json_path(folder, model)
    if not os.path.lexists(path):
        return ""
    return hashlib.sha256(files.read_bytes(path, "baseline", files.LARGEST_RECORD)).hexdigest()


def load(folder: Path, model: ReferenceModel) -> Baseline:
    """Read and check a model's baseline; return an empty one where there is no file.

    Raises:
        BadInput: invalid JSON, wrong type, unknown key, newer schema, NaN, predictions that do not match, or a hash or
            metric that was edited by hand.
    """
    path = json_path(folder, model.name)
    if not os.path.lexists(path):  # a broken link is an error, unlike a missing file
        return Baseline()
    file = read_record(path, BaselineFile, "baseline")
    if file.model != model.name:
        raise BadInput(f"{path}: field 'model': expected {model.name!r} as in the file's name, found {file.model!r}")
    edits = seals.edits(file)
    for edit in edits:
        if not edit.variant:  # of what all cells rest on: the data, the predictions, the metric
            raise BadInput(f"{path}: {edit}; {seals.action(file.model, edit)}")
    for problem in of_another(file, model) + too_few_repeats(file):
        raise BadInput(f"{path}: {problem.what}; {problem.action}")
    predictions = _load_predictions(path.with_suffix(".npz"), file.predictions_sha256, model)
    return Baseline(file, predictions, edits, seals.is_sealed(file))


class Problem(NamedTuple):
    """What is wrong with a baseline file that can be read, and what to do about it."""

    what: str
    action: str


def of_another(file: BaselineFile, model: ReferenceModel) -> list[Problem]:
    """Describe how the model changed since the baseline was recorded, and what to do."""
    again = (
        f"record it afresh: quantbench run --models {model.name} --seeds 5 --baseline-dir none, then quantbench "
        f'baseline update reports/latest --replace {model.name} --reason "why"'
    )
    mismatches = []
    if file.metric != model.metric.name:
        what = f"field 'metric': {model.name} is scored by {model.metric.name}, found {file.metric!r}"
        mismatches.append(Problem(what, again))
    metrics = {head.name: head.metric.name for head in model.heads}
    for output in sorted({*metrics, *file.outputs} if file.outputs else ()):
        if file.outputs.get(output) != metrics.get(output):
            found, now = file.outputs.get(output, "no score of it"), metrics.get(output, "nothing any more")
            mismatches.append(Problem(f"field 'outputs': {output} is scored by {now}, found {found!r}", again))
    if file.data_sha256 != model.data_sha256:
        what = f"field 'data_sha256': recorded on another data pack ({file.data_sha256[:12]}…) than the model "
        mismatches.append(Problem(f"{what}uses ({model.data_sha256[:12]}…)", again))
    return mismatches


def too_few_repeats(file: BaselineFile) -> list[Problem]:
    """List trained cells without a known spread; one cell with several seeds provides it for the others."""
    scores = {name: cell.measurements["score"] for name, cell in file.cells.items() if "score" in cell.measurements}
    trained = {name: score.values for name, score in scores.items() if score.values}
    if not trained or any(len(values) > 1 for values in trained.values()):
        return []
    name = min(trained)
    what = (
        f"field 'cells.{name}.measurements.score.values': {len(trained)} trained cell(s) with one seed each give no "
        "interval, expected at least two seeds of one of them"
    )
    return [Problem(what, f"record it again: quantbench run --models {file.model} --variants {name} --seeds 5")]


def stored_predictions(path: Path, sha256: str) -> dict[str, Array]:
    """Read the predictions beside a baseline file, whose hash it holds.

    Raises:
        BadInput: missing, damaged, or others.
    """
    if not os.path.lexists(path):
        raise BadInput(f"{path}: stored predictions not found; restore the file from git")
    from quantbench.reference.datasets import LARGEST_PREDICTIONS, read_predictions

    content = files.read_bytes(path, "stored predictions", LARGEST_PREDICTIONS)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(
            f"{path}: stored predictions do not match 'predictions_sha256' in {path.with_suffix('.json').name}; "
            "restore both from git"
        )
    return read_predictions(path, "stored predictions", content=content)


def _load_predictions(path: Path, sha256: str, model: ReferenceModel) -> dict[str, Array]:
    from quantbench.reference.heads import by_output

    predictions = stored_predictions(path, sha256)
    labels, scored = model.pack().test.y, by_output(model)
    for name, array in predictions.items():
        output = output_stored(name, scored)
        of_this = scored[output]
        if owner(name) is not None:
            if not are_stored_outputs(array, len(labels)):
                raise BadInput(
                    f"{path}: array {name!r}: expected a byte or a row of float32 for each of at most {len(labels)} "
                    f"examples, found shape {array.shape} ({array.dtype}); restore the file from git"
                )
        # A target may have answered the first examples alone.
        elif not of_this.metric.fits(array, _examples(name, array, of_this)):
            raise BadInput(
                f"{path}: array {name!r}: expected {len(labels)} predictions as {of_this.metric.name} takes them, "
                f"found shape {array.shape} ({array.dtype})"
            )
    return predictions


def output_stored(name: str, outputs: Collection[str]) -> str:
    """Return which of these outputs an array of predictions is of, by its name; empty where it is the main one."""
    output = name.partition("@")[2].partition("@")[0]  # VARIANT, VARIANT@OUTPUT, VARIANT@CLASS or VARIANT@OUTPUT@CLASS
    return output if output in outputs else ""


def _examples(name: str, array: Array, model: ReferenceModel) -> Array:
    labels = model.pack().test.y
    return labels[: len(array)] if is_of_target(name) else labels


def save(folder: Path, file: BaselineFile, predictions: dict[str, Array] | None) -> list[Path]:
    """Write and seal a model's baseline, predictions first, so that their hash shows an interrupted write.

    The caller has made sure that no field was edited by hand, or that a maintainer wants the edit.

    Args:
        predictions: None leaves those on disk unchanged.

    Raises:
        BadInput: the folder belongs to the installed package, or cannot be written.
    """
    if folder.resolve().parent == CARRIED.resolve():
        raise BadInput(f"--baseline-dir: {folder} belongs to the installed package; give a folder of your own")
    path = json_path(folder, file.model)
    update = {"schema_version": SCHEMA_VERSION}
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if predictions is not None:
                content = packed(predictions)
                update["predictions_sha256"] = hashlib.sha256(content).hexdigest()
                files.replace(path.with_suffix(".npz"), content)
            write_json(path, seals.sealed(file.model_copy(update=update)))
    except OSError as error:
        raise BadInput(f"--baseline-dir: cannot write to {folder}: {error.strerror}; give another") from None
    return [path] if predictions is None else [path, path.with_suffix(".npz")]


def packed(predictions: dict[str, Array]) -> bytes:
    """Pack predictions as npz bytes that depend on the content alone, and on the version of zlib."""
    buffer = BytesIO()
    np.savez_compressed(buffer, **as_stored(predictions))  # type: ignore[arg-type]
    return buffer.getvalue()


def as_stored(predictions: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file of predictions, by their names in it."""
    return as_differences({name: _narrow(predictions[name]) for name in sorted(predictions)})


def _narrow(array: Array) -> Array:
    if array.dtype.kind == "u" and array.size and int(array.max()) < 256:
        return array.astype(np.uint8)
    return array


def stored_hashes(predictions: Array) -> set[str]:
    """Hash predictions in each wider dtype that they may have had before they were stored compactly."""
    widths = ("u1", "u2", "u4", "u8") if predictions.dtype.kind == "u" else (predictions.dtype.str,)
    arrays = [predictions.astype(width) for width in widths if np.dtype(width).itemsize >= predictions.dtype.itemsize]
    return {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays}
