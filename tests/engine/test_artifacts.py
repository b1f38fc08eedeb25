"""The artifacts of a run: kept beside its report, found again in the store, written to a file by ``export``."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import cell, report, write
from quantbench.build.artifact import ARTIFACT
from quantbench.build.store import Store, digest
from quantbench.cli.export import export
from quantbench.engine import artifacts
from quantbench.errors import BadInput
from quantbench.records import Cell, Failure, Report

CONTENT = b"TFL3 of a variant"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def run_of(*cells: Cell) -> Report:
    return report([cell("ptq_a", artifact_sha256=SHA256), *cells])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of its own that is the user's."""
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def put(store: Store, content: bytes = CONTENT) -> Path:
    recipe: dict[str, Any] = {"what": "artifact"}
    return store.put(digest(recipe), {ARTIFACT: content}, recipe) / ARTIFACT


def test_artifacts_are_copies_that_a_change_of_the_store_leaves_alone(tmp_path: Path) -> None:
    made = tmp_path / "made.tflite"
    made.write_bytes(CONTENT)
    other = tmp_path / "other.tflite"
    other.write_bytes(b"damaged")
    run = run_of(cell("ptq_b", artifact_sha256="0" * 64), cell("ptq_c", artifact_sha256=SHA256))
    kept = artifacts.keep(run, tmp_path, {"m/ptq_a": made, "m/ptq_b": other, "m/ptq_c": tmp_path / "gone.tflite"})
    assert kept == {"ptq_a": "artifacts/ptq_a.tflite"}
    made.write_bytes(b"changed")
    assert (tmp_path / "artifacts" / "ptq_a.tflite").read_bytes() == CONTENT
    assert not (tmp_path / "artifacts" / "ptq_b.tflite").exists()


def test_an_artifact_is_found_in_the_folder_or_else_in_the_store(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"m/ptq_a: its artifact \(sha256 .*\) is neither in .*artifacts nor in the"):
        artifacts.find(run_of(), folder, "ptq_a")
    put(store)
    assert artifacts.find(run_of(), folder, "m/ptq_a")[1] == CONTENT
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "ptq_a.tflite").write_bytes(b"of another run")
    assert artifacts.find(run_of(), folder, "ptq_a")[1] == CONTENT
    put(Store(folder / "store"))
    store.path(digest({"what": "artifact"})).joinpath(ARTIFACT).write_bytes(b"damaged")
    assert artifacts.find(run_of(), folder, "ptq_a")[1] == CONTENT


def test_a_link_in_the_folder_of_a_run_is_not_followed(tmp_path: Path, store: Store) -> None:
    del store
    folder, private = tmp_path / "run", tmp_path / "private"
    folder.mkdir()
    private.mkdir()
    (private / "ptq_a.tflite").write_bytes(CONTENT)
    (folder / "artifacts").symlink_to(private)
    with pytest.raises(BadInput, match="is neither in"):
        artifacts.find(run_of(), folder, "ptq_a")


def test_what_cannot_be_exported_is_told_in_a_sentence(tmp_path: Path, store: Store) -> None:
    del store
    failure = Failure.model_validate({"what": "unsupported", "reason": "no operator MaxPool3D"})
    run = run_of(cell("ptq_b", failure=failure), cell("ptq_c"))
    with pytest.raises(BadInput, match=r"m/ptq_b: .* has no artifact of this cell: unsupported: no operator Max"):
        artifacts.find(run, tmp_path, "ptq_b")
    with pytest.raises(BadInput, match="it was not finished"):
        artifacts.find(run, tmp_path, "ptq_c")
    with pytest.raises(BadInput, match=r"no cell ptq_aa in this run; did you mean ptq_a\?"):
        artifacts.find(run, tmp_path, "ptq_aa")
    with pytest.raises(BadInput, match="no cell nothing in this run; it holds ptq_a, ptq_b, ptq_c"):
        artifacts.find(run, tmp_path, "nothing")
    two = run_of(cell("ptq_a").model_copy(update={"id": "n/ptq_a", "model": "n"}))
    with pytest.raises(BadInput, match="no cell ptq_a in this run"):  # of which model?
        artifacts.find(two, tmp_path, "ptq_a")
    with pytest.raises(BadInput, match="no run there"):
        export("ptq_a", tmp_path / "nowhere")


def test_export_writes_the_file(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    run = write(tmp_path, run_of())
    export("ptq_a", run, tmp_path / "mine.tflite")
    assert (tmp_path / "mine.tflite").read_bytes() == CONTENT
    assert f"mine.tflite: m/ptq_a, {len(CONTENT)} bytes, sha256 {SHA256}" in capsys.readouterr().out
    export("m/ptq_a", run / "report.json", tmp_path)  # into a folder
    assert (tmp_path / "ptq_a.tflite").read_bytes() == CONTENT
    monkeypatch.chdir(tmp_path / run.name)
    export("ptq_a", Path())
    assert Path("ptq_a.tflite").read_bytes() == CONTENT
    with pytest.raises(BadInput, match=r"--output: .*nowhere is no folder"):
        export("ptq_a", run, tmp_path / "nowhere" / "a.tflite")
