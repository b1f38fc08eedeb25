"""All that is wrong with a folder of baselines, without running anything: what ``quantbench baseline check`` lists.

Where a run stops at the first thing that it cannot read, this goes on through every file.
"""

import datetime
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from quantbench import files, gate
from quantbench.baselines import derived, exceptions, measured, overlays, seals, target_answers
from quantbench.baselines.files import of_another, output_stored, too_few_repeats
from quantbench.core.arrays import Array
from quantbench.core.distances import are_stored_outputs, of_head, owner
from quantbench.core.distances import stored_as as of_name
from quantbench.core.environment import package_version
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, BaselineFile, BaselineValue, is_of_target, problems, read_record
from quantbench.records.measurements import OUTPUT_DISTANCE, judged_latency, of_output, output_in, without_output
from quantbench.reference.datasets import LARGEST_PREDICTIONS, read_predictions
from quantbench.reference.heads import by_output
from quantbench.reference.model import ReferenceModel
from quantbench.variants import VARIANTS, known
from quantbench.variants.built import is_built

MOST_BYTES = 5_000_000  # of all stored predictions: git keeps every version of them for good
_RESTORE = "restore both files from git, or accept a run again"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or will be soon.

    Attributes:
        cell: variant, empty where it is about the file.
        note: only worth knowing; no reason to fail.
    """

    file: Path
    cell: str
    what: str
    action: str
    note: bool = False

    def __str__(self) -> str:
        where = f"{self.file}: {self.cell}: " if self.cell else f"{self.file}: "
        return f"{'note: ' if self.note else ''}{where}{self.what}; {self.action}"


def check(models: dict[str, ReferenceModel], folder: Path, today: datetime.date) -> list[Finding]:
    """Every finding, file by file.

    Raises:
        BadInput: the folder does not exist.
    """
    if not folder.is_dir():
        raise BadInput(f"--baseline-dir: {folder} is not a folder; give a folder of baselines")
    return [*_files(models, folder), *_answers(folder), *_too_large(folder), *_contents(models, folder, today)]


def _files(models: dict[str, ReferenceModel], folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.iterdir()):
        if path.name == target_answers.FOLDER and path.is_dir():
            continue  # see below
        if path.suffix not in (".json", ".npz", measured.SUFFIX) or path.name.startswith(".") or path.is_dir():
            yield Finding(path, "", "not a baseline file", "remove it")
        elif path.stem not in models:
            yield Finding(
                path, "", f"there is no model {path.stem}", "remove the file, or give the model's --model-dir"
            )
        elif path.suffix != ".json" and not path.with_suffix(".json").exists():
            what = "predictions" if path.suffix == ".npz" else measured.WHAT
            yield Finding(path, "", f"{what} without {path.stem}.json", _RESTORE)
        elif path.suffix == ".json" and not path.with_suffix(".npz").exists():
            yield Finding(path, "", f"values without {path.stem}.npz", _RESTORE)
        elif path.suffix == measured.SUFFIX:
            yield from _measured(path)


def _measured(path: Path) -> Iterator[Finding]:
    """Check what was measured of accepted artifacts: that it can be read, and that all of them are accepted still."""
    try:
        groups = measured.load(path, path.stem)
        accepted = measured.artifacts_of(read_record(path.with_suffix(".json"), BaselineFile, "baseline"))
    except BadInput as error:
        if str(error).startswith(str(path)):  # the other file is checked below
            yield Finding(path, "", str(error).removeprefix(f"{path}: "), _RESTORE)
        return
    others = {sha256 for group in groups for sha256 in group.results} - accepted
    if others:
        what = f"measurements of {len(others)} artifacts that are not accepted any more, such as {min(others)[:12]}"
        yield Finding(path, "", what, "accept a run again", note=True)


def _answers(folder: Path) -> Iterator[Finding]:
    """Check what was accepted of targets' answers."""
    place = folder / target_answers.FOLDER
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.suffix == ".npz" and path.with_suffix(".json").exists():
            continue  # read with that
        if path.suffix != ".json":
            yield Finding(path, "", "not a file of accepted answers", "remove it")
            continue
        try:
            target_answers.load(folder, path.stem)
        except BadInput as error:
            yield Finding(path, "", str(error).removeprefix(f"{path}: "), _RESTORE)


def _too_large(folder: Path) -> Iterator[Finding]:
    total = sum(
        path.lstat().st_size for path in chain(folder.glob("*.npz"), (folder / target_answers.FOLDER).glob("*.npz"))
    )
    if total > MOST_BYTES:
        what = f"stored predictions take {total / 1e6:.1f} MB together, more than {MOST_BYTES / 1e6:g} MB"
        yield Finding(folder, "", what, "use a smaller test split in the largest, or remove what is gated nowhere")


def _contents(models: dict[str, ReferenceModel], folder: Path, today: datetime.date) -> Iterator[Finding]:
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):
            continue
        wrong = problems(path, BaselineFile, "baseline")
        for problem in wrong:
            yield Finding(path, "", problem, "correct it, or restore the file from git")
        if not wrong:
            file = read_record(path, BaselineFile, "baseline")
            yield from _File(path, file, models.get(path.stem), today).findings()


def _stored_of(output: str, stored_as: str) -> str:
    """Return the name of the stored predictions of an output; ``stored_as`` is that of the main one's."""
    variant, at, results_class = stored_as.partition("@")
    return f"{of_head(variant, output)}{at}{results_class}" if output else stored_as


@dataclass
class _File:
    """One readable baseline file; ``model`` is None where its model is gone."""

    path: Path
    file: BaselineFile
    model: ReferenceModel | None
    today: datetime.date
    stored: dict[str, Array] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        if self.file.model != self.path.stem:
            what = f"field 'model': expected {self.path.stem!r} as in the file's name, found {self.file.model!r}"
            yield Finding(self.path, "", what, "rename the file or correct the field")
        if self.model is not None:
            for problem in of_another(self.file, self.model):
                yield Finding(self.path, "", *problem)
        for problem in too_few_repeats(self.file):
            yield Finding(self.path, "", *problem)
        yield from self._read_predictions()
        yield from self._seals()
        for variant, cell in self.file.cells.items():
            yield from self._cell(variant, cell)

    def _seals(self) -> Iterator[Finding]:
        """Fields that were edited by hand; without seals, those that do not follow from their rules."""
        sealed, edited = seals.is_sealed(self.file), seals.edits(self.file)
        if not sealed:
            what = "it has no seals, so edits by hand of a value, its noise or its first value cannot be seen"
            yield Finding(self.path, "", what, f"seal it: quantbench baseline seal {self.file.model}", note=True)
        for edit in edited:
            what = f"field '{edit.field}' was {edit.what} by hand"
            yield Finding(self.path, edit.variant, what, seals.action(self.file.model, edit))
        pooled, known = derived.pooled_noise(self.file.cells), {(edit.variant, edit.field) for edit in edited}
        older = []
        for variant, cell in self.file.cells.items():
            stored = self.stored.get(variant)
            for found in derived.mismatches(cell, pooled.get(variant), None if stored is None else len(stored)):
                if not sealed or (variant, found.field) in known:
                    yield Finding(self.path, variant, str(found), "restore it from git; a run judges by the rule")
                else:
                    older.append(f"{variant}: {found}")
        if older:
            rest = f", and {len(older) - 1} more" if len(older) > 1 else ""
            what = f"accepted under an older rule: {older[0]}{rest}"
            yield Finding(self.path, "", what, "a run judges by what was accepted; accept a run again", note=True)

    def _read_predictions(self) -> Iterator[Finding]:
        path = self.path.with_suffix(".npz")
        if not os.path.lexists(path):
            return
        try:
            content = files.read_bytes(path, "stored predictions", LARGEST_PREDICTIONS)
        except BadInput as error:
            yield Finding(path, "", str(error).removeprefix(f"{path}: "), _RESTORE)
            return
        if hashlib.sha256(content).hexdigest() != self.file.predictions_sha256:
            yield Finding(path, "", f"not the predictions that belong to {self.path.name}", _RESTORE)
        try:
            self.stored = read_predictions(path, "stored predictions", content=content)
        except BadInput as error:
            yield Finding(path, "", str(error).removeprefix(f"{path}: "), _RESTORE)
            return
        for name, array in self.stored.items():
            of_outputs = owner(name)
            output = output_stored(of_outputs or name, self.file.outputs)
            variant, *more = (of_outputs or name).split("@")
            results_class = "@".join(more[1:] if output else more)
            cell = self.file.cells.get(variant, BaselineCell())
            held = cell.overlays[results_class].measurements if results_class in cell.overlays else {}
            measured = held if results_class else cell.measurements
            if of_outputs is not None:
                if of_output(OUTPUT_DISTANCE, output) not in measured:
                    yield Finding(path, name, "output distances of a cell that has no accepted one", _RESTORE)
                if self.model is not None and not are_stored_outputs(array, len(self.model.pack().test)):
                    yield Finding(path, name, f"not output distances: shape {array.shape} ({array.dtype})", _RESTORE)
                continue
            if of_output("score", output) not in measured:
                yield Finding(path, name, "predictions without a cell that has a score", _RESTORE)
            if not self._fits(name, array, output):
                yield Finding(
                    path,
                    name,
                    f"not predictions of the test split: shape {array.shape}",
                    _RESTORE,
                )

    def _fits(self, name: str, array: Array, output: str) -> bool:
        scored = self._scored(output)
        if scored is None:
            return True
        labels = scored.pack().test.y  # a target may have answered the first examples alone
        return scored.metric.fits(array, labels[: len(array)] if is_of_target(name) else labels)

    def _scored(self, output: str) -> ReferenceModel | None:
        """Return the model as an output has it scored; None where that is not known."""
        return None if self.model is None else by_output(self.model).get(output)

    def _cell(self, variant: str, cell: BaselineCell) -> Iterator[Finding]:
        if variant not in VARIANTS or (
            is_built(variant) and self.model is not None and variant not in known([self.model])
        ):
            yield Finding(self.path, variant, "there is no variant of this name", "remove the cell")
        yield from self._values(variant, cell.measurements, variant)
        for results_class, overlay in cell.overlays.items():
            name = overlays.stored_as(variant, results_class)
            yield from self._values(name, overlay.measurements, name)
            yield from self._twins(variant, cell, results_class)
        yield from self._latency(variant, cell)
        yield from self._xfails(variant, cell)

    def _values(self, cell: str, values: dict[str, BaselineValue], stored_as: str) -> Iterator[Finding]:
        for name, value in values.items():
            yield from self._loosened(cell, name, value)
        for output in ("", *self.file.outputs):
            distance = values.get(of_output(OUTPUT_DISTANCE, output))
            held = self.stored.get(of_name(_stored_of(output, stored_as)))
            if distance is not None and self.stored and not gate.is_distance_of(distance, held):
                what = f"the output distance {distance.value:g} is not that of the stored outputs: it was edited"
                yield Finding(self.path, cell, what, _RESTORE)
            score = values.get(of_output("score", output))
            if score is not None and self.path.with_suffix(".npz").exists():
                yield from self._score(cell, output, score, stored_as)

    def _score(self, cell: str, output: str, score: BaselineValue, stored_as: str) -> Iterator[Finding]:
        name = _stored_of(output, stored_as)
        array = self.stored.get(name)
        whose = f" of output {output}" if output else ""
        if array is None:
            yield Finding(self.path, cell, f"a score{whose} without stored predictions", _RESTORE)
        elif self.model is not None and self._fits(name, array, output) and not of_another(self.file, self.model):
            yield from self._stale(cell, output, score, array)

    def _stale(self, cell: str, output: str, score: BaselineValue, array: Array) -> Iterator[Finding]:
        scored = self._scored(output)
        assert scored is not None
        labels = scored.pack().test.y[: len(array)]
        if not gate.is_score_of(score, scored.metric, array, labels, bool(score.values)):
            computed, whose = scored.metric.value(array, labels), f" of output {output}" if output else ""
            what = (
                f"the score {score.value:g}{whose} is not that of the stored predictions, {computed:.6g}: it was edited"
            )
            yield Finding(self.path, cell, what, "accept a run of this cell again")

    def _loosened(self, cell: str, name: str, value: BaselineValue) -> Iterator[Finding]:
        if value.loosened is not None:
            id_ = f"{self.path.stem}/{cell.partition('@')[0]}"
            action = f"tighten it: quantbench baseline loosen {id_} {name} --remove, or renew it"
            yield from self._expiry(cell, f"loosened tolerance of {name}", value.loosened.expires, action)

    def _xfails(self, variant: str, cell: BaselineCell) -> Iterator[Finding]:
        excusable = exceptions.excusable(variant, cell)
        for name, xfail in cell.xfail.items():
            action = f"remove it: quantbench baseline xfail {self.path.stem}/{variant} {name} --remove, or renew it"
            yield from self._expiry(variant, f"xfail of {name} ({xfail.ticket})", xfail.expires, action)
            if not gate.over(xfail.expires, self.today) and xfail.bound is None and xfail.seen is None:
                yield Finding(self.path, variant, f"xfail of {name} has no bound, so it excuses nothing", action)
            if name not in excusable:
                yield Finding(
                    self.path, variant, f"xfail of {name!r}, which nothing judges", f"known: {', '.join(excusable)}"
                )

    def _expiry(self, cell: str, what: str, expires: datetime.date, action: str) -> Iterator[Finding]:
        if gate.over(expires, self.today):
            yield Finding(self.path, cell, f"{what} expired on {expires}", action)
        elif gate.soon_over(expires, self.today):
            yield Finding(self.path, cell, f"{what} expires on {expires}", action, note=True)

    def _twins(self, variant: str, cell: BaselineCell, results_class: str) -> Iterator[Finding]:
        overlay, where = cell.overlays[results_class], overlays.stored_as(variant, results_class)
        for name, value in overlay.measurements.items():
            base = of_head(variant, output_in(name)) if output_in(name) else variant
            here = overlays.stored_as(base, results_class)
            other = not overlays.same(self.stored.get(here), self.stored.get(base))
            scored = without_output(name) == "score"
            differs = overlays.differs(value, cell.measurements.get(name)) or (scored and other)
            if not differs:
                yield Finding(
                    self.path,
                    where,
                    f"{name} of this machine profile equals the common value",
                    "remove it from 'overlays'",
                )
        for name in ("unsupported", "broken_promise", "census", "artifact_sha256", "reference_sha256"):
            own = getattr(overlay, name)
            if own is not None and own == getattr(cell, name):
                yield Finding(
                    self.path,
                    where,
                    f"{name} of this machine profile equals the common value",
                    "remove it from 'overlays'",
                )

    def _latency(self, variant: str, cell: BaselineCell) -> Iterator[Finding]:
        for value in cell.peak_memory.values():
            yield from self._loosened(variant, "peak_memory", value)
        for name, values in cell.by_machine.items():
            for value in values.values():
                yield from self._loosened(variant, name, value)
        installed = package_version("ai-edge-litert")
        for machine, value in cell.latency.items():
            yield from self._loosened(variant, judged_latency(variant), value)
            match = re.search(r"litert-([^_]+)_", machine)
            if match is not None and match[1] != installed:
                what = f"latency of {machine} was measured with runtime {match[1]}, but {installed} is installed"
                yield Finding(self.path, variant, what, "time it again there and accept, or remove the entry")
