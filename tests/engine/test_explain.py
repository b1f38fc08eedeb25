"""The command explain: a cell of a run, two files, and what cannot be explained."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Quantbench, ThreeCells
from made_up_graphs import Made
from quantbench.reference.model import load_models


def test_a_cell_is_explained_in_one_screen(quantbench: Quantbench, three_cells: ThreeCells) -> None:
    done = quantbench("explain", "seed_cnn/ptq_static_wi8_ai8", "--run", str(three_cells.run))
    assert done.status == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("seed_cnn/ptq_static_wi8_ai8 against float32: accuracy 8")
    assert lines[1].startswith("Cause: ")
    assert len(lines) <= 30
    told = quantbench("explain", "seed_cnn/ptq_static_wi8_ai8", "--run", str(three_cells.run), "--json")
    found = json.loads(told.output)
    assert found["matched"] == 1
    assert found["scored"] == 4000
    timed = quantbench("explain", "seed_cnn/ptq_static_wi8_ai8", "--run", str(three_cells.run), "--time")
    assert timed.status == 0, timed.output
    lines = timed.output.splitlines()
    assert lines[0].startswith("seed_cnn/ptq_static_wi8_ai8 takes ")
    assert lines[1].startswith("Time: ")
    assert any("CONV_2D" in each and "(NHWC, F32)" in each for each in lines[3:])
    assert len(lines) <= 30


def test_two_files_are_compared_behind_walls(quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path) -> None:
    for variant in ("float32", "ptq_static_wi8_ai8"):
        cell = [
            "export",
            f"seed_cnn/{variant}",
            "--run",
            str(three_cells.run),
            "-o",
            str(tmp_path / f"{variant}.tflite"),
        ]
        assert quantbench(*cell).status == 0
    model = load_models(ROOT / "models")["seed_cnn"]
    np.savez(tmp_path / "x.npz", x=model.prepare(model.pack().test.x[:80]))
    np.savez(tmp_path / "wrong.npz", x=np.zeros((3, 4), np.float32))
    np.savez(tmp_path / "none.npz", x=np.zeros((0, 28, 28, 1), np.float32))
    files = [str(tmp_path / "ptq_static_wi8_ai8.tflite"), "--against", str(tmp_path / "float32.tflite")]
    written = ["--html", str(tmp_path / "explained.html"), "--node-data", str(tmp_path / "nodes.json")]
    done = quantbench("explain", *files, "--data", str(tmp_path / "x.npz"), *written)
    assert done.status == 0, done.output
    assert done.output.splitlines()[1].startswith("Cause: ")
    assert 'class="along"' in (tmp_path / "explained.html").read_text()
    [nodes] = json.loads((tmp_path / "nodes.json").read_text()).values()
    assert {"1", "2"} <= {*nodes["results"]}
    made = Made()
    entered, left = made.tensor("in", (1, 28, 28, 1)), made.tensor("out", (1, 28, 28, 1))
    made.operator("TANH", [entered], [left])
    other = tmp_path / "other.tflite"
    other.write_bytes(made.file([entered], [left]))
    files_of_two = [str(other), *files[1:], "--data", str(tmp_path / "x.npz"), "--time"]
    timed = quantbench("explain", *files_of_two)
    assert timed.status == 4, timed.output
    assert "only 0 % of the operators have a partner" in timed.output
    assert "the first without: TANH at 0" in timed.output
    for more, words in (
        ([], "a file is compared with another one; give --against FILE.tflite and --data x.npz"),
        (["--data", str(tmp_path / "wrong.npz")], "x: expected examples of shape (28, 28, 1), found (4,)"),
        (["--data", files[0]], "not an .npz file"),
        (
            ["--data", str(tmp_path / "none.npz")],
            "x: expected one or more examples of finite numbers, found",
        ),
    ):
        refused = quantbench("explain", *files, *more)
        assert refused.status == 4, refused.output
        assert words in refused.output


def test_an_accepted_artifact_of_another_model_is_refused_with_how_far_it_could_be_matched(
    quantbench: Quantbench, three_cells: ThreeCells, tmp_path: Path
) -> None:
    other = tmp_path / "other.tflite"
    for shape, words in (
        ((1, 28, 28, 1), "only 0 % of the operators"),
        ((1, 4), "takes inputs of shape [(1, 28, 28, 1)]"),
    ):
        made = Made()
        entered, left = made.tensor("in", shape), made.tensor("out", shape)
        made.operator("TANH", [entered], [left])
        other.write_bytes(made.file([entered], [left]))
        done = quantbench(
            "explain", "seed_cnn/ptq_static_wi8_ai8", "--run", str(three_cells.run), "--against", str(other)
        )
        assert done.status == 4, done.output
        assert words in done.output


@pytest.mark.parametrize(
    ("cell", "more", "words"),
    [
        ("seed_cnn/nothing", [], "no cell seed_cnn/nothing in this run"),
        ("seed_cnn/float32", [], "give an earlier artifact with --against FILE.tflite"),
        ("seed_cnn/ptq_float16", ["--data", "x.npz"], "seed_cnn/ptq_float16 is a cell, which has its model's data"),
        ("seed_cnn/ptq_float16", ["--against", "README.md"], "README.md: not a .tflite file; give a .tflite file"),
    ],
)
def test_what_cannot_be_explained(
    quantbench: Quantbench, three_cells: ThreeCells, cell: str, more: list[str], words: str
) -> None:
    done = quantbench("explain", cell, "--run", str(three_cells.run), *more)
    assert done.status == 4, done.output
    assert words in done.output
