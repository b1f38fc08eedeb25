"""Verdicts as outcomes of tests: what a failure says, and in which order."""

import subprocess
import sys
from pathlib import Path

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


def test_a_known_limitation_passes_where_pytest_is_told_to_run_what_is_expected_to_fail(tmp_path: Path) -> None:
    made = [("state", Verdict.XFAIL), ("state", Verdict.UNSUPPORTED), ("state_cell", Verdict.XFAIL)]
    tests = [
        f"def test_{number}():\n"
        f"    {function}([Judgement.model_validate_json({judged(verdict, 'said').model_dump_json()!r})])\n"
        for number, (function, verdict) in enumerate(made)
    ]
    heads = ["from quantbench.records import Judgement", "from quantbench.suites.outcomes import state, state_cell"]
    (tmp_path / "test_it.py").write_text("\n".join([*heads, *tests]))
    for option, ending in (([], "3 xfailed"), (["--runxfail"], "3 passed")):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *option, str(tmp_path)]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        assert ending in said.splitlines()[-1], said
