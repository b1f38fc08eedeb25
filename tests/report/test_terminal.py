"""The screen after a run: short where it is green, what failed first where it is red, the verdict always last."""

from pathlib import Path

import pytest
from made_up_runs import cell, measured, report
from quantbench.records import Action, Cell, Judgement, Kind, Verdict
from quantbench.report import markdown, terminal
from quantbench.report.formatting import headline
from quantbench.report.html import page as html
from quantbench.report.html.deferred import Later

FOLDER = Path("reports/r")
STEP = "    → look closer: quantbench run"


def judged(verdict: Verdict, message: str = "said", change: float | None = 1.0) -> Judgement:
    return Judgement(
        kind=Kind.SIZE,
        measurement="size",
        against="baseline",
        verdict=verdict,
        change=change,
        message=message,
        actions=[Action(what="look closer", command=["quantbench", "run"])],
    )


def one(name: str, verdict: Verdict, *messages: str, change: float | None = 1.0, **more: object) -> Cell:
    judgements = [judged(verdict, message, change) for message in messages or ("said",)]
    measurements = {"size": measured(2048.0)}
    return cell(
        name, verdict=verdict, verdicts={Kind.SIZE: verdict}, judgements=judgements, measurements=measurements, **more
    )


def lines_of(cells: list[Cell], status: int = 0, verbose: bool = False, **more: object) -> list[str]:
    return terminal.summary(report(cells, exit_status=status, **more), FOLDER, verbose).splitlines()


def test_a_green_run_is_counts_the_report_and_the_verdict() -> None:
    cells = [one("a", Verdict.PASS), one("b", Verdict.PASS, change=0.0), one("c", Verdict.PASS, change=None)]
    assert lines_of(cells) == [
        "1 value changed within tolerance",
        "report: reports/r/report.md",
        "GREEN (3 cells; size: 3 pass)",
    ]


@pytest.mark.parametrize("verdict", [Verdict.WARN, Verdict.CHANGED, Verdict.IMPROVED, Verdict.XFAIL, Verdict.PASS])
def test_a_green_run_of_very_many_cells_fits_on_one_screen(verdict: Verdict) -> None:
    cells = [one(f"v{i}", verdict, "one", "two", exceptions=["a tolerance was loosened"]) for i in range(300)]
    lines = lines_of(cells, notes=[f"note {i}" for i in range(40)])
    assert len(lines) <= terminal.SCREEN
    assert lines[-1] == headline(report(cells))
    if verdict not in (Verdict.PASS, Verdict.XFAIL):
        assert f"… and {300 - terminal.MOST_ON_GREEN} more cells that need attention, in the report" in lines
    assert "… and 35 more notes in the report" in lines


def test_a_red_run_begins_with_what_failed_and_its_step_and_ends_with_its_verdict() -> None:
    lines = lines_of([one("a", Verdict.PASS), one("b", Verdict.REGRESSED, "larger", "slower")], status=1)
    assert lines[:3] == ["✗ REGRESSED  m/b: larger", "    slower", STEP]
    assert lines[-1].startswith("RED: regressed (2 cells")
    table = lines[lines.index("") + 1 :]
    assert [line.split()[0] for line in table[:3]] == ["cell", "------", "m/b"]
    assert "1 other cell as expected (-v lists all)" in table
    assert not any(line.startswith("m/a") for line in lines)


def test_a_red_run_lists_ten_cells_at_most_and_counts_the_rest() -> None:
    lines = lines_of([one(f"v{i}", Verdict.REGRESSED) for i in range(25)], status=1)
    assert sum(line.startswith("✗ REGRESSED") for line in lines) == terminal.MOST_LINES
    assert "… and 15 more cells that need attention, in the report" in lines
    assert "… and 15 more such cells in the report" in lines


def test_verbose_lists_every_cell_note_and_step() -> None:
    cells = [one("a", Verdict.PASS), *(one(f"w{i}", Verdict.WARN) for i in range(20))]
    lines = lines_of(cells, verbose=True, notes=[f"note {i}" for i in range(9)])
    assert sum(line == STEP for line in lines) == 20
    assert sum(line.startswith("note: ") for line in lines) == 9
    assert any(line.startswith("m/a ") for line in lines)
    assert lines[-1].startswith("GREEN (21 cells")


def test_columns_that_no_cell_fills_are_left_out() -> None:
    header = next(line for line in lines_of([one("a", Verdict.PASS)], verbose=True) if line.startswith("cell"))
    assert header.split() == ["cell", "verdict", "KiB"]


def test_terminal_report_and_page_count_the_same_changes_within_tolerance() -> None:
    noisy = judged(Verdict.PASS).model_copy(update={"change": 0.1, "tolerance": 3.0, "measurement": "latency_mean"})
    found = one("a", Verdict.PASS, "larger", "smaller")
    found.judgements.append(noisy)
    found.measurements["latency_mean"] = measured(2.0).model_copy(update={"spread": 0.5})
    made = report([found], exit_status=0)
    assert "2 values changed within tolerance" in terminal.summary(made, FOLDER, verbose=False).splitlines()
    assert "2 values changed within tolerance; " in markdown.render(made)
    assert "<summary>2 values changed within tolerance</summary>" in html._changed(made, Later(large=False))


def test_the_command_that_records_all_names_the_folders_that_the_run_was_given() -> None:
    folders = ["--model-dir", "my models", "--baseline-dir", "kept"]
    update = ["quantbench", "baseline", "update", "reports/r", *folders, "--only", "m/a", "--reason", "why"]
    found = one("a", Verdict.MISSING)
    found.judgements[0].actions = [Action(what="record it", command=update)]
    [line] = [line for line in lines_of([found], status=3) if line.startswith("record them all: ")]
    assert line == (
        "record them all: quantbench baseline update reports/r --model-dir 'my models' --baseline-dir kept "
        '--reason "first baseline"'
    )
    found.judgements[0].actions = []
    assert 'record them all: quantbench baseline update reports/r --reason "first baseline"' in lines_of([found], 3)
