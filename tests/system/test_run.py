"""The real path: convert, run and gate seed_cnn, through the command line; every gate is made to go red."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import ROOT, THREE_VARIANTS, Done, Quantbench, ThreeCells, command, edit, surroundings, update_of
from quantbench.records import Report, read_record
from quantbench.reference.datasets import read_predictions
from quantbench.report.markdown import render

pytestmark = pytest.mark.usefixtures("three_cells")
SELECTION = ["--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency"]
CELL = "seed_cnn/ptq_static_wi8_ai8"


def run(quantbench: Quantbench, baselines: Path, *more: str) -> Done:
    return quantbench("run", *SELECTION, "--baseline-dir", str(baselines), *more)


def measurement(data: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = data["cells"]["ptq_static_wi8_ai8"]["measurements"][name]
    return found


def test_green_with_both_reports(quantbench: Quantbench, baselines: Path) -> None:
    done = run(quantbench, baselines)
    assert done.status == 0, done.output
    shipped = json.loads((ROOT / "bench" / "quantbench" / "records" / "schemas" / "report.schema.json").read_text())
    jsonschema.validate(done.report(), shipped)
    report = read_record(done.reports / "latest" / "report.json", Report, "report")
    assert [cell.id for cell in report.cells] == [f"seed_cnn/{name}" for name in THREE_VARIANTS.split(",")]
    assert report.state == "complete"
    assert report.cells[0].measurements["score"].value == pytest.approx(0.8736, abs=0.003)
    text = (done.reports / "latest" / "report.md").read_text()
    # On a class of machine without a baseline the float control's own peak is unjudged.
    counts = "accuracy: 3 pass; size: 3 pass; structure: 3 pass; memory: "
    assert text.startswith(f"# quantbench: GREEN (3 cells; {counts}")
    assert "### Memory and start-up" in text
    assert done.cell(CELL)["verdicts"]["memory"] == "pass"
    assert text == render(report)
    assert "GREEN" in done.output
    assert (done.reports / "latest").is_symlink()


def test_a_higher_baseline_score_is_red_with_cell_numbers_and_command(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: measurement(data, "score").update(value=0.88))
    done = run(quantbench, baselines)
    assert done.status == 1
    cell = done.cell(CELL)
    assert cell["verdict"] == "regressed"
    score = cell["measurements"]["score"]["value"]
    assert f"{CELL}: accuracy {100 * score:.2f} %, baseline 88.00 %" in done.output
    assert f"--baseline-dir {baselines} --only {CELL} " in done.output  # on another class of machine: --per-machine


def test_a_smaller_baseline_size_is_red(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: measurement(data, "size").update(value=50_000))
    done = run(quantbench, baselines)
    assert done.status == 1
    assert "bytes, baseline 50,000" in done.output


def test_a_control_that_a_selection_brought_along_is_never_missing(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: data["cells"].pop("float32"))
    chosen = ["--models", "seed_cnn", "--no-latency", "--baseline-dir", str(baselines)]
    done = quantbench("run", *chosen, "--variants", "ptq_float16")
    assert done.status == 0, done.output
    assert done.cell("seed_cnn/float32")["verdict"] != "missing"
    assert quantbench("run", *chosen, "--variants", "ptq_float16,float32").status == 3


def test_a_larger_baseline_size_is_an_improvement_and_green(quantbench: Quantbench, baselines: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        measurement(data, "size").update(value=70_000)
        data["cells"][CELL.split("/")[1]]["artifact_sha256"] = "of another artifact"

    edit(baselines / "seed_cnn.json", change)
    done = run(quantbench, baselines)
    assert done.status == 0
    assert done.cell(CELL)["verdict"] == "improved"


def test_a_smaller_baseline_arena_or_ratio_is_red(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: measurement(data, "arena").update(value=20_000))
    done = run(quantbench, baselines, "-k", "test_memory")
    assert done.status == 1
    assert "bytes, baseline 20,000 bytes" in done.output

    def change(data: dict[str, Any]) -> None:
        data["cells"][CELL.partition("/")[2]].pop("by_machine", None)  # as on another class of machine
        measurement(data, "memory_ratio").update(value=0.9)

    edit(baselines / "seed_cnn.json", change)
    done = run(quantbench, baselines, "-k", "test_memory")
    assert "also red: memory ratio" in done.output
    assert "memory ratio 0.9" in (done.reports / "latest" / "report.md").read_text()


def test_a_ratio_accepted_on_another_processor_has_more_room(
    quantbench: Quantbench, baselines: Path, three_cells: ThreeCells
) -> None:
    """The runtime chooses kernels by the processor, and they pack weights otherwise."""
    now = three_cells.cell(CELL)["measurements"]["memory_ratio"]["value"]
    here = json.loads((three_cells.run / "report.json").read_text())["environment"]["results_class"]

    data = json.loads((baselines / "seed_cnn.json").read_text())
    update = update_of(data, measurement(data, "memory_ratio"))

    def accepted_in(results_class: str) -> dict[str, Any]:
        def change(data: dict[str, Any]) -> None:
            data["cells"][CELL.partition("/")[2]].pop("by_machine", None)  # as on another class of machine
            ratio = measurement(data, "memory_ratio")
            ratio.update(value=now / 1.02)
            ratio["accepted"] = {**update, "results_class": results_class}

        edit(baselines / "seed_cnn.json", change)
        return run(quantbench, baselines, "-k", "test_memory").cell(CELL)["verdicts"]  # type: ignore[no-any-return]

    assert accepted_in(here)["memory"] == "regressed"
    assert accepted_in(f"00000000_{here.partition('_')[2]}")["memory"] == "pass"


def test_a_larger_size_recorded_for_this_very_artifact_is_an_error(
    quantbench: Quantbench, baselines: Path, three_cells: ThreeCells
) -> None:
    sha256 = three_cells.cell(CELL)["artifact_sha256"]

    def change(data: dict[str, Any]) -> None:
        measurement(data, "size").update(value=70_000)
        data["cells"][CELL.split("/")[1]]["artifact_sha256"] = sha256

    edit(baselines / "seed_cnn.json", change)
    done = run(quantbench, baselines)
    assert done.status == 3
    assert "but the recorded size is not: the baseline was edited by hand" in done.output


def test_a_baseline_cell_that_no_variant_makes_is_refused(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: data["cells"].update(ptq_gone=data["cells"]["float32"]))
    done = run(quantbench, baselines)
    assert done.status == 4
    assert "field 'cells.ptq_gone': no variant has this name" in done.output


def test_a_missing_baseline_cannot_be_measured(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: data["cells"].pop("ptq_static_wi8_ai8"))
    done = run(quantbench, baselines)
    assert done.status == 3
    assert done.cell(CELL)["verdict"] == "missing"
    assert done.cell("seed_cnn/ptq_float16")["verdict"] == "pass"


def test_a_regression_is_not_hidden_by_a_missing_baseline(quantbench: Quantbench, baselines: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        measurement(data, "score").update(value=0.88)
        data["cells"].pop("float32")

    edit(baselines / "seed_cnn.json", change)
    assert run(quantbench, baselines).status == 1


def test_stored_predictions_of_other_content_are_refused(quantbench: Quantbench, baselines: Path) -> None:
    np.savez(baselines / "seed_cnn.npz", float32=np.zeros(10_000, dtype=np.uint8))
    done = run(quantbench, baselines)
    assert done.status == 4
    assert "seed_cnn.npz: stored predictions do not match 'predictions_sha256'" in done.output


def test_a_floor_goes_red_whatever_the_baseline(quantbench: Quantbench, baselines: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models", models)
    for other in models.glob("*.py"):
        if other.stem != "seed_cnn":
            other.unlink()
    file = models / "seed_cnn.py"
    file.write_text(file.read_text().replace('"ptq": Floor(0.5', '"ptq": Floor(-1.0'))
    done = run(quantbench, baselines, "--model-dir", str(models))
    assert done.status == 1
    assert "more than the -1 pp allowed" in done.output
    told = done.cell("seed_cnn/ptq_static_wi8_ai8")["attribution"]  # where the error comes from was looked for
    assert told["reference"] == "float32"
    assert 0 < len(told["suspects"]) <= 3
    assert "attribution" not in done.cell("seed_cnn/float32")


def test_accepting_a_run_and_its_review_document(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: measurement(data, "score").update(value=0.88))
    before = (baselines / "seed_cnn.json").read_text()
    red = run(quantbench, baselines)
    latest = str(red.reports / "latest")
    diff = quantbench("baseline", "diff", latest, "--baseline-dir", str(baselines))
    assert diff.status == 0
    # What memory takes is new on another class of machine, and a ratio may move where the kernels are others.
    [moving] = re.findall(r"\b(\d+) of \d+ values would move", diff.output)
    assert int(moving) >= 1
    assert "# Proposed baseline update: " in diff.output
    assert f"`{CELL}`" in diff.output
    assert (baselines / "seed_cnn.json").read_text() == before
    update = ["baseline", "update", latest, "--baseline-dir", str(baselines), "--allow-dirty"]
    assert quantbench(*update).status == 4  # no reason
    done = quantbench(*update, "--reason", "test of the update")
    assert re.search(rf"\b{moving} of \d+ values moved", done.output)
    assert run(quantbench, baselines).status == 0
    kept = json.loads((baselines / "seed_cnn.json").read_text())
    assert update_of(kept, measurement(kept, "score"))["reason"] == "test of the update"
    assert "qat_wi8_ai8" in kept["cells"]


def test_an_update_in_the_run_that_measured_still_ends_red(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: measurement(data, "score").update(value=0.88))
    done = run(quantbench, baselines, "--update-baselines", "accept what is new", "--allow-dirty")
    assert done.status == 1
    assert re.search(r"\b\d+ baseline values accepted", done.output)  # more than 1 on another machine
    assert run(quantbench, baselines).status == 0


def test_changed_predictions_of_an_equal_score_are_accepted_too(quantbench: Quantbench, baselines: Path) -> None:
    path, variant = baselines / "seed_cnn.npz", CELL.split("/")[1]
    arrays = read_predictions(path, "predictions")
    labels = np.load(ROOT / "models" / "data" / "fashion_mnist.npz")["y_test"]
    right = arrays[variant] == labels
    one, other = int(np.flatnonzero(right)[0]), int(np.flatnonzero(~right)[0])
    before = arrays[variant].copy()
    arrays[variant][one], arrays[variant][other] = (labels[one] + 1) % 10, labels[other]
    np.savez_compressed(path, **arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(baselines / "seed_cnn.json", lambda data: data.update(predictions_sha256=digest))
    done = run(quantbench, baselines)
    assert done.status == 0, done.output
    assert "all 10,000 predictions" not in json.dumps(done.cell(CELL))
    folders = ["--baseline-dir", str(baselines), "--reason", "test"]
    assert quantbench("baseline", "update", str(done.reports / "latest"), *folders, "--allow-dirty").status == 0
    assert (read_predictions(path, "predictions")[variant] == before).all()


def test_the_first_trained_cell_of_a_model_needs_five_seeds_to_become_a_baseline(
    quantbench: Quantbench, baselines: Path
) -> None:
    (baselines / "seed_cnn.json").unlink()
    arguments = ["run", "--variants", "float32_finetuned", "--no-latency", "--baseline-dir", str(baselines)]
    done = quantbench(*arguments, "--models", "seed_cnn", "--update-baselines", "too early", "--allow-dirty")
    assert done.status == 3
    assert "run again with --seeds 5" in done.output
    assert not (baselines / "seed_cnn.json").exists()


def test_a_selection_brings_its_control_and_calls_nothing_else_missing(quantbench: Quantbench, baselines: Path) -> None:
    done = quantbench(
        "run", "--models", "seed_cnn", "--no-latency", "--baseline-dir", str(baselines), "-k", "test_size and int_io"
    )
    assert done.status == 0, done.output
    cells = {cell["id"]: cell for cell in done.report()["cells"]}
    assert list(cells) == ["seed_cnn/float32", "seed_cnn/ptq_static_wi8_ai8_int_io"]
    assert not cells["seed_cnn/float32"]["selected"]
    assert cells["seed_cnn/float32"]["verdicts"] == {"size": "pass"}


def test_the_marker_of_a_family_selects_it(quantbench: Quantbench, baselines: Path) -> None:
    done = run(quantbench, baselines, "-m", "ptq", "--collect-only", "-q")
    assert "seed_cnn/ptq_float16" in done.output
    assert "seed_cnn/float32]" not in done.output


def test_without_the_cache_the_result_is_the_same(quantbench: Quantbench, baselines: Path) -> None:
    cached = run(quantbench, baselines).report()["cells"]
    fresh = run(quantbench, baselines, "--no-cache").report()["cells"]
    assert [cell["artifact_sha256"] for cell in fresh] == [cell["artifact_sha256"] for cell in cached]
    assert [cell["predictions_sha256"] for cell in fresh] == [cell["predictions_sha256"] for cell in cached]
    assert not any(cell["cached"] for cell in fresh)
    assert all(cell["cached"] for cell in cached)


def test_a_warm_run_imports_neither_tensorflow_nor_distributions(baselines: Path, store: Path) -> None:
    script = ROOT / "bench" / "quantbench" / "suites"
    code = (
        "import sys, pytest\n"
        f"status = pytest.main([{str(script)!r}, '-q', '--no-latency', '--models=seed_cnn', "
        f"'--variants={THREE_VARIANTS}', '--baseline-dir={baselines}', '--report-dir={baselines.parent / 'warm'}'])\n"
        "assert status == 0\nassert not {'tensorflow', 'scipy.stats'} & sys.modules.keys()"
    )
    environment = surroundings(QUANTBENCH_CACHE=str(store))
    subprocess.run([command()[0], "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True)


def test_latency_is_timed_and_unjudged_where_there_is_no_baseline(quantbench: Quantbench, baselines: Path) -> None:
    done = quantbench(
        "run",
        *["--models", "seed_cnn", "--variants", "ptq_float16", "--baseline-dir", str(baselines)],
        *["-k", "latency", "--latency-budget", "0.3", "--benchmark-json", str(baselines / "benchmark.json")],
        "--no-turns",
    )
    assert done.status == 0, done.output
    cell = done.cell("seed_cnn/ptq_float16")
    assert cell["verdicts"] == {"latency": "unjudged"}
    assert cell["measurements"]["latency"]["unit"] == "µs"
    assert cell["measurements"]["latency_ratio"]["n"] == 6
    assert cell["measurements"]["start_up_cold"]["unit"] == cell["measurements"]["start_up_warm"]["unit"] == "ms"
    assert cell["measurements"]["start_up_cold"]["n"] == 3
    assert "latency is not gated in 1 cells" in done.output
    [entry] = json.loads((baselines / "benchmark.json").read_text())["benchmarks"]
    median = cell["measurements"]["latency"]["value"]
    assert 1e6 * entry["stats"]["median"] == pytest.approx(median, rel=0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_an_interrupted_run_leaves_a_valid_partial_report(
    tmp_path: Path, baselines: Path, number: signal.Signals
) -> None:
    reports = tmp_path / "reports"
    options = ["--no-cache", "--workers=1", f"--baseline-dir={baselines}", f"--report-dir={reports}"]
    lines = []
    with subprocess.Popen(
        command("run", *SELECTION, *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.strip().startswith("[1/3]"):
                # A terminal interrupts all of a run, a supervisor the one process that it started.
                (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
    assert process.returncode == 2, "".join(lines)
    report = read_record(reports / "latest" / "report.json", Report, "report")
    assert report.state == "interrupted"
    assert report.exit_status == 2
    assert "PARTIAL, the run is interrupted" in (reports / "latest" / "report.md").read_text()
    assert "Traceback" not in "".join(lines)


@pytest.mark.nightly
def test_a_model_trained_again_says_how_far_it_landed(quantbench: Quantbench) -> None:
    done = quantbench(
        "run", "--models", "seed_cnn", "--variants", "float32", "--train", "--no-latency", "-m", "control"
    )
    assert done.status == 0, done.output
    assert "standard deviations (over seeds) from the pinned weights' 87.36 %" in done.output
    assert done.report()["trained_from_scratch"]


def test_stopping_at_the_first_failure_leaves_a_partial_report(quantbench: Quantbench, baselines: Path) -> None:
    edit(baselines / "seed_cnn.json", lambda data: data["cells"]["float32"]["measurements"]["score"].update(value=0.9))
    done = run(quantbench, baselines, "-x")
    assert done.status == 1
    assert done.report()["state"] == "interrupted"
    refused = quantbench("baseline", "update", str(done.reports / "latest"), "--reason", "a test")
    assert refused.status == 4
    assert "only a complete run may become a baseline" in refused.output


def test_a_test_that_breaks_is_an_error_not_a_green(tmp_path: Path, store: Path) -> None:
    suites = str(ROOT / "bench" / "quantbench" / "suites")
    code = (
        "import sys, pytest\nfrom quantbench import gate\n"
        "def broken(*a, **k): raise KeyError('a bug')\ngate.accuracy = broken\n"
        f"sys.exit(pytest.main([{suites!r}, '--no-latency', '--models=seed_cnn', "
        f"'--variants=float32', '--report-dir={tmp_path}']))"
    )
    environment = surroundings(QUANTBENCH_CACHE=str(store))
    done = subprocess.run([command()[0], "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stdout
    report = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert report["cells"][0]["verdict"] == "error"


def test_yesterdays_report_renders_as_it_did(quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path) -> None:
    again = quantbench("report", str(three_cells.run))
    assert again.output == (three_cells.run / "report.md").read_text()
    page = tmp_path / "again.html"
    assert quantbench("report", str(three_cells.run), "--html", str(page)).status == 0
    assert page.read_text() == (three_cells.run / "report.html").read_text()
    assert "data:image/png" in page.read_text()
