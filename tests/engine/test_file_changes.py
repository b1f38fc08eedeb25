"""Two artifacts beside each other: files, cells of a run, and cells of two runs."""

import json
from pathlib import Path

import pytest
from conftest import Quantbench
from made_up_graphs import layers
from made_up_runs import cell, report
from quantbench.engine import file_changes
from quantbench.engine.file_changes import MOST_CELLS, of_runs, of_two
from quantbench.errors import BadInput
from quantbench.records import Report, write_json
from quantbench.records.run_folder import REPORT
from quantbench.reference.datasets import file_sha256
from quantbench.report.file_changes import section


def made(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def run_of(folder: Path, variants: dict[str, bytes]) -> tuple[Report, Path]:
    """A run whose artifacts lie in its folder."""
    cells = []
    for variant, content in variants.items():
        path = folder / "artifacts" / f"{variant}.tflite"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        cells.append(cell(variant, artifact_sha256=file_sha256(path)))
    return report(cells), folder


def test_the_command_says_in_words_what_changed_between_two_files(quantbench: Quantbench, tmp_path: Path) -> None:
    old, new = made(tmp_path, "old.tflite", layers()), made(tmp_path, "new.tflite", layers(prefix="a", factor=1.6))
    done = quantbench("compare", old, new)
    assert done.status == 0, done.output
    assert "- 3 × weights scale: 1.6 times larger" in done.output
    found = json.loads(quantbench("compare", old, new, "--json").output)
    assert (found["matched"], len(found["changes"])) == (1.0, 3)
    looked = quantbench("inspect", new, "--against", old)
    assert looked.output == done.output
    refused = quantbench("compare", old, "reports/latest")
    assert (refused.status, "expected a .tflite file beside another one" in refused.output) == (4, True)


def test_a_cell_of_a_run_is_set_beside_a_file(tmp_path: Path) -> None:
    made_here, folder = run_of(tmp_path / "run", {"v": layers(cast_before=1)})
    write_json(folder / REPORT, made_here)
    found = of_two(made(tmp_path, "old.tflite", layers()), "m/v", folder)
    assert [(one.operator, one.new) for one in found.changes] == [("QUANTIZE", "added")]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no such thing", "not a .tflite file; give a .tflite file"), (b"\0\0\0\0TFL3" + bytes(40), "damaged|subgraph")],
)
def test_what_is_no_whole_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        of_two(made(tmp_path, "old.tflite", content), made(tmp_path, "new.tflite", layers()), Path())


def test_more_operators_than_any_model_has_are_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_changes, "MOST_OPERATORS", 2)
    files = [made(tmp_path, name, layers()) for name in ("old.tflite", "new.tflite")]
    with pytest.raises(BadInput, match=r"old\.tflite has 3 operators, and files of up to 2 are compared; give others"):
        of_two(*files, Path())


def test_of_two_runs_the_cells_are_told_whose_artifacts_are_at_hand(tmp_path: Path) -> None:
    variants = [f"v{at}" for at in range(8)]
    old = run_of(tmp_path / "old", dict.fromkeys(variants, layers()))
    new = run_of(tmp_path / "new", dict.fromkeys(variants, layers(cast_before=1)))
    (tmp_path / "new" / "artifacts" / "v0.tflite").unlink()
    found = of_runs(old, new, [f"m/{name}" for name in variants])
    assert [one.new for one in found] == [f"m/v{at}" for at in range(1, MOST_CELLS + 1)]
    [told] = section(found)
    assert told.rows[0] == ["m/v1", "added: QUANTIZE tfl.requantized"]
