"""How a variant trains follows from its definition, and parts a model's cells."""

from quantbench.variants import VARIANTS, by_training

RESTRICTED = {
    *(f"clustered{count}_{kind}" for count in (16, 32, 256) for kind in ("float32", "static_wi8_ai8")),
    *("pruned_float32", "pruned_static_wi8_ai8", "pqat_wi8_ai8", "cqat_wi8_ai8", "pcqat_wi8_ai8", "qat_wi4_ai8"),
}


def test_what_trains_with_few_values_is_restricted_and_all_else_that_trains_is_free() -> None:
    kinds = {name: variant.training for name, variant in VARIANTS.items()}
    assert {name for name, kind in kinds.items() if kind == "restricted"} == RESTRICTED
    assert {name for name, kind in kinds.items() if kind == ""} == {n for n, one in VARIANTS.items() if not one.trained}


def test_cells_are_parted_by_how_they_train() -> None:
    found = {"qat_wi8_ai8": 1, "pqat_wi8_ai8": 2, "float32_finetuned": 3, "qat_wi4_ai8": 4}
    assert by_training("qat_wi8_ai8_custom", found) == ([1, 3], [2, 4])
    assert by_training("pruned_float32", found) == ([2, 4], [1, 3])


def test_variants_that_no_longer_exist_are_alike() -> None:
    assert by_training("gone", {"gone_too": 1, "qat_wi8_ai8": 2}) == ([1], [2])
