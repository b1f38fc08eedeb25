"""Sign-flip tests hold their size whatever is correlated, find what they say they find, and agree with exact ones."""

import numpy as np
import pytest
from quantbench.core.arrays import Array
from quantbench.core.randomization import by_group, detectable_loss, mcnemar_power, sign_flip_p, smallest_p
from quantbench.core.stats import Paired
from scipy import stats


def _counted(differences: Array, rounds: int = 200_000) -> float:
    signs = np.random.default_rng(1).integers(0, 2, (rounds, len(differences)), dtype=np.int8) * 2 - 1
    return float(np.mean(signs @ differences >= differences.sum() - 1e-9))


@pytest.mark.parametrize(("lost", "gained"), [(10, 0), (30, 12), (5, 9), (200, 120)])
def test_one_artifact_without_groups_has_the_exact_mcnemar_test(lost: int, gained: int) -> None:
    differences = np.r_[np.ones(lost, int), -np.ones(gained, int), np.zeros(50, int)]
    assert sign_flip_p(differences) == pytest.approx(Paired(1000, lost, gained).p_worse(), rel=1e-9)
    assert smallest_p(differences) == 0.5 ** (lost + gained)


def test_sums_over_artifacts_agree_with_signs_drawn_at_random() -> None:
    differences = np.random.default_rng(0).integers(-6, 9, 60)
    assert sign_flip_p(differences) == pytest.approx(_counted(differences), abs=0.003)
    large = np.random.default_rng(0).integers(-9, 14, 4000)
    assert sign_flip_p(large.astype(float)) == pytest.approx(sign_flip_p(large), rel=0.02, abs=1e-12)


@pytest.mark.parametrize("outliers", [0, 3, 12])
def test_losses_agree_with_signs_drawn_at_random(outliers: int) -> None:
    random = np.random.default_rng(outliers)
    differences = random.standard_t(3, 80) + 0.2
    differences[:outliers] = 1e4 * (1 + np.arange(outliers))
    assert sign_flip_p(differences) == pytest.approx(_counted(differences), rel=0.05, abs=0.002)


def test_nothing_moved_is_no_evidence() -> None:
    assert sign_flip_p(np.zeros(20, int)) == 1.0


def test_groups_are_flipped_whole() -> None:
    differences = np.r_[np.ones(10, int), np.zeros(10, int)]
    groups = np.repeat([7, 9, 7, 9], 5)
    assert by_group(differences, groups).tolist() == [5, 5]
    assert sign_flip_p(by_group(differences, groups)) == 0.25
    assert sign_flip_p(by_group(differences, None)) == 2.0**-10


def test_frames_of_one_clip_hold_the_size_in_groups_only() -> None:
    """Twenty clips of five frames that flip together: 6 % of such runs were red at a nominal 0.05 %."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 5)
    singly, grouped = 0, 0
    for _ in range(1000):
        differences = np.repeat(random.integers(0, 2, 20) * 2 - 1, 5)
        singly += sign_flip_p(differences) <= 5e-4
        grouped += sign_flip_p(by_group(differences, groups)) <= 5e-4
    assert singly > 20
    assert grouped <= 4


def test_artifacts_that_err_alike_hold_the_size() -> None:
    """25 artifacts share half of their flips; the example's coin is what is flipped, so the sum is valid."""
    random = np.random.default_rng(0)
    reds = 0
    for _ in range(400):
        common = random.choice([-1, 0, 1], 2000, p=[0.004, 0.992, 0.004])
        own = random.choice([-1, 0, 1], (25, 2000), p=[0.002, 0.996, 0.002])
        reds += sign_flip_p((np.clip(own + common, -1, 1)).sum(axis=0)) <= 0.05
    assert reds / 400 == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("each_way", [0, 20, 100])
def test_the_detectable_loss_is_found_in_four_of_five_runs(each_way: int) -> None:
    random = np.random.default_rng(0)
    threshold, n = 1e-4, 10_000
    loss = detectable_loss(each_way, threshold)
    assert mcnemar_power(each_way, loss - 1, threshold) < 0.8
    chances = [(each_way + loss) / n, each_way / n, 1 - (2 * each_way + loss) / n]
    found = [
        Paired(n, lost, gained).p_worse() <= threshold for lost, gained, _ in random.multinomial(n, chances, size=1500)
    ]
    assert 0.78 <= np.mean(found) <= 0.88


@pytest.mark.parametrize("threshold", [1e-9, 1.3e-5, 0.05])
@pytest.mark.parametrize(("each_way", "lost"), [(0, 8), (0.5, 30), (20, 64), (1000, 300)])
def test_the_power_is_that_of_the_distributions_of_scipy(each_way: float, lost: float, threshold: float) -> None:
    mean = 2 * each_way + lost
    pairs = np.arange(int(mean + 20 * mean**0.5))
    red_from = stats.binom.isf(threshold, pairs, 0.5) + 1
    red = stats.binom.sf(red_from - 1, pairs, (each_way + lost) / mean)
    expected = float(np.sum(stats.poisson.pmf(pairs, mean) * red))
    assert mcnemar_power(each_way, lost, threshold) == pytest.approx(expected, abs=1e-8)
