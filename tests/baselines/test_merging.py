"""Two people who accept at the same time: different models merge, one model conflicts, and nothing is lost unseen."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import accepted, baseline_cell
from quantbench.baselines.files import save
from quantbench.errors import BadInput
from quantbench.records import BaselineFile, read_record


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True)


def accept(folder: Path, model: str, **scores: float) -> None:
    """Write a baseline of two cells, one value and one example moved, as an update does."""
    cells = {name: baseline_cell(score=accepted(value)) for name, value in scores.items()}
    file = BaselineFile(model=model, metric="accuracy", data_sha256="d", predictions_sha256="", cells=cells)
    save(
        folder / "baselines", file, {n: (np.arange(100) < 100 * value).astype(np.uint8) for n, value in scores.items()}
    )
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", f"accept {model} {scores}")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    for model in ("one", "two"):
        accept(tmp_path, model, a=0.5, b=0.5)
    git(tmp_path, "switch", "-qc", "branch")
    return tmp_path


def test_branches_that_update_different_models_merge(repository: Path) -> None:
    accept(repository, "one", a=0.6, b=0.5)
    git(repository, "switch", "-q", "main")
    accept(repository, "two", a=0.5, b=0.7)
    assert git(repository, "merge", "branch", "--no-edit").returncode == 0
    merged = {m: read_record(repository / "baselines" / f"{m}.json", BaselineFile, "baseline") for m in ("one", "two")}
    assert merged["one"].cells["a"].measurements["score"].value == 0.6
    assert merged["two"].cells["b"].measurements["score"].value == 0.7


@pytest.mark.parametrize("theirs", [{"a": 0.7, "b": 0.5}, {"a": 0.5, "b": 0.7}])
def test_branches_that_update_one_model_conflict_even_in_different_cells(
    repository: Path, theirs: dict[str, float]
) -> None:
    accept(repository, "one", a=0.6, b=0.5)
    git(repository, "switch", "-q", "main")
    accept(repository, "one", **theirs)
    assert git(repository, "merge", "branch", "--no-edit").returncode == 1
    status = git(repository, "status", "--porcelain").stdout.splitlines()
    assert {"UU baselines/one.json", "UU baselines/one.npz"} <= set(status)
    # As CONTRIBUTING says: one side as it is, then the other's run accepted once more.
    git(repository, "checkout", "--theirs", "baselines/one.json", "baselines/one.npz")
    read_record(repository / "baselines" / "one.json", BaselineFile, "baseline")


def test_a_key_that_a_merge_left_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"kind": "quantbench.baseline", "schema_version": "1.2", "cells": {"a": {}, "a": {}}}')
    with pytest.raises(BadInput, match="key 'a' appears twice in one object"):
        read_record(path, BaselineFile, "baseline")
