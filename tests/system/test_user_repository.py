"""In a repository of a user, commands run the user's models, with the settings of its config."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import SOURCE, run_quantbench
from user_repository import lay_repository, lay_site, run_pytest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return lay_repository(tmp_path / "repository")


def collected(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Return the names of the tests that were collected."""
    found = {line.rpartition("::")[2] for line in done.stdout.splitlines() if "::test_" in line}
    assert found, done.stdout + done.stderr
    return found


def test_run_and_pytest_take_the_same_from_the_config(repository: Path, tmp_path: Path) -> None:
    asked = ["--collect-only", "-q", "--variants", "float32,ptq_float16"]
    site = lay_site(tmp_path / "site")
    installed = os.pathsep.join([str(site), str(SOURCE)])
    by_command = run_quantbench("run", *asked, store=tmp_path / "store", cwd=repository, PYTHONPATH=installed)
    assert "cannot be rewritten" not in by_command.stdout, "as pytest says of a plugin that is imported before it"
    names = collected(by_command)
    assert names == {
        f"test_{kind}[seed_cnn/{variant}]"
        for kind in ("accuracy", "size", "structure", "memory")
        for variant in ("float32", "ptq_float16")
    }
    assert "note: no [tool.quantbench]" not in by_command.stderr
    assert not (repository / ".benchmarks").exists(), "pytest-benchmark makes it where the command is called"
    suites = ["--pyargs", "quantbench.suites", *asked]
    assert collected(run_pytest(repository, site, *suites)) == names
    timed = run_quantbench("run", *asked, "--latency", store=tmp_path / "store", cwd=repository)
    assert collected(timed) - names == {f"test_latency[seed_cnn/{name}]" for name in ("float32", "ptq_float16")}
    below = run_quantbench("run", *asked, store=tmp_path / "store", cwd=repository / "ml")
    assert collected(below) == names


def test_without_a_config_one_line_says_whose_models_run(tmp_path: Path) -> None:
    done = run_quantbench("run", "--models", "no_such", store=tmp_path / "store", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.count("running the models shipped with quantbench, not yours") == 1


def test_a_config_whose_folder_of_models_is_gone_runs_nothing_of_ours(repository: Path, tmp_path: Path) -> None:
    (repository / "pyproject.toml").write_text("[tool.quantbench]\nseeds = 1\n")
    done = run_quantbench("run", store=tmp_path / "store", cwd=repository)
    assert done.returncode == 4
    assert (
        "pyproject.toml: model_dir: no such folder: models; give a folder of model files, or adopt a model first"
        in done.stderr
    )
    assert not (repository / "reports" / "latest").exists()
