"""What --json of compare and history holds: everything that the text tells, in the shape of its schema."""

import json
from pathlib import Path

import jsonschema
from made_up_runs import answers, cell, measured, report, side, write
from quantbench.cli._screen import json_of
from quantbench.comparison import compare
from quantbench.comparison.history import read_history
from quantbench.records import ComparisonAnswer, HistoryAnswer, Verdict, schema
from quantbench.report.answers import of_comparison, of_history


def test_a_comparison_holds_every_value_and_its_outcome() -> None:
    old = side([cell("a", answers(100), measurements={"size": measured(1000.0)})], {"a": answers(100)})
    new = side(
        [cell("a", answers(100), measurements={"size": measured(2000.0)})],
        {"a": answers(100)},
        run="2026-01-02T00-00-00Z",
    )
    found = of_comparison(compare(old, new, {}))
    text = json.loads(json_of(found))
    jsonschema.validate(text, schema(ComparisonAnswer))
    assert text["exit_status"] == 1
    assert text["cells"] == {"m/a": "worse"}
    (size,) = [one for one in text["values"] if one["measurement"] == "size"]
    assert (size["outcome"], size["old"], size["new"], size["differs"]) == ("worse", 1000.0, 2000.0, True)


def history(folder: Path) -> Path:
    for day, size in enumerate([1000.0, 1000.0, 2000.0, 2000.0, 2000.0], 1):
        made = cell("a", answers(100), measurements={"size": measured(size)}, verdict=Verdict.PASS)
        write(folder, report([made], run=f"2026-01-0{day}T00-00-00Z"))
    (folder / "2026-01-09T00-00-00Z").mkdir()
    return folder


def test_a_history_tells_of_shifts_alarms_and_what_was_skipped(tmp_path: Path) -> None:
    text = json.loads(json_of(of_history(read_history(history(tmp_path)))))
    jsonschema.validate(text, schema(HistoryAnswer))
    assert [run["run"][:10] for run in text["runs"]] == [f"2026-01-0{day}" for day in range(1, 6)]
    assert text["skipped"] == [{"name": "2026-01-09T00-00-00Z", "why": "holds no report.json"}]
    (trend,) = text["trends"]
    (shift,) = [one for one in trend["shifts"] if one["measurement"] == "size"]
    assert (shift["since"], shift["old"], shift["new"]) == ("2026-01-03T00-00-00Z", 1000.0, 2000.0)
    (alarm,) = [one for one in trend["alarms"] if one["measurement"] == "size"]
    assert alarm["runs"] == 3
    assert trend["values"] == {}


def test_one_cell_comes_with_its_values(tmp_path: Path) -> None:
    (trend,) = of_history(read_history(history(tmp_path)), "m/a").trends
    assert trend.values["size"] == [1000.0, 1000.0, 2000.0, 2000.0, 2000.0]
    assert len(trend.names) == trend.runs == 5


def test_json_is_ascii_so_that_no_guard_of_a_terminal_changes_it() -> None:
    made = report([cell("a", verdict=Verdict.PASS)], selection="a\u202eb\x9bé😀")
    text = json_of(made)
    assert text.isascii()
    assert json.loads(text)["selection"] == "a\u202eb\x9bé😀"
