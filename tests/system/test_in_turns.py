"""A run with the shipped baselines, which hold no latency: timed for real in turns with what was accepted."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Quantbench, ThreeCells, edit

CELL, OTHER = "seed_cnn/ptq_float16", "seed_cnn/ptq_static_wi8_ai8"
LATENCY = ["run", "--models", "seed_cnn", "--variants", "ptq_float16", "-m", "latency", "--latency-budget", "0.5"]


def typical(cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in cell["judgements"] if one["measurement"] == "latency_ratio")
    return found


@pytest.mark.slow
def test_a_slower_artifact_is_red_and_the_accepted_one_green_where_there_is_no_baseline(
    quantbench: Quantbench, three_cells: ThreeCells, baselines: Path
) -> None:
    done = quantbench(*LATENCY, "--baseline-dir", str(baselines))
    green = typical(done.cell(CELL))
    assert done.status == 0, done.output
    assert (green["verdict"], green["against"]) == ("pass", "accepted artifact")
    assert "same artifact, same runtime as accepted" in green["message"]

    # As if the int8 artifact had been accepted, which takes less time.
    edit(
        baselines / "seed_cnn.json",
        lambda data: data["cells"]["ptq_float16"].update(artifact_sha256=three_cells.cell(OTHER)["artifact_sha256"]),
    )
    done = quantbench(*LATENCY, "--baseline-dir", str(baselines))
    red = typical(done.cell(CELL))
    assert done.status == 1, done.output
    assert red["verdict"] == "regressed"
    assert red["turns"]["low"] > 0.01
    assert len(red["turns"]["values"]) == 12
    # The int8 kernels of the accepted artifact take less time than float ones: told by operator.
    times = done.cell(CELL)["operator_times"]
    assert times["operators"]
    assert "Time: " in done.output
    assert "--time" in done.output  # the next step
    assert "in turns with the accepted artifact, 1 of 1" in done.output
    assert (
        "in turns with the accepted artifact on this machine: +" in (done.reports / "latest" / "report.md").read_text()
    )

    done = quantbench(*LATENCY, "--baseline-dir", str(baselines), "--no-turns")
    assert (done.status, typical(done.cell(CELL))["verdict"]) == (0, "unjudged")
