"""All that can be timed of a cell, by the command and on a machine that does nothing else."""

import json
import re
from pathlib import Path

import pytest
from conftest import Quantbench


@pytest.mark.alone
@pytest.mark.slow
def test_all_that_can_be_timed_of_a_cell(quantbench: Quantbench, tmp_path: Path) -> None:
    chosen = ["run", "--models", "seed_cnn", "--variants", "ptq_float16", "-k", "latency", "--latency-budget", "0.3"]
    saved = [f"--benchmark-storage=file://{tmp_path / 'saved'}", "--benchmark-save=one"]
    done = quantbench(*chosen, "--threads", "2", "--more-latency", "--benchmark-only", *saved)
    assert done.status == 0, done.output
    found = done.cell("seed_cnn/ptq_float16")["measurements"]
    assert found["latency_p50"]["low"] <= found["latency_p50"]["value"] <= found["latency_p99"]["value"]
    assert found["latency_p50"]["n"] > 60
    assert found["latency_ratio_2_threads"]["n"] == 6
    assert found["threads_at_work_2_threads"]["value"] > 1.02
    assert 0 < found["batch_32_latency"]["value"] < found["latency"]["value"] * 10
    keras = done.cell("seed_cnn/float32")["measurements"]["keras_latency"]
    assert keras["unit"] == "µs"
    assert keras["value"] > found["latency"]["value"]
    report = done.report()
    assert 0 <= report["environment"]["load"]["others"] <= 1
    text = (done.reports / "latest" / "report.md").read_text()
    assert re.search(r"no baseline for this machine profile \(\S+_2-thread\)", text)  # one thread: as accepted
    assert "### Latency" in text
    assert "Float model in Keras" in text
    assert "| other processes while timing" in text
    [kept] = (tmp_path / "saved").rglob("*_one.json")
    [entry] = json.loads(kept.read_text())["benchmarks"]
    assert entry["stats"]["rounds"] > 60
    again = quantbench(*chosen, *saved[:1], "--benchmark-compare")
    assert again.status == 0, again.output
    assert "(0001_one)" in again.output
    assert "(NOW)" in again.output
