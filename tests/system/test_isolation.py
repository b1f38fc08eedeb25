"""Real processes that crash, hang, leave or are killed: each costs its own cell, and says what to do about it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_server import FRESH_WORKERS
from conftest import ROOT, Done, Quantbench, ThreeCells

PLANTED = ("abort", "segfault", "exit", "leave", "hang", "killed", "killed_once", "memory_once", "threads_once")


def planted_models(folder: Path) -> Path:
    """A model folder with seed_cnn and the planted variants."""
    for name in ("weights/seed_cnn.npz", "data/fashion_mnist.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "models" / name, folder / name)
    model = (ROOT / "models" / "seed_cnn.py").read_text()
    (folder / "seed_cnn.py").write_text(model + (ROOT / "tests" / "planted_variants.py").read_text())
    return folder


def failure(done: Done, name: str) -> dict[str, Any]:
    found: dict[str, Any] = done.cell(f"seed_cnn/planted_{name}")["failure"]
    return found


# What is not planted in the default run: test_workers.py and test_signals.py see to it without a run around them.
AT_NIGHT = ("segfault", "exit", "killed", "memory_once", "threads_once")


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted",
    [tuple(name for name in PLANTED if name not in AT_NIGHT), pytest.param(PLANTED, marks=pytest.mark.nightly)],
    ids=["some", "all"],
)
def test_each_misfortune_costs_its_own_cell_and_says_how_to_repeat_it(
    quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path, planted: tuple[str, ...]
) -> None:
    models = planted_models(tmp_path / "models")
    variants = ",".join([f"planted_{name}" for name in planted] + ["ptq_float16"])
    options = ["--models", "seed_cnn", "--variants", variants, "--model-dir", str(models), "--workers", "2"]
    # A store of its own: what is killed once only is not killed where another test has computed it.
    own = {"QUANTBENCH_CACHE": str(three_cells.copied_store(tmp_path / "store"))}
    fresh = planted == PLANTED  # of one that is forked the end of a long stack is in the log
    own |= {FRESH_WORKERS: "1"} if fresh else {}
    done = quantbench("run", *options, "--no-latency", "--cell-timeout", "30", **own)
    assert done.status == 3, done.output

    assert failure(done, "abort")["what"] == "crash"
    assert "died of SIGABRT; its last output: LLVM ERROR: planted in a converter" in failure(done, "abort")["reason"]
    assert "planted_variants" not in failure(done, "abort")["log"]
    assert not fresh or "in _abort" in failure(done, "abort")["log"]  # where it was, line by line
    assert "the worker process ended with status 0" in failure(done, "leave")["reason"]
    assert failure(done, "hang")["what"] == "timeout"
    hung = "no result within 30 s (--cell-timeout); its last output: planted: waiting for ever"
    assert failure(done, "hang")["reason"] == hung
    assert not fresh or "in _hang" in failure(done, "hang")["log"]

    if "segfault" in planted:
        assert "died of SIGSEGV" in failure(done, "segfault")["reason"]
        assert "in evaluate" in failure(done, "segfault")["log"]
        assert failure(done, "exit") | {"log": ""} == {"what": "error", "reason": "SystemExit: 3", "log": ""}
        killed = done.cell("seed_cnn/planted_killed")
        assert "died of SIGKILL, as the system does where memory runs out" in killed["failure"]["reason"]
        assert "retried once, alone" in killed["retried"][0]
    once = {"killed_once": "SIGKILL", "memory_once": "MemoryError", "threads_once": "can't start new thread"}
    for name, why in ((name, why) for name, why in once.items() if name in planted):
        cell = done.cell(f"seed_cnn/planted_{name}")
        assert "failure" not in cell
        assert why in cell["retried"][0]
        assert f"seed_cnn/planted_{name}: " in " ".join(done.report()["notes"])
    assert done.cell("seed_cnn/ptq_float16")["verdict"] == "pass"
    assert done.cell("seed_cnn/float32").get("failure") is None

    command = "quantbench run --models seed_cnn --variants planted_abort --no-cache --model-dir"
    assert f"{command} {models} --cell-timeout 30.0" in done.output
    text = (done.reports / "latest" / "report.md").read_text()
    assert "died of SIGABRT; its last output: LLVM ERROR: planted in a converter" in text


def test_what_native_code_prints_is_in_the_log_of_its_cell(quantbench: Quantbench) -> None:
    chosen = ["run", "--models", "seed_cnn", "--variants", "ptq_static_wi8_ai8", "--no-latency", "--no-cache", "-s"]
    done = quantbench(*chosen, "--workers", "2", **{FRESH_WORKERS: "1"})  # XNNPACK speaks once a process
    for noise in ("INFO: ", "WARNING: All log messages", "fully_quantize", "TensorFlow Lite", "E0000", "I0000"):
        assert noise not in done.output
    logs = done.reports / "latest" / "logs"
    told = (logs / "seed_cnn.ptq_static_wi8_ai8.0.log").read_text()
    assert "fully_quantize" in told
    assert "XNNPACK" in told
    assert json.loads((done.reports / "latest" / "report.json").read_text())["state"] == "complete"
