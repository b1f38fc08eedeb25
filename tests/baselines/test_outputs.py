"""Accepted distances of outputs: stored beside the predictions, replaced with their value, and checked against it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, edit
from quantbench import gate
from quantbench.baselines import update as acceptance
from quantbench.baselines.files import Baseline, load, packed
from quantbench.baselines.overlays import resolve
from quantbench.core import distances
from quantbench.core.arrays import Array
from quantbench.core.environment import class_of
from quantbench.errors import BadInput
from quantbench.records import Measurement, OutputScored
from quantbench.reference.model import ReferenceModel, load_models

from baselines.test_check import found, rewritten
from baselines.test_update import Run, after, answers, cell_of, reviewed

CODES = np.arange(100, 200, dtype=np.uint8).repeat(10)
KEY = "v#outputs"


def run(folder: Path, codes: Array = CODES, wrong: int = 100, seeds: int = 0, **of: Any) -> Run:
    """A run of one cell that also measured the distance of its outputs."""
    made = Run(folder, answers(wrong), **of)
    (made.folder / "predictions" / "m.npz").write_bytes(packed({"v": answers(wrong), KEY: codes}))
    first = float(distances.decode(codes).mean())
    distance = Measurement(
        value=first, unit="squared Hellinger distance", n=1000, values=[first] * seeds if seeds else None
    )
    [cell] = made.report.cells
    cell.measurements["output_distance"] = distance
    return made


def distance(baseline: Baseline) -> float:
    return cell_of(baseline).measurements["output_distance"].value


def test_a_first_record_holds_the_distance_its_limit_and_one_byte_an_example(tmp_path: Path) -> None:
    old = after(Run(tmp_path, answers(100), name="old").accept(Baseline()))
    assert "output_distance" not in cell_of(old).measurements
    made = run(tmp_path)
    proposal = made.accept(old)
    baseline = after(proposal)
    assert np.array_equal(baseline.predictions[KEY], CODES)
    held = cell_of(baseline).measurements["output_distance"]
    assert (held.tolerance, held.tolerance_from) == (gate.SMALLEST_EFFECT, gate.FIDELITY_REASON)
    assert gate.is_distance_of(held, CODES)
    assert "| new " in reviewed(made, old, proposal)


def test_distances_move_with_their_value_and_stay_with_it(tmp_path: Path) -> None:
    baseline = after(run(tmp_path, name="r1").accept(Baseline()))
    moved = after(run(tmp_path, CODES + 5, name="r2").accept(baseline))
    assert distance(moved) > distance(baseline)
    assert np.array_equal(moved.predictions[KEY], CODES + 5)
    assert np.array_equal(moved.predictions["v"], answers(100))
    without = after(Run(tmp_path, answers(90), name="r3").accept(moved))
    assert np.array_equal(without.predictions[KEY], CODES + 5)
    assert distance(without) == distance(moved)
    turned = after(run(tmp_path, CODES[::-1].copy(), name="r4").accept(baseline))
    assert np.array_equal(turned.predictions[KEY], CODES[::-1])  # an equal mean of other examples


def test_distances_that_are_not_those_of_the_report_are_refused(tmp_path: Path) -> None:
    made = run(tmp_path)
    for arrays in ({"v": answers(100)}, {"v": answers(100), KEY: CODES + 1}):
        (made.folder / "predictions" / "m.npz").write_bytes(packed(arrays))
        with pytest.raises(BadInput, match="expected the distances whose mean is the report's"):
            made.accept(Baseline())


def test_an_overlay_has_distances_of_its_own(tmp_path: Path) -> None:
    baseline = after(run(tmp_path, name="r1").accept(Baseline()))
    other = run(tmp_path, CODES + 5, name="r2", isa="bbbbbbbb")
    laid = after(other.accept(baseline, overlay=True))
    assert np.array_equal(laid.predictions[KEY], CODES)
    here = resolve(laid, class_of(other.report.environment))
    assert np.array_equal(here.predictions[KEY], CODES + 5)
    assert distance(here) > distance(laid)
    back = after(run(tmp_path, name="r3", isa="bbbbbbbb").accept(laid))
    assert set(back.predictions) == {"v", KEY}


def trained(folder: Path, name: str, seeds: int, codes: Array = CODES) -> Run:
    """A run of one cell that was trained with so many seeds."""
    made = run(folder, codes, name=name, seeds=seeds)
    [cell] = made.report.cells
    cell.seeds = list(range(seeds))
    score = cell.measurements["score"]
    cell.measurements["score"] = score.model_copy(update={"values": [score.value] * seeds})
    return made


def test_a_mean_of_more_seeds_is_not_replaced_by_one_of_fewer(tmp_path: Path) -> None:
    five, one = trained(tmp_path, "r1", 5), trained(tmp_path, "r2", 1, CODES + 5)
    baseline = after(five.accept(Baseline()))
    again = after(one.accept(baseline))
    assert distance(again) == distance(baseline)
    assert np.array_equal(again.predictions[KEY], CODES)


@pytest.mark.parametrize("name", ["score", "output_distance"])
def test_five_seeds_replace_one_however_near_they_are(tmp_path: Path, name: str) -> None:
    before, other = after(trained(tmp_path, "r1", 5).accept(Baseline())), trained(tmp_path, "r2", 5, CODES[::-1].copy())
    assert before.file is not None
    held = before.file.cells["v"].measurements[name]
    held.values = held.values[:1] if held.values else None
    near = after(other.accept(before))
    measurements = cell_of(near).measurements
    assert [len(measurements[of].values or []) for of in ("score", "output_distance")] == [5, 5]
    assert np.array_equal(near.predictions[KEY], CODES[::-1]), "the distances are of the training that was accepted"


def test_an_output_by_itself_replaces_a_distance_of_all_however_few_the_seeds(tmp_path: Path) -> None:
    before, again = after(trained(tmp_path, "r1", 5).accept(Baseline())), trained(tmp_path, "r2", 1, CODES + 5)
    (again.folder / "predictions" / "m.npz").write_bytes(
        packed({"v": answers(100), KEY: CODES + 5, "v@colour": answers(100), "v@colour#outputs": CODES})
    )
    [cell] = again.report.cells
    cell.outputs = {"colour": OutputScored(metric="accuracy", unit="pp", scale=100, higher_is_better=True)}
    value = float(distances.decode(CODES).mean())
    colour = cell.measurements["output_distance"].model_copy(update={"value": value, "values": [value]})
    cell.measurements |= {"score@colour": cell.measurements["score"], "output_distance@colour": colour}
    now = after(again.accept(before))
    assert np.array_equal(now.predictions[KEY], CODES + 5)
    assert gate.is_distance_of(cell_of(now).measurements["output_distance"], CODES + 5)


@pytest.fixture
def one_model() -> dict[str, ReferenceModel]:
    return {"seed_cnn": load_models(ROOT / "models")["seed_cnn"]}


@pytest.fixture
def held(baselines: Path) -> Path:
    """A baseline folder of one model whose float16 cell has distances."""
    for path in baselines.iterdir():
        if path.stem != "seed_cnn":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    rewritten(baselines, lambda arrays: arrays.update({HALF: CODES}))
    edit(baselines / "seed_cnn.json", _with_distance)
    return baselines


HALF = "ptq_float16#outputs"


def _with_distance(data: dict[str, Any]) -> None:
    values = data["cells"]["ptq_float16"]["measurements"]
    value = {"value": float(distances.decode(CODES).mean()), "unit": "squared Hellinger distance", "n": 1000}
    values["output_distance"] = {**values["score"], **value, "tolerance": 0.002}


def _edited(data: dict[str, Any]) -> None:
    data["cells"]["ptq_float16"]["measurements"]["output_distance"]["value"] *= 2


def test_a_sound_folder_with_distances_is_clean_and_loads(one_model: dict[str, ReferenceModel], held: Path) -> None:
    assert found(one_model, held) == []
    assert np.array_equal(load(held, one_model["seed_cnn"]).predictions[HALF], CODES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: a.update({"aeq_dynamic_wi4_gptq_afp32#outputs": CODES}),
            "aeq_dynamic_wi4_gptq_afp32#outputs: output distances of a cell that has no",
        ),
        (lambda a: a.update({HALF: CODES.astype(np.int64)}), f"{HALF}: not output distances: shape (1000,) (int64)"),
        (lambda a: a.update({HALF: CODES + 1}), "is not that of the stored outputs: it was edited"),
        (lambda a: a.pop(HALF), "is not that of the stored outputs: it was edited"),
    ],
)
def test_what_is_wrong_with_stored_distances_is_found(
    one_model: dict[str, ReferenceModel], held: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    rewritten(held, change)
    assert any(words in line for line in found(one_model, held))


def test_an_edited_distance_is_found(one_model: dict[str, ReferenceModel], held: Path) -> None:
    edit(held / "seed_cnn.json", _edited)
    assert any("ptq_float16: the output distance" in line for line in found(one_model, held))


def test_distances_of_another_type_are_refused(one_model: dict[str, ReferenceModel], held: Path) -> None:
    rewritten(held, lambda arrays: arrays.update({HALF: CODES.astype(np.float64)}))
    with pytest.raises(BadInput, match="expected a byte or a row of float32"):
        load(held, one_model["seed_cnn"])


def test_the_proposal_tells_of_the_distance_once(tmp_path: Path) -> None:
    proposal = run(tmp_path).accept(Baseline())
    assert isinstance(proposal, acceptance.Proposal)
    assert [move.measurement for move in proposal.moves].count("output_distance") == 1
