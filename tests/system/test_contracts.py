"""The house rules are enforced: one violation of each contract, planted in a copy, turns the lint red."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = "The house: a room imports only from rooms below it"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources and the project file."""
    folder = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("__pycache__", "*.json", "studies")
    shutil.copytree(ROOT / "bench", folder / "bench", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(house: Path) -> "subprocess.CompletedProcess[str]":
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=house,
        env={"PYTHONPATH": str(house / "bench"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_the_house_as_it_stands_keeps_its_contracts(house: Path) -> None:
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/stats.py", "from quantbench.engine import plan", LAYERS),
        ("adopt/ranking.py", "from quantbench.ab import result", LAYERS),
        ("gate/_size.py", "from quantbench.measure import size", "Judges decide from records alone"),
        ("report/terminal.py", "from quantbench.build import store", "Reporters see records: no store, no measuring"),
        ("engine/score.py", "from quantbench.engine import session", "No circles between siblings, at any depth"),
        ("a_new_room/__init__.py", "", LAYERS),
    ],
)
def test_a_planted_violation_is_red(house: Path, file: str, line: str, contract: str) -> None:
    path = house / "bench" / "quantbench" / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    try:
        done = lint(house)
    finally:
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in done.stdout + done.stderr


@pytest.mark.parametrize(
    "module", ["tensorflow", "ruptures", "altair", "distributed", "wgpu", "ai_edge_quantizer", "litert_quantizer"]
)
def test_a_heavy_import_at_module_level_is_red(house: Path, module: str) -> None:
    path = house / "bench" / "quantbench" / "planted.py"
    path.write_text(f'"""Planted."""\n\nimport {module}\n\n__all__ = ["{module}"]\n', encoding="utf-8")
    try:
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", str(path)]
        done = subprocess.run(command, cwd=house, capture_output=True, text=True)
    finally:
        path.unlink()
    assert done.returncode == 1
    assert f"TID253 `{module}` is banned at the module level" in done.stdout
