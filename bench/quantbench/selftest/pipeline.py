"""Inject faults into the pipeline around the artifacts: data, store, baselines; a whole real run judges each."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from quantbench.baselines.files import json_path, packed
from quantbench.build import artifact
from quantbench.build.store import digest
from quantbench.core.arrays import Array
from quantbench.core.options import PACKAGE, PYTEST_INI
from quantbench.errors import Exit
from quantbench.measure import accuracy
from quantbench.records import InjectedFault, Kind, Report, Sight, read_record, worst
from quantbench.reference.datasets import CALIBRATION_STRIDE, read_npz, read_predictions
from quantbench.reference.model import ReferenceModel, load_file
from quantbench.selftest.artifact import described
from quantbench.selftest.runs import Ended, Place, sha256
from quantbench.variants import FLOAT_CONTROL, VARIANTS

PIPELINE = "pipeline"
CELL, OTHER = "ptq_static_wi8_ai8", "ptq_dynamic_wi8_afp32"
CELLS = (FLOAT_CONTROL, OTHER, CELL)
KEPT, UPDATED, EVERYWHERE = "hash kept", "hash updated", "hash updated in the baseline too"
Strength = float | str


@dataclass(frozen=True)
class PipelineFault:
    """Declare a fault of the pipeline; all are harmful, as the run judges something else than it reports.

    Attributes:
        make: (a copy of the healthy place, strength) -> how its run ended.
        quick: strengths for a quick selftest.
    """

    name: str
    where: str
    seen_by: Sight
    strengths: tuple[Strength, ...]
    make: Callable[[Place, Any], Ended] = field(repr=False)
    quick: tuple[Strength, ...] = ()


# ---------------------------------------------------------------- data


def _calibration_for_test(arrays: dict[str, Array]) -> dict[str, Array]:
    every = slice(0, None, CALIBRATION_STRIDE)
    x = arrays.get("x_calibration", arrays["x_train"][every])
    return arrays | {"x_test": x, "y_test": arrays["y_train"][every]}


def _next_class(arrays: dict[str, Array]) -> dict[str, Array]:
    y = arrays["y_test"]
    return arrays | {"y_test": ((y + 1) % (int(y.max()) + 1)).astype(y.dtype)}


def _next_row(arrays: dict[str, Array]) -> dict[str, Array]:
    return arrays | {"y_test": np.roll(arrays["y_test"], 1)}


def _other_order(arrays: dict[str, Array]) -> dict[str, Array]:
    order = np.random.default_rng(0).permutation(len(arrays["y_test"]))
    return arrays | {"x_test": arrays["x_test"][order], "y_test": arrays["y_test"][order]}


def _leaked(count: int) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """Put test examples among those of training."""

    def change(arrays: dict[str, Array]) -> dict[str, Array]:
        x, y = arrays["x_train"].copy(), arrays["y_train"].copy()
        x[:count], y[:count] = arrays["x_test"][:count], arrays["y_test"][:count]
        return arrays | {"x_train": x, "y_train": y}

    return change


def _on_pack(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Place, str], Ended]:
    """Replace the data pack under its name: alone, with its hash in the model's file, or with its hash everywhere."""

    def make(place: Place, strength: str) -> Ended:
        model = place.model
        here = place.root / "models"
        pack, weights = here / model.data, here / model.weights
        for path in (pack, weights):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.file.parent / model.weights, weights)
        np.savez(pack, **change(read_npz(model.file.parent / model.data, "data pack")))  # type: ignore[arg-type]
        new = model.data_sha256 if strength == KEPT else sha256(pack.read_bytes())
        file = here / model.file.name
        file.write_text(model.file.read_text(encoding="utf-8").replace(model.data_sha256, new), encoding="utf-8")
        place = dataclasses.replace(place, models=here)
        if strength == EVERYWHERE:
            _edit(place, lambda data: data.update(data_sha256=new))
            place.compute(model=next(changed for changed in load_file(file) if changed.name == model.name))
        return place.run()

    return make


# ---------------------------------------------------------------- store


def _entry(place: Place, variant: str) -> Path:
    built = artifact.find(place.model, VARIANTS[variant], 0, None, place.store)
    assert built is not None
    assert built.path is not None
    return built.path.parent


def _stale_bytes(place: Place, _strength: Strength) -> Ended:
    """Restore an older artifact's bytes in the entry, whose checksum is that of the right ones."""
    shutil.copyfile(_entry(place, OTHER) / artifact.ARTIFACT, _entry(place, CELL) / artifact.ARTIFACT)
    return place.run()


def _stale_entry(place: Place, _strength: Strength) -> Ended:
    """Copy a complete entry to another key: every checksum in it is valid."""
    right, other = _entry(place, CELL), _entry(place, OTHER)
    shutil.rmtree(right)
    shutil.copytree(other, right)
    return place.run()


def _stale_forged(place: Place, variant: str) -> Ended:
    """Store another variant's bytes with their checksum, as a build that took the wrong file would."""
    other = artifact.artifact(place.model, VARIANTS[variant], 0, None, place.store)
    assert other.path is not None
    place.put(CELL, {artifact.ARTIFACT: other.path.read_bytes()})
    place.compute()
    return place.run()


def _truncated_answers(place: Place, share: float) -> Ended:
    """Keep only the predictions of the first examples in the evaluation, with their checksum."""
    built = artifact.find(place.model, VARIANTS[CELL], 0, None, place.store)
    assert built is not None
    assert built.sha256 is not None
    recipe = accuracy.recipe(built.sha256, place.model)
    key = digest(recipe)
    folder = place.store.get(key)
    assert folder is not None
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "entry.json"}
    answers = np.load(folder / accuracy.PREDICTIONS, allow_pickle=False)
    buffer = BytesIO()
    np.save(buffer, answers[: int(share * len(answers)) - 1])
    shutil.rmtree(folder)
    place.store.put(key, files | {accuracy.PREDICTIONS: buffer.getvalue()}, recipe)
    return place.run()


# ---------------------------------------------------------------- baselines


def _edit(place: Place, change: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the baseline by hand."""
    path = json_path(place.baselines, place.model.name)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def _edited(place: Place, change: Callable[[dict[str, Any]], Any]) -> Ended:
    _edit(place, change)
    return place.run()


def _no_baseline(place: Place, variant: str) -> Ended:
    return _edited(place, lambda data: data["cells"].pop(variant))


def _never_judged(place: Place, variant: str) -> Ended:
    """Leave out the suites of a cell."""
    return place.run(judged=[name for name in place.variants if name != variant])


def _nobody_makes(place: Place, name: str) -> Ended:
    """Add a variant that no longer exists to the baseline, so that nothing measures its cell."""
    return _edited(place, lambda data: data["cells"].update({name: data["cells"][OTHER]}))


def _emptied(place: Place, how: str) -> Ended:
    path = json_path(place.baselines, place.model.name)
    if how == "no file":
        path.unlink()
        return place.run()
    return _edited(place, lambda data: data["cells"].clear())


def _cut(place: Place, what: str) -> Ended:
    """Truncate a file to its first half, or to nothing."""
    suffix, share = what.split()
    path = json_path(place.baselines, place.model.name).with_suffix(suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(float(share) * len(content))])
    return place.run()


def _with_stored(place: Place, change: Callable[[dict[str, Array]], dict[str, Array]], strength: str) -> Ended:
    path = json_path(place.baselines, place.model.name).with_suffix(".npz")
    content = packed(change(read_predictions(path, "stored predictions")))
    path.write_bytes(content)
    if strength != KEPT:
        _edit(place, lambda data: data.update(predictions_sha256=sha256(content)))
    return place.run()


def _swapped(place: Place, strength: str) -> Ended:
    def change(stored: dict[str, Array]) -> dict[str, Array]:
        return stored | {CELL: stored[FLOAT_CONTROL], FLOAT_CONTROL: stored[CELL]}

    return _with_stored(place, change, strength)


def _shortened(place: Place, rows: float) -> Ended:
    return _with_stored(place, lambda stored: stored | {CELL: stored[CELL][: -int(rows)]}, UPDATED)


def _score_edited(place: Place, points: float) -> Ended:
    def change(data: dict[str, Any]) -> None:
        data["cells"][CELL]["measurements"]["score"]["value"] += points / 100

    return _edited(place, change)


def _size_edited(place: Place, share: float) -> Ended:
    def change(data: dict[str, Any]) -> None:
        data["cells"][CELL]["measurements"]["size"]["value"] *= 1 + share

    return _edited(place, change)


def _field_edited(place: Place, field: str) -> Ended:
    """Edit one field that decides a verdict, without the command that seals edits."""

    def change(data: dict[str, Any]) -> None:
        cell = data["cells"][CELL]
        values = cell["measurements"]
        if field == "tolerance":
            values["score"]["tolerance"] = 5.0
        elif field == "first":
            first = values["score"].get("first") or {"value": values["score"]["value"], "accepted": _stamp(values)}
            values["score"]["first"] = first | {"value": first["value"] - 0.05}
        elif field == "noise":
            values["score"]["noise"] = 0.01
        elif field == "agreement":
            cell["reference_agreement"] = 0.5
        elif field == "arena":
            held = values.get("arena", values["size"])
            values["arena"] = held | {"value": 10 * held["value"]}
        else:
            cell["census"]["compute"] = cell["census"]["compute"][:-1]

    return _edited(place, change)


def _stamp(values: dict[str, Any]) -> dict[str, Any]:
    return dict(values["score"]["accepted"])


# ---------------------------------------------------------------- tests


def _by_command(place: Place, package: Path, **variables: str) -> Ended:
    """Run the command itself, by a copy of this package, for what its suites do.

    Args:
        package: folder that holds the copy.
        variables: of the environment.
    """
    reports = place.root / "reports"
    command = [sys.executable, "-m", "quantbench", "run", "--models", place.model.name]
    command += ["--variants", ",".join(place.variants), "-m", "accuracy or size or structure"]
    for option, folder in (("model", place.models), ("baseline", place.baselines), ("report", reports)):
        command.append(f"--{option}-dir={folder}")
    surroundings = os.environ | {"QUANTBENCH_CACHE": str(place.store.root), "PYTHONPATH": str(package)} | variables
    done = subprocess.run(command, env=surroundings, cwd=place.root, capture_output=True, text=True, check=False)
    report = reports / "latest" / "report.json"
    if done.returncode == Exit.BAD_INPUT or not report.is_file():
        return Ended(Exit(done.returncode), refusal=f"{done.stdout}{done.stderr}"[-500:] or "no report")
    return Ended(Exit(done.returncode), read_record(report, Report, "report"))


def _copied_package(place: Place) -> Path:
    """Copy this package, as it is compiled, with the settings of its suites, to be changed."""
    copy = place.root / "package"
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("carried"))
    shutil.copyfile(PYTEST_INI, copy / PACKAGE.name / PYTEST_INI.name)
    return copy


def _test_taken_away(place: Place, how: str) -> Ended:
    """Take tests out of the collection, in a way that no command line shows."""
    copy = _copied_package(place)
    ini = copy / PACKAGE.name / PYTEST_INI.name
    if how == NOTHING_TAKEN:
        return _by_command(place, copy)
    if how == "PYTEST_ADDOPTS -k":
        return _by_command(place, copy, PYTEST_ADDOPTS="-k 'not test_structure'")
    if how == "PYTEST_ADDOPTS a cell":
        return _by_command(place, copy, PYTEST_ADDOPTS=f"-k 'not {CELL}'")
    if how == "pytest.ini -k":
        text = ini.read_text(encoding="utf-8")
        ini.write_text(text.replace("addopts = ", "addopts = -k 'not test_size' "), encoding="utf-8")
    elif how == "pytest.ini python_files":
        text = ini.read_text(encoding="utf-8")
        ini.write_text(text.replace("python_files = test_*.py", "python_files = test_[b-z]*.py"), encoding="utf-8")
    else:
        (copy / PACKAGE.name / "suites" / "test_accuracy.py").unlink()
    return _by_command(place, copy)


NOTHING_TAKEN = "nothing"
ACCURACY, SIZE, STRUCTURE = Kind.ACCURACY, Kind.SIZE, Kind.STRUCTURE
HASHES = (KEPT, UPDATED, EVERYWHERE)
FAULTS = [
    PipelineFault(
        "evaluated on the calibration data", "data", "refusal", HASHES, _on_pack(_calibration_for_test), (KEPT,)
    ),
    PipelineFault("test labels off by a class", "data", "refusal", HASHES, _on_pack(_next_class)),
    PipelineFault("test labels off by a row", "data", "refusal", HASHES, _on_pack(_next_row), (EVERYWHERE,)),
    PipelineFault("test examples in another order", "data", "refusal", HASHES, _on_pack(_other_order), (UPDATED,)),
    PipelineFault("1,000 test examples in train", "data", "refusal", HASHES, _on_pack(_leaked(1000)), (EVERYWHERE,)),
    PipelineFault("60 test examples in train", "data", "refusal", (EVERYWHERE,), _on_pack(_leaked(60))),
    PipelineFault(
        "a field edited in the baseline",
        "baseline",
        ACCURACY,
        ("tolerance", "first", "noise", "agreement", "arena", "census"),
        _field_edited,
        ("tolerance",),
    ),
    PipelineFault(
        "tests taken away",
        "run",
        ACCURACY,
        ("PYTEST_ADDOPTS -k", "PYTEST_ADDOPTS a cell", "pytest.ini -k", "pytest.ini python_files", "a deleted suite"),
        _test_taken_away,
        ("PYTEST_ADDOPTS a cell",),
    ),
    PipelineFault("stale bytes in the store", "store", "note", ("",), _stale_bytes),
    PipelineFault("another cell's entry in the store", "store", "note", ("",), _stale_entry),
    PipelineFault("the wrong file built", "store", STRUCTURE, (OTHER, FLOAT_CONTROL), _stale_forged, (FLOAT_CONTROL,)),
    PipelineFault("answers cut short, share left", "store", ACCURACY, (0.5, 1.0), _truncated_answers),
    PipelineFault("a cell without a baseline", "baseline", ACCURACY, CELLS, _no_baseline, (CELL,)),
    PipelineFault("a cell never judged", "run", ACCURACY, (CELL,), _never_judged, (CELL,)),
    PipelineFault("a cell that nothing makes any more", "run", "refusal", ("ptq_gone",), _nobody_makes, ("ptq_gone",)),
    PipelineFault(
        "an empty baseline", "baseline", ACCURACY, ("no cells", "no file"), _emptied, ("no cells", "no file")
    ),
    PipelineFault(
        "a baseline's file cut, share left",
        "baseline",
        "refusal",
        (".json 0", ".json 0.5", ".npz 0", ".npz 0.5"),
        _cut,
        (".json 0", ".npz 0.5"),
    ),
    PipelineFault(
        "stored predictions of two cells swapped", "baseline", "refusal", (KEPT, UPDATED), _swapped, (UPDATED,)
    ),
    PipelineFault("stored predictions cut by", "baseline", "refusal", (1, 5000), _shortened, (1,)),
    PipelineFault("a score edited in the baseline, pp", "baseline", ACCURACY, (0.1, 5, -0.1, -5), _score_edited, (-5,)),
    PipelineFault(
        "a size edited in the baseline, share", "baseline", SIZE, (0.01, 0.5, -0.01, -0.5), _size_edited, (0.5,)
    ),
]


def prepare(model: ReferenceModel, folder: Path) -> Place:
    """Prepare a healthy place: cells built and measured, and a baseline accepted from a run of them."""
    place = Place(model, folder / "healthy", model.file.parent, folder / "healthy" / "baselines", CELLS)
    place.compute()
    place.run(accept="healthy cells of a selftest")
    return place


def injected_faults(
    place: Place, full: bool, say: Callable[[str], None], faults: Sequence[PipelineFault] | None = None
) -> Iterator[InjectedFault]:
    """Inject every fault at every strength, each in a copy of the healthy place."""
    count = 0
    for fault in FAULTS if faults is None else faults:
        for strength in fault.strengths if full else fault.quick:
            count += 1
            injected = judged(place.copy(place.root.parent / f"pipeline{count}"), fault, strength)
            say(described(injected))
            yield injected


def judged(place: Place, fault: PipelineFault, strength: Strength) -> InjectedFault:
    """Judge the fault by a real run."""
    ended = fault.make(place, strength)
    seen, checks = ended.seen()
    return InjectedFault(
        plant=fault.name,
        model=place.model.name,
        where=fault.where,
        host=PIPELINE,
        strength=str(strength),
        seed=0,
        seen_by=fault.seen_by,
        drop=_drop(ended),
        growth=0.0,
        harmful=True,
        caught=bool(seen),
        caught_by=seen,
        checks=checks,
        verdict=None if ended.refusal else worst([judgement.verdict for judgement in ended.judgements()]),
    )


def _drop(ended: Ended) -> float | None:
    """Return the drop of the score from the baseline, as the run measured it."""
    return next((j.change for j in ended.judgements(CELL) if (j.measurement, j.against) == ("score", "baseline")), None)
