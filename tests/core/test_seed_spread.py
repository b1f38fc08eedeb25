"""The spread of trainings: pooled over what trains alike, borrowed as an upper limit, and honest where kinds differ."""

import numpy as np
import pytest
from quantbench.core.seed_spread import KINDS_APART, Sample, SeedSpread, of_cell, sample
from quantbench.core.stats import t_quantile

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
    found = of_cell(two_seeds, [two_seeds], FREE)
    assert found is not None
    assert (found.degrees, found.alike, found.borrowed) == (9, False, True)
    assert found.sd > KINDS_APART * 0.13
    assert of_cell(Sample(0.0, 0), [Sample(0.0, 0)], [Sample(0.0, 0)]) is None


def _reds(times: float, spread_of_kinds: bool) -> float:
    """Share of unchanged one-seed cells that are red at 1 %, that spread so many times as far as the other kind."""
    random, reds, rounds = np.random.default_rng(0), 0, 1500
    for _ in range(rounds):
        others = [sample(values) for values in (0.1 * random.standard_normal((3, 5))).tolist()]
        known = (Sample(0.0, 0), [], others) if spread_of_kinds else (Sample(0.0, 0), others, [])
        found = of_cell(*known)
        assert found is not None
        old, new = 0.1 * times * random.standard_normal(2)
        reds += old - new > t_quantile(0.01, found.degrees) * found.sd * np.sqrt(2)
    return reds / rounds


def test_a_kind_that_spreads_twice_as_far_holds_its_rate() -> None:
    assert _reds(2.0, spread_of_kinds=True) <= 0.01
    assert _reds(2.0, spread_of_kinds=False) > 0.03
