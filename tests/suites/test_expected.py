"""What a run should judge follows from models, variants and the command line, whatever pytest collects."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from conftest import ROOT, Quantbench, run_quantbench, surroundings
from made_up_cells import FLOAT, HALF, outcome, run
from quantbench import gate
from quantbench.records import Kind, Verdict
from quantbench.suites import plugin

# Prints how many judgements are expected and how many have a test, and may take tests away as a conftest would.
SPY = """
import pytest
from quantbench.suites import plugin

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    if REMOVE:
        items[:] = [item for item in items if "test_size" not in item.name]

@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    expected, found = session.config.stash[plugin.EXPECTED], plugin._wanted(session.config, session.items)
    gone = {cell: kinds - found.get(cell, set()) for cell, kinds in expected.items()}
    print("COUNTED", sum(map(len, expected.values())), sum(map(len, found.values())), sum(map(len, gone.values())))
    print("SELECTION", session.config.stash[plugin.COMMAND_LINE].in_words())
"""
CELLS = ["--models", "seed_cnn", "--variants", "float32,ptq_float16", "--no-gpu"]


def collected(tmp_path: Path, *arguments: str, remove: bool = False, **environment: str) -> tuple[list[int], str]:
    """Numbers of expected judgements, of tests, and of expected ones without a test; and the selection in words."""
    (tmp_path / "spy.py").write_text(f"REMOVE = {remove}\n{SPY}")
    words = ["run", *CELLS, *arguments, "--report-dir", str(tmp_path), "-p", "spy", "--collect-only", "-q"]
    done = run_quantbench(*words, store=tmp_path / "store", path=[tmp_path], **environment)
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("COUNTED", "SELECTION")))
    return [int(number) for number in lines["COUNTED"].split()], lines["SELECTION"]


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ([], 10),
        pytest.param(["-k", "test_size and float16"], 1, marks=pytest.mark.nightly),
        (["-k", "SUITES and not test_latency.py"], 8),
        pytest.param(["-m", "ptq or latency"], 6, marks=pytest.mark.nightly),
        (["--deselect", "suites/test_size.py", "--no-latency"], 6),
    ],
)
def test_what_the_user_leaves_out_on_the_command_line_is_not_expected(
    tmp_path: Path, given: list[str], count: int
) -> None:
    counted, words = collected(tmp_path, *given)
    assert counted == [count, count, 0]
    assert all(option in words for option in given if option in ("-k", "-m", "--deselect"))


LIKE_IT = [pytest.param(hidden, marks=pytest.mark.nightly) for hidden in ("-m size", "--no-latency")]


@pytest.mark.parametrize("hidden", ["-k test_size", "-o python_files=test_s*.py", *LIKE_IT])
def test_what_anything_else_leaves_out_is_expected_all_the_same(tmp_path: Path, hidden: str) -> None:
    counted, words = collected(tmp_path, PYTEST_ADDOPTS=hidden)
    assert counted[0] == 10
    assert counted[2] > 0
    assert hidden not in words


def test_a_conftest_that_removes_tests_leaves_their_judgements_expected(tmp_path: Path) -> None:
    assert collected(tmp_path, remove=True)[0] == [10, 8, 2]


def test_a_suite_that_measures_no_cell_has_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of compiled files alone a suite of accuracy has none; pytest would skip one test without a cell."""
    session = SimpleNamespace(
        cell_ids=lambda: ["m/built_npu"], measures=lambda _, kind: kind is Kind.SIZE, options=SimpleNamespace(shard="")
    )
    stash: Any = pytest.Stash()
    stash[plugin.SESSION] = session
    config: Any = SimpleNamespace(stash=stash)
    of: Any = Mock(fixturenames=["cell"], config=config)
    of.definition.get_closest_marker = lambda name: name == "accuracy" or None
    plugin.pytest_generate_tests(of)
    of.parametrize.assert_called_once_with("cell", [""])

    monkeypatch.setattr(plugin, "_expected", lambda *_: {})
    monkeypatch.setattr(plugin, "_left_out", lambda *_: set())
    items: list[Any] = [Mock(spec=pytest.Function, callspec=Mock(params={"cell": name})) for name in ("", FLOAT)]
    kept = items[1:]
    plugin.pytest_collection_modifyitems(config, items)
    assert items == kept


def test_a_judgement_without_a_test_is_missing_and_the_run_not_green() -> None:
    made = run({FLOAT: [outcome()], HALF: [outcome()]})
    made.plan.fix({FLOAT: {Kind.SIZE}, HALF: {Kind.SIZE, Kind.ACCURACY}}, {FLOAT: {Kind.SIZE}, HALF: {Kind.SIZE}})
    for cell in (FLOAT, HALF):
        made.drive.judge(cell, Kind.SIZE)
    made.drive.close(partial=False)
    judged = made.judgements[HALF][Kind.ACCURACY]
    assert [one.verdict for one in judged] == [Verdict.MISSING]
    assert "its test was not collected" in judged[0].message
    assert gate.exit_status([judged[0].verdict]) == 3


def test_cells_cannot_be_chosen_behind_the_command_line(quantbench: Quantbench) -> None:
    words = [sys.executable, "-m", "pytest", "bench", "--collect-only", "-q"]
    surrounding = surroundings(PYTEST_ADDOPTS="--variants=float32")
    done = subprocess.run(words, cwd=ROOT, env=surrounding, capture_output=True, text=True, timeout=100)
    assert done.returncode == 4
    assert "--variants: an ini file or PYTEST_ADDOPTS gives it" in done.stderr


@pytest.mark.slow
def test_a_run_whose_tests_are_taken_away_is_not_green(quantbench: Quantbench) -> None:
    chosen = ["run", "--models", "seed_cnn", "--variants", "float32", "--no-latency", "--no-gpu"]
    done = quantbench(*chosen, PYTEST_ADDOPTS="-k nothing_of_this_name")
    assert done.status == 3, done.output
    assert done.cell("seed_cnn/float32")["verdict"] == "missing"
