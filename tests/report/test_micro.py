"""The table of TFLite-Micro: a row for what runs, and a reason for what does not."""

from made_up_runs import cell, measured
from quantbench.records import Micro, MicroAnswers, MicroRefusal
from quantbench.report import micro


def test_a_table_shows_arena_answers_and_reasons_and_nothing_where_nothing_ran() -> None:
    answers = MicroAnswers(examples=300, differing=[3, 4], lost=2, gained=0)
    runs = cell(
        "runs", micro=Micro(version="1", head=60, tail=40, answers=answers), measurements={"micro_arena": measured(100)}
    )
    alone = cell("alone", micro=Micro(version="1", head=60, tail=40), measurements={"micro_arena": measured(1100)})
    refuses = MicroRefusal(reason="a|b", operator="CONV_2D")
    text = micro.section([runs, alone, cell("not", micro=Micro(version="1", refusal=refuses)), cell("never")])
    rows = {
        row.split("|")[1].strip(): [part.strip() for part in row.split(" | ")[1:]]
        for row in text.splitlines()
        if "`" in row
    }
    assert rows["`runs`"][:6] == ["yes", "100", "60", "40", "2 of 300", "2 / 0"]
    assert rows["`alone`"][:5] == ["yes", "1,100", "60", "40", "not compared"]
    assert rows["`not`"][0] == "no"
    assert "CONV_2D: a\\|b" in text
    assert "`never`" not in rows
    assert micro.section([cell("never")]) == ""
