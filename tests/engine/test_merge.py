"""Real shards of a run, merged: what they say is what an undivided run says, and less than all of them is an error."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, ThreeCells, accepted, edit, run_quantbench
from made_up_runs import cell, environment, measured, report
from quantbench import gate
from quantbench.baselines.files import packed
from quantbench.comparison.history import read_history
from quantbench.core.options import RunOptions
from quantbench.engine.merge import Whole, _in_turns, _latency, merge, together
from quantbench.engine.shard_folders import Piece
from quantbench.errors import BadInput
from quantbench.records import BaselineCell, Cell, Device, InTurns, Judgement, Kind, Shard, Verdict, worst
from quantbench.reference.datasets import read_predictions
from quantbench.reference.model import load_models

VARIANTS = "ptq_float16,ptq_static_wi8_ai8,ptq_dynamic_wi8_afp32,aeq_static_wi8_ai8,ptq_static_wi8_ai16"
STARTED = "2026-01-01T00:00:00+00:00"
LOST = {"ptq_float16": 9, "ptq_static_wi8_ai8": 8, "aeq_static_wi8_ai8": 5}  # answers that were right
# What the first is red at among all tests that six cells of ten classes can take, or among those that can be red.
EVENLY, HOLM = 0.01 / 66, 0.01 / 3


def _quantbench(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_quantbench(*arguments, store=store)


def lose(baselines: Path, lost: dict[str, int]) -> None:
    """Baselines that had more answers right, so that chance has moved what is measured now."""
    path = baselines / "seed_cnn.npz"
    arrays = read_predictions(path, "predictions")
    labels = np.load(ROOT / "models" / "data" / "fashion_mnist.npz")["y_test"]
    for variant, count in lost.items():
        wrong = np.flatnonzero(arrays[variant] != labels)[:count]
        arrays[variant][wrong] = labels[wrong]
    np.savez_compressed(path, **arrays)

    def change(data: dict[str, Any]) -> None:
        data["predictions_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        for variant in lost:
            value = float(np.mean(arrays[variant] == labels))
            data["cells"][variant]["measurements"]["score"]["value"] = value

    edit(baselines / "seed_cnn.json", change)


class Runs:
    """An undivided run and three shards of the same, by the same baselines."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store, self.baselines = folder, store, folder / "baselines"
        shutil.copytree(ROOT / "baselines", self.baselines)
        lose(self.baselines, LOST)
        self.whole = self._run("whole")
        self.shards = [self._run(f"shard-{index}", "--shard", f"{index}/3") for index in (1, 2, 3)]

    def _run(self, name: str, *more: str) -> tuple[int, Path]:
        chosen = ["--models", "seed_cnn", "--variants", VARIANTS, "--no-latency"]
        folders = ["--baseline-dir", str(self.baselines), "--report-dir", str(self.folder / name)]
        done = _quantbench(self.store, "run", *chosen, *folders, *more)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, (self.folder / name / "latest").resolve()

    def merge(self, reports: Path, *paths: Path, store: Path | None = None) -> subprocess.CompletedProcess[str]:
        folders = ["--baseline-dir", str(self.baselines), "--report-dir", str(reports)]
        return _quantbench(store or self.store, "report", *map(str, paths), *folders)

    def copies(self, folder: Path) -> list[Path]:
        """The shards, to be broken."""
        return [Path(shutil.copytree(path, folder / path.parent.name)) for _, path in self.shards]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("shards"), store)


def _report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return loaded


LEFT_OUT = ("seconds", "cached", "operator_times")


def _said(folder: Path) -> dict[str, Any]:
    """What a report says of its cells, with the causes, whatever the run is called and how long it took."""
    text = (
        (folder / "report.json").read_text().replace(str(folder), "RUN").replace(str(folder.parent / "latest"), "RUN")
    )
    cells = json.loads(text)["cells"]
    found = {cell["id"]: {key: cell[key] for key in cell if key not in LEFT_OUT} for cell in cells}
    assert len(found) == len(cells)
    return found


def test_merged_shards_say_what_an_undivided_run_says(runs: Runs, tmp_path: Path) -> None:
    done = runs.merge(tmp_path / "merged", *(path for _, path in reversed(runs.shards)))
    status, whole = runs.whole
    merged = (tmp_path / "merged" / "latest").resolve()
    assert done.returncode == status == 1, done.stdout + done.stderr
    assert _said(merged) == _said(whole)
    one, other = _report(merged), _report(whole)
    for name in ("state", "exit_status", "selection", "false_alarms", "data_sha256"):
        assert one[name] == other[name]
    assert [part["index"] for part in one["shards"]] == [1, 2, 3]
    assert "shard" not in one
    arrays, others = (
        read_predictions(path / "predictions" / "seed_cnn.npz", "predictions") for path in (merged, whole)
    )
    assert arrays.keys() == others.keys()
    assert all((arrays[name] == others[name]).all() for name in arrays)
    evidence = Path("evidence") / "seed_cnn.json"
    assert (merged / evidence).read_text() == (whole / evidence).read_text()
    assert {"report.md", "report.html", "junit.xml", "cells.csv"} <= {path.name for path in merged.iterdir()}
    assert "merged from 3 shards" in done.stdout


def test_what_only_the_whole_run_can_call_red_is_a_warning_in_its_shard(runs: Runs) -> None:
    p_value = 2.0 ** -LOST["ptq_float16"]
    assert EVENLY < p_value < HOLM
    cells = {cell["id"]: cell for _, path in runs.shards for cell in _report(path)["cells"] if cell["selected"]}
    assert cells["seed_cnn/ptq_float16"]["verdict"] == "warn"
    assert _said(runs.whole[1])["seed_cnn/ptq_float16"]["verdict"] == "regressed"
    assert [status for status, _ in runs.shards] == [0, 0, 0]


def test_what_is_red_only_in_the_whole_run_is_explained_from_what_its_shard_kept(runs: Runs, tmp_path: Path) -> None:
    """The machine that merges has an empty cache."""
    kept = {path.relative_to(run / "artifacts").as_posix() for _, run in runs.shards for path in run.rglob("*.tflite")}
    assert {"seed_cnn/ptq_float16.tflite", "seed_cnn/float32.tflite"} <= kept
    done = runs.merge(tmp_path / "merged", *(path for _, path in runs.shards), store=tmp_path / "empty")
    assert "looking for the cause: seed_cnn/ptq_float16" in done.stdout
    merged, whole = _said(tmp_path / "merged" / "latest"), _said(runs.whole[1])
    assert merged["seed_cnn/ptq_float16"]["attribution"] == whole["seed_cnn/ptq_float16"]["attribution"]
    assert len(merged["seed_cnn/ptq_float16"]["attribution"]["operators"]) > 2


def test_each_shard_brings_the_control_and_counts_it_as_brought_along(runs: Runs) -> None:
    for _, path in runs.shards:
        cells = {cell["id"]: cell for cell in _report(path)["cells"]}
        assert not cells["seed_cnn/float32"]["selected"]
        assert cells["seed_cnn/float32"]["verdicts"]["accuracy"] == "pass"
    selected = [cell["id"] for _, path in runs.shards for cell in _report(path)["cells"] if cell["selected"]]
    assert sorted(selected) == sorted(f"seed_cnn/{name}" for name in VARIANTS.split(","))


def _changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(path / "report.json", change)


def _drop_a_cell(data: dict[str, Any]) -> None:
    data["cells"] = [cell for cell in data["cells"] if not cell["selected"]]


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "commit": (lambda d: d["environment"].update(git_commit="f" * 40), "they measured different commits .*ffff"),
    "local changes": (lambda d: d["environment"].update(git_dirty=None), "they measured different commits"),
    "version": (
        lambda d: d["environment"]["packages"].update(tensorflow="9.9"),
        r"they measured different versions \(tensorflow .* → 9\.9\)",
    ),
    "Python": (lambda d: d["environment"].update(python="3.99.0"), r"different versions \(Python .* → 3\.99\.0\)"),
    "selection": (lambda d: d.update(selection="-k size"), "they selected different cells .*'-k size'"),
    "number": (lambda d: d["shard"].update(of=4), "into 3 shards, the other into 4"),
    "option": (lambda d: d["shard"]["options"].update(seeds="5"), "--seeds was 1 and 5"),
    "baselines": (lambda d: d["shard"]["baselines"].update(seed_cnn="0" * 64), "used different baselines"),
    "data": (lambda d: d["data_sha256"].update(seed_cnn="0" * 64), "used different data"),
    "split": (
        lambda d: d["shard"]["split"].update({"seed_cnn/ptq_float16": 9}),
        "give every shard the same --shard-durations",
    ),
    "time": (lambda d: d.update(started="yesterday"), "'started': expected a time in ISO 8601, found 'yesterday'"),
    "interrupted": (lambda d: d.update(state="interrupted"), "the run is interrupted; run it again: .*--shard 3/3"),
    "killed": (lambda d: d.update(state="running"), "the run is running; run it again"),
    "a cell less": (_drop_a_cell, "cell seed_cnn/.* is missing"),
    "no shard": (lambda d: d.pop("shard"), "is a complete run, not a shard"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_of_one_whole_run_is_refused(runs: Runs, tmp_path: Path, what: str) -> None:
    change, sentence = BROKEN[what]
    paths = runs.copies(tmp_path)
    _changed(paths[2], change)
    _refused(runs, tmp_path, paths, sentence)


def _refused(runs: Runs, tmp_path: Path, paths: list[Path], sentence: str) -> None:
    options = RunOptions(baseline_dir=runs.baselines, report_dir=tmp_path / "merged")
    with pytest.raises(BadInput, match=sentence):
        merge(paths, load_models(options.model_dir), options)
    assert not (tmp_path / "merged").exists()


def test_a_missing_shard_is_an_error_and_no_smaller_report(runs: Runs, tmp_path: Path) -> None:
    paths = [path for _, path in runs.shards]
    for given, missing in ((paths[:2], "3/3"), (paths[2:], "1/3, 2/3")):
        done = runs.merge(tmp_path / "merged", *given)
        assert done.returncode == 4
        assert f"shard {missing} is missing" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "merged").exists()


def test_the_same_shard_twice_is_an_error(runs: Runs, tmp_path: Path) -> None:
    paths = [path for _, path in runs.shards]
    _refused(runs, tmp_path, [*paths, paths[1]], "are both shard 2/3")


def test_a_truncated_shard_is_an_error(runs: Runs, tmp_path: Path) -> None:
    paths = runs.copies(tmp_path)
    file = paths[0] / "report.json"
    file.write_text(file.read_text()[:1000])
    _refused(runs, tmp_path, paths, "is not JSON")


@pytest.mark.parametrize("content", [None, {"ptq_float16": np.zeros(10_000, np.uint8)}])
def test_predictions_that_are_not_those_of_the_report_are_refused(
    runs: Runs, tmp_path: Path, content: dict[str, Any] | None
) -> None:
    paths = runs.copies(tmp_path)
    for path in paths:
        file = path / "predictions" / "seed_cnn.npz"
        file.unlink()
        if content is not None:
            np.savez(file, **content)
    _refused(runs, tmp_path, paths, "does not hold the predictions of seed_cnn/")


def test_other_baselines_than_those_of_the_shards_are_refused(runs: Runs, tmp_path: Path) -> None:
    options = RunOptions(report_dir=tmp_path / "merged")
    with pytest.raises(BadInput, match="differs from the baselines that the shards used for seed_cnn; check out"):
        merge([path for _, path in runs.shards], load_models(options.model_dir), options)


def test_shards_are_no_runs_of_a_history(runs: Runs, tmp_path: Path) -> None:
    for _, path in runs.shards:
        shutil.copytree(path, tmp_path / f"{path.name}-{path.parent.name}")
    shutil.copytree(runs.whole[1], tmp_path / runs.whole[1].name)
    found = read_history(tmp_path)
    assert len(found.runs) == 1
    assert [one.why for one in found.skipped] == ["shard " + f"{i}/3 of a run, not the whole of it" for i in (1, 2, 3)]


def test_shards_of_several_classes_of_machine_merge_and_are_no_baseline(runs: Runs, tmp_path: Path) -> None:
    paths = runs.copies(tmp_path)
    _changed(paths[1], lambda data: data["environment"].update(machine_class="another_1-thread", cpu="another"))
    done = runs.merge(tmp_path / "merged", *paths)
    assert done.returncode == 1, done.stderr
    assert "ran on 2 machine profiles, each compared with its own baselines" in done.stdout
    merged = tmp_path / "merged" / "latest"
    assert "another_1-thread" in _report(merged)["environment"]["machine_class"].split(" + ")
    update = _quantbench(runs.store, "baseline", "diff", str(merged), "--baseline-dir", str(runs.baselines))
    assert update.returncode == 4
    assert "they ran on 2 classes of machine" in update.stderr


def test_a_control_that_answers_otherwise_in_another_shard_is_told(runs: Runs, tmp_path: Path) -> None:
    paths = runs.copies(tmp_path)

    def change(data: dict[str, Any]) -> None:
        [control] = [cell for cell in data["cells"] if not cell["selected"]]
        control["predictions_sha256"] = "0" * 64

    _changed(paths[2], change)
    done = runs.merge(tmp_path / "merged", *paths)
    assert "seed_cnn/float32 gives different predictions in shard 3 and in shard 1" in done.stdout


def test_a_merged_run_can_be_accepted(runs: Runs, tmp_path: Path) -> None:
    baselines = tmp_path / "baselines"
    shutil.copytree(runs.baselines, baselines)
    runs.merge(tmp_path / "merged", *(path for _, path in runs.shards))
    folders = ["--baseline-dir", str(baselines)]
    update = ["baseline", "update", str(tmp_path / "merged" / "latest"), *folders, "--reason", "test", "--allow-dirty"]
    done = _quantbench(runs.store, *update)
    assert done.returncode == 0, done.stderr
    chosen = ["--models", "seed_cnn", "--variants", VARIANTS, "--no-latency", "--report-dir", str(tmp_path / "again")]
    assert _quantbench(runs.store, "run", *chosen, *folders).returncode == 0


def test_a_shard_is_not_accepted_on_its_way_nor_shown_as_a_run(runs: Runs, tmp_path: Path) -> None:
    refused = _quantbench(
        runs.store,
        *["run", "--shard", "1/2", "--update-baselines", "too early", "--report-dir", str(tmp_path)],
    )
    assert refused.returncode == 4
    assert "a shard is only part of a run" in refused.stdout + refused.stderr
    too_many = _quantbench(
        runs.store,
        *["run", "--models", "seed_cnn", "--variants", "ptq_float16", "--shard", "1/2", "--report-dir", str(tmp_path)],
    )
    assert too_many.returncode == 4
    assert "2 shards of 1 selected cells" in too_many.stdout + too_many.stderr


def test_environments_that_differ_are_named_side_by_side() -> None:
    both = together([environment(), environment(cpu="B", isa="87654321", machine_class="B_4-core", cores=4)])
    assert (both.cpu, both.machine_class, both.cores) == ("A + B", "A_2-core + B_4-core", 2)
    assert together([environment(), environment()]) == environment()
    gpus = [environment(), environment(no_gpu="none was found")]
    assert together(gpus).no_gpu.startswith("differs between shards")
    one, two = (Device(name=name, kind="software") for name in "ab")
    both = environment(gpu=one, further_gpus=[two])
    assert together([both, both]) == both
    assert together([both, environment(gpu=one)]).gpus == {}


@pytest.mark.slow
def test_latency_of_shards_is_judged_by_the_share_of_the_whole_run(
    tmp_path: Path, store: Path, three_cells: ThreeCells
) -> None:
    baselines = tmp_path / "baselines"
    shutil.copytree(ROOT / "baselines", baselines)
    variants = "ptq_float16,ptq_dynamic_wi8_afp32"
    common = ["--models", "seed_cnn", "--variants", variants, "-k", "latency", "--latency-budget", "0.3"]
    common += ["--no-turns"]  # the artifacts are the accepted ones, so that red by a baseline would be the machine
    folders = ["--baseline-dir", str(baselines)]
    machine = _report(three_cells.run)["environment"]["machine_class"]

    def faster(data: dict[str, Any]) -> None:
        """A baseline of a tenth of float32's time, so that each of them is now slower, and measured a second time."""
        values = [0.1 * (1 + i / 1e3) for i in range(6)]
        for variant in variants.split(","):
            data["cells"][variant]["latency"][machine] = {
                "value": float(np.mean(values)),
                "unit": "ratio to float32",
                "n": len(values),
                "values": values,
                "noise": 0.01,
                "noise_from": "test",
                "tolerance": 0.01,
                "tolerance_from": "test",
                "accepted": data["cells"][variant]["measurements"]["score"]["accepted"],
            }

    edit(baselines / "seed_cnn.json", faster)
    paths = []
    for index in (1, 2):
        where = tmp_path / f"shard-{index}"
        done = _quantbench(store, "run", *common, *folders, "--shard", f"{index}/2", "--report-dir", str(where))
        assert done.returncode == 1, done.stdout
        paths.append(where / "latest")
    done = _quantbench(store, "report", *map(str, paths), *folders, "--report-dir", str(tmp_path / "merged"))
    assert done.returncode == 1, done.stderr
    merged = _report(tmp_path / "merged" / "latest")
    assert merged["false_alarms"]["latency"]["judgements"] == 2
    assert merged["false_alarms"]["latency"]["share"] == pytest.approx(0.009 / 2)  # no score was judged
    shards = {cell["id"]: cell for path in paths for cell in _report(path)["cells"] if cell["selected"]}
    for found in merged["cells"]:
        if not found["selected"]:
            continue
        [judged] = found["judgements"]
        [before] = shards[found["id"]]["judgements"]
        assert judged["verdict"] == "regressed"
        assert "measured 2 times, 12 processes" in judged["message"]
        for name in ("value", "change", "p_value", "measured", "tolerance"):
            assert judged[name] == pytest.approx(before[name])
        assert found["alone_seconds"] > 0


@pytest.mark.parametrize(
    ("in_turns", "slower"),
    [
        ([1.0], False),
        ([1.5, 1.5], True),
        ([1.004, 1.005, 1.004], True),  # each stage alone leaves it open
        ([1.02], None),  # the shard's time was used up
    ],
)
def test_red_by_a_baseline_is_confirmed_by_what_the_shard_timed_in_turns(
    in_turns: list[float], slower: bool | None
) -> None:
    stored = [0.5 * (1 + i / 1e4) for i in range(6)]
    standing = accepted(0.5, 0.01, "ratio to float32", values=stored, n=6)
    taken = measured(0.75, "ratio to float32", [1.5 * value for value in [*stored, *stored]])
    subject = gate.Subject("m", "v", "run")
    each = [ratio * (1 + i / 5e3) for ratio, times in zip(in_turns, (1, 1, 2), strict=False) for i in range(6 * times)]
    turns = InTurns(artifact="changed", values=each, measured=len(in_turns))
    old = Judgement(
        kind=Kind.LATENCY,
        measurement="latency_ratio",
        against="baseline",
        verdict=Verdict.WARN,
        measured=2,
        turns=turns,
        message="",
    )
    timed = cell("v", measurements={"latency_ratio": taken}, judgements=[old])
    here = environment(machine_class="A_1-thread")
    shard = Shard(index=1, of=1, split={}, options={}, baselines={}, folder="there")
    piece = Piece(Path("shard-1"), report([timed], shard=shard, data_sha256={}, environment=here), shard)
    known = BaselineCell(latency={"A_1-thread": standing})
    found = _latency(timed, piece, subject, known, old, 0.01)
    assert found.verdict is (Verdict.WARN if slower is False else Verdict.REGRESSED)
    assert found.turns is not None
    assert (found.turns.slower, found.turns.measured) == (slower, len(in_turns))


def test_three_stages_of_a_shard_are_judged_as_it_did() -> None:
    stored = [0.5 * (1 + i / 1e4) for i in range(6)]
    known = BaselineCell(latency={"A_1-thread": accepted(0.5, 0.01, "ratio to float32", values=stored, n=6)})
    stages = [
        measured(0.5, "r", [slower * value for value in stored] * n) for slower, n in ((1.03, 1), (1, 1), (1.1, 2))
    ]
    subject = gate.Subject("m", "v", "run")
    alpha = gate.beside_share(0.01)[0]
    expected, unclear = gate.latency_in_stages(subject, "latency_ratio", stages, known, "A_1-thread", alpha)
    assert (expected.verdict, expected.measured, unclear) == (Verdict.REGRESSED, 3, False)
    taken = measured(0.5, "r", [value for stage in stages for value in stage.values or []])
    timed = cell("v", measurements={"latency_ratio": taken}, judgements=[expected])
    shard = Shard(index=1, of=1, split={}, options={}, baselines={}, folder="there")
    here = environment(machine_class="A_1-thread")
    piece = Piece(Path("shard-1"), report([timed], shard=shard, data_sha256={}, environment=here), shard)
    assert _latency(timed, piece, subject, known, expected, 0.01) == expected


@pytest.mark.parametrize(
    ("options", "counted"), [({"no_turns": "False"}, True), ({"no_turns": "True"}, False), ({}, False)]
)
def test_cells_that_shards_time_in_turns_share_the_budget(options: dict[str, str], counted: bool) -> None:
    shard = Shard(index=1, of=1, split={}, options=options, baselines={}, folder="there")
    here = environment(machine_class="A_1-thread")
    piece = Piece(Path("shard-1"), report([], shard=shard, data_sha256={}, environment=here), shard)
    machine = _in_turns(piece)
    assert gate.timed_ones([BaselineCell(artifact_sha256="a")], ["A_1-thread"], machine) == counted


def _timed(model: str, at_work: float, *judgements: Judgement) -> Cell:
    """A float control that was timed with two threads."""
    found = {
        "threads_at_work_2_threads": measured(at_work, "threads"),
        "control_to_yardstick_2_threads": measured(2.0, "ratio to yardstick", [2.0, 2.0, 2.1]),
    }
    fields = {"id": f"{model}/float32", "model": model, "variant": "float32", "measurements": found}
    verdicts = {Kind.LATENCY: worst([one.verdict for one in judgements])}
    return cell("float32").model_copy(update={**fields, "judgements": list(judgements), "verdicts": verdicts})


@pytest.mark.parametrize(("elsewhere", "verdict"), [(1.9, Verdict.UNJUDGED), (1.0, Verdict.ERROR)])
def test_one_thread_at_work_is_no_fault_where_another_shard_saw_several(elsewhere: float, verdict: Verdict) -> None:
    subject = gate.Subject("seed_cnn", "float32", "run")
    error = gate.threads(2, measured(1.0, "threads"))
    assert error is not None
    latency = gate.latency(subject, "control_to_yardstick_2_threads", measured(2.0), None, "A", 0.01, threads=2)
    split = {"seed_cnn/float32": 1, "ds_cnn/float32": 2}
    options = {"threads": "1,2"}
    pieces = []
    for index, one in enumerate(
        [_timed("seed_cnn", 1.0, error, latency), _timed("ds_cnn", elsewhere, latency)], start=1
    ):
        shard = Shard(index=index, of=2, split=split, options=options, baselines={}, folder="there")
        pieces.append(Piece(Path(f"shard-{index}"), report([one], shard=shard, data_sha256={}, started=STARTED), shard))
    chosen = RunOptions()
    whole = Whole(pieces, load_models(chosen.model_dir), chosen, Path("here")).report()
    [_, judged] = whole.cells
    assert (judged.id, judged.verdict) == ("seed_cnn/float32", verdict)
    kept = ["control_to_yardstick_2_threads"] if verdict is Verdict.UNJUDGED else ["threads_at_work"]
    assert [found.measurement for found in judged.judgements] == kept
    assert whole.exit_status == (0 if verdict is Verdict.UNJUDGED else 3)


def test_maps_of_a_shard_are_read_as_they_were(tmp_path: Path) -> None:
    maps = {name: np.full((3, 16), value, np.uint8) for name, value in (("float32", 1), ("ptq_float16", 2))}
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "m.npz").write_bytes(packed(maps))
    piece = Piece(tmp_path, report([]), Shard(index=1, of=2, split={}, options={}, baselines={}, folder="there"))
    assert {name: array.tolist() for name, array in piece.arrays("m").items()} == {
        name: array.tolist() for name, array in maps.items()
    }
