"""The words of a red run: two lines a group, told once, with the details behind them."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import cell, report
from quantbench.records import (
    AcceptedOn,
    Action,
    EarlierRun,
    FactChanged,
    Family,
    Judgement,
    Kind,
    Located,
    Pooled,
    RedGroup,
    Report,
    Verdict,
)
from quantbench.report import markdown, reds, terminal
from quantbench.report.forge_comment import short
from quantbench.report.github_annotations import annotations
from quantbench.report.github_summary import cut
from quantbench.report.html.deferred import Later
from quantbench.report.html.page import _attention

PLACE = Located(
    operator="CONV_2D",
    tensor="net/conv2d_3/Conv2D",
    position=3,
    repaired_by="float",
    recovered=0.9,
    lost=4.9,
    back=4.1,
    unit="pp",
    cells=["m/a"],
)
NIGHTS = {
    "first_red": EarlierRun(run="2026-11-27", started="2026-11-27T02:31:07+00:00"),
    "last_green": EarlierRun(run="2026-11-26", started="2026-11-26T02:30:11+00:00", folder="nights/26"),
}
TENSORFLOW = FactChanged(kind="package", name="tensorflow", old="2.20.0", new="2.21.0")
PYTEST = FactChanged(kind="package", name="pytest", old="8", new="9", used=False)


def group(*cells: str, **more: Any) -> RedGroup:
    names = list(cells or ("m/a",))
    fields: dict[str, Any] = {"kind": Kind.ACCURACY, "verdict": Verdict.REGRESSED, "of": len(names)}
    return RedGroup(cells=names, **({"family": Family(weights="int4")} | fields | more))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (group("m/a", "m/b"), "all 2 int4 cells"),
        (group("m/a", "m/b", of=3), "2 of 3 int4 cells"),
        (group("m/a"), "m/a"),
        (group("m/a", "m/b", family=Family()), "all 2 cells"),
        (group("m/a", "m/b", family=Family(model="m", engine="aeq", ranges="static")), "all 2 aeq static cells of m"),
        (group("m/a", "n/a", family=Family(engine="float32", weights="float32")), "all 2 float32 cells"),
        (group("m/a", "m/b", family=Family(trained=True)), "all 2 trained cells"),
        (group("m/a", "m/b", family=Family(activations="int16")), "all 2 cells with int16 activations"),
        (group("m/a", "m/b", pool="m: all variants", family=None), "m: all variants"),
    ],
)
def test_who(found: RedGroup, words: str) -> None:
    assert reds.who(found) == words


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True), st.integers(0, 3))
def test_all_is_said_of_whole_families_alone(cells: list[str], more: int) -> None:
    found = group(*(f"m/{one}" for one in cells), of=len(cells) + more)
    assert reds.who(found).startswith("all ") == (more == 0 and len(cells) > 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        (NIGHTS, "Red since the night of 2026-11-27, last green 2026-11-26"),
        (
            NIGHTS | {"first_red": EarlierRun(run="r", started="2026-11-26T09:00:00+00:00")},
            "Red since the night of 2026-11-26 09:00, last green 2026-11-26 02:30",
        ),
        (
            NIGHTS | {"first_red": EarlierRun(run="r", started="2026-11-26T02:30:50+00:00")},
            "Red since the night of 2026-11-26 02:30:50, last green 2026-11-26 02:30:11",
        ),
        ({"last_green": NIGHTS["last_green"]}, "Red since this run, last green 2026-11-26 02:30"),
        ({"first_red": NIGHTS["first_red"], "earlier": 3}, "Red in all 3 earlier runs, since 2026-11-27 at least"),
        ({"accepted": [AcceptedOn(date="2026-11-01", run="r", reason="w")]}, "Accepted on 2026-11-01"),
        (
            NIGHTS | {"since": "last green", "changed": [TENSORFLOW, PYTEST]},
            "Red since the night of 2026-11-27, last green 2026-11-26; changed then: tensorflow 2.20.0 → 2.21.0",
        ),
        (
            {"since": "last green", "changed": [PYTEST], "same_file": 1},
            "Nothing recorded changed, the .tflite file is the same",
        ),
        ({"since": "accepted", "same_file": 0}, "No version changed since then, the .tflite file changed"),
        ({"located": [PLACE], "searched": 1}, "Cause: CONV_2D net/conv2d_3, which explains 4.10 of 4.90 pp"),
        ({"searched": 2}, "Cause: no single operator (2 cells searched)"),
    ],
)
def test_why(fields: dict[str, Any], words: str) -> None:
    assert reds.why(group(**fields)) == words


def test_the_same_place_in_several_models_is_told_once_with_the_least_and_the_most_that_it_explains() -> None:
    entrance = PLACE.model_copy(update={"operator": "QUANTIZE", "tensor": "q", "position": 0})
    other = entrance.model_copy(update={"tensor": "r", "back": 4.9, "cells": ["n/a"]})
    found = group("m/a", "n/a", located=[entrance, other], searched=2)
    explains = ", which explains from 4.10 of 4.90 pp to all of 4.90 pp"
    assert reds.where(found) == f"cause: the quantization of the model's input{explains}"
    third = PLACE.model_copy(update={"cells": ["o/a"]})
    found = group("m/a", "n/a", "o/a", located=[third, entrance, other], searched=3)
    searched = " (in 2 of 3 cells searched), else CONV_2D net/conv2d_3"
    assert reds.where(found) == f"cause: the quantization of the model's input{explains}{searched}"


def test_only_a_few_changes_are_told() -> None:
    many = [TENSORFLOW.model_copy(update={"name": f"p{number}"}) for number in range(6)]
    assert reds.changed(group(since="last green", changed=many)).endswith("p2 2.20.0 → 2.21.0, 3 more")


# ---------------------------------------------------------------- a whole report

LONG = "accuracy 85.22 %, baseline 87.22 % (2.00 pp worse); 353 newly wrong, 153 newly right of 10,000"


def judged(kind: Kind = Kind.ACCURACY, message: str = LONG, verdict: Verdict = Verdict.REGRESSED) -> Judgement:
    action = Action(what="look closer", command=["quantbench", "run", "alone"])
    return Judgement(
        kind=kind, measurement="score", against="baseline", verdict=verdict, message=message, actions=[action]
    )


@pytest.fixture
def morning() -> Report:
    """Three red cells in two groups, and one that warns."""
    cells = [
        cell(
            name,
            verdict=Verdict.REGRESSED,
            verdicts={Kind.ACCURACY: Verdict.REGRESSED},
            judgements=[judged(), judged(message="the outputs differ")],
        )
        for name in "abc"
    ]
    warned = cell("w", verdict=Verdict.WARN, judgements=[judged(verdict=Verdict.WARN, message="perhaps")])
    explain = Action(what="explain", command=["quantbench", "explain", "m/a"])
    together = group(
        "m/a", "m/b", low=1.2, high=4.9, unit="pp", also={Kind.SIZE: 1}, against={"baseline": 2, "floor": 2},
        located=[PLACE], searched=2, since="last green", changed=[TENSORFLOW, PYTEST], actions=[explain], **NIGHTS,
    )  # fmt: skip
    return report([*cells, warned], exit_status=1, reds=[together, group("m/c", family=Family(model="m"), of=4)])


def test_the_terminal_tells_each_group_once_in_two_lines_and_its_steps(morning: Report) -> None:
    lines = terminal.summary(morning, Path("reports/r")).splitlines()
    assert lines[:5] == [
        "✗ REGRESSED  all 2 int4 cells: accuracy 1.20 to 4.90 pp worse than accepted; also red: beyond the release "
        "limit, size in 1",
        "    Cause: CONV_2D net/conv2d_3, which explains 4.10 of 4.90 pp (in 1 of 2 cells searched); red since the "
        "night of 2026-11-27, last green 2026-11-26; changed then: tensorflow 2.20.0 → 2.21.0",
        "    → explain: quantbench explain m/a",
        "✗ REGRESSED  m/c: accuracy 85.22 %, baseline 87.22 % (2.00 pp worse)",
        "! warn  m/w: perhaps",
    ]
    assert not any("newly wrong" in line for line in lines)
    told = terminal.summary(morning, Path("reports/r"), verbose=True)
    assert told.count("353 newly wrong") == 3  # with -v the details of each cell too


def test_the_report_has_the_details_behind_the_groups(morning: Report) -> None:
    parts = markdown.parts(morning)
    attention, details = parts[markdown.ATTENTION], parts[markdown.DETAILS]
    assert attention.count("✗ REGRESSED") == 2
    assert "newly wrong" not in attention
    assert details.count("353 newly wrong") == 3
    assert "<summary>3 red cells, one by one</summary>" in details
    first = morning.model_copy(update={"cells": morning.cells[:1], "reds": morning.reds[:1]})
    assert reds.folded(first) == "The red cell in detail"
    pooled = Pooled(id="m: all", model="m", cells=["m/a"], judgement=morning.cells[0].judgements[0])
    together = first.model_copy(update={"pooled": [pooled]})
    assert reds.folded(together) == "The red cell in detail, and what is judged of several together"
    assert "pytest 8 → 9 (not used by these cells)" in details
    assert details.endswith("</details>")
    assert "perhaps" in attention
    assert "perhaps" not in details


def test_a_job_summary_that_is_cut_opens_no_fold_without_closing_it(morning: Report) -> None:
    for limit in (8000, 3000, 2600):
        text = cut(morning, limit)
        assert text.count("<details>") == text.count("</details>")
        assert "all 2 int4 cells" in text


def test_the_page_links_the_cells_of_a_group_and_folds_the_details(morning: Report) -> None:
    page = str(_attention(morning, Later(large=False)))
    assert page.count("all 2 int4 cells") == 3  # in the entry, and with both things that changed
    before, _, behind = page.partition("3 red cells, one by one")
    assert before.count(">m/a</a>") == before.count(">m/b</a>") == 1
    assert behind.count("353 newly wrong") == 3
    assert re.search(r"<a href=\"[^\"]+\">m/c</a>: accuracy 85.22 %", before)


def test_github_shows_one_annotation_for_a_group_beside_its_model(morning: Report, tmp_path: Path) -> None:
    found = annotations(morning, {"m": tmp_path / "m.py"}, tmp_path)
    assert [one.partition("::")[2].partition("::")[0] for one in found] == [
        "error file=m.py,title=quantbench%3A all 2 int4 cells regressed",
        "error file=m.py,title=quantbench%3A m/c regressed",
        "warning file=m.py,title=quantbench%3A m/w warn",
    ]


def test_what_has_no_baseline_is_not_called_worse(morning: Report) -> None:
    cells = [one.model_copy(update={"verdict": Verdict.MISSING}) for one in morning.cells[:2]]
    cells = [
        one.model_copy(update={"judgements": [judged(message="no baseline for score", verdict=Verdict.MISSING)]})
        for one in cells
    ]
    found = group("m/a", "m/b", family=Family(), verdict=Verdict.MISSING, also={Kind.SIZE: 2})
    told = terminal.summary(report(cells, exit_status=3, reds=[found]), Path("r")).splitlines()
    assert told[0] == ("? missing  all 2 cells: accuracy, such as m/a: no baseline for score; also missing: size")
    assert not any(line.startswith("record them all") for line in told)  # the group has the command


def test_a_clause_ends_outside_of_brackets_and_an_error_is_told_to_its_end() -> None:
    limit = "accuracy is below (87.36 %; 95 % interval), more than allowed (p = 1; fails below 2); the reason"
    beyond = cell("a", verdict=Verdict.REGRESSED, judgements=[judged(message=limit)])
    assert reds.entry(group("m/a"), report([beyond])).lines[0] == limit.rpartition("; ")[0]
    wrong = judged(Kind.SIZE, "size is smaller; the baseline was edited by hand", Verdict.ERROR)
    other = wrong.model_copy(update={"measurement": "memory_ratio"})
    failed = cell("a", verdict=Verdict.ERROR, judgements=[wrong, other])
    [told] = reds.entry(group("m/a", kind=Kind.SIZE, verdict=Verdict.ERROR), report([failed])).lines
    assert told == "size is smaller; the baseline was edited by hand; also error: memory ratio"


def test_a_message_to_a_telephone_names_groups(morning: Report) -> None:
    _, text = short(morning, "")
    assert text.splitlines()[:3] == ["3 of 4 cells:", "- all 2 int4 cells: regressed", "- m/c: regressed"]


def test_names_of_strangers_stay_text() -> None:
    hostile = "<b>\x1b[2J\n# x|`"
    fact = FactChanged(kind="package", name=hostile, old=hostile, new=hostile)
    place = PLACE.model_copy(update={"tensor": hostile})
    found = group(
        "m/a", located=[place], searched=1, since="last green", changed=[fact],
        accepted=[AcceptedOn(date=hostile, run=hostile, reason=hostile)],
    )  # fmt: skip
    red = cell("a", verdict=Verdict.REGRESSED, judgements=[judged(message=hostile)])
    made = report([red], exit_status=1, reds=[found])
    assert "<b>" not in markdown.render(made)
    assert "\n# x" not in markdown.render(made)
    assert "<b>" not in str(_attention(made, Later(large=False)))
    assert "\x1b" not in terminal.summary(made, Path("r"))
