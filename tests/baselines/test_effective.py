"""The baseline that judges see: how far a drop from the control differs between trainings."""

from collections.abc import Callable

from conftest import ROOT
from quantbench import gate
from quantbench.baselines.effective import EffectiveBaseline
from quantbench.baselines.files import load
from quantbench.records import BaselineCell
from quantbench.reference.metrics import ACCURACY
from quantbench.reference.model import load_models
from quantbench.variants import VARIANTS

POOLED, FREE = "pruned_float32", "qat_wi8_ai8_dense_only"  # the first spreads less than its kind, so that it is pooled


def with_one_seed(which: Callable[[str], bool]) -> EffectiveBaseline:
    """The baseline of vit_tiny, whose restricted cells spread about twice as far, with chosen cells cut to one seed."""
    baseline = load(ROOT / "baselines", load_models(ROOT / "models")["vit_tiny"])
    assert baseline.file is not None

    def cut(cell: BaselineCell) -> BaselineCell:
        score = cell.measurements["score"]
        one = score.model_copy(update={"values": (score.values or [])[:1]})
        return cell.model_copy(update={"measurements": {**cell.measurements, "score": one}})

    cells = {
        name: cut(cell) if "score" in cell.measurements and cell.measurements["score"].values and which(name) else cell
        for name, cell in baseline.file.cells.items()
    }
    return EffectiveBaseline(baseline.file.model_copy(update={"cells": cells}))


def spread(baseline: EffectiveBaseline, variant: str) -> gate.Spread:
    found = baseline.spread_of_drops(ACCURACY, variant)
    assert found is not None
    return found


def nothing(name: str) -> bool:
    return False


def restricted(name: str) -> bool:
    return VARIANTS[name].training == "restricted"


def test_a_kind_without_seeds_borrows_no_less_spread_of_drops_than_its_seeds_show() -> None:
    known, lent = (spread(with_one_seed(which), POOLED) for which in (nothing, restricted))
    assert lent.degrees == spread(with_one_seed(restricted), FREE).degrees < known.degrees
    assert lent.sd >= known.sd


def test_a_cell_with_one_seed_borrows_the_upper_limit_of_its_kind() -> None:
    known = spread(with_one_seed(nothing), POOLED)
    lent = spread(with_one_seed(lambda name: name == POOLED), POOLED)
    assert lent.degrees < known.degrees
    assert lent.sd > 1.3 * known.sd


def test_without_two_seeds_no_spread_of_drops_is_known() -> None:
    assert with_one_seed(lambda name: True).spread_of_drops(ACCURACY, POOLED) is None
    assert EffectiveBaseline().spread_of_drops(ACCURACY, POOLED) is None
