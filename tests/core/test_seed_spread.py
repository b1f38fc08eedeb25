"""The spread of trainings: pooled over what trains alike, borrowed as an upper limit, and honest where kinds differ."""

import itertools

import numpy as np
import pytest
from conftest import ROOT
from quantbench.baselines.files import scores_over_seeds
from quantbench.core.seed_spread import KINDS_APART, Sample, SeedSpread, of_cell, pooled, sample
from quantbench.core.stats import t_quantile
from quantbench.records import BaselineFile, read_record
from quantbench.variants import VARIANTS

FREE = [Sample(0.07, 4), Sample(0.13, 4)]
RESTRICTED = [Sample(0.24, 4), Sample(0.30, 4)]


def test_what_trains_otherwise_widens_nothing() -> None:
    """Half a point of vit_tiny's QAT was hidden by clustered cells that spread four times as far."""
    assert of_cell(FREE[0], FREE, RESTRICTED) == of_cell(FREE[0], FREE)
    found = of_cell(FREE[0], FREE, RESTRICTED)
    assert found == SeedSpread(pytest.approx(0.104, abs=0.001), 8, alike=True, borrowed=False)
    together = of_cell(FREE[0], [*FREE, *RESTRICTED])
    assert together is not None
    assert together.sd > 1.9 * found.sd


def test_a_cell_is_judged_by_its_own_spread_where_that_is_the_larger() -> None:
    found = of_cell(FREE[1], FREE, RESTRICTED)
    assert found == SeedSpread(0.13, 8, alike=True, borrowed=False)


def test_one_seed_borrows_the_upper_limit_of_its_kind() -> None:
    found = of_cell(Sample(0.0, 0), [*FREE, Sample(0.0, 0)], RESTRICTED)
    assert found == SeedSpread(pytest.approx(0.104 * 1.514, abs=0.001), 8, alike=True, borrowed=True)


def test_a_kind_with_too_few_seeds_borrows_from_all_and_allows_for_the_kinds() -> None:
    two_seeds = Sample(0.01, 1)
    found = of_cell(Sample(0.0, 0), [two_seeds], FREE)
    assert found is not None
    assert (found.degrees, found.alike, found.borrowed) == (9, False, True)
    assert found.sd > KINDS_APART * 0.13
    found = of_cell(two_seeds, [two_seeds], FREE)
    assert found == SeedSpread(pytest.approx(KINDS_APART * 0.0985, abs=0.001), 9, alike=False, borrowed=False)
    found = of_cell(Sample(0.9, 1), [Sample(0.9, 1)], FREE)
    assert found == SeedSpread(0.9, 9, alike=False, borrowed=False)
    assert of_cell(Sample(0.0, 0), [Sample(0.0, 0)], [Sample(0.0, 0)]) is None


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
@pytest.mark.parametrize("others", [[], [Sample(0.0, 0)]])
def test_a_cell_whose_own_seeds_are_all_that_is_known_is_judged_by_them(seeds: int, others: list[Sample]) -> None:
    """Few degrees of freedom widen the quantile of t already."""
    own = Sample(1.0, seeds - 1)
    assert of_cell(own, [own], others) == SeedSpread(1.0, seeds - 1, alike=True, borrowed=False)
    assert of_cell(own, [own, Sample(0.0, 0)], others) == of_cell(own, [own], others)


def test_one_seed_borrows_from_few_of_its_kind_alone_without_allowing_for_kinds() -> None:
    found = of_cell(Sample(0.0, 0), [Sample(1.0, 3)], [Sample(0.0, 0)])
    assert found is not None
    assert (found.degrees, found.alike, found.borrowed) == (3, True, True)
    assert found.sd == pytest.approx(np.sqrt(3 / 0.584), rel=0.01)


def test_either_kind_of_each_shipped_model_lies_within_what_the_other_would_lend_it() -> None:
    parted = 0
    for path in sorted((ROOT / "baselines").glob("*.json")):
        scores = scores_over_seeds(read_record(path, BaselineFile, "baseline").cells)
        kinds: dict[str, list[Sample]] = {}
        for name, values in scores.items():
            if len(values) > 1:
                kinds.setdefault(VARIANTS[name].training, []).append(sample(values))
        for of, by in itertools.permutations(kinds.values(), 2):
            lent = of_cell(Sample(0.0, 0), [], by)
            assert lent is not None
            assert lent.sd >= pooled(of).sd, path.name
            parted += 1
    assert parted >= 16


def _reds(times: float, spread_of_kinds: bool, seeds: int = 1) -> float:
    """Share of unchanged cells that are red at 1 %, that spread so many times as far as the other kind."""
    random, reds, rounds = np.random.default_rng(0), 0, 1500
    for _ in range(rounds):
        others = [sample(values) for values in (0.1 * random.standard_normal((3, 5))).tolist()]
        old, new = 0.1 * times * random.standard_normal(seeds), 0.1 * times * random.standard_normal()
        own = sample(old.tolist())
        found = of_cell(own, [own], others) if spread_of_kinds else of_cell(own, [own, *others], [])
        assert found is not None
        reds += old.mean() - new > t_quantile(0.01, found.degrees) * found.sd * np.sqrt(1 + 1 / seeds)
    return reds / rounds


def test_a_kind_that_spreads_twice_as_far_holds_its_rate() -> None:
    assert _reds(2.0, spread_of_kinds=True) <= 0.01
    assert _reds(2.0, spread_of_kinds=False) > 0.03
    assert _reds(2.0, spread_of_kinds=True, seeds=3) <= 0.01
