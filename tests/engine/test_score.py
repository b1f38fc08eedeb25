"""Classes, slices and several cells together, from made-up outcomes to the report and the exit status."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_up_cells import FLOAT, HALF, Model, Run, baseline, model, outcome, run
from made_up_runs import LABELS
from quantbench import gate
from quantbench.core.arrays import Array
from quantbench.core.options import RunOptions
from quantbench.engine.finish import split_notes
from quantbench.engine.workers.task import Outcome
from quantbench.errors import BadInput, Exit
from quantbench.gate import exit_status
from quantbench.records import Accepted, BaselineCell, BaselineValue, Judgement, Kind, Verdict
from quantbench.reference.datasets import Pack, Split, load_pack
from quantbench.reference.metrics import ACCURACY, AUC
from quantbench.reference.model import Floor
from quantbench.report import formatting, junit, markdown, terminal


def answers(wrong: Array) -> Array:
    return np.where(wrong, (LABELS + 1) % 10, LABELS).astype(np.uint16)


OLD = np.arange(1000) % 100 < 10  # 10 % wrong, all labels alike


def of(wrong: Array) -> Outcome:
    predictions = answers(wrong)
    return outcome(predictions=predictions, score=float(np.mean(predictions == LABELS)))


def judged(made: Run, cell: str) -> dict[str, Judgement]:
    return {one.measurement: one for one in made.drive.judge(cell, Kind.ACCURACY) if one.against == "baseline"}


def swapped() -> Array:
    """All of class 3 wrong, and as many others right."""
    new = OLD.copy()
    new[LABELS == 3] = True
    gained = np.flatnonzero(OLD & (LABELS != 3))[:90]
    new[gained] = False
    return new


def test_a_class_that_collapses_is_red_in_a_run_though_the_mean_stays() -> None:
    made = run(
        {FLOAT: [of(OLD)], HALF: [of(swapped())]}, baseline({"float32": answers(OLD), "ptq_float16": answers(OLD)})
    )
    found = judged(made, HALF)
    assert found["score"].verdict is Verdict.PASS
    assert (found["classes"].verdict, found["classes"].detail) == (Verdict.REGRESSED, "class 3")
    made.drive.close(partial=False)
    assert exit_status(made.recording.verdicts()) is Exit.REGRESSED


def test_slices_of_the_data_are_judged() -> None:
    class Sliced(Model):
        def pack(self) -> Pack:
            split = Split(np.zeros((len(LABELS), 1)), LABELS)
            return Pack(None, None, split, "d", slices={"slice_camera": np.arange(1000) // 500})

    sliced = Sliced(**{field.name: getattr(model(), field.name) for field in dataclasses.fields(model())})
    new = OLD.copy()
    new[:500:9] = True
    new[500:] = False
    accepted = baseline({"float32": answers(OLD), "ptq_float16": answers(OLD)})
    made = run({FLOAT: [of(OLD)], HALF: [of(new)]}, accepted, of=sliced)
    assert judged(made, HALF)["slices"].detail == "camera 0"


def small_losses() -> Run:
    """Six cells that each lose ten answers and gain three, elsewhere each."""
    names = [
        "float32",
        "ptq_float16",
        "ptq_dynamic_wi8_afp32",
        "ptq_static_wi8_ai8",
        "ptq_static_wi8_ai16",
        "aeq_static_wi8_ai8",
        "aeq_dynamic_wi8_afp32",
    ]
    right, wrong = np.flatnonzero(~OLD), np.flatnonzero(OLD)
    outcomes = {FLOAT: [of(OLD)]}
    for place, name in enumerate(names[1:]):
        new = OLD.copy()
        new[right[place * 40 : place * 40 + 10]] = True
        new[wrong[place * 10 : place * 10 + 3]] = False
        outcomes[f"m/{name}"] = [of(new)]
    generous = model(floors={"default": Floor(5.0, "test")})
    return run(outcomes, baseline(dict.fromkeys(names, answers(OLD))), [Kind.ACCURACY], of=generous)


def test_small_losses_in_all_cells_are_red_together() -> None:
    made = small_losses()
    for cell in made.plan.cells:
        made.drive.judge(cell, Kind.ACCURACY)
    made.drive.close(partial=False)
    cells = made.recording.cells()
    of_scores = [
        one
        for cell in cells
        for one in cell.judgements
        if one.measurement == "score" and one.p_value and one.against == "baseline"
    ]
    assert len(of_scores) == 6
    assert not any(one.verdict is Verdict.REGRESSED for one in of_scores)
    assert exit_status(made.recording.verdicts()) is Exit.REGRESSED
    made.recording.save("complete", Exit.REGRESSED)
    report = made.recording.report
    whole = report.pooled[0]
    assert (whole.id, len(whole.cells), whole.judgement.verdict) == ("m: all variants", 6, Verdict.REGRESSED)
    assert whole.judgement.actions[0].command[:4] == ["quantbench", "baseline", "update", "runs/r"]
    assert "m: all variants" in formatting.attention(report)[0][0]
    assert "cells together: " in formatting.headline(report)
    for page in (markdown.render(report), terminal.summary(report, Path("runs/r")), junit.render(report).decode()):
        assert "m: all variants" in page


def test_a_shard_leaves_cells_together_to_the_whole_run() -> None:
    made = small_losses()
    parted = run(
        {cell: [*outcomes] for cell, outcomes in made.computing._outcomes.items()},
        made.rules.baselines["m"],  # type: ignore[arg-type]
        [Kind.ACCURACY],
        options=RunOptions(shard="1/2"),
    )
    parted.drive.close(partial=False)
    assert parted.budget.pooled == []


def trained(new: Array, *, weights: str | None, accepted_weights: str | None, scores: list[float]) -> Run:
    old = answers(OLD)
    stamp = Accepted(date="2026-01-01", reason="test", run="r", environment="e")
    values = [float(np.mean(old == LABELS)), *scores]
    value = BaselineValue(
        value=float(np.mean(values)),
        unit="fraction",
        n=1000,
        noise=0.0,
        noise_from="test",
        values=values,
        tolerance=0.0,
        tolerance_from="test",
        accepted=stamp,
    )
    cell = BaselineCell(measurements={"score": value}, trained_sha256=accepted_weights)
    standing = baseline({"float32": old, "float32_finetuned": old, "qat_wi8_ai8": old}, qat_wi8_ai8=cell)
    one = dataclasses.replace(of(new), trained_sha256=weights)
    outcomes = {FLOAT: [of(OLD)], "m/float32_finetuned": [of(OLD)], "m/qat_wi8_ai8": [one]}
    return run(outcomes, standing, [Kind.ACCURACY], options=RunOptions(seeds=1, seeds_on_suspicion=1))


@pytest.mark.parametrize(
    ("weights", "accepted_weights", "verdict"),
    [
        ("same", "same", Verdict.REGRESSED),
        ("other", "same", Verdict.PASS),
        ("same", None, Verdict.PASS),
        (None, None, Verdict.PASS),
    ],
)
def test_a_training_that_repeated_is_judged_example_by_example(
    weights: str | None, accepted_weights: str | None, verdict: Verdict
) -> None:
    new = OLD.copy()
    new[np.flatnonzero(~OLD)[:20]] = True  # -2 pp, where seeds lie 1 pp apart
    made = trained(new, weights=weights, accepted_weights=accepted_weights, scores=[0.89, 0.912, 0.905, 0.888])
    assert judged(made, "m/qat_wi8_ai8")["score"].verdict is verdict


# ------------------------------------------------------------ the data


def _pack(folder: Path, **more: Array) -> Path:
    path = folder / "d.npz"
    np.savez(path, x_test=np.zeros((20, 4)), y_test=np.arange(20) % 2, **more)  # type: ignore[arg-type]
    return path


def _load(path: Path) -> Pack:
    import hashlib

    return load_pack(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_slices_and_groups_are_read_from_the_pack(tmp_path: Path) -> None:
    pack = _load(_pack(tmp_path, slice_camera=np.arange(20) // 10, groups=np.arange(20) // 5))
    assert list(pack.slices) == ["slice_camera"]
    assert pack.groups is not None


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("slice_camera", np.zeros(19, int), "array 'slice_camera': expected 20 integers, .* found int64 of shape"),
        ("slice_camera", np.zeros(20), "found float64"),
        ("slice_camera", np.zeros(20, int), "all test examples have the value 0, which divides nothing"),
        ("groups", np.array(["a"] * 20), "array 'groups': expected 20 integers"),
        ("groups", np.zeros((20, 2), int), r"of shape \(20, 2\)"),
    ],
)
def test_slices_and_groups_of_another_length_or_dtype_are_refused(
    tmp_path: Path, name: str, found: Array, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        _load(_pack(tmp_path, **{name: found}))


def _of_labels(labels: Array, x: Array | None = None) -> Model:
    class Labelled(Model):
        def pack(self) -> Pack:
            return Pack(None, None, Split(np.zeros((len(labels), 1)) if x is None else x, labels), "d")

    fields = {"floors": {"default": Floor(1.0, "test")}}
    return Labelled(name="m", description="", weights="w", weights_sha256="w", data="d.npz", data_sha256="d", **fields)


def test_an_area_of_one_class_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(
        BadInput, match="auc needs positive and negative examples, and all 8 test examples are positive"
    ):
        dataclasses.replace(_of_labels(np.ones(8, int)), metric=AUC).check_metric()
    with pytest.raises(BadInput, match="smallest_drop: expected a number of pp, 0 or more, found -1"):
        dataclasses.replace(_of_labels(np.arange(8)), smallest_drop=-1).check_metric()


def test_what_a_test_split_cannot_judge_is_said_once() -> None:
    assert split_notes(_of_labels(LABELS), 1e-4) == []
    [few] = split_notes(_of_labels(np.arange(50) % 5), 1e-4)
    assert few.startswith("m: 50 test examples are too few for accuracy: only a drop of ")
    [empty] = split_notes(_of_labels(np.where(LABELS == 4, 5, LABELS)), 1e-4)
    assert empty == "m: no test example has label 4, so these classes are not gated"


def test_neighbours_that_are_nearly_equal_are_told() -> None:
    random = np.random.default_rng(0)
    pictures = random.normal(0, 1, (200, 64))
    assert split_notes(_of_labels(LABELS, np.resize(random.normal(0, 1, (1000, 64)), (1000, 64))), 1e-4) == []
    clips = np.repeat(pictures, 5, axis=0) + random.normal(0, 0.02, (1000, 64))
    [note] = split_notes(_of_labels(LABELS, clips), 1e-4)
    assert "nearly equal to the one before them" in note


def test_neighbours_among_large_pictures_are_compared_on_some_of_their_values() -> None:
    values = np.random.default_rng(0).normal(0, 1, 2**20 + 4000).astype(np.float32)
    pictures = np.lib.stride_tricks.sliding_window_view(values, 2**20)[:4000:4]  # 4 GB, were they copied
    tracemalloc.start()
    assert gate.of_split(ACCURACY, gate.Examples(LABELS), pictures, 1e-4) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26
