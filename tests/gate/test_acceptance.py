"""Accepting is suggested where it turns the cell green, and where the baseline is of another machine, beside it."""

import pytest
from quantbench.gate import Subject, without_vain_acceptance
from quantbench.records import Judgement, Kind, Verdict

SUBJECT = Subject("m", "v", "reports/r")


def judged(against: str, verdict: Verdict, kind: Kind = Kind.ACCURACY, measurement: str = "score") -> Judgement:
    actions = [SUBJECT.again(), SUBJECT.accept()]
    return Judgement.model_validate(
        {"kind": kind, "measurement": measurement, "against": against, "verdict": verdict, "message": ""}
        | {"actions": actions}
    )


@pytest.mark.parametrize(("verdict", "steps"), [(Verdict.REGRESSED, 1), (Verdict.WARN, 2), (Verdict.PASS, 2)])
def test_a_score_is_not_to_be_accepted_where_its_drop_stays_beyond_the_limit(verdict: Verdict, steps: int) -> None:
    found = [judged("baseline", Verdict.REGRESSED), judged("floor", verdict)]
    score, floor = without_vain_acceptance(found)
    assert len(score.actions) == steps
    assert score.actions[0] == SUBJECT.again()
    assert floor == found[1]


def test_what_is_not_of_the_accuracy_may_be_accepted_all_the_same() -> None:
    size = judged("baseline", Verdict.REGRESSED, Kind.SIZE, "size")
    assert without_vain_acceptance([size, judged("floor", Verdict.REGRESSED)])[0] == size


def test_on_another_machine_profile_accepting_keeps_the_values_of_the_first() -> None:
    assert "--per-machine" not in SUBJECT.accept().command
    assert "--per-machine" in Subject("m", "v", "reports/r", elsewhere=True).accept().command
