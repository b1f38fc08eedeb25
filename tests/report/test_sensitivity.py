"""What a run could have seen: one row for cells alike, and one budget."""

from made_up_runs import cell, report
from quantbench.records import FalseAlarms, Judgement, Kind, Verdict
from quantbench.report import markdown


def judged(detectable: float) -> list[Judgement]:
    found = Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="baseline",
        verdict=Verdict.PASS,
        detectable=detectable,
        churn=20,
        message="",
    )
    return [found]


def test_cells_that_could_have_seen_the_same_share_a_row() -> None:
    cells = [cell(name, judgements=judged(drop)) for name, drop in (("a", 0.46), ("b", 0.46), ("c", 0.31), ("d", 0.46))]
    text = markdown._sensitivity(report(cells))
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split("|")[1].strip() for row in rows] == ["m/a and 2 more of the model", "`m/c`"]
    assert [row.split("|")[2].strip() for row in rows] == ["0.46 pp", "0.31 pp"]


def test_the_budget_is_one_with_its_parts() -> None:
    alarms = FalseAlarms(budget=0.009, judgements=3, share=0.003, limits=0.001)
    text = markdown._sensitivity(report([cell("a", judgements=judged(0.4))], false_alarms=alarms))
    assert "The 1 % false-alarm rate covers the whole run; 0.9 % of it is shared (Holm) by the 3 comparisons" in text
    assert "The other 0.1 % is for drops beyond a release limit." in text
    unused = alarms.model_copy(update={"judgements": 0})
    assert "no predictions changed, so the scores' part" in markdown._sensitivity(report([], false_alarms=unused))
