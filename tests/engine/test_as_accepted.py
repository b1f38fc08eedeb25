"""A run begins with what was measured of accepted artifacts, says so, and measures what differs."""

import json
import shutil
from pathlib import Path
from typing import Any

from conftest import Quantbench, ThreeCells
from quantbench.baselines.measured import KINDS

CELLS = ["run", "--models", "seed_cnn", "--variants", "float32,ptq_float16", "--no-latency", "--no-gpu"]
CHOSEN = [*CELLS, "-k", "test_accuracy or test_size or test_memory"]


def without_measurements(store: Path) -> Path:
    """Remove from a store what is measured beside answers, as if it had never been there."""
    for index in store.glob("??/*/entry.json"):
        if json.loads(index.read_text())["ingredients"]["what"] in KINDS:
            shutil.rmtree(index.parent)
    return store


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "latest" / "report.json").read_text())
    return found


def memory(found: dict[str, Any]) -> list[Any]:
    return [cell["measurements"]["peak_memory"] for cell in found["cells"]]


def test_measurements_of_accepted_artifacts_are_taken_told_and_not_made_again(
    three_cells: ThreeCells, quantbench: Quantbench, tmp_path: Path
) -> None:
    folder, store = tmp_path / "baselines", three_cells.copied_store(tmp_path / "store")
    chosen = [*CHOSEN, "--baseline-dir", str(folder)]
    done = quantbench(*chosen, "--update-baselines", "first", "--allow-dirty", QUANTBENCH_CACHE=str(store))
    first = report(done.reports)
    assert first["as_accepted"] == {}
    assert (folder / "seed_cnn.xz").exists(), done.output

    done = quantbench(*chosen, QUANTBENCH_CACHE=str(without_measurements(store)))
    assert done.status == 0, done.output
    second = report(done.reports)
    assert second["as_accepted"]["memory"] == 2
    assert memory(second) == memory(first)  # bytes of three processes each, which another measurement would not repeat
    assert any("taken from the baselines" in note and "memory of 2" in note for note in second["notes"])

    (folder / "seed_cnn.xz").write_bytes(b"anything but what it was")
    done = quantbench(*chosen, QUANTBENCH_CACHE=str(without_measurements(store)))
    assert done.status == 4
    assert "seed_cnn.xz: accepted measurements cannot be unpacked" in done.output
    assert len(list(done.reports.glob("20*"))) == 2  # what was refused leaves no folder
