"""A pull request is judged by the baselines of its merge base; new cells by the values that it brings."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from quantbench.baselines import files as baseline_files
from quantbench.baselines.files import Baseline
from quantbench.baselines.merge_base import InForce, in_force
from quantbench.errors import BadInput
from quantbench.reference.model import ReferenceModel, load_models

CELL, NEW = "ptq_float16", "ptq_static_wi8_ai8"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def model() -> ReferenceModel:
    return load_models(ROOT / "models")["seed_cnn"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose main branch has accepted all cells but one."""
    folder = tmp_path / "repository"
    (folder / "baselines").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for ending in ("json", "npz"):
        shutil.copy(ROOT / "baselines" / f"seed_cnn.{ending}", folder / "baselines")
    return folder


def edited(folder: Path, model: ReferenceModel, *, score: float = 0.0, without: str = "") -> None:
    """Write the baseline again, with the score of a cell moved, or without a cell."""
    found = baseline_files.load(folder / "baselines", model)
    assert found.file is not None
    cells = {name: cell for name, cell in found.file.cells.items() if name != without}
    value = cells[CELL].measurements["score"]
    moved = {**cells[CELL].measurements, "score": value.model_copy(update={"value": value.value + score})}
    cells[CELL] = cells[CELL].model_copy(update={"measurements": moved})
    kept = {name: array for name, array in found.predictions.items() if not name.startswith(without or "-")}
    baseline_files.save(folder / "baselines", found.file.model_copy(update={"cells": cells}), kept)


def committed(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def branched(folder: Path, model: ReferenceModel, **edit: object) -> str:
    """Commit main without ``NEW``, then a branch that brings it; return the merge base."""
    whole = {path.name: path.read_bytes() for path in (folder / "baselines").iterdir()}
    edited(folder, model, without=NEW)
    base = committed(folder, "main")
    git(folder, "switch", "--quiet", "--create", "feature")
    for name, content in whole.items():
        (folder / "baselines" / name).write_bytes(content)
    edited(folder, model, **edit)  # type: ignore[arg-type]
    committed(folder, "feature")
    return base


def judged(folder: Path, model: ReferenceModel, ref: str = "main") -> tuple[InForce, Baseline]:
    found = in_force(folder / "baselines", ref, [model], ["seed_cnn"])
    return found, found.by_model["seed_cnn"]


def score(baseline: Baseline, cell: str = CELL) -> float:
    accepted = baseline.cell(cell)
    assert accepted is not None
    return accepted.measurements["score"].value


def test_what_a_pull_request_accepts_does_not_judge_it(repository: Path, model: ReferenceModel) -> None:
    base = branched(repository, model, score=-0.2)
    found, baseline = judged(repository, model)
    assert score(baseline) == pytest.approx(score(judged(repository, model, "")[1]) + 0.2)
    assert found.notes[0] == f"judged by the baselines of {base[:12]}, where this branch left main"
    [changed] = [note for note in found.notes if "baselines changed in this pull request" in note]
    assert "1 changed value (seed_cnn/ptq_float16 score)" in changed


def test_what_main_accepted_since_does_not_judge_it_either(repository: Path, model: ReferenceModel) -> None:
    base = branched(repository, model)
    git(repository, "switch", "--quiet", "main")
    edited(repository, model, score=0.1)
    committed(repository, "main went on")
    git(repository, "switch", "--quiet", "feature")
    found, baseline = judged(repository, model)
    assert base[:12] in found.notes[0]
    assert score(baseline) == score(judged(repository, model, "")[1])


def test_a_new_cell_is_judged_by_the_values_that_come_with_it(repository: Path, model: ReferenceModel) -> None:
    branched(repository, model, score=-0.2)
    found, baseline = judged(repository, model)
    own = judged(repository, model, "")[1]
    assert score(baseline, NEW) == score(own, NEW)
    assert (baseline.predictions[NEW] == own.predictions[NEW]).all()
    [changed] = [note for note in found.notes if "baselines changed" in note]
    assert f"1 new cell (seed_cnn/{NEW})" in changed
    assert "New cells are judged by the values that it brings" in changed


def test_a_cell_whose_baseline_is_removed_is_still_judged(repository: Path, model: ReferenceModel) -> None:
    committed(repository, "main")
    git(repository, "switch", "--quiet", "--create", "feature")
    edited(repository, model, without=NEW)
    committed(repository, "feature")
    found, baseline = judged(repository, model)
    assert baseline.cell(NEW) is not None
    assert NEW in baseline.predictions
    assert any(f"1 removed cell (seed_cnn/{NEW})" in note for note in found.notes)


def test_a_model_that_is_new_has_its_own_baseline(repository: Path, model: ReferenceModel) -> None:
    shutil.move(repository / "baselines", repository / "aside")
    (repository / ".gitignore").write_text("aside\n")
    committed(repository, "main")
    git(repository, "switch", "--quiet", "--create", "feature")
    shutil.move(repository / "aside", repository / "baselines")
    committed(repository, "feature")
    found, baseline = judged(repository, model)
    assert baseline.cell(CELL) is not None
    assert any("new cells (seed_cnn/" in note for note in found.notes)


def test_other_data_makes_the_old_values_void_and_says_so(repository: Path, model: ReferenceModel) -> None:
    path = repository / "baselines" / "seed_cnn.json"
    own = path.read_bytes()
    path.write_text(own.decode().replace(model.data_sha256, "0" * 64))
    committed(repository, "main")
    git(repository, "switch", "--quiet", "--create", "feature")
    path.write_bytes(own)
    committed(repository, "feature")
    found, baseline = judged(repository, model)
    assert score(baseline) == score(judged(repository, model, "")[1])
    assert any("its data or metric changed in this pull request" in note for note in found.notes)


def test_a_model_that_is_removed_is_named(repository: Path, model: ReferenceModel) -> None:
    committed(repository, "main")
    git(repository, "switch", "--quiet", "--create", "feature")
    found = in_force(repository / "baselines", "main", [], ["another"])
    assert found.notes[-1] == "not gated any more, for this pull request removes the model: seed_cnn"


def test_an_unchanged_baseline_is_told_of_in_one_note(repository: Path, model: ReferenceModel) -> None:
    committed(repository, "main")
    git(repository, "switch", "--quiet", "--create", "feature")
    committed(repository, "feature")
    found, _ = judged(repository, model)
    assert len(found.notes) == 1
    assert found.fingerprints["seed_cnn"].count("+") == 1
    assert judged(repository, model, "")[0].notes == []


@pytest.mark.parametrize("ref", ["origin/nowhere", "--all", "--since=1.year", "", "main^{tree}"])
def test_a_ref_that_is_not_there_is_one_sentence(repository: Path, model: ReferenceModel, ref: str) -> None:
    committed(repository, "main")
    with pytest.raises(BadInput, match=r"there is no commit .* in this clone; .*fetch-depth: 0"):
        judged(repository, model, ref or " ")


def test_a_shallow_clone_is_told_how_to_fetch_more(repository: Path, model: ReferenceModel, tmp_path: Path) -> None:
    branched(repository, model)
    git(repository, "switch", "--quiet", "main")
    committed(repository, "main went on")
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", "--no-single-branch", f"file://{repository}", clone], check=True
    )
    git(clone, "switch", "--quiet", "feature")
    with pytest.raises(BadInput, match=r"no common commit, for this clone is shallow; .*fetch-depth: 0"):
        judged(clone, model, "origin/main")


def test_a_folder_outside_of_git_is_one_sentence(tmp_path: Path, model: ReferenceModel) -> None:
    (tmp_path / "baselines").mkdir()
    with pytest.raises(BadInput, match="is in no git repository that may be read"):
        judged(tmp_path, model)


def test_only_files_of_baselines_are_taken_out(repository: Path, model: ReferenceModel) -> None:
    (repository / "baselines" / "link.json").symlink_to("/etc/passwd")
    (repository / "baselines" / "sub").mkdir()
    (repository / "baselines" / "sub" / "deep.json").write_text("{}")
    committed(repository, "main")
    found = in_force(repository / "baselines", "main", [model], ["seed_cnn"])
    assert "link" not in " ".join(found.notes)
