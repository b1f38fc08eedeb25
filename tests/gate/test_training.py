"""A cell that is trained longer, faster or on fewer examples than the accepted one is red, wherever the score is."""

import pytest
from made_up_cells import FLOAT, baseline, outcome, run
from made_up_runs import answers
from quantbench import gate
from quantbench.records import BaselineCell, Kind, Verdict

SUBJECT = gate.Subject("m", "v", "reports/r")
FACTS = {"steps": "313", "rate": "0.0005", "loss": "cross-entropy", "examples an epoch": "10000", "labels": "a"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": "0.005"}, "rate 0.0005 → 0.005"),
        ({"steps": "626"}, "steps 313 → 626"),
        ({"examples an epoch": "5000", "labels": "b"}, "examples an epoch 10000 → 5000; labels a → b"),
        ({"loss": "mse"}, "loss cross-entropy → mse"),
        ({"order of the first epoch": "new"}, ""),  # an older baseline does not say
        ({}, ""),
    ],
)
def test_a_training_is_compared_with_the_accepted_one(change: dict[str, str], words: str) -> None:
    [judged] = gate.training(SUBJECT, [FACTS | change], [FACTS])
    assert judged.verdict is (Verdict.REGRESSED if words else Verdict.PASS)
    assert words in judged.message


def test_a_training_more_or_in_a_later_stage_is_named() -> None:
    assert "trainings 1 → 2" in gate.training(SUBJECT, [FACTS, FACTS], [FACTS])[0].message
    later = gate.training(SUBJECT, [FACTS, FACTS | {"rate": "1"}], [FACTS, FACTS])[0].message
    assert "2. training: rate 0.0005 → 1" in later


def test_what_an_older_baseline_does_not_say_is_not_judged() -> None:
    assert gate.training(SUBJECT, [FACTS], []) == []
    assert gate.training(SUBJECT, [], [FACTS]) == []


def test_one_more_epoch_is_red_in_a_run_where_no_answer_changed() -> None:
    cell = baseline({"float32": answers(100)})
    assert cell.file is not None
    cell.file.cells["float32"].training = [FACTS]
    for facts, verdict in ((FACTS, Verdict.PASS), (FACTS | {"steps": "626"}, Verdict.REGRESSED)):
        made = run({FLOAT: [outcome(training=[facts])]}, cell)
        [judged] = [one for one in made.drive.judge(FLOAT, Kind.ACCURACY) if one.measurement == "training"]
        assert judged.verdict is verdict


def test_the_accepted_facts_are_kept_in_the_baseline() -> None:
    assert BaselineCell(training=[FACTS]).model_dump()["training"] == [FACTS]
    assert "training" not in BaselineCell().model_dump()
