"""Whole runs on TFLite-Micro: a larger arena is red, and without the package a run says what it left out."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SOURCE, Quantbench, edit
from quantbench.measure import micro

CELL = ("run", "--models", "seed_cnn", "--variants", "ptq_static_wi8_ai8")
# Other tests' runs leave TFLite-Micro out, whether it is installed or not.
HERE = {"QUANTBENCH_NO_MICRO": "false", "PYTHONPATH": f"{SOURCE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.mark.slow
@pytest.mark.skipif(bool(micro.unavailable()), reason=micro.unavailable())
def test_a_run_is_red_where_the_arena_grew_and_green_where_all_is_as_accepted(
    quantbench: Quantbench, baselines: Path
) -> None:
    done = quantbench(*CELL, "-m", "micro", **HERE)
    assert done.status == 0, done.output
    cell = done.cell("seed_cnn/ptq_static_wi8_ai8")
    assert cell["verdicts"] == {"micro": "pass"}
    arena = cell["measurements"]["micro_arena"]["value"]
    assert arena == cell["micro"]["head"] + cell["micro"]["tail"]
    assert "### TFLite-Micro" in (done.reports / "latest" / "report.md").read_text()

    def smaller(data: dict[str, Any]) -> None:
        data["cells"]["ptq_static_wi8_ai8"]["measurements"]["micro_arena"]["value"] -= 16

    edit(baselines / "seed_cnn.json", smaller)
    red = quantbench(*CELL, "-m", "micro", "--baseline-dir", str(baselines), **HERE)
    assert red.status == 1, red.output
    assert f"arena on TFLite-Micro {arena:,.0f} bytes, baseline {arena - 16:,.0f} (+16 bytes" in red.output


def test_the_shipped_baselines_hold_what_the_gate_runs_there() -> None:
    found = {path.stem: json.loads(path.read_text())["cells"] for path in (ROOT / "baselines").glob("*.json")}
    held = [cell for cells in found.values() for cell in cells.values() if "micro" in cell]
    gated = {name: sum("micro" in cell for cell in cells.values()) for name, cells in found.items()}
    assert all(count >= 9 for count in gated.values()), gated
    assert all(("micro_arena" in cell["measurements"]) == ("refusal" not in cell["micro"]) for cell in held)
    assert found["vit_tiny"]["float32"]["micro"]["refusal"]["operator"] == "GELU"
