"""What a baseline takes of a cell on TFLite-Micro."""

from typing import Any

from conftest import accepted
from made_up_runs import cell, measured
from quantbench.baselines import micro
from quantbench.records import AcceptedMicro, BaselineCell, Kind, Micro, MicroAnswers, MicroRefusal, Verdict

REFUSAL = MicroRefusal(reason="Didn't find op", operator="GELU", missing=True)
PROVENANCE = accepted(1.0).accepted


def seen(arena: float | None = 100, asked: bool = True, **more: Any) -> Any:
    found = Micro(version="2", answers=MicroAnswers(examples=300, differing=[1, 5])) if arena else None
    found = Micro(version="2", refusal=REFUSAL) if arena is None else found
    measurements = {} if arena is None else {"micro_arena": measured(arena)}
    verdicts = {Kind.MICRO: Verdict.PASS} if asked else {}
    return cell(micro=found, measurements=measurements, verdicts=verdicts, **more)


def test_arena_and_facts_are_taken_and_only_a_changed_arena_moves() -> None:
    values: dict[str, Any] = {}
    (first,) = micro.moves(seen(100), values, PROVENANCE)
    assert (first.moves, values["micro_arena"].value, values["micro_arena"].tolerance) == (True, 100, 0)
    (again,) = micro.moves(seen(100), values, PROVENANCE)
    (grown,) = micro.moves(seen(116), values, PROVENANCE)
    assert (again.moves, grown.moves, grown.old, grown.new) == (False, True, 100, 116)
    taken = micro.accepted(seen(100), BaselineCell())
    assert taken == AcceptedMicro(version="2", examples=300, differing=2)


def test_what_does_not_run_any_more_loses_its_arena_and_keeps_its_reason() -> None:
    values = {"micro_arena": accepted(100, 0.0, "bytes")}
    assert micro.moves(seen(None), values, PROVENANCE) == []
    assert values == {}
    assert micro.accepted(seen(None), BaselineCell()) == AcceptedMicro(version="2", refusal=REFUSAL)


def test_a_run_that_did_not_ask_changes_nothing() -> None:
    values, held = {"micro_arena": accepted(100, 0.0, "bytes")}, AcceptedMicro(version="1")
    assert micro.moves(seen(116, asked=False), values, PROVENANCE) == []
    assert values["micro_arena"].value == 100
    assert micro.accepted(seen(116, asked=False), BaselineCell(micro=held)) == held
