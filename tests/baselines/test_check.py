"""``quantbench baseline check``: every kind of finding, all of them at once, and a clean folder."""

import datetime
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Quantbench, edit
from quantbench.baselines import check
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import ReferenceModel, load_models

TODAY = datetime.date(2026, 6, 15)
STAMP = {"date": "d", "reason": "r", "run": "r", "environment": "e"}
Data = dict[str, Any]


@pytest.fixture
def models() -> dict[str, ReferenceModel]:
    return {"seed_cnn": load_models(ROOT / "models")["seed_cnn"]}


@pytest.fixture
def folder(baselines: Path) -> Path:
    """One model's baseline alone: all of them take seconds."""
    for path in baselines.iterdir():
        if path.stem != "seed_cnn":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return baselines


def found(models: dict[str, ReferenceModel], folder: Path) -> list[str]:
    return [str(finding).replace(f"{folder}/", "") for finding in check.check(models, folder, TODAY)]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Stored predictions edited by somebody who keeps the hash right."""
    path = folder / "seed_cnn.npz"
    arrays = read_predictions(path, "predictions")
    change(arrays)
    np.savez_compressed(path, **arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(folder / "seed_cnn.json", lambda data: data.update(predictions_sha256=digest))


def test_a_sound_folder_is_clean(models: dict[str, ReferenceModel], folder: Path) -> None:
    assert found(models, folder) == []


@pytest.mark.nightly  # ``.ci/run`` runs this very command, and the tests below plant what it finds
def test_the_projects_own_baselines_are_clean(quantbench: Quantbench) -> None:
    done = quantbench("baseline", "check")
    assert done.output.endswith("baselines: clean\n"), done.output
    assert done.status == 0


def _latency(machine: str, **more: Any) -> Data:
    value = {"value": 1.005, "unit": "ratio", "n": 2, "noise": 0.00707106781, "noise_from": "t", "tolerance": 0.01}
    value |= {"values": [1.0, 1.01]}
    return {machine: value | {"tolerance_from": "t", "accepted": STAMP} | more}


def _cell(data: Data, name: str = "float32") -> Data:
    cell: Data = data["cells"][name]
    return cell


def _score(data: Data) -> Data:
    score: Data = _cell(data)["measurements"]["score"]
    return score


def _xfail(expires: str, name: str = "size") -> Callable[[Data], None]:
    return lambda d: _cell(d).update(xfail={name: {"ticket": "T-1", "reason": "r", "expires": expires, "bound": 1}})


def _twin(data: Data) -> None:
    size = _cell(data)["measurements"]["size"]
    _cell(data)["overlays"] = {"other": {"measurements": {"size": size}}}


def _single_seeds(data: Data) -> None:
    for cell in data["cells"].values():
        values = cell.get("measurements", {}).get("score", {}).get("values")
        if values:
            cell["measurements"]["score"].update(values=values[:1], value=values[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: _score(d).update(value=0.9), ["float32: the score 0.9 is not that of the stored predictions"]),
        (lambda d: _score(d).update(noise=-1), ["score.noise", "greater than or equal to 0"]),
        (lambda d: d.update(data_sha256="0" * 64), ["recorded on another data pack", "--replace seed_cnn"]),
        (lambda d: d.update(metric="auc"), ["scored by accuracy, found 'auc'", "--replace seed_cnn"]),
        (lambda d: d.update(model="other"), ["field 'model': expected 'seed_cnn'"]),
        (lambda d: d.update(schema_version="1.99"), ["1.99 is newer than this quantbench reads"]),
        (lambda d: d["cells"].update(gone=d["cells"].pop("float32")), ["there is no variant of this name"]),
        (lambda d: _cell(d).update(latency=_latency("cpu_litert-0.1_1-thread")), ["measured with runtime 0.1, but"]),
        (lambda d: _cell(d).update(latency=_latency("cpu", values=[1.0])), ["2 processes at least"]),
        (_xfail("2026-06-14"), ["xfail of size (T-1) expired on 2026-06-14", "xfail seed_cnn/float32 size --remove"]),
        (_xfail("2027-01-01", "sice"), ["xfail of 'sice', which nothing judges"]),
        (_twin, ["float32@other: size of this machine profile equals the common value"]),
        (_single_seeds, ["trained cell(s) with one seed each give no interval", "--seeds 5"]),
    ],
)
def test_what_is_wrong_in_a_file_is_found(
    models: dict[str, ReferenceModel], folder: Path, change: Callable[[Data], None], words: list[str]
) -> None:
    edit(folder / "seed_cnn.json", change)
    lines = found(models, folder)
    for word in words:
        assert any(word in line for line in lines), lines
    assert all("\n" not in line and line.startswith("seed_cnn") for line in lines)


def test_what_expires_soon_is_a_note_and_what_expires_later_is_not_told(
    models: dict[str, ReferenceModel], folder: Path
) -> None:
    edit(folder / "seed_cnn.json", _xfail("2026-06-29"))
    [line] = found(models, folder)
    assert line.startswith("note: seed_cnn.json: float32: xfail of size (T-1) expires on 2026-06-29")
    edit(folder / "seed_cnn.json", _xfail("2026-06-30"))
    assert found(models, folder) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(gone=a["float32"]), "seed_cnn.npz: gone: predictions without a cell that has a score"),
        (
            lambda a: a.update({"float32@other": a["float32"]}),
            "float32@other: predictions without a cell that has a score",
        ),
        (lambda a: a.pop("float32"), "seed_cnn.json: float32: a score without stored predictions"),
        (lambda a: a.update(float32=a["float32"][:10]), "float32: not predictions of the test split: shape (10,)"),
    ],
)
def test_what_is_wrong_with_the_predictions_is_found(
    models: dict[str, ReferenceModel], folder: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    rewritten(folder, change)
    assert any(words in line for line in found(models, folder))


def test_files_that_belong_to_nothing_are_found(models: dict[str, ReferenceModel], folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / "gone.json").write_bytes((folder / "seed_cnn.json").read_bytes())
    (folder / "seed_cnn.npz").unlink()
    lines = found(models, folder)
    for words in ("notes.txt: not a baseline file", "gone.json: there is no model gone", "without seed_cnn.npz"):
        assert any(words in line for line in lines), lines


def test_predictions_of_another_file_and_damaged_ones_are_found(
    models: dict[str, ReferenceModel], folder: Path
) -> None:
    (folder / "seed_cnn.npz").write_bytes(b"no zip")
    lines = found(models, folder)
    assert any("not the predictions that belong to seed_cnn.json" in line for line in lines)
    assert any("is not a readable .npz file" in line for line in lines)
    (folder / "seed_cnn.json").unlink()
    assert any("predictions without seed_cnn.json" in line for line in found(models, folder))


def test_accepted_answers_of_a_target_are_read_too(models: dict[str, ReferenceModel], folder: Path) -> None:
    shutil.copytree(ROOT / "baselines" / "targets", folder / "targets")
    assert found(models, folder) == []
    (folder / "targets" / "qemu-aarch64.npz").write_bytes(b"others")
    (folder / "targets" / "notes.txt").write_text("x")
    lines = found(models, folder)
    assert any("not the predictions that qemu-aarch64.json was written with" in line for line in lines), lines
    assert any("notes.txt: not a file of accepted answers" in line for line in lines), lines


def test_too_many_bytes_of_predictions_are_found(models: dict[str, ReferenceModel], folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 6_000_000, dtype=np.uint8)
    rewritten(folder, lambda arrays: arrays.update(gone=noise))
    assert any("stored predictions take 6.3 MB together, more than 5 MB" in line for line in found(models, folder))


def test_all_problems_of_all_files_are_listed_and_the_status_is_1(quantbench: Quantbench, folder: Path) -> None:
    for name in ("lstm", "resnet8"):
        (folder / f"{name}.json").write_text('{"kind": 1}')
        (folder / f"{name}.npz").write_bytes((folder / "seed_cnn.npz").read_bytes())

    def change(data: Data) -> None:
        _score(data).update(noise=-1)
        _cell(data, "ptq_float16")["measurements"]["size"].update(value="big")

    edit(folder / "seed_cnn.json", change)
    done = quantbench("baseline", "check", "--baseline-dir", str(folder))
    assert done.status == 1
    for words in ("lstm.json: field 'kind'", "resnet8.json: field 'kind'", "score.noise", "size.value", ": 4 findings"):
        assert words in done.output
    assert quantbench("baseline", "check", "--baseline-dir", str(folder / "none")).status == 4
