"""The simulation of scores: it judges as the engine does, its nulls are even, and its rates can go red."""

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench import gate
from quantbench.core.stats import Paired
from quantbench.records import (
    DetectableRate,
    LatencyNull,
    NullRate,
    OutcomeRate,
    OutcomeSelftest,
    YearlyRate,
)
from quantbench.reference.model import load_models
from quantbench.report.selftest_outcomes import outcomes as rendered
from quantbench.selftest import draws, outcomes
from quantbench.selftest.night import SEEDS_ON_SUSPICION, Night, load_baselines
from quantbench.selftest.nulls import (
    OURS,
    PEERS,
    Matrix,
    Sharing,
    called_changed,
    draw,
    mcnemar,
    null_runs,
    red,
    share_of,
    sharing_of,
    together,
)
from quantbench.variants.declare import Variant

NAMES = ("seed_cnn", "lstm")
WIDE = ("vit_tiny", "mobilenet_v2")  # cells with restricted weights spread about twice as far as the others
TRAINED = ("seed_cnn", "resnet8", "ds_cnn", "lstm", *WIDE, "keyword")
HALF_A_POINT = (f"QAT worse: one seed, {SEEDS_ON_SUSPICION} on suspicion", "QAT worse: five seeds against five")
BAD_SEED = "one bad seed of five"


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    models = {name: model for name, model in load_models(ROOT / "models").items() if name in NAMES}
    return Matrix.of(Night(models, load_baselines(models, ROOT / "baselines")))


def test_p_values_of_counts_are_those_of_the_gate() -> None:
    lost, gained = np.meshgrid(np.arange(0, 60, 7), np.arange(0, 60, 7))
    expected = [
        [Paired(1000, int(a), int(b)).p_worse() for a, b in zip(*row, strict=True)]
        for row in zip(lost, gained, strict=True)
    ]
    assert mcnemar(lost, gained) == pytest.approx(np.asarray(expected), rel=1e-9)


def test_the_share_is_that_of_the_gate() -> None:
    random = np.random.default_rng(0)
    for weight in (1, 50):
        smallest = 0.5 ** random.integers(1, 40, 300)
        tested = [gate.Hypothesis(str(i), 0.9, float(one)) for i, one in enumerate(smallest)]
        tested.append(gate.Hypothesis("trained", 0.9, 0.0, weight=weight))
        weights = np.r_[np.ones(300), weight]
        assert share_of(np.r_[smallest, 0.0], weights, 0.0045) == pytest.approx(gate.thresholds(tested, 0.0045).share)


def test_an_unchanged_run_is_green_and_spends_nothing(matrix: Matrix) -> None:
    night = matrix.night
    verdicts = night.judge({name: [night.stored(name)] for name in night.cells})
    assert not verdicts.red
    assert all(
        judged.p_value is None
        for _, judged in verdicts.judgements
        if judged.measurement == "score" and judged.against == "baseline"
    )


def test_flips_by_chance_go_either_way_in_each_class_and_cells_share_them(matrix: Matrix) -> None:
    stored, random = matrix.stored["seed_cnn"], np.random.default_rng(0)
    drawn = [stored.by_chance(random, 40) for _ in range(60)]
    lost, gained = (np.mean([one[side].sum(axis=1).mean() for one in drawn]) for side in (0, 1))
    assert (lost, gained) == (pytest.approx(40, rel=0.05), pytest.approx(40, rel=0.05))
    counts = np.sum([np.subtract(*stored.by_class(*one)).sum(axis=0) for one in drawn], axis=0)
    moved = np.sum([np.add(*stored.by_class(*one)).sum(axis=0) for one in drawn], axis=0)
    assert np.all(np.abs(counts) < 0.35 * moved)
    first, second = drawn[0][0][0], drawn[0][0][1]
    assert np.count_nonzero(first & second) > 3  # by chance alone 0.2


def test_the_fast_tests_agree_with_the_engine(matrix: Matrix) -> None:
    """A run that is far from red by its p-values is green in the engine; one with a real loss is red in both."""
    random = np.random.default_rng(1)
    run = draw(matrix, random, 40, anew=True)
    tests, _ = sharing_of(matrix, run)
    assert tests.nearest() > tests.share(matrix.budget)
    assert red(matrix, run, random) == []
    stored = matrix.stored["lstm"]
    run.answers["lstm"] = stored.losing(random, 10, 60)
    tests, _ = sharing_of(matrix, run)
    assert tests.nearest() <= tests.share(matrix.budget)
    assert any("lstm" in one for one in red(matrix, run, random))


def test_p_values_of_trainings_are_those_of_the_engine(matrix: Matrix) -> None:
    trained, night = matrix.trained["lstm"], matrix.night
    random = np.random.default_rng(2)
    scores = trained.known.drawn(random, SEEDS_ON_SUSPICION) - 0.002
    p_values, _, suspect = trained.judged(scores)
    cells = [f"lstm/{name}" for name in trained.known.names]
    seeds = {
        cell: [
            draws.scoring(trained.model, night.stored(cell), one, trained.known.between[i], random) for one in scores[i]
        ]
        for i, cell in enumerate(cells)
    }
    verdicts = night.judge({cell: several[:1] for cell, several in seeds.items()}, more=lambda cell: seeds[cell])
    assert list(verdicts.reseeded) == [cell for i, cell in enumerate(cells) if suspect[i]]
    judged = {
        name: one.p_value
        for name, one in verdicts.judgements
        if one.measurement == "score" and one.against == "baseline"
    }
    for i, cell in enumerate(cells):
        if p_values[i] < 1:
            assert judged[cell] == pytest.approx(p_values[i], rel=0.35)  # scores are whole examples


@pytest.mark.parametrize("change", [-0.0005, -0.0001, 0.0001, 0.0005])
def test_predictions_have_the_score_that_was_drawn(change: float) -> None:
    model = load_models(ROOT / "models")["autoencoder"]
    baseline = load_baselines({"autoencoder": model}, ROOT / "baselines")["autoencoder"]
    labels, accepted = model.pack().test.y, baseline.predictions["float32_finetuned"]
    score = model.metric.value(accepted, labels) + change
    new = draws.scoring(model, accepted, score, 0, np.random.default_rng(0))
    assert model.metric.value(new, labels) == pytest.approx(score, abs=1e-5)


def test_a_spread_that_few_seeds_show_is_not_taken_for_the_truth(matrix: Matrix) -> None:
    known = matrix.trained["seed_cnn"].known
    random = np.random.default_rng(3)
    spreads = np.asarray([np.std(known.drawn(random, 5), axis=1, ddof=1) for _ in range(200)])
    for sd in set(known.sd.tolist()):  # of each kind of training
        of_kind = spreads[:, known.sd == sd].mean(axis=1)
        assert np.median(of_kind) == pytest.approx(sd, rel=0.25)
        assert np.std(of_kind) > 0.12 * sd
    assert len(set(known.sd.tolist())) == 2


@pytest.fixture(scope="module")
def trained() -> Matrix:
    """Models of which QAT cells were trained with several seeds, one of them a small one."""
    models = {name: model for name, model in load_models(ROOT / "models").items() if name in TRAINED}
    return Matrix.of(Night(models, load_baselines(models, ROOT / "baselines")))


@pytest.mark.parametrize("name", WIDE)
def test_half_a_point_of_qat_is_caught_beside_cells_that_spread_further(trained: Matrix, name: str) -> None:
    rows = [row for row in outcomes._trained(trained, name, 1e-6, 200) if row.aim == outcomes.QAT_CAUGHT]
    assert len(rows) == 2
    assert all(row.red[OURS] >= 0.9 * row.trials for row in rows)


def test_pooled_over_unlike_cells_the_spread_hides_half_a_point_of_qat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Variant, "training", "all")
    models = {"vit_tiny": load_models(ROOT / "models")["vit_tiny"]}
    matrix = Matrix.of(Night(models, load_baselines(models, ROOT / "baselines")))
    rows = [row for row in outcomes._trained(matrix, "vit_tiny", 1e-6, 200) if row.plant in HALF_A_POINT]
    assert len(rows) == 2
    assert all(row.red[OURS] < outcomes.QAT_CAUGHT * row.trials for row in rows)


def test_a_model_whose_trainings_spread_too_far_for_the_harm_has_no_aim_and_says_what_it_can_see(
    trained: Matrix,
) -> None:
    rows = {name: list(outcomes._trained(trained, name, 1e-6, 2)) for name in TRAINED}
    small = [row for row in rows.pop("keyword") if row.detectable is not None]
    assert [row.plant for row in small] == [*HALF_A_POINT, BAD_SEED]
    assert all(row.aim is None for row in small)
    assert outcomes.kept(_found(plants=small))
    assert "Too small for a target" in rendered(_found(plants=small))
    assert f"keyword ({HALF_A_POINT[0]}: {small[0].detectable:.2f} pp" in rendered(_found(plants=small))
    assert "Too small" not in rendered(_found())
    for found in rows.values():
        assert {row.plant for row in found if row.aim is not None} == {*HALF_A_POINT, BAD_SEED}
        assert all(row.detectable is None for row in found)


def test_what_a_model_is_said_to_see_is_caught_in_four_of_five_runs(trained: Matrix) -> None:
    tests = trained.trained["keyword"]
    chosen = (tests.olds > 1) & (np.asarray(tests.known.names) == "qat_wi8_ai8_dense_only")
    seen = tests.detectable(chosen, 5, trained.budget) / tests.model.metric.scale
    row = outcomes._spread(tests, "", "", seen, chosen, chosen, 5, 5, trained.budget, 1e-6, 400)
    assert 0.7 * row.trials < row.red[OURS] < 0.95 * row.trials


def test_a_judge_that_takes_the_spread_for_larger_keeps_its_aims(
    trained: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = trained.trained["vit_tiny"]
    for name in ("sd", "sd_of_seeds"):
        monkeypatch.setattr(tests, name, 10 * getattr(tests, name))
    rows = [row for row in outcomes._trained(trained, "vit_tiny", 1e-6, 60) if row.aim is not None]
    assert len(rows) == 3
    assert not outcomes.kept(_found(plants=rows))


def test_a_class_that_collapses_is_red_though_the_mean_stays(matrix: Matrix) -> None:
    found = list(outcomes._in_one_cell(matrix, "seed_cnn", 1e-6, quick=True))
    assert [one.red[OURS] for one in found] == [one.trials for one in found]
    assert found[0].red["drop beyond 0.1 pp"] == 0  # what a rule on the mean sees of it


def test_a_tenth_of_a_point_in_every_cell_is_red(matrix: Matrix) -> None:
    found = next(outcomes._everywhere(matrix, "lstm", 1e-6, trials=4))
    assert found.red[OURS] == 4


def test_qat_half_a_point_worse_is_red_and_a_healthy_one_is_not(matrix: Matrix) -> None:
    by_name = {one.plant: one for one in outcomes._trained(matrix, "lstm", 1e-6, 60)}
    assert by_name["QAT worse: one seed, 8 on suspicion"].red[OURS] >= 0.95 * 60
    trained = matrix.trained["lstm"]
    healthy = outcomes._spread(trained, "", "", 0.0, trained.olds > 0, trained.olds > 0, 1, 5, matrix.budget, 1e-6, 400)
    assert healthy.red[OURS] <= 8  # of 400, at a budget of 1.8; the spread is drawn too


def test_outputs_are_called_changed_where_more_flips_than_other_kernels_flip() -> None:
    assert not called_changed(80, 10_000)
    assert called_changed(320, 10_000)


def test_nothing_shares_nothing() -> None:
    assert Sharing().share(0.01) == 0.01
    assert Sharing().nearest() == 1.0


def _rate(red: int, trials: int, aim: float | None) -> OutcomeRate:
    counts = dict.fromkeys([OURS, outcomes.CHANGED, *PEERS], red)
    return OutcomeRate(plant="p", strength="1", model="m", lost=10, each_way=20, trials=trials, red=counts, aim=aim)


def _null(red: int, what: str = "changed") -> NullRate:
    return NullRate(what=what, runs=300, cells=289, tests=9.0, red_runs=dict.fromkeys([OURS, *PEERS], red), models=7)


def _found(**change: Any) -> OutcomeSelftest:
    fields: dict[str, Any] = {
        "models": ["m"],
        "cells": 289,
        "cells_with_seeds": 19,
        "judged": 3,
        "power": [_rate(0, 100, None)],
        "plants": [_rate(100, 100, 0.99)],
        "detectable": [DetectableRate(of="a score", model="m", drop=0.3, each_way=20, trials=1000, red=800)],
        "nulls": [_null(0)],
    }
    return OutcomeSelftest(**(fields | change))


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"plants": [_rate(90, 100, 0.99)]}, False),
        ({"plants": [_rate(90, 100, None)]}, True),
        ({"nulls": [_null(3)]}, True),
        ({"nulls": [_null(4)]}, False),
        ({"nulls": [_null(9, outcomes.TWICE)]}, True),
        ({"detectable": [DetectableRate(of="a", model="m", drop=0.3, each_way=20, trials=1000, red=700)]}, False),
    ],
)
def test_what_is_not_as_promised_is_red(change: dict[str, Any], good: bool) -> None:
    assert outcomes.kept(_found(**change)) is good


def test_a_year_adds_up_what_can_differ_from_night_to_night() -> None:
    latency = LatencyNull(where="", recordings=72, runs=300, cells=21, red_judgements={}, red_runs={OURS: 3})
    timed = type("Timed", (), {"nulls": [latency]})()
    years = outcomes.years([_null(0), _null(3), _null(9, outcomes.TWICE)], timed, (0, 300))
    quiet, every = years["four changes of the toolchain"], years["every night"]
    assert [(one.what, one.nights) for one in quiet] == [
        ("scores, where the bits change", 4),
        ("latency", 365),
        ("memory", 365),
    ]
    assert quiet[0].rate == 0.01  # the worst of the kinds of change, but for the one beyond what was recorded
    assert 0.01 < quiet[0].rate_bound < 0.03
    assert every[0].nights == 365


def test_the_report_gives_both_bounds_and_a_year() -> None:
    found = _found(years={"often": [YearlyRate(what="scores", nights=52, rate=0.0, rate_bound=0.01)]})
    text = rendered(found)
    for heading in ("## Power", "## Null runs: nothing got worse", "## A year of nights"):
        assert heading in text
    assert "1.0 %" in text  # 3 of 300 at most, from draws
    assert "35 % (7 models)" in text
    assert "0.00 (≤ 0.52)" in text
    assert "0 % (≤ 41 %)" in text


def test_models_with_a_label_for_each_pixel_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(outcomes, "load_baselines", lambda models, folder: asked.extend(models) or {})
    assert outcomes.Simulation.of(load_models(ROOT / "models"), tmp_path, True).parts() == []
    assert "seed_cnn" in asked
    assert "segmenter" not in asked


def test_the_numbers_are_the_same_however_many_processes_simulate(tmp_path: Path) -> None:
    for folder in ("weights", "data"):
        (tmp_path / folder).symlink_to(ROOT / "models" / folder)
    shutil.copy(ROOT / "models" / "seed_cnn.py", tmp_path)
    here = outcomes.simulated(tmp_path, ROOT / "baselines", True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert outcomes.start(pool, tmp_path, ROOT / "baselines", True)() == here
    assert here is not None
    assert {one.plant for one in here.plants} >= {"two classes swapped", "all cells of a model"}
    assert [one.what for one in here.nulls] == list(outcomes.NULLS)


def test_healthy_runs_are_drawn_each_by_its_own_number(matrix: Matrix) -> None:
    whole = null_runs(matrix, "w", range(4), 40, always=0)
    parts = [null_runs(matrix, "w", range(*part), 40, always=0) for part in ((2, 4), (0, 1), (1, 2))]
    assert together(parts) == whole
    assert whole.runs == 4
    assert null_runs(matrix, "w", range(4, 8), 40, always=0) != whole
