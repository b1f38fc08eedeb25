"""A model with two outputs that is adopted, run and updated: the second output is gated as the first one is."""

import shutil
from pathlib import Path

import pytest
from conftest import Quantbench
from quantbench.baselines import files as baseline_files
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import load_models

from adopt.test_scored import saved  # noqa: F401

FOLDERS = ["--model-dir", "models", "--baseline-dir", "baselines"]


@pytest.mark.slow
def test_an_output_that_breaks_is_red_by_its_name_while_the_first_one_holds(
    quantbench: Quantbench,
    saved: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    for name in ("two.keras", "two_spoiled.keras", "two_labels.npz"):
        shutil.copy(saved / name, tmp_path)
    given = ["--name", "two", "--data", "two_labels.npz", "--gate", "ptq_float16", "--max-drop", "3"]
    untimed = ["--latency-budget", "0", "--report-dir", "adopting"]
    done = quantbench("adopt", "two.keras", *given, *FOLDERS, *untimed, cwd=tmp_path)
    assert done.status == 0, done.output
    assert "each output is gated by its own score and limit: the first one, and colour" in done.output
    model = load_models(tmp_path / "models")["two"]
    assert [head.floors["default"].max_drop for head in model.heads] == [3.0]
    accepted = baseline_files.load(tmp_path / "baselines", model)
    assert accepted.file is not None
    assert accepted.file.outputs == {"colour": "accuracy"}
    assert {"float32@colour", "ptq_float16@colour"} <= set(accepted.predictions)

    spoiled = quantbench("adopt", "two_spoiled.keras", "--update", "two", *FOLDERS, *untimed, cwd=tmp_path)
    assert spoiled.status == 1, spoiled.output
    assert "RED ptq_float16, output colour: " in spoiled.output
    assert "Nothing was written" in spoiled.output
    same = quantbench("adopt", "two.keras", "--update", "two", *FOLDERS, *untimed, cwd=tmp_path)
    assert same.status == 0, same.output

    ran = quantbench("run", *FOLDERS, "--no-latency", "--no-gpu", "--no-instructions", cwd=tmp_path)
    assert ran.status == 0, ran.output
    weights, file = tmp_path / "models" / "weights" / "two.keras", tmp_path / "models" / "two.py"
    before = file_sha256(weights)
    shutil.copy(tmp_path / "two_spoiled.keras", weights)
    file.write_text(file.read_text().replace(before, file_sha256(weights)))
    broken = quantbench("run", *FOLDERS, "--no-latency", "--no-gpu", "--no-instructions", cwd=tmp_path)
    assert broken.status == 1, broken.output
    for cell in broken.report()["cells"]:
        of = {(one["measurement"], one["against"]): one["verdict"] for one in cell["judgements"]}
        assert (of["score", "baseline"], of["score@colour", "baseline"]) == ("pass", "regressed")
    assert "output colour: accuracy" in (broken.reports / "latest" / "report.md").read_text()
