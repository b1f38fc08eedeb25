"""What commands leave on the screen, and on standard output alone with --json."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import THREE_VARIANTS, ThreeCells, edit, run_quantbench
from quantbench.records import ComparisonAnswer, HistoryAnswer, Report, schema
from quantbench.report.terminal import SCREEN

CELL = "seed_cnn/ptq_static_wi8_ai8"
SELECTION = ["run", "--models", "seed_cnn", "--variants", THREE_VARIANTS, "--no-latency", "--no-gpu", "--workers", "1"]


def run(three_cells: ThreeCells, tmp_path: Path, *more: str, **environment: Any) -> "subprocess.CompletedProcess[str]":
    reports = ["--report-dir", str(tmp_path / "reports")]
    return run_quantbench(*SELECTION, *reports, *more, store=three_cells.store, **environment)


@pytest.fixture
def red(baselines: Path) -> list[str]:
    """Options of a run that is red."""

    def change(data: dict[str, Any]) -> None:
        data["cells"][CELL.partition("/")[2]]["measurements"]["size"]["value"] = 50_000

    edit(baselines / "seed_cnn.json", change)
    return ["--baseline-dir", str(baselines)]


def test_a_green_run_fits_on_a_screen_and_ends_with_its_verdict(three_cells: ThreeCells, tmp_path: Path) -> None:
    done = run(three_cells, tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) <= SCREEN
    assert lines[-1].startswith("GREEN (3 cells")
    cells = [line.strip() for line in lines if line.strip().startswith("[")]
    assert [line.partition(" ")[0] for line in cells] == ["[1/3]", "[2/3]", "[3/3]"]
    assert f"{CELL}: ✓ pass, cached" in " ".join(cells)
    assert not any("passed" in line or "test_accuracy" in line or "benchmark" in line for line in lines)


def test_a_red_run_shows_what_failed_once_and_ends_with_its_verdict(
    three_cells: ThreeCells, tmp_path: Path, red: list[str]
) -> None:
    done = run(three_cells, tmp_path, *red, GITHUB_ACTIONS="true")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("RED: regressed (3 cells")
    assert done.stdout.count(f"REGRESSED  {CELL}: size") == 1
    assert "FAILURES" not in done.stdout
    (annotation,) = [line for line in done.stdout.splitlines() if line.startswith("::error ")]
    assert annotation.startswith("::error file=models/seed_cnn.py,title=quantbench%3A seed_cnn/ptq_static_wi8_ai8")


def test_quiet_is_the_verdict_alone(three_cells: ThreeCells, tmp_path: Path, red: list[str]) -> None:
    for more, status, word in ([], 0, "GREEN"), (red, 1, "RED"):
        done = run(three_cells, tmp_path, "-q", *more)
        assert done.returncode == status
        (line,) = done.stdout.splitlines()
        assert line.startswith(f"{word}")
        assert done.stderr == ""


def test_verbose_has_pytests_screen_and_the_verdict_last(three_cells: ThreeCells, tmp_path: Path) -> None:
    done = run(three_cells, tmp_path, "-v", "-k", "size")
    assert "PASSED" in done.stdout
    assert "test session starts" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("GREEN (3 cells")
    assert f"\n{CELL} " in done.stdout  # the table of all cells


def test_a_test_that_raises_is_shown_with_its_traceback(three_cells: ThreeCells, tmp_path: Path) -> None:
    """The short screen leaves out verdicts, never what went wrong otherwise."""
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from quantbench.engine.session import Session\n"
        "def judge(*given): raise ValueError('planted')\n"
        "def pytest_configure(): Session.judge = judge\n"
    )
    done = run(three_cells, tmp_path, "-p", "broken", "-k", "size", path=[tmp_path])
    assert done.returncode == 3
    assert "ValueError: planted" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("NOT MEASURED")


def test_json_is_the_only_thing_on_standard_output(three_cells: ThreeCells, tmp_path: Path, red: list[str]) -> None:
    done = run(three_cells, tmp_path, "--json", *red)
    assert done.returncode == 1
    made = json.loads(done.stdout)
    jsonschema.validate(made, schema(Report))
    assert made["exit_status"] == 1
    assert "RED: regressed" in done.stderr
    folder = str(three_cells.run)
    commands = {
        ("report", folder): Report,
        ("compare", folder, str(tmp_path / "reports" / "latest")): ComparisonAnswer,
        ("history", "--report-dir", str(tmp_path / "reports")): HistoryAnswer,
        ("history", CELL, "--report-dir", str(tmp_path / "reports")): HistoryAnswer,
    }
    for words, record in commands.items():
        done = run_quantbench(*words, "--json", store=three_cells.store)
        assert done.returncode == 0, done.stderr
        jsonschema.validate(json.loads(done.stdout), schema(record))


def test_wrong_input_leaves_standard_output_empty(three_cells: ThreeCells, tmp_path: Path) -> None:
    done = run(three_cells, tmp_path, "--json", "--seeds", "0")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("quantbench: --seeds: expected")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["compare", "RUN", "RUN"], "Nothing differs: 3 cells"),
        (["report", "RUN"], "GREEN (3 cells"),
        (["models"], "autoencoder"),
        (["variants"], "float32"),
    ],
)
def test_quiet_documents_are_their_first_line(three_cells: ThreeCells, words: list[str], first: str) -> None:
    given = [str(three_cells.run) if word == "RUN" else word for word in words]
    done = run_quantbench(*given, "-q", store=three_cells.store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(first)
    assert (len(done.stdout.splitlines()) == 1) == (words[0] in ("compare", "report"))
    assert done.stderr == ""
