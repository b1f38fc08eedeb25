"""``quantbench answers``: a run's artifacts on a target, and a machine that has no emulator."""

import json
from pathlib import Path

import pytest
from conftest import Quantbench, ThreeCells, run_quantbench

CELL = "seed_cnn/ptq_static_wi8_ai8"


@pytest.mark.slow
def test_a_target_is_accepted_and_then_gated(three_cells: ThreeCells, tmp_path: Path) -> None:
    store = three_cells.copied_store(tmp_path / "store")

    def answers(*more: str) -> tuple[int, str, str]:
        arguments = [str(three_cells.run), "--cells", CELL, "--baseline-dir", str(tmp_path / "baselines"), *more]
        done = run_quantbench("answers", "--target", "local", *arguments, store=store)
        return done.returncode, done.stdout, done.stderr

    status, text, _ = answers()
    assert status == 3
    assert f"? missing {CELL}: 0 of 200 answers differ from this machine's; no accepted answers of local" in text
    status, text, error = answers("--accept", "the first ones")
    assert (status, error.count("Error")) == (0, 0)
    assert "local.json" in text
    status, text, _ = answers("--json")
    found = json.loads(text)
    assert (status, found["exit_status"], found["emulated"]) == (0, 0, False)
    assert (found["cells"][0]["verdict"], found["cells"][0]["differ_from_accepted"]) == ("pass", 0)


def test_a_reason_that_a_baseline_cannot_hold_is_refused_before_anything_runs(
    three_cells: ThreeCells, quantbench: Quantbench
) -> None:
    done = quantbench("answers", str(three_cells.run), "--accept", "x" * 2001, PATH="/nowhere")
    assert done.status == 4
    assert "--accept: 2001 characters, expected at most 2000; give a shorter one" in done.output


def test_a_machine_without_an_emulator_says_so(three_cells: ThreeCells, quantbench: Quantbench) -> None:
    run = str(three_cells.run)
    done = quantbench("answers", run, PATH="/nowhere")
    assert done.status == 4
    assert "qemu-aarch64: QEMU's emulator of ARM programs is not installed; sudo apt-get install" in done.output
    done = quantbench("answers", run, "--where-possible", PATH="/nowhere")
    assert done.status == 0
    assert done.output.startswith("qemu-aarch64: not compared: QEMU's emulator of ARM programs is not installed")
    done = quantbench("answers", run, "--target", "local,qemu-aarch64")
    assert "--target: expected one target, found 'local,qemu-aarch64'" in done.output
