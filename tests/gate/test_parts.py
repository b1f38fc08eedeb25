"""Classes, slices and pools: what no mean shows is red, and what chance moves is not."""

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import accepted, baseline_cell
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.records import Action, Judgement, Measurement, Verdict
from quantbench.reference.metrics import ACCURACY

SUBJECT = gate.Subject("m", "v", "reports/r")
N = 10_000
LABELS = np.arange(N) % 10
CAMERAS = np.arange(N) // 10 % 4


def predictions(wrong: Array) -> Array:
    return np.where(wrong, (LABELS + 1) % 10, LABELS).astype(np.uint16)


def stored() -> Array:
    """14 % of each class wrong."""
    return predictions(np.arange(N) // 10 % 100 < 14)


def judged(new: Array, old: Array, budget: float = 0.01, **more: Array) -> list[Judgement]:
    examples = gate.Examples(LABELS, slices=more)
    found = gate.moved_parts(ACCURACY, new, old, examples)
    whole = gate.flips(ACCURACY, new, old, examples)
    thresholds = gate.thresholds([one.hypothesis("m/v", "m") for one in [whole, *found]], budget)
    return gate.judge_parts(SUBJECT, ACCURACY, found, examples, thresholds, 0.05)


def lose_and_gain(old: Array, lose: Array, gain: Array) -> Array:
    """Of the examples chosen, those that were right become wrong, and the other way round."""
    new = old.copy()
    right = old == LABELS
    new[lose & right] = (LABELS[lose & right] + 1) % 10
    new[gain & ~right] = LABELS[gain & ~right]
    return new


def test_a_class_that_collapses_is_red_though_the_mean_stays() -> None:
    old = stored()
    gained = np.zeros(N, bool)
    gained[np.flatnonzero((old != LABELS) & (LABELS != 3))[:860]] = True
    new = lose_and_gain(old, LABELS == 3, gained)
    assert abs(np.mean(new == LABELS) - np.mean(old == LABELS)) < 1e-9
    score = Measurement(value=float(np.mean(new == LABELS)), unit="fraction", n=N)
    cell = baseline_cell(score=accepted(float(np.mean(old == LABELS))))
    whole = gate.accuracy(SUBJECT, ACCURACY, gate.Answers(score, new, 0), LABELS, cell, old, 1e-4, trained=False)
    assert whole.verdict is Verdict.PASS  # the mean hides it
    (found,) = judged(new, old)
    assert (found.verdict, found.measurement, found.detail) == (Verdict.REGRESSED, "classes", "class 3")
    assert found.parts[0].name == "class 3"
    assert (found.parts[0].lost, found.parts[0].gained, found.parts[0].n) == (860, 0, 1000)
    assert "class 3: 86.0 % → 0.0 % right" in found.message


def test_twenty_of_a_class_lost_and_regained_elsewhere_are_red() -> None:
    old, lost, gained = stored(), np.zeros(N, bool), np.zeros(N, bool)
    lost[np.flatnonzero((LABELS == 5) & (old == LABELS))[:20]] = True
    gained[np.flatnonzero((LABELS != 5) & (old != LABELS))[:20]] = True
    (found,) = judged(lose_and_gain(old, lost, gained), old)
    assert (found.verdict, found.detail) == (Verdict.REGRESSED, "class 5")
    assert found.p_value == pytest.approx(2**-20)


def test_a_slice_that_loses_is_red_and_named() -> None:
    old = stored()
    lost = (CAMERAS == 2) & (np.arange(N) % 7 == 0)
    gained = CAMERAS != 2
    classes, slices = judged(lose_and_gain(old, lost, gained), old, slice_camera=CAMERAS)
    assert classes.verdict is Verdict.PASS
    assert (slices.verdict, slices.measurement, slices.detail) == (Verdict.REGRESSED, "slices", "camera 2")


def test_nothing_moved_is_nothing_to_judge() -> None:
    assert judged(stored(), stored()) == []


def test_classes_that_chance_moves_hold_the_budget_and_rarely_warn() -> None:
    random, old = np.random.default_rng(0), stored()
    verdicts = []
    for _ in range(150):
        turned = random.random(N) < 0.01 * np.where(old == LABELS, 0.14, 0.86)  # as many lost as gained in the mean
        (found,) = judged(lose_and_gain(old, turned, turned), old)
        verdicts.append(found.verdict)
    assert verdicts.count(Verdict.REGRESSED) == 0
    assert verdicts.count(Verdict.WARN) <= 15  # 5 % nominally


@dataclass
class Cells:
    """25 cells of one model, each with flips of its own and flips that all of them share."""

    random: np.random.Generator
    cells: int = 25

    def moved(self, lost: float, gained: float, common: float = 0.001) -> list[gate.Moved]:
        shared = self.random.choice([-1, 0, 1], N, p=[common, 1 - 2 * common, common])
        chances = [gained, 1 - lost - gained, lost]
        own = self.random.choice([-1, 0, 1], (self.cells, N), p=chances)
        return [
            gate.Moved(f"m/v{i}", "ptq" if i % 2 else "mixed", np.clip(one + shared, -1, 1).astype(np.int8))
            for i, one in enumerate(own)
        ]


def _pooled(moved: list[gate.Moved]) -> list[Verdict]:
    pools = gate.pools("m", moved)
    hypotheses = [pool.hypothesis() for pool in pools]
    each = [gate.Hypothesis(f"cell {i}", 1.0) for i in range(250)]  # cells and classes that share the budget
    thresholds = gate.thresholds([*hypotheses, *each], 0.01)
    accept = Action(what="accept")
    found = [
        pool.judge(ACCURACY, hypothesis, thresholds, 0.05, accept)
        for pool, hypothesis in zip(pools, hypotheses, strict=True)
    ]
    assert [one.id for one in found] == ["m: all variants", "m: all mixed variants", "m: all ptq variants"]
    return [one.judgement.verdict for one in found]


def test_a_tenth_of_a_point_in_every_cell_is_red() -> None:
    """27 lost and 15 gained of 10,000 in each of 25 cells: no cell alone shows it."""
    cells = Cells(np.random.default_rng(0))
    found = [_pooled(cells.moved(0.0026, 0.0014)) for _ in range(30)]
    assert sum(Verdict.REGRESSED in verdicts for verdicts in found) >= 29


def test_pools_of_cells_that_err_alike_are_green_where_nothing_is_lost() -> None:
    cells = Cells(np.random.default_rng(1))
    found = [_pooled(cells.moved(0.002, 0.002)) for _ in range(40)]
    assert not any(Verdict.REGRESSED in verdicts for verdicts in found)


def test_equal_cells_count_once_in_a_pool_and_one_cell_makes_none() -> None:
    one = np.zeros(50, np.int8)
    one[:3] = 1
    other = np.roll(one, 9)
    moved = [gate.Moved("m/a", "ptq", one), gate.Moved("m/b", "ptq", one.copy()), gate.Moved("m/c", "ptq", other)]
    (pool,) = gate.pools("m", moved)  # that of the family would be the same
    assert (pool.cells, pool.counted, pool.lost) == (("m/a", "m/b", "m/c"), 2, 6)
    assert gate.pools("m", moved[:2]) == []


def test_groups_are_flipped_whole_in_a_pool() -> None:
    one = np.repeat(np.array([1, 0, 0, 0], np.int8), 25)
    moved = [gate.Moved("m/a", "ptq", one), gate.Moved("m/b", "ptq", np.roll(one, 1))]
    alone, grouped = gate.pools("m", moved)[0], gate.pools("m", moved, np.arange(100) // 25)[0]
    assert alone.hypothesis().p_value < 1e-6
    assert grouped.hypothesis().p_value == 0.25
