"""Cells that are red together are told once, and "all" is said of whole families alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_runs import cell
from quantbench.comparison.families import conditions, family_of, grouped, members
from quantbench.records import Cell, Family

INT4 = ["aeq_dynamic_wi4_afp32", "aeq_dynamic_wi4_gptq_afp32", "aeq_weight_only_wi4_afp32"]
OTHERS = ["float32", "ptq_float16", "ptq_static_wi8_ai8", "ptq_static_wi8_ai16", "aeq_static_wi8_ai8"]
QAT = ["qat_wi8_ai8", "qat_wi4_ai8"]
CELLS = [
    cell(variant, seeds=[0] if variant in QAT else []).model_copy(update={"id": f"{model}/{variant}", "model": model})
    for model in ("m", "n")
    for variant in [*INT4, *OTHERS, *QAT]
]


def of(*variants: str, models: tuple[str, ...] = ("m", "n")) -> set[str]:
    return {f"{model}/{variant}" for model in models for variant in variants}


def only(red: set[str]) -> tuple[Family, int, int]:
    [(common, ids, many)] = grouped(red, CELLS)
    assert set(ids) == red
    return family_of(common), len(ids), many


@pytest.mark.parametrize(
    ("red", "family", "many"),
    [
        (of(*INT4, "qat_wi4_ai8"), Family(weights="int4"), 8),
        (of(*INT4), Family(engine="aeq", weights="int4"), 6),
        (of(*INT4, "qat_wi4_ai8", models=("m",)), Family(model="m", weights="int4"), 4),
        (of(*QAT), Family(engine="qat"), 4),
        (of(*INT4, *OTHERS, *QAT, models=("n",)), Family(model="n"), 10),
        (of(*INT4, *OTHERS, *QAT), Family(), 20),
        (of("ptq_static_wi8_ai16"), Family(activations="int16"), 2),
        (of(*INT4[:2], "qat_wi4_ai8") | of(INT4[2], models=("m",)), Family(weights="int4"), 8),  # 7 of 8
        (of("ptq_float16", models=("n",)), Family(model="n"), 10),
    ],
)
def test_what_red_cells_have_in_common(red: set[str], family: Family, many: int) -> None:
    found, number, of_family = only(red)
    assert (number, of_family) == (len(red), many)
    assert found == family


def test_families_that_have_nothing_in_common_are_told_apart() -> None:
    red = of(*INT4, "qat_wi4_ai8") | of("ptq_float16", models=("m",))
    whole, single = grouped(red, CELLS)
    assert (family_of(whole[0]), whole[2]) == (Family(weights="int4"), 8)
    assert single[1] == ["m/ptq_float16"]


@settings(max_examples=60)
@given(st.sets(st.sampled_from([cell.id for cell in CELLS])), st.sets(st.sampled_from(range(len(CELLS))), min_size=1))
def test_every_red_cell_is_in_one_group_and_all_means_all(red: set[str], run: set[int]) -> None:
    cells = [CELLS[place] for place in sorted(run)]
    red &= {cell.id for cell in cells}
    found = grouped(red, cells)
    assert sorted(one for _, ids, _ in found for one in ids) == sorted(red)
    for common, ids, many in found:
        family = members(common, cells)
        assert many == len(family)
        assert set(ids) <= set(family)
        if many == len(ids):
            assert set(family) <= red


def test_thousands_of_red_cells_are_grouped_in_a_moment() -> None:
    many: list[Cell] = [
        one.model_copy(update={"id": f"x{number}/{one.variant}", "model": f"x{number}"})
        for number in range(150)
        for one in CELLS[: len(CELLS) // 2]
    ]
    red = {one.id for one in many if ("weights", "int4") in conditions(one)}
    [(common, ids, number)] = grouped(red, many)
    assert family_of(common) == Family(weights="int4")
    assert number == len(ids) == 600
