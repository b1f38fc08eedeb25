"""Which cells a run computes, from a selection."""

from types import SimpleNamespace
from typing import Any

import pytest
from made_up_cells import FLOAT, FULL, HALF, model, outcome
from quantbench.core.options import RunOptions
from quantbench.engine.plan import Plan
from quantbench.engine.session import Session
from quantbench.errors import BadInput
from quantbench.records import Kind


def planned(wanted: dict[str, set[Kind]], **options: object) -> Plan:
    plan = Plan(RunOptions(**options), {"m": model(), "a": model("a")})  # type: ignore[arg-type]
    mine = plan.of_this_shard(wanted)
    plan.fix({cell: kinds for cell, kinds in wanted.items() if cell in mine})
    return plan


def test_a_cell_brings_its_controls_along_and_nothing_of_them_is_measured_alone() -> None:
    plan = planned({"m/qat_wi8_ai8": {Kind.ACCURACY, Kind.LATENCY}})
    assert {cell.id: cell.selected for cell in plan.cells.values()} == {
        FLOAT: False,
        "m/float32_finetuned": False,
        "m/qat_wi8_ai8": True,
    }
    assert plan.cells[FLOAT].kinds == {Kind.ACCURACY}
    assert plan.cells["m/qat_wi8_ai8"].needs == {FLOAT, "m/float32_finetuned"}


def test_cells_are_in_the_order_of_the_report() -> None:
    assert list(planned({HALF: {Kind.SIZE}, FLOAT: {Kind.SIZE}, "a/float32": {Kind.SIZE}}).cells) == [
        "a/float32",
        FLOAT,
        HALF,
    ]


def test_only_what_trains_has_several_seeds() -> None:
    plan = planned({"m/qat_wi8_ai8": {Kind.SIZE}, HALF: {Kind.SIZE}}, seeds=3)
    assert {cell.id: cell.seeds for cell in plan.cells.values()} == {
        FLOAT: (0,),
        "m/float32_finetuned": (0, 1, 2),
        HALF: (0,),
        "m/qat_wi8_ai8": (0, 1, 2),
    }


def test_what_is_asked_for_is_by_kind() -> None:
    plan = planned({HALF: {Kind.SIZE}, FULL: {Kind.SIZE, Kind.LATENCY}})
    assert [cell.id for cell in plan.asked_for(Kind.LATENCY)] == [FULL]


def test_shards_part_the_cells_and_ask_the_same_of_a_control() -> None:
    wanted = {cell: {Kind.ACCURACY, Kind.LATENCY} for cell in (FLOAT, HALF, FULL, "a/float32", "a/ptq_float16")}
    shards = [planned(wanted, shard=f"{index}/2") for index in (1, 2)]
    mine = [{cell.id for cell in shard.cells.values() if cell.selected} for shard in shards]
    assert mine[0] | mine[1] == set(wanted)
    assert not mine[0] & mine[1]
    for shard in shards:
        assert all(cell.kinds == {Kind.ACCURACY} for cell in shard.cells.values() if not cell.selected)
        assert set(shard.whole) == set(wanted)


def test_a_shard_updates_no_baseline() -> None:
    with pytest.raises(BadInput, match="a shard is only part of a run"):
        Plan(RunOptions(shard="1/2", update_baselines="why"), {})


def test_what_is_not_worth_timing_is_asked_for_no_longer_nor_missed() -> None:
    plan = planned({HALF: {Kind.SIZE, Kind.LATENCY}, FULL: {Kind.SIZE, Kind.LATENCY}})
    session = Session.__new__(Session)
    session._plan = plan
    done = {HALF: outcome(), FULL: None}
    session._parts = SimpleNamespace(computing=SimpleNamespace(so_far=lambda cell: [done[cell]]))  # type: ignore[assignment]
    seen: list[str] = []

    def worth(outcomes: Any) -> list[str]:
        seen.extend(outcomes)
        return [HALF]

    wanted = session._without_losers({cell: plan.cells[cell].kinds for cell in (HALF, FULL)}, worth)
    assert seen == [HALF]  # what is not computed has nothing to be chosen by
    assert wanted == {HALF: {Kind.SIZE, Kind.LATENCY}, FULL: {Kind.SIZE}}
    assert [cell.id for cell in plan.asked_for(Kind.LATENCY)] == [HALF]
    assert plan.cells[FULL].kinds == {Kind.SIZE}


def test_a_run_beside_others_counts_their_cells_and_computes_its_own() -> None:
    theirs = {cell: {Kind.ACCURACY, Kind.MEMORY} for cell in (FULL, "a/ptq_float16")}
    plan = Plan(RunOptions(), {"m": model(), "a": model("a")}, within=theirs)
    plan.fix({HALF: {Kind.ACCURACY, Kind.MEMORY, Kind.LATENCY}})
    assert plan.is_part
    assert set(plan.cells) == {FLOAT, HALF}
    assert plan.cells[FLOAT].kinds == {Kind.ACCURACY, Kind.MEMORY}, "what a cell's judges need of its control"
    assert set(plan.whole) == {FLOAT, HALF, FULL, "a/float32", "a/ptq_float16"}
    assert not planned({HALF: {Kind.ACCURACY}}).is_part
