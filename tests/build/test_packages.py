"""Wheels that are installed by themselves, with a made-up installer; the real one at night."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ThreeCells
from quantbench.build import packages
from quantbench.build.eviction import clear_environments
from quantbench.build.package_contents import package_contents
from quantbench.build.store import Store, default_root
from quantbench.core.child_process import HERE
from quantbench.core.options import RunOptions
from quantbench.engine.artifacts import in_store
from quantbench.engine.measurements import in_turns
from quantbench.errors import BadInput
from quantbench.measure import turns
from quantbench.records.measurements import RATIO
from quantbench.reference.model import load_models


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTBENCH_CACHE", str(tmp_path / "cache"))


class Installer:
    """In place of uv: writes the metadata of a wheel, or fails."""

    def __init__(self, status: int = 0, errors: str = "") -> None:
        self.status, self.errors, self.calls = status, errors, list[list[str]]()

    def __call__(self, command: list[str], **_: Any) -> Any:
        self.calls.append(command)
        notes = Path(command[command.index("--target") + 1]) / "demo-1.2.dist-info"
        if not self.status:
            notes.mkdir()
            (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.2\n")
            (notes / "RECORD").write_text("demo.py,sha256=abc,3\nbin/demo,sha256=def,3\n")
            (notes.parent / "demo.py").write_text("one")
        return subprocess.CompletedProcess(command, self.status, "", self.errors)


def test_one_version_is_installed_by_itself_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    installer = Installer()
    monkeypatch.setattr(subprocess, "run", installer)
    folder = packages.alone("Demo", "1.2")
    assert packages.alone("demo", "1.2") == folder
    [command] = installer.calls
    assert command[-1] == "demo==1.2"
    assert {"--no-deps", "--only-binary"} <= set(command)
    assert sorted(path.name for path in folder.iterdir()) == ["demo-1.2.dist-info", "demo.py", "requirements.txt"]
    assert packages.contents_in(folder, "demo").startswith("1.2 ")
    assert packages.contents_in(folder, "other") == "absent"
    [cleared] = clear_environments(Store(default_root()), 0).entries
    assert cleared.path == folder


def test_a_failed_installation_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Installer(1, "error\n  there is no network\n"))
    with pytest.raises(BadInput, match=r"demo==1.2 cannot be installed; uv says:\n(.|\n)*no network"):
        packages.alone("demo", "1.2")
    monkeypatch.setattr(subprocess, "run", Installer())
    assert packages.alone("demo", "1.2").is_dir()


def test_an_index_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(BadInput, match=r"demo==1\.2 cannot be installed: not done after 60 s"):
        packages.alone("demo", "1.2")


@pytest.mark.parametrize("version", ["1.2 @ https://elsewhere/demo.whl", "../demo", "--index-url=x", ""])
def test_a_baseline_names_versions_and_nothing_else(version: str) -> None:
    with pytest.raises(BadInput, match=r"expected a version such as 2\.3\.0"):
        packages.alone("demo", version)


def test_without_uv_pip_installs_it_and_without_both_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    installer = Installer()
    monkeypatch.setattr(subprocess, "run", installer)
    monkeypatch.setattr(packages, "_uv_binary", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    packages.alone("demo", "1.2")
    assert installer.calls[0][:4] == [sys.executable, "-m", "pip", "install"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="neither uv nor pip is here"):
        packages.alone("demo", "1.3")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.alone
def test_an_older_runtime_is_timed_in_turns_with_the_installed_one(three_cells: ThreeCells) -> None:
    """Downloads two wheels of some 15 MB."""
    installed = package_contents("ai-edge-litert")
    same = packages.alone("ai-edge-litert", installed.partition(" ")[0])
    assert packages.contents_in(same, "ai-edge-litert") == installed
    older = packages.alone("ai-edge-litert", "2.2.0")
    assert packages.contents_in(older, "ai-edge-litert").startswith("2.2.0 ")
    model = load_models(RunOptions().model_dir)["seed_cnn"]
    artifact = in_store(Store(three_cells.store), three_cells.cell("seed_cnn/float32")["artifact_sha256"])
    assert artifact is not None
    loaded = "import ai_edge_litert; print(ai_edge_litert.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", loaded], env={"PYTHONPATH": str(older)}, capture_output=True, text=True, cwd=HERE.home
    )
    assert where.stdout.startswith(str(older))
    found = in_turns(turns.measure(artifact, artifact, model, 0.5, 1, older))
    assert found[RATIO].n == 6
    assert 0.5 < found[RATIO].value < 2
