"""A repository of a user, with a model, its baseline, a config and a test; and pytest as its user runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, surroundings

TEN_LINES = """
import pytest

def test_my_model(quantbench):
    quantbench.check("seed_cnn", "ptq_static_wi8_ai8")

@pytest.mark.quantbench(models="seed_cnn", variants=["float32", "ptq_float16"])
def test_cells(quantbench, quantbench_cell):
    # Not gated as a whole where this machine has no baseline of float32's own memory.
    assert quantbench.check(quantbench_cell).verdict in ("pass", "unjudged")
"""


def lay_site(folder: Path) -> Path:
    """Make a folder that says what an installed quantbench says: its entry point."""
    said = folder / "quantbench-0.1.0.dist-info"
    said.mkdir(parents=True)
    (said / "METADATA").write_text("Metadata-Version: 2.1\nName: quantbench\nVersion: 0.1.0\n")
    # By this pytest rewrites the assertions of all that is imported from the package, as with every plugin.
    (said / "RECORD").write_text("quantbench/__init__.py,,\nquantbench/suites/entry.py,,\n")
    (said / "entry_points.txt").write_text("[pytest11]\nquantbench = quantbench.suites.entry\n")
    return folder


def lay_repository(folder: Path) -> Path:
    """Make a repository whose config names its folders."""
    (folder / "ml").mkdir(parents=True)
    (folder / ".git").mkdir()
    shutil.copy(ROOT / "models" / "seed_cnn.py", folder / "ml")
    for part in ("weights", "data"):
        shutil.copytree(ROOT / "models" / part, folder / "ml" / part)
    (folder / "baselines").mkdir()
    for path in (ROOT / "baselines").glob("seed_cnn.*"):
        shutil.copy(path, folder / "baselines")
    (folder / "pyproject.toml").write_text(
        '[tool.quantbench]\nmodel_dir = "ml"\nno_latency = true\nno_gpu = true\nworkers = 1\n'
        '[tool.pytest.ini_options]\naddopts = "--strict-markers --strict-config"\nfilterwarnings = ["error"]\n'
    )
    (folder / "test_gate.py").write_text(TEN_LINES)
    return folder


def run_pytest(folder: Path, site: Path, *words: str, store: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run pytest in a repository, as its user does."""
    environment = surroundings(**({"QUANTBENCH_CACHE": str(store)} if store else {}))
    environment["PYTHONPATH"] = os.pathsep.join([str(site), environment["PYTHONPATH"]])
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
