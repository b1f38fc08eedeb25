"""Accepted answers of targets: the shipped ones, and files that are damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from quantbench.baselines import target_answers
from quantbench.errors import BadInput
from quantbench.records import AcceptedAnswers, AnswersBaseline


def test_the_shipped_answers_of_arm_cover_every_model() -> None:
    found = target_answers.load(ROOT / "baselines", "qemu-aarch64")
    assert found.file is not None
    models = {cell.partition("/")[0] for cell in found.file.cells}
    assert models == {path.stem for path in (ROOT / "baselines").glob("*.json")}
    assert set(found.predictions) == set(found.file.cells)
    assert all(np.isfinite(values).all() for values in found.predictions.values())
    assert {"qemu", "ai-edge-litert", "numpy", "libc6"} <= set(found.file.versions)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accepted = AcceptedAnswers(examples=3, otherwise=0, artifact_sha256="a" * 64)
    file = AnswersBaseline(
        target="t", date="2026-01-01", reason="why", versions={}, predictions_sha256="", cells={"m/v": accepted}
    )
    target_answers.save(tmp_path, file, {"m/v": np.arange(3)})
    return tmp_path


def test_what_was_saved_is_read_again_and_nothing_is_nothing(folder: Path) -> None:
    found = target_answers.load(folder, "t")
    assert list(found.predictions["m/v"]) == [0, 1, 2]
    assert target_answers.load(folder, "other").file is None


def test_a_damaged_file_is_one_sentence(folder: Path) -> None:
    path = folder / "targets" / "t.json"
    written = json.loads(path.read_text())
    path.rename(path.with_name("u.json"))
    with pytest.raises(BadInput, match=r"u\.json: field 'target': expected 'u' as in the file's name, found 't'"):
        target_answers.load(folder, "u")
    written["cells"]["m/v"]["examples"] = 4
    path.write_text(json.dumps(written))
    with pytest.raises(BadInput, match=r"array 'm/v': expected 4 predictions, found 3; restore both files from git"):
        target_answers.load(folder, "t")
    path.write_text(json.dumps(written | {"more": 1}))
    with pytest.raises(BadInput, match=r"t\.json: accepted answers: field 'more'"):
        target_answers.load(folder, "t")
