"""A whole run with a target: measured there, accepted for its machine profile, and judged by that from then on."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Quantbench, ThreeCells

CELL = "seed_cnn/ptq_static_wi8_ai8"
ARGUMENTS = ["--models", "seed_cnn", "--variants", "ptq_static_wi8_ai8", "--no-latency", "--no-gpu"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a target that answers the first examples alone, and one that is not there."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copytree(ROOT / "baselines", folder / "baselines")
    (folder / "quantbench.toml").write_text(
        f'model_dir = "{ROOT / "models"}"\n[targets.few]\naddress = "command:{sys.executable}"\nexamples = 700\n'
        f'folder = "{tmp_path / "there"}"\n[targets]\ngone = "command:/no/such/program"\n'
    )
    return folder


@pytest.mark.slow
def test_a_target_is_measured_accepted_and_judged_by_what_was_accepted(
    quantbench: Quantbench, three_cells: ThreeCells, repository: Path
) -> None:
    def target_of(done: Any) -> dict[str, Any]:
        found: dict[str, Any] = done.cell(CELL)
        return found

    first = quantbench("run", *ARGUMENTS, "--target", "few,gone", cwd=repository)
    assert first.status == 3, first.output
    cell = target_of(first)
    assert cell["verdicts"]["target"] == "error"
    assert cell["targets"]["few"]["verdict"] == "pass"
    assert cell["targets"]["few"]["measurements"]["score"]["n"] == 700
    assert cell["targets"]["gone"]["failure"].startswith("/no/such/program cannot be started")
    again = quantbench("run", *ARGUMENTS, "--target", "few", cwd=repository)
    assert again.status == 0, again.output
    assert target_of(again)["targets"]["few"]["cached"]
    report = (again.reports / "latest" / "report.md").read_text(encoding="utf-8")
    assert "## On other machines" in report
    assert "none (700 examples)" in report
    reason = ["--reason", "another processor", "--allow-dirty"]
    latest = str(again.reports / "latest")
    updated = quantbench("baseline", "update", latest, "--target", "few", "--only", CELL, *reason, cwd=repository)
    assert updated.status == 0, updated.output
    wrong = quantbench("baseline", "update", latest, "--target", "pi", "--only", CELL, *reason, cwd=repository)
    assert wrong.status == 4
    assert "the run has no target 'pi' that answered; it has: few" in wrong.output
    baseline = json.loads((repository / "baselines" / "seed_cnn.json").read_text(encoding="utf-8"))
    overlays = baseline["cells"]["ptq_static_wi8_ai8"]["overlays"]
    of_target = [name for name in overlays if "_ai-edge-litert-" in name]
    assert len(of_target) == 1
    assert overlays[of_target[0]]["measurements"]["score"]["n"] == 700
    checked = quantbench("baseline", "check", cwd=repository)
    assert checked.status == 0, checked.output
    judged = quantbench("run", *ARGUMENTS, "--target", "few", cwd=repository)
    assert judged.status == 0, judged.output
    assert target_of(judged)["targets"]["few"]["accepted"]
    [judgement] = [one for one in target_of(judged)["judgements"] if one["kind"] == "target"]
    assert (judgement["verdict"], judgement["against"]) == ("pass", "baseline")


def test_an_unknown_target_is_one_sentence(quantbench: Quantbench, repository: Path) -> None:
    done = quantbench("run", *ARGUMENTS, "--target", "pi", cwd=repository)
    assert done.status == 4
    assert "--target: no target 'pi'; expected a declared one (few, gone) or an address: local, ssh://" in done.output
