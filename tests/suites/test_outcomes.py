"""Verdicts as outcomes of tests: what a failure says, and in which order."""

import pytest
from quantbench.records import Action, Judgement, Kind, Verdict
from quantbench.suites.outcomes import state, state_cell

UPDATE = Action(what="accept", command=["quantbench", "baseline", "update", "runs/1"])
LOOK = Action(what="look", command=["quantbench", "inspect", "m/v"])


def judged(verdict: Verdict, message: str, *actions: Action, against: str = "baseline") -> Judgement:
    return Judgement.model_validate(
        {"kind": Kind.SIZE, "measurement": "m", "against": against, "verdict": verdict, "message": message}
        | {"actions": list(actions)}
    )


def said(judgements: list[Judgement]) -> list[str]:
    with pytest.raises(pytest.fail.Exception) as failed:
        state_cell(judgements)
    return str(failed.value).splitlines()


def test_the_worst_finding_stands_first_and_each_step_once() -> None:
    found = said(
        [
            judged(Verdict.MISSING, "no baseline", UPDATE),
            judged(Verdict.ERROR, "cannot build", LOOK),
            judged(Verdict.REGRESSED, "larger", LOOK, UPDATE),
            judged(Verdict.REGRESSED, "slower", LOOK, UPDATE),
        ]
    )
    assert found == [
        "REGRESSED larger",
        "  → look: quantbench inspect m/v",
        "  → accept: quantbench baseline update runs/1",
        "REGRESSED slower",
        "ERROR cannot build",
        "MISSING no baseline",
    ]


def test_a_broken_release_limit_is_not_answered_by_accepting_values() -> None:
    found = said(
        [judged(Verdict.REGRESSED, "too large", against="floor"), judged(Verdict.REGRESSED, "larger", LOOK, UPDATE)]
    )
    assert found == ["REGRESSED too large", "REGRESSED larger", "  → look: quantbench inspect m/v"]


def test_the_suites_say_each_step_once_too() -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        state([judged(Verdict.REGRESSED, "larger", LOOK), judged(Verdict.REGRESSED, "slower", LOOK)])
    assert str(failed.value).count("quantbench inspect") == 1
