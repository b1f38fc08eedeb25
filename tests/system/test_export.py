"""``quantbench export`` of a run of the gate, whose artifacts are in the store alone."""

from pathlib import Path

from conftest import ThreeCells, run_quantbench


def test_an_artifact_of_a_gate_run_is_written_from_the_store(three_cells: ThreeCells, tmp_path: Path) -> None:
    where = ["--run", str(three_cells.run), "-o", str(tmp_path / "a.tflite")]
    done = run_quantbench("export", "seed_cnn/ptq_float16", *where, store=three_cells.store)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "a.tflite").read_bytes()[4:8] == b"TFL3"
    assert "seed_cnn/ptq_float16, " in done.stdout
    gone = run_quantbench("export", "ptq_float16", *where, store=tmp_path / "empty")
    assert gone.returncode == 4
    assert "run the same command again to rebuild it" in gone.stderr
