"""A red run in the morning: said once and in two lines, with commands that do what they say."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from conftest import ROOT, THREE_VARIANTS, ThreeCells, edit, run_quantbench

HALF, INT8 = "seed_cnn/ptq_float16", "seed_cnn/ptq_static_wi8_ai8"


def test_from_a_green_night_to_a_red_one_and_back(three_cells: ThreeCells, tmp_path: Path, baselines: Path) -> None:
    """Two cells are red alike, and one is beyond what an update of the baseline can turn green."""
    reports = tmp_path / "reports"
    kept = ["--report-dir", str(reports), "--baseline-dir", str(baselines)]
    selection = ["--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency", "--no-gpu", "--workers", "1"]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_quantbench(*arguments, store=three_cells.store, GITHUB_ACTIONS="true")

    assert run("run", *selection, *kept).returncode == 0
    green = (reports / "latest").resolve()

    def smaller(data: dict[str, Any]) -> None:
        for cell in (HALF, INT8):
            data["cells"][cell.partition("/")[2]]["measurements"]["size"]["value"] *= 0.9

    edit(baselines / "seed_cnn.json", smaller)
    done = run("run", *selection, *kept)
    assert done.returncode == 1, done.stdout + done.stderr
    now = (reports / "latest").resolve()
    (found,) = json.loads((now / "report.json").read_text())["reds"]
    assert sorted(found["cells"]) == [HALF, INT8]
    assert (found["kind"], found["of"], found["acceptable"]) == ("size", 2, True)
    assert (found["last_green"]["run"], found["last_green"]["folder"]) == (green.name, str(reports / green.name))
    assert "first_red" not in found
    assert found["same_file"] == 2

    told = [line.strip() for line in done.stdout.splitlines()]
    first = next(place for place, line in enumerate(told) if line.startswith("✗ REGRESSED"))
    assert told[first].startswith("✗ REGRESSED  all 2 ptq cells: size, the worst seed_cnn/")
    assert told[first + 1] == (
        f"Red since this run, last green {green.name[:10]} {green.name[11:16].replace('-', ':')}; nothing recorded "
        "changed, the .tflite files are the same"
    )
    steps = [shlex.split(line.partition(": ")[2]) for line in told[first + 2 :] if line.startswith("→ ")]
    assert [words[1] for words in steps] == ["inspect", "compare", "baseline"]
    assert sum("REGRESSED" in line and line.startswith("✗") for line in told) == 1
    (annotation,) = [line for line in told if line.startswith("::error ")]
    assert annotation.startswith("::error file=models/seed_cnn.py,title=quantbench%3A all 2 ptq cells regressed")
    summary = run("report", str(now), "--summary").stdout
    assert summary.index("all 2 ptq cells") < summary.index("2 red cells, one by one") < summary.rindex("size")
    assert "all 2 ptq cells" in (now / "report.html").read_text()

    compared = run(*steps[1][1:])
    assert compared.returncode == 0, compared.stdout + compared.stderr  # the values are the same; the baseline is not
    accepted = run(*steps[2][1:], "--allow-dirty")
    assert accepted.returncode == 0, accepted.stderr
    assert run("run", *selection, *kept).returncode == 0  # accepting was offered because it turns this green


def test_the_nightly_workflow_looks_nights_up_before_it_merges_the_shards() -> None:
    steps = (ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    job = steps[steps.index("\n  report:") : steps.index("\n  # This job may write")]
    assert job.index("path: history") < job.index("--history history")
    assert job.count("actions/cache/restore") == 1
