"""Which red cells a run explains, what of it a report keeps, and what a shard keeps for the run it is merged into."""

import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from made_up_graphs import layers
from made_up_runs import cell, report
from quantbench.engine import artifacts, causes, explain
from quantbench.engine.causes import MOST_CELLS, MOST_OPERATORS, for_report, of_reds
from quantbench.records import Attribution, Cell, Judgement, Kind, OperatorError, Suspect, Verdict
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import load_models

FUSED = "net/re_lu/Relu;net/batch_normalization/FusedBatchNormV3;net/conv2d_3/Conv2D"


def operator(position: int, error: float = 0.0123456) -> OperatorError:
    facts = {"own": 0.0045678, "cosine": 0.99912345, "low": -1.2345678, "high": 2.3456789, "steps": 199.87}
    return OperatorError(position=position, operator="CONV_2D", tensor=FUSED, error=error, **facts)


def found(count: int = 3) -> Attribution:
    operators = [operator(at, 1 / (at + 1)) for at in range(count)]
    suspect = Suspect(position=count - 1, operator="CONV_2D", tensor=FUSED, repaired_by="float", recovered=0.9)
    return Attribution(examples=64, matched=1.0, operators=operators, suspects=[suspect] * 8, output_error=0.1)


def red(variant: str, **more: Any) -> Cell:
    return cell(variant, verdicts={Kind.ACCURACY: Verdict.REGRESSED}, **more)


def look(cells: list[Cell], monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...] = ()) -> list[str]:
    """The cells that get a cause, where the artifacts of some are gone."""
    monkeypatch.setattr(explain, "attributed", lambda subject, model, seconds: found())
    looked = of_reds(
        cells,
        lambda name: None if name in gone else b"artifact",
        {"m": None},
        lambda _: None,
        lambda _: None,  # type: ignore[dict-item]
    )
    return [name for name, _ in looked]


def test_a_few_red_cells_are_explained_and_no_green_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [cell("green", verdicts={Kind.ACCURACY: Verdict.PASS}), *(red(f"v{at}") for at in range(9))]
    assert look(cells, monkeypatch) == [f"m/v{at}" for at in range(MOST_CELLS)]
    assert look(cells, monkeypatch, gone=("m/v0", "m/v2"))[:2] == ["m/v1", "m/v3"]


def test_what_a_shard_explained_counts_and_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [red(f"v{at}", attribution=found()) for at in range(4)]
    assert look([*known, red("a"), red("b")], monkeypatch) == ["m/a"]


def test_an_artifact_that_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(explain, "attributed", lambda subject, model, seconds: found())
    made = causes.made_here({"m/gone": tmp_path / "gone.tflite"})
    assert list(of_reds([red("gone"), red("other")], made, {"m": None}, lambda _: None, lambda _: None)) == []  # type: ignore[dict-item]


def test_no_more_time_is_taken_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 1000, 40))
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    assert look([red(f"v{at}") for at in range(4)], monkeypatch) == ["m/v0"]  # 40 s left 20, 80 s none


def test_a_report_keeps_the_errors_along_the_graph_in_few_bytes() -> None:
    kept = for_report(found(70))
    assert [one.position for one in kept.operators] == list(range(70))
    assert (kept.operators[2].error, kept.operators[2].own, kept.operators[2].tensor) == (
        0.333,
        0.00457,
        "net/conv2d_3/Conv2D",
    )
    assert len(kept.suspects) == 3
    size = len(kept.model_dump_json(exclude_none=True))
    assert size / 70 < 200  # bytes an operator
    long = for_report(found(MOST_OPERATORS + 50))
    assert len(long.operators) == MOST_OPERATORS
    assert long.operators[-1].position == MOST_OPERATORS + 49  # a suspect, although its error is the smallest


def test_a_shard_keeps_what_the_merged_run_may_have_to_explain(tmp_path: Path) -> None:
    made = {}
    for name in ("float32", "warned", "green"):
        made[f"m/{name}"] = tmp_path / f"{name}.tflite"
        made[f"m/{name}"].write_bytes(name.encode())
    verdicts = {"float32": Verdict.PASS, "warned": Verdict.WARN, "green": Verdict.PASS, "gone": Verdict.WARN}
    cells = [
        cell(
            name, verdicts={Kind.ACCURACY: verdict}, artifact_sha256=file_sha256(made.get(f"m/{name}", made["m/green"]))
        )
        for name, verdict in verdicts.items()
    ]
    run = tmp_path / "run"
    artifacts.keep_for_merge(cells, made, run)
    assert sorted(path.name for path in run.rglob("*.tflite")) == ["float32.tflite", "warned.tflite"]
    assert artifacts.find(report(cells), run, "m/warned")[1] == b"warned"


def test_of_several_models_each_finds_its_own_artifact(tmp_path: Path) -> None:
    kept = tmp_path / "artifacts" / "m"
    kept.mkdir(parents=True)
    (kept / "v.tflite").write_bytes(b"another one")
    judged = cell("v", artifact_sha256="0" * 64)
    with pytest.raises(causes.BadInput, match="is neither in"):
        artifacts.find(report([judged]), tmp_path, "v")


@pytest.mark.parametrize("foreign", [True, False])
def test_what_came_with_a_run_folder_runs_behind_walls(monkeypatch: pytest.MonkeyPatch, foreign: bool) -> None:
    rooms: list[Any] = []

    def child(job: Any, room: Any, what: str, seconds: float) -> Attribution:
        rooms.append(room)
        return found()

    monkeypatch.setattr(explain, "_in_child", child)
    model = load_models(ROOT / "models")["seed_cnn"]
    explain.attributed(explain.Subject("m/v", layers(), layers(), None, foreign), model)
    [room] = rooms
    assert (room is not None) is foreign
    if foreign:
        assert room.write == ()
        assert model.file.parent in room.read


def test_of_shards_everything_counts_as_made_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def attributed(subject: explain.Subject, model: object, seconds: float) -> Attribution:
        seen.append(subject.foreign)
        return found()

    monkeypatch.setattr(explain, "attributed", attributed)
    for foreign in (False, True):
        list(of_reds([red("v")], lambda _: b"x", {"m": None}, lambda _: None, lambda _: None, foreign=foreign))  # type: ignore[dict-item]
    assert seen == [False, True]


def test_where_float32_itself_is_red_only_the_accepted_artifact_tells_what_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    subjects: list[explain.Subject] = []

    def attributed(subject: explain.Subject, model: object, seconds: float) -> Attribution:
        subjects.append(subject)
        return found()

    monkeypatch.setattr(explain, "attributed", attributed)
    (tmp_path / "accepted.tflite").write_bytes(b"accepted")
    monkeypatch.setattr(
        artifacts, "in_store", lambda store, sha256: tmp_path / "accepted.tflite" if sha256 == "known" else None
    )

    def look_at(*cells: Cell) -> dict[str, explain.Subject]:
        subjects.clear()
        known = {"m/v": "known", "m/float32": "known"}
        list(of_reds(cells, str.encode, {"m": None}, lambda one: known.get(one.id), lambda _: None))  # type: ignore[dict-item]
        return {one.name: one for one in subjects}

    float32 = cell("float32", verdicts={Kind.ACCURACY: Verdict.PASS})
    alone = look_at(float32, red("v"), red("gone"))
    assert [one.control for one in alone.values()] == [b"m/float32", b"m/float32"]
    moved = look_at(red("float32"), red("v"), red("gone"))
    assert sorted(moved) == ["m/float32", "m/v"]  # of the third nothing tells what changed
    assert (moved["m/v"].control, moved["m/v"].accepted) == (None, b"accepted")


@pytest.mark.parametrize(
    ("measured", "output"),
    [
        (["score"], ""),
        (["score@colour", "output_distance"], "colour"),
        (["score@colour", "score"], ""),
        (["output_distance"], ""),
    ],
)
def test_a_cell_is_explained_by_the_output_that_is_red(measured: list[str], output: str) -> None:
    facts = {"kind": Kind.ACCURACY, "verdict": Verdict.REGRESSED, "against": "baseline", "message": ""}
    judged = [Judgement(measurement=name, **facts) for name in measured]
    assert explain.red_output(red("v", judgements=judged)) == output
