"""Edits by hand: whatever field of a baseline somebody changes, adds or takes out, a run and ``check`` name it."""

import dataclasses
import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, accepted, edit
from made_up_cells import FLOAT, HALF, Run, model, outcome, run
from made_up_runs import LABELS, answers, clustered
from quantbench.baselines import check, derived, exceptions, sealing, seals
from quantbench.baselines.effective import effective_baseline
from quantbench.baselines.files import load, save
from quantbench.baselines.update import propose
from quantbench.errors import BadInput
from quantbench.records import (
    Accepted,
    AcceptedFloor,
    AcceptedGpu,
    AcceptedMicro,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    First,
    HandEdit,
    Judgement,
    Kind,
    Overlay,
    Verdict,
    read_record,
)
from quantbench.records._provenance import referred
from quantbench.reference.model import load_models

TODAY = datetime.date(2026, 6, 1)
VARIANT = "ptq_float16"
FIRST = {"value": 0.4, "date": "2025-01-01", "run": "r0"}
STAMP = {"date": "2025-01-01", "reason": "x", "run": "r", "environment": "e"}
WIDE = {"tolerance": 90.0, "reason": "x", "expires": "2999-01-01"}
XFAIL = {"ticket": "T", "reason": "x", "expires": "2999-01-01", "bound": 40.0}

# What each field is changed to. A field that a later format adds has to be put here, or the tests below are red.
SIDE = {"stalls": 1, "lost": 0.03, "usual": 1.0, "calls": 1000}
OF_A_VALUE: dict[str, Any] = {
    "value": 0.5,
    "unit": "pp",
    "n": 999,
    "noise": 0.5,
    "noise_from": "x",
    "values": [0.5, 0.6],
    "tolerance": 5.0,
    "tolerance_from": "x",
    "accepted": STAMP,
    "first": FIRST,
    "loosened": WIDE,
    "hosts": {"h": 0.5},
    "artifact": "x",
    "stalls": [{"longer": 0.001, "artifact": SIDE, "beside": SIDE}],
}
OF_AN_OVERLAY: dict[str, Any] = {
    "measurements": {},
    "unsupported": "x",
    "broken_promise": "x",
    "census": clustered(scale=0.5).model_dump(mode="json", exclude_none=True),
    "artifact_sha256": "x",
    "reference_sha256": "x",
    "reference_agreement": 0.1,
    "conversion_agreement": 0.1,
}
OF_A_CELL: dict[str, Any] = OF_AN_OVERLAY | {
    "latency": {},
    "peak_memory": {},
    "by_machine": {},
    "counted": {"P": [["igemm", 5]]},
    "gpu": {"gpu": {"agreement": 0.5, "examples": 3}},
    "gpu_agreement": {"gpu": 0.1},
    "gpu_refusal": {"gpu": "x"},
    "micro": {"version": "2"},
    "trained_sha256": "x",
    "sources": {"prepare": "another"},
    "training": [{"steps": "1"}],
    "overlays": {},
    "xfail": {"score": XFAIL},
    "floor": {"max_drop": 40.0},
    "hand_edits": [],
    "seal": {"cell": "floor=00000000"},  # lies beside the cells since 1.7
}
# What is refused as it is read is in tests/records/test_provenance.py.
NOT_OF_THE_HEADER = {"schema_version", "kind", "cells", "updates", "notes", "seals"}
OF_A_FILE: dict[str, Any] = {
    "model": "n",
    "metric": "auc",
    "outputs": {"colour": "accuracy"},
    "data_sha256": "x",
    "predictions_sha256": "x",
    "seal": None,
}


def value(number: float, unit: str, tolerance: float, **more: Any) -> BaselineValue:
    return accepted(number, tolerance, unit, first=First(value=number, date="2026-01-01", run="r1"), **more)


def whole_cell() -> BaselineCell:
    """A cell with every field that a cell may have, but those that stand for a failure."""
    score = float(np.mean(answers(100) == LABELS))
    times = {"noise": 0.0141421356, "n": 2, "values": [0.79, 0.81]}
    return BaselineCell(
        measurements={
            "score": value(score, "fraction", 0.0),
            "size": value(1000, "bytes", 0.001, n=1),
            "gzip_size": value(800, "bytes", 0.01, n=1),
            "arena": value(5000, "bytes", 64.0, n=1),
            "memory_ratio": value(0.9, "ratio", 0.01, n=3, noise=0.001),
        },
        latency={"here_1-thread": value(0.8, "ratio", 0.01, **times)},
        peak_memory={"here": value(9e6, "bytes", 0.02, n=3, noise=1000.0)},
        by_machine={"model_memory": {"here": value(9e5, "bytes", 81920.0, n=3, noise=1000.0)}},
        census=clustered(),
        artifact_sha256="a" * 64,
        reference_sha256="b" * 64,
        reference_agreement=0.99,
        conversion_agreement=0.98,
        gpu={"gpu": AcceptedGpu(agreement=0.9, examples=200)},
        gpu_agreement={"gpu": 0.9},
        micro=AcceptedMicro(version="1", examples=300, differing=0),
        overlays={"there": Overlay(measurements={"size": value(1100, "bytes", 0.001, n=1)}, artifact_sha256="c" * 64)},
        floor=AcceptedFloor(max_drop=0.5),
        hand_edits=[HandEdit(date="2026-01-01", reason="r", fields=["f"])],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed baseline on disk."""
    cell = whole_cell()
    bare = cell.model_copy(update={"overlays": {}, "hand_edits": []})
    file = BaselineFile(
        model="m", metric="accuracy", data_sha256="d", predictions_sha256="", cells={VARIANT: cell, "float32": bare}
    )
    save(tmp_path, file, {VARIANT: answers(100), "float32": answers(100)})
    return tmp_path


def by_hand(folder: Path, change: Callable[[Any], None]) -> None:
    edit(folder / "m.json", change, seal=False)


def cell_of(data: Any) -> Any:
    return data["cells"][VARIANT]


def seal_judgements(folder: Path, outcomes: Any = None) -> tuple[Run, list[Judgement]]:
    """What a run with this baseline says of the baseline itself."""
    made = run(
        outcomes or {FLOAT: [outcome()], HALF: [outcome()]},
        effective_baseline(load(folder, model()), "pp", "c", "m", TODAY),
    )
    made.budget.settle([made.results.of(cell) for cell in (FLOAT, HALF)])
    cell = made.plan.cells[HALF]
    raw = made.judging.judge(Kind.ACCURACY, *made.result(HALF))
    return made, made.judging.with_exceptions(cell, Kind.ACCURACY, raw)


def assert_named(folder: Path, field: str) -> None:
    """A run ends with an error that names the field, and so does ``check``; no command seals it by the way."""
    _, judged = seal_judgements(folder)
    [told] = [judgement for judgement in judged if judgement.measurement == "seal"]
    assert told.verdict is Verdict.ERROR
    assert f"'{field}' was" in told.message
    found = [str(finding) for finding in check.check({"m": model()}, folder, TODAY)]
    assert any(f"{VARIANT}: field '{field}' was" in line for line in found), found


def test_a_sealed_baseline_is_silent(folder: Path) -> None:
    _, judged = seal_judgements(folder)
    assert "seal" not in {judgement.measurement for judgement in judged}
    assert not [str(one) for one in check.check({"m": model()}, folder, TODAY) if "hand" in str(one)]


PLACES = [
    *(("measurements", name) for name in ("score", "size", "gzip_size", "arena", "memory_ratio")),
    ("latency", "here_1-thread"),
    ("peak_memory", "here"),
]


@pytest.mark.parametrize("field", BaselineValue.model_fields)
@pytest.mark.parametrize(("table", "entry"), PLACES)
def test_every_field_of_every_value_is_named_when_edited(folder: Path, table: str, entry: str, field: str) -> None:
    by_hand(folder, lambda data: cell_of(data)[table][entry].update({field: OF_A_VALUE[field]}))
    assert_named(folder, f"{table}.{entry}.{field}")


@pytest.mark.parametrize("field", BaselineValue.model_fields)
def test_every_field_of_a_value_in_an_overlay_is_named(folder: Path, field: str) -> None:
    size = ["overlays", "there", "measurements", "size"]
    by_hand(folder, lambda data: cell_of(data)[size[0]][size[1]][size[2]][size[3]].update({field: OF_A_VALUE[field]}))
    assert_named(folder, f"{'.'.join(size)}.{field}")


@pytest.mark.parametrize("field", Overlay.model_fields)
def test_every_field_of_an_overlay_is_named(folder: Path, field: str) -> None:
    by_hand(folder, lambda data: cell_of(data)["overlays"]["there"].update({field: OF_AN_OVERLAY[field]}))
    edits = seals.edits(read_record(folder / "m.json", BaselineFile, "baseline"))
    assert {edit.field.removeprefix("overlays.there.").partition(".")[0] for edit in edits} == {field}


@pytest.mark.parametrize("field", BaselineCell.model_fields)
def test_every_field_of_a_cell_is_named_when_edited(folder: Path, field: str) -> None:
    by_hand(folder, lambda data: cell_of(data).update({field: OF_A_CELL[field]}))
    edits = seals.edits(read_record(folder / "m.json", BaselineFile, "baseline"))
    assert {edit.field.partition(".")[0] for edit in edits} == {field}
    assert any(judgement.measurement == "seal" for judgement in seal_judgements(folder)[1])


@pytest.mark.parametrize("field", sorted({*BaselineFile.model_fields} - NOT_OF_THE_HEADER))
def test_every_field_of_a_file_is_refused_when_edited(folder: Path, field: str) -> None:
    by_hand(folder, lambda data: data.update({field: OF_A_FILE[field]}))
    file = read_record(folder / "m.json", BaselineFile, "baseline")
    assert field in {edit.field for edit in seals.edits(file)}
    with pytest.raises(BadInput, match=f"field '{field}'"):
        load(folder, model())


def test_another_data_hash_in_model_and_baseline_is_refused(folder: Path) -> None:
    """A leak of test images, with the hash changed in both places so that they agree."""
    by_hand(folder, lambda data: data.update(data_sha256="leaked"))
    with pytest.raises(BadInput, match=r"field 'data_sha256' was changed by hand.*--replace m"):
        load(folder, dataclasses.replace(model(), data_sha256="leaked"))


@pytest.mark.parametrize("key", ["measurements", "latency", "census", "artifact_sha256", "floor", "hand_edits"])
def test_what_is_taken_out_by_hand_is_named(folder: Path, key: str) -> None:
    by_hand(folder, lambda data: cell_of(data).pop(key))
    edits = seals.edits(read_record(folder / "m.json", BaselineFile, "baseline"))
    assert edits
    assert all(edit.what == "removed" and edit.field.startswith(key) for edit in edits)


def test_a_cell_that_is_copied_over_another_is_named_and_so_is_a_new_one(folder: Path) -> None:
    by_hand(folder, lambda data: data["cells"].update({VARIANT: data["cells"]["float32"], "qat_wi8_ai8": {}}))
    edits = seals.edits(read_record(folder / "m.json", BaselineFile, "baseline"))
    assert {edit.variant for edit in edits} == {VARIANT, "qat_wi8_ai8"}


@pytest.mark.parametrize("change", [lambda seals: seals.pop(VARIANT), lambda seals: seals.update({VARIANT: {}})])
def test_the_seal_of_one_cell_taken_out_is_named(folder: Path, change: Callable[[Any], None]) -> None:
    by_hand(folder, lambda data: change(data["seals"]))
    assert_named(folder, "seal")


def test_another_update_of_the_file_as_the_provenance_of_a_value_is_named(folder: Path) -> None:
    """Its id is in the file, and its content fits: the seal alone shows that it is not the value's."""
    update = Accepted(**STAMP)
    name, _ = referred(update)

    def change(data: Any) -> None:
        data["updates"][name] = update.model_dump(exclude_none=True)
        cell_of(data)["measurements"]["size"]["accepted"] = name
        cell_of(data)["latency"]["here_1-thread"]["accepted"] += "@another-host"

    by_hand(folder, change)
    assert_named(folder, "measurements.size.accepted")
    assert_named(folder, "latency.here_1-thread.accepted")


def as_before_seals(folder: Path, file: BaselineFile | None) -> None:
    """Write a file as a version without seals did: each value with its own provenance, and no table of updates."""
    assert file is not None
    plain = file.model_dump(mode="json", exclude_none=True) | {"schema_version": "1.4"}
    for table in ("updates", "notes", "seals", "seal"):
        plain.pop(table, None)
    for cell in plain["cells"].values():
        cell.pop("seal", None)
    (folder / "m.json").write_text(json.dumps(plain))


def test_all_seals_taken_out_are_seen_unless_the_version_is_lowered_too(folder: Path) -> None:
    def strip(data: Any) -> None:
        data.pop("seal")
        data.pop("seals")

    file = load(folder, model()).file
    by_hand(folder, strip)
    with pytest.raises(BadInput, match="field 'seal' was removed by hand"):
        load(folder, model())
    by_hand(folder, lambda data: data.update(schema_version="1.4"))
    with pytest.raises(BadInput, match="field 'seal' was removed by hand"):  # no file of then has a table of updates
        load(folder, model())
    as_before_seals(folder, file)
    old = load(folder, model())  # as the files of before seals: readable, green, and told
    assert not old.sealed
    assert not old.edits
    told = [str(finding) for finding in check.check({"m": model()}, folder, TODAY)]
    assert any(line.startswith("note: ") and "it has no seals" in line and "baseline seal m" in line for line in told)


def test_a_tolerance_of_5_written_by_hand_leaves_a_real_drop_of_2_points_red(folder: Path) -> None:
    by_hand(folder, lambda data: cell_of(data)["measurements"]["score"].update(tolerance=5.0))
    _, judged = seal_judgements(folder, {FLOAT: [outcome()], HALF: [outcome(120)]})
    verdicts = {judgement.measurement: judgement.verdict for judgement in judged if judgement.against == "baseline"}
    assert verdicts == {"score": Verdict.REGRESSED, "classes": Verdict.PASS, "seal": Verdict.ERROR}
    [told] = [judgement for judgement in judged if judgement.measurement == "seal"]
    assert "'measurements.score.tolerance' was changed (found 5, by its rule 0)" in told.message


@pytest.mark.parametrize(
    ("name", "tolerance", "sizes"),
    [("size", 0.5, {"size": 1300, "gzip_size": 800}), ("gzip_size", 0.5, {"size": 1000, "gzip_size": 1100})],
)
def test_a_tolerance_without_a_seal_decides_nothing_either(
    folder: Path, name: str, tolerance: float, sizes: dict[str, int]
) -> None:
    as_before_seals(folder, load(folder, model()).file)
    by_hand(folder, lambda data: cell_of(data)["measurements"][name].update(tolerance=tolerance))
    found = effective_baseline(load(folder, model()), "pp", "c", "m", TODAY)
    made = run({FLOAT: [outcome()], HALF: [outcome(sizes=sizes)]}, found)
    by_name = {one.measurement: one.verdict for one in made.judging.judge(Kind.SIZE, *made.result(HALF))}
    assert by_name[name] is Verdict.REGRESSED
    assert any(f"'measurements.{name}.tolerance' is 0.5" in sentence for sentence in found.exceptions[VARIANT])
    told = [str(finding) for finding in check.check({"m": model()}, folder, TODAY)]
    assert any(f"field 'measurements.{name}.tolerance' is 0.5" in line and "note" not in line for line in told)


def test_an_edit_of_the_noise_does_not_hide_drift(folder: Path) -> None:
    values = [0.896, 0.898, 0.897]
    score = accepted(0.897, values=values, noise=0.9, first=First(value=0.93, date="2026-01-01", run="r0"))
    bounded = derived.by_rule(BaselineCell(measurements={"score": score}))
    assert bounded.measurements["score"].noise == pytest.approx(0.001)


def test_commands_do_not_seal_an_edit_by_the_way(folder: Path, tmp_path: Path) -> None:
    by_hand(folder, lambda data: cell_of(data)["measurements"]["size"].update(value=2000.0))
    before = (folder / "m.json").read_bytes()
    baseline = load(folder, model())
    made = run({FLOAT: [outcome()], HALF: [outcome()]})
    made.recording.save("complete", 0)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"'cells\.ptq_float16\.measurements\.size\.value' was changed by hand"):
        propose(made.written[-1], tmp_path, "m", baseline, "why")
    assert (folder / "m.json").read_bytes() == before


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The project's baseline of one model."""
    folder = tmp_path / "baselines"
    folder.mkdir()
    for suffix in ("json", "npz"):
        shutil.copy(ROOT / "baselines" / f"seed_cnn.{suffix}", folder)
    return folder


def test_a_deliberate_edit_is_sealed_with_its_reason_and_shows_in_every_report(real: Path) -> None:
    seed_cnn = load_models(ROOT / "models")["seed_cnn"]
    path = real / "seed_cnn.json"
    sealing.seal(real, seed_cnn, "", set(), TODAY)
    values = {variant: cell.measurements for variant, cell in read_record(path, BaselineFile, "baseline").cells.items()}
    original = read_record(ROOT / "baselines" / "seed_cnn.json", BaselineFile, "baseline")
    assert values == {variant: cell.measurements for variant, cell in original.cells.items()}
    assert sealing.seal(real, seed_cnn, "", set(), TODAY)[0].endswith("sealed already, and nothing in it was edited")

    edit(path, lambda data: cell_of(data)["measurements"]["size"].update(first=FIRST), seal=False)
    with pytest.raises(BadInput, match="--reason: say why this is right"):
        sealing.seal(real, seed_cnn, " ", set(), TODAY)
    with pytest.raises(BadInput, match="is not of the cells to seal"):
        sealing.seal(real, seed_cnn, "why", {"float32"}, TODAY)
    with pytest.raises(BadInput, match=r"was added by hand; restore .* baseline seal seed_cnn/ptq_float16"):
        exceptions.Target("seed_cnn/float32", ROOT / "models", real)
    sealing.seal(real, seed_cnn, "restored from the archive", {VARIANT}, TODAY)
    found = effective_baseline(load(real, seed_cnn), "pp", "c", "m", TODAY)
    assert not found.edits
    assert found.exceptions[VARIANT] == [
        "edited by hand on 2026-06-01 and sealed (measurements.size.first): restored from the archive"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: cell_of(d)["measurements"]["size"].update(tolerance=0.5), "baseline loosen seed_cnn/ptq_float16"),
        (lambda d: d.update(data_sha256="x"), "field 'data_sha256' was changed by hand; restore both files from git"),
    ],
)
def test_no_reason_seals_a_tolerance_or_other_data(real: Path, change: Callable[[Any], None], words: str) -> None:
    seed_cnn = load_models(ROOT / "models")["seed_cnn"]
    sealing.seal(real, seed_cnn, "", set(), TODAY)
    edit(real / "seed_cnn.json", change, seal=False)
    before = (real / "seed_cnn.json").read_bytes()
    with pytest.raises(BadInput) as caught:
        sealing.seal(real, seed_cnn, "why", set(), TODAY)
    assert words in str(caught.value)
    assert (real / "seed_cnn.json").read_bytes() == before


def test_a_field_of_a_later_format_breaks_no_seal(folder: Path) -> None:
    """Digests leave out defaults, so that a version with one more optional field agrees with this one."""
    file = read_record(folder / "m.json", BaselineFile, "baseline")
    plain = json.loads(file.model_dump_json())
    assert any(value is None for value in plain["cells"][VARIANT].values())  # fields that are not there
    assert not any(name == "unsupported" for name in file.seals[VARIANT].get("cell", "").split("="))
    assert seals.edits(BaselineFile.model_validate(plain)) == []
