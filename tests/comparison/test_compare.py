"""Two runs compared: what is worse, what is chance, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Quantbench
from made_up_runs import LABELS, answers, cell, environment, measured, report, side, write
from quantbench import gate
from quantbench.baselines.files import load, scores_over_seeds
from quantbench.comparison import Comparison, Item, Outcome, Side, Truth, compare
from quantbench.comparison.load import accepted_spreads
from quantbench.comparison.spread import Spreads
from quantbench.core.arrays import Array
from quantbench.core.seed_spread import Sample, sample
from quantbench.errors import Exit
from quantbench.records import SCHEMA_VERSION, Amount, Census, Failure
from quantbench.reference.metrics import ACCURACY, AUC
from quantbench.reference.model import load_models
from quantbench.report.comparison import page, render
from quantbench.report.comparison_items import change_text


def compared(old: Side, new: Side, truth: Truth | str | None = None) -> Comparison:
    return compare(old, new, lambda _model: truth or Truth(ACCURACY, LABELS))


def one(old: Any, new: Any, name: str = "score") -> Item:
    """The item of a measurement where both sides hold one cell, given as (cell, predictions)."""
    found = compared(
        *(side([made], {made.variant: stored} if stored is not None else {}) for made, stored in (old, new))
    )
    return next(item for item in found.items if item.measurement == name)


def with_score(predictions: Array, **more: Any) -> tuple[Any, Array]:
    return cell(predictions=predictions, **more), predictions


def test_a_run_against_itself_differs_in_nothing() -> None:
    measurements = {"size": measured(5000), "arena": measured(64), "latency_ratio": measured(0.9, "ratio", [0.9])}
    made = cell(predictions=answers(100), measurements=measurements)
    failed = cell("x", failure=Failure(what="timeout", reason="600 s"))
    broken = cell("y", measurements={"nonfinite": measured(3, "examples")})
    found = compared(side([made, failed, broken]), side([made, failed, broken]))
    assert found.exit_status() == Exit.GREEN
    assert render(found).startswith("# Nothing differs: 3 cells are bit-identical")
    assert "## " not in render(found)


@pytest.mark.parametrize(
    ("new", "outcome"),
    [
        (answers(140), Outcome.WORSE),
        (answers(60), Outcome.BETTER),
        (answers(104), Outcome.UNCHANGED),
        (answers(100, at=200), Outcome.UNCHANGED),
    ],
)
def test_scores_are_paired_example_by_example(new: Array, outcome: Outcome) -> None:
    item = one(with_score(answers(100)), with_score(new))
    assert item.outcome is outcome
    assert item.change == pytest.approx((np.count_nonzero(new != LABELS) - 100) / 10)
    assert item.low is not None
    assert item.high is not None
    assert item.low < item.change < item.high


def test_one_false_alarm_budget_is_shared_by_all() -> None:
    """A drop that is red alone (9 lost, 0 gained: p = .004) is chance among many cells that moved."""
    alone = one(with_score(answers(100)), with_score(answers(109)))
    assert alone.outcome is Outcome.WORSE
    names = [f"v{i}" for i in range(10)]
    old, new = {name: answers(100) for name in names}, {name: answers(109) for name in names}
    found = compared(*(side([cell(name, p[name]) for name in names], p) for p in (old, new)))
    assert found.false_alarms.judgements == 10
    assert {item.outcome for item in found.items} == {Outcome.UNCHANGED}
    assert "Nothing differs beyond chance and tolerance" in render(found)


def test_what_differs_within_its_tolerance_is_a_count() -> None:
    """Two bytes of a string and 15 of a deflate are no news."""
    old, new = (
        side([cell(measurements={"size": measured(size), "gzip_size": measured(packed)})])
        for size, packed in ((30000.0, 20000.0), (30002.0, 19985.0))
    )
    found = compared(old, new)
    for text in (render(found), page(found)):
        assert "within tolerance or chance, and not listed: 2 values (" in text
        assert "What changed" not in text
        assert "30,002" not in text
    assert "and not listed" not in render(compared(old, old))


def test_a_metric_without_right_and_wrong_is_resampled() -> None:
    labels = np.arange(1000) % 2
    random = np.random.default_rng(0)
    good = (labels + random.normal(0, 0.5, 1000)).astype(np.float32)
    bad = (labels + random.normal(0, 2.0, 1000)).astype(np.float32)
    cells = [cell(predictions=p, metric="auc", measurements={"score": measured(0.9, "fraction")}) for p in (good, bad)]
    found = compared(*(side([c], {"v": p}) for c, p in zip(cells, (good, bad), strict=True)), Truth(AUC, labels))
    assert found.items[0].outcome is Outcome.WORSE
    assert "paired bootstrap" in found.items[0].why


def test_trained_cells_are_judged_by_the_spread_of_trainings() -> None:
    def trained(values: list[float], predictions: Array) -> tuple[Any, Array]:
        score = measured(float(np.mean(values)), "fraction", values)
        return with_score(predictions, seeds=list(range(len(values))), measurements={"score": score})

    few = one(trained([0.90], answers(100)), trained([0.88], answers(120)))
    assert few.outcome is Outcome.NOT_COMPARABLE
    assert "--seeds 5" in few.why
    old = trained([0.900, 0.902, 0.898, 0.901, 0.899], answers(100))
    assert one(old, trained([0.899, 0.901, 0.897, 0.900, 0.898], answers(101))).outcome is Outcome.UNCHANGED
    worse = one(old, trained([0.880, 0.882, 0.878, 0.881, 0.879], answers(120)))
    assert worse.outcome is Outcome.WORSE
    assert worse.change == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("new", "more", "why"),
    [
        ({}, {"data_sha256": {"m": "e" * 64}}, "different data: pack dddddddddddd… before, eeeeeeeeeeee… now"),
        ({"metric": "top5"}, {}, "different metric: accuracy before, top5 now"),
        ({"predictions_sha256": "f" * 64}, {}, "the predictions of the new run do not match its report"),
        ({}, {"trained_from_scratch": True}, "retrained (--train)"),
    ],
)
def test_what_is_not_one_question_is_not_compared(new: dict[str, Any], more: dict[str, Any], why: str) -> None:
    p = answers(150)
    before = side([cell(predictions=answers(100))], {"v": answers(100)})
    found = compared(before, side([cell(predictions=p, **new)], {"v": p}, **more))
    assert why in found.items[0].why
    assert found.exit_status() == Exit.NOT_MEASURED


def test_predictions_and_labels_that_are_not_there_are_named() -> None:
    old, new = cell(predictions=answers(100)), cell(predictions=answers(150))
    assert (
        "the predictions of the old run are missing"
        in compared(side([old]), side([new], {"v": answers(150)})).items[0].why
    )
    sides = side([old], {"v": answers(100)}), side([new], {"v": answers(150)})
    assert compared(*sides, "no labels").items[0].why == "no labels"


@pytest.mark.parametrize(
    ("name", "old", "new", "outcome"),
    [
        ("size", 10000, 10009, Outcome.UNCHANGED),
        ("size", 10000, 10011, Outcome.WORSE),
        ("gzip_size", 10000, 9890, Outcome.BETTER),
        ("arena", 6400, 6464, Outcome.UNCHANGED),
        ("arena", 6400, 6528, Outcome.WORSE),
        ("memory_ratio", 0.98, 0.989, Outcome.UNCHANGED),
        ("memory_ratio", 0.98, 0.995, Outcome.WORSE),
        ("left_operators", 1, 2, Outcome.WORSE),
        ("left_operators", 0, 20, Outcome.WORSE),
        ("left_macs", 20, 0, Outcome.BETTER),
    ],
)
def test_what_repeats_has_a_tolerance(name: str, old: float, new: float, outcome: Outcome) -> None:
    found = one(*((cell(measurements={name: measured(value)}), None) for value in (old, new)), name)
    assert found.outcome is outcome
    assert found.moved


def test_more_than_nothing_is_worse_and_told_in_its_unit() -> None:
    values = [measured(value, "multiplications") for value in (0, 1_000_000)]
    found = one(*((cell(measurements={"left_macs": value}), None) for value in values), "left_macs")
    assert (found.outcome, found.change) == (Outcome.WORSE, 1_000_000)
    assert change_text(found) == "+1,000,000 multiplications"
    assert one(*((cell(measurements={"left_macs": values[0]}), None),) * 2, "left_macs").outcome is Outcome.UNCHANGED


def test_latency_takes_a_change_beyond_tolerance_and_chance_on_one_class_of_machine() -> None:
    def timed(shift: float, **more: Any) -> Side:
        values = [0.85 * shift + 0.001 * i for i in (-2, -1, 0, 1, 2)]
        made = cell(measurements={"latency_ratio": measured(0.85 * shift, "ratio", values)})
        return side([made], environment=environment(**more))

    outcomes = [compared(timed(1.0), timed(shift)).items[0].outcome for shift in (1.05, 0.95, 1.005)]
    assert outcomes == [Outcome.WORSE, Outcome.BETTER, Outcome.UNCHANGED]
    apart = compared(timed(1.0), timed(1.05, machine_class="B")).items[0]
    assert apart.outcome is Outcome.NOT_COMPARABLE
    assert "A_2-core before, B now" in apart.why


def test_memory_of_other_kernels_has_more_room() -> None:
    def took(ratio: float, isa: str) -> Side:
        return side([cell(measurements={"memory_ratio": measured(ratio, "ratio")})], environment=environment(isa=isa))

    outcomes = [compared(took(0.98, "a"), took(ratio, "b")).items[0].outcome for ratio in (0.98 * 1.02, 0.98 * 1.04)]
    assert outcomes == [Outcome.UNCHANGED, Outcome.WORSE]


def test_another_structure_is_worse() -> None:
    def made_of(count: int) -> Any:
        constants = {"int8": Amount(count=count, bytes=10 * count)}
        parts: dict[str, Any] = {"activations": {}, "operators": {}, "inputs": [], "outputs": [], "compute": []}
        return cell(census=Census(constants=constants, scales=1, **parts)), None

    item = one(made_of(3), made_of(2), "census")
    assert (item.outcome, item.why) == (Outcome.WORSE, "constants int8 3 of 30 bytes → 2 of 20 bytes")


def test_cells_that_fail_come_and_go() -> None:
    crash = Failure(what="crash", reason="signal 11")
    ok, broken = cell("a", answers(1)), cell("a", failure=crash)
    found = compared(side([ok, cell("b", answers(1))]), side([broken, cell("c", answers(1))]))
    assert found.cells == {"m/a": Outcome.WORSE, "m/b": Outcome.WORSE, "m/c": Outcome.NEW}
    assert compared(side([broken]), side([ok])).cells == {"m/a": Outcome.BETTER}
    assert compared(side([broken]), side([broken])).cells == {"m/a": Outcome.UNCHANGED}
    assert compared(side([broken]), side([cell("a")])).cells == {"m/a": Outcome.NOT_COMPARABLE}
    assert compared(side([broken]), side([cell("b", answers(1))])).cells["m/a"] is Outcome.GONE


def test_a_cell_that_is_gone_is_worse_where_it_was_asked_for() -> None:
    """Of 300 cells one is left: red under one selection, not red under another, not green where a run broke off."""
    old = side([cell(f"v{i}", answers(1)) for i in range(300)])
    kept = [cell("v0", answers(1))]
    found = compared(old, side(kept))
    assert found.exit_status() == Exit.REGRESSED
    assert sum(outcome is Outcome.WORSE for outcome in found.cells.values()) == 299
    assert "missing: only in the old run, although the new run was asked for it too" in render(found)
    assert compared(old, side(kept, selection="--variants 'v0'")).exit_status() == Exit.GREEN
    assert compared(old, side(kept, state="interrupted")).exit_status() == Exit.NOT_MEASURED


@pytest.mark.parametrize("name", ["score", "size", "gzip_size", "arena", "memory_ratio", "latency_ratio", "census"])
def test_a_measurement_that_is_gone_is_worse(name: str) -> None:
    parts: dict[str, Any] = {"constants": {}, "activations": {}, "operators": {}, "inputs": [], "outputs": []}
    values = {"size": 1.0, "gzip_size": 1.0, "arena": 64.0, "memory_ratio": 1.0, "latency_ratio": 0.9, "score": 0.9}
    measurements = {other: measured(value, values=[value, value]) for other, value in values.items()}
    census = Census(scales=1, compute=[], **parts)
    whole = [cell(v, measurements=measurements, census=census) for v in ("a", "b")]
    less = whole[0].model_copy(
        update={
            "census": None if name == "census" else census,
            "measurements": {other: value for other, value in measurements.items() if other != name},
        }
    )
    found = compared(side(whole), side([less, whole[1]]))
    [worse] = [item for item in found.items if item.outcome is Outcome.WORSE]
    assert (worse.cell, worse.measurement) == ("m/a", name)
    assert compared(side(whole), side([less, whole[1]], selection="-k other")).exit_status() == Exit.GREEN


def test_latency_that_the_whole_run_left_out_is_gone_and_not_worse() -> None:
    timed = cell(predictions=answers(1), measurements={"latency_ratio": measured(0.9, "ratio", [0.9, 0.9])})
    found = compared(side([timed]), side([cell(predictions=answers(1))]))
    assert [item.outcome for item in found.items if item.measurement == "latency_ratio"] == [Outcome.GONE]
    assert found.exit_status() == Exit.GREEN


def _several(values: Array) -> Side:
    measurements = {"latency_ratio_2_threads": measured(float(values.mean()), "ratio", list(map(float, values)))}
    return side([cell(measurements=measurements)])


def test_several_threads_have_the_noise_between_runs_of_the_judges() -> None:
    """Nothing changed, and runs are as far apart as they were measured: at most one false "worse" in a hundred."""
    random = np.random.default_rng(17)

    def rate(shift: float, runs: int = 200) -> float:
        worse = 0
        for _ in range(runs):
            levels = 0.8 * (1 + random.normal(0, gate.between_runs(2), 2)) * [1.0, shift]
            old, new = (_several(random.normal(level, 0.004, 5)) for level in levels)
            worse += compared(old, new).exit_status() == Exit.REGRESSED
        return worse / runs

    assert rate(1.0) <= 0.02
    assert rate(2.0) >= 0.95


def _trained(variant: str, score: float) -> Any:
    return cell(variant, answers(1), seeds=[0], measurements={"score": measured(score, "fraction", [score])})


def test_one_seed_is_compared_with_one_by_the_baselines_spread() -> None:
    """Cells of one model differ in their spread. False alarms keep to the budget, and a drop of 2 pp is found: 20 times
    the typical spread, for what is borrowed is the widest cell's, with its 4 degrees of freedom.
    """
    random = np.random.default_rng(16)
    reds, caught, runs = 0, 0, 400
    for _ in range(runs):
        sds = 0.001 * random.lognormal(0, 0.4, 4)  # the last cell has no spread of its own
        accepted = {f"m/v{i}": [sample(random.normal(0.87, sd, 5))] for i, sd in enumerate(sds[:3])}
        old, new = (side([_trained("v3", random.normal(0.87, sds[3]))]) for _ in range(2))
        lost = side([_trained("v3", random.normal(0.85, sds[3]))])
        reds += compare(old, new, lambda _: "", accepted=accepted).exit_status() == Exit.REGRESSED
        caught += compare(old, lost, lambda _: "", accepted=accepted).exit_status() == Exit.REGRESSED
        assert compare(old, new, lambda _: "").exit_status() == Exit.NOT_MEASURED
    assert reds <= 0.01 * runs
    assert caught >= 0.9 * runs


def test_the_spread_is_the_judges_of_cells_that_train_alike() -> None:
    free, wide = Sample(0.001, 4), Sample(0.003, 4)
    qat, tuned, pruned = "m/qat_wi8_ai8", "m/float32_finetuned", "m/pruned_float32"
    found = Spreads({qat: [free], tuned: [free], pruned: [wide]}, {qat: [free]})
    own, borrowed = found.of(qat), found.of("m/qat_wi8_ai8_custom")
    assert (own and own.sd, own and own.degrees) == (0.001, 8)
    assert own is not None
    assert own.source == "the model's cells that train alike"
    assert borrowed is not None
    assert (borrowed.sd, borrowed.degrees) == (pytest.approx(0.00151, abs=1e-5), 8)
    assert borrowed.source == "the model's cells that train alike (upper limit)"
    assert found.of("other/a") is None


def test_a_spread_is_that_which_the_judge_knows() -> None:
    baseline = load(ROOT / "baselines", load_models(ROOT / "models")["resnet8"])
    spreads = Spreads(accepted_spreads(ROOT / "baselines", ["resnet8/qat_wi8_ai8"]))
    for variant, values in scores_over_seeds(baseline.file.cells if baseline.file else {}).items():
        alike, others = baseline.seed_scores(variant)
        judged, compared = gate.repeats(ACCURACY, alike, 5, 1, "", values, others), spreads.of(f"resnet8/{variant}")
        assert judged is not None
        assert compared is not None
        assert (100 * compared.sd, compared.degrees) == (pytest.approx(judged.sd, rel=1e-4), judged.degrees)


def test_the_command_takes_the_spread_from_the_baselines(quantbench: Quantbench, tmp_path: Path) -> None:
    old = report([_trained("qat_wi8_ai8", 0.87).model_copy(update={"model": "resnet8", "id": "resnet8/qat_wi8_ai8"})])
    lower = {"score": measured(0.82, "fraction", [0.82])}
    cells = [old.cells[0].model_copy(update={"measurements": lower, "predictions_sha256": "f" * 64})]
    paths = [write(tmp_path, old), write(tmp_path, old.model_copy(update={"cells": cells, "run": "2026-01-02"}))]
    done = quantbench("compare", *map(str, paths))
    assert done.status == 1
    assert "sd 0.14 pp from the model's cells that train alike" in done.output
    done = quantbench("compare", *map(str, paths), "--baseline-dir", str(tmp_path / "none"))
    assert done.status == 3
    assert "or give --baseline-dir" in done.output


def test_a_new_nan_is_worse() -> None:
    old = with_score(answers(100))
    item = one(old, (cell(measurements={"nonfinite": measured(7, "examples")}), None))
    assert item.outcome is Outcome.WORSE
    assert "7 examples with a NaN" in item.why


def test_the_environment_is_compared_and_html_is_escaped() -> None:
    old = side([cell("a", failure=Failure(what="unsupported", reason="x"))])
    failure = Failure(what="crash", reason="<script>|pipe")
    new = side([cell("a", failure=failure)], environment=environment(packages={"tensorflow": "2.21.0"}))
    found = compared(old, new)
    assert found.environment == ["tensorflow 2.20.0 → 2.21.0"]
    assert "&lt;script>\\|pipe" in render(found)
    assert "<script" not in page(found)
    assert "&lt;script&gt;" in page(found)
    assert "tensorflow 2.20.0 → 2.21.0" in page(found)


def test_the_command_compares_run_folders_and_reports(quantbench: Quantbench, tmp_path: Path) -> None:
    old = write(tmp_path, report([cell(measurements={"size": measured(1000)})]))
    new = write(tmp_path, report([cell(measurements={"size": measured(2000)})], "2026-01-02T00-00-00Z"))
    html = tmp_path / "c.html"
    done = quantbench("compare", str(old), str(new / "report.json"), "--html", str(html))
    assert done.status == 1
    assert "| `m/v`  | size          | worse" in done.output
    assert "+100.00 %" in html.read_text()
    assert quantbench("compare", str(new), str(old)).status == 0


def _spoilt(path: Path, how: str) -> None:
    text = (path / "report.json").read_text()
    if how == "truncated":
        (path / "report.json").write_text(text[: len(text) // 2])
    elif how == "missing":
        (path / "report.json").unlink()
    else:
        (path / "report.json").write_text(json.dumps(json.loads(text) | {"schema_version": how}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "report is not JSON"),
        ("missing", "no run there"),
        ("99.0", f"99.0 is newer than this quantbench reads ({SCHEMA_VERSION})"),
    ],
)
def test_bad_input_is_one_sentence(quantbench: Quantbench, tmp_path: Path, how: str, words: str) -> None:
    path = write(tmp_path, report([cell()]))
    _spoilt(path, how)
    done = quantbench("compare", str(path), str(path))
    assert done.status == 4
    assert words in done.output
    assert len(done.output.splitlines()) == 1


def test_older_reports_are_read(quantbench: Quantbench, tmp_path: Path) -> None:
    path = write(tmp_path, report([cell(measurements={"size": measured(1000)})]))
    _spoilt(path, "1.0")
    assert quantbench("compare", str(path), str(path)).status == 0


def test_labels_come_from_the_model_folder(quantbench: Quantbench, tmp_path: Path) -> None:
    """Stored answers of a real model, some of them spoilt."""
    from quantbench.reference.model import load_models

    model = load_models(ROOT / "models")["seed_cnn"]
    labels = model.pack().test.y

    def run(name: str, wrong: int) -> Path:
        p = labels.astype(np.uint16)
        p[:wrong] = (p[:wrong] + 1) % 10
        made = cell(predictions=p, measurements={"score": measured(float(np.mean(p == labels)), "fraction")})
        made = made.model_copy(update={"model": "seed_cnn", "id": "seed_cnn/v"})
        path = write(tmp_path, report([made], name, data_sha256={"seed_cnn": model.data_sha256}), {"v": p})
        (path / "predictions" / "m.npz").rename(path / "predictions" / "seed_cnn.npz")
        return path

    old, new = run("2026-01-01T00-00-00Z", 100), run("2026-01-02T00-00-00Z", 200)
    done = quantbench("compare", str(old), str(new))
    assert done.status == 1
    assert "100 newly wrong, 0 newly right of 10,000 (exact McNemar test)" in done.output
