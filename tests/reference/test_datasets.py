"""The data pack, the reference models, and the ways in which both can be wrong."""

import dataclasses
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from quantbench.errors import BadInput
from quantbench.reference.datasets import load_pack, read_npz
from quantbench.reference.metrics import ACCURACY, area_under_curve, reconstruction_auc
from quantbench.reference.model import load_file, load_models, pick

MODELS = ROOT / "models"


@pytest.fixture(params=sorted(load_models(MODELS)))
def model_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_model_has_its_data_weights_and_floors(model_name: str) -> None:
    model = load_models(MODELS)[model_name]
    pack = model.pack()
    assert len(pack.calibration) == len(pack.train) // 20 >= 150
    assert len(pack.test) >= 400
    assert sum(array.nbytes for array in model.weight_arrays()) > 0
    assert (model.file.parent / model.weights).stat().st_size <= 2_000_000
    for family in ("ptq", "qat"):
        floor = model.floor(f"{family}_anything", family)
        assert floor is not None
        assert len(floor.reason) > 20
    assert len(model.seed_scores) >= 5


def test_calibration_examples_are_training_examples_and_never_test_examples() -> None:
    pack = load_models(MODELS)["seed_cnn"].pack()

    def hashes(images: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in images}

    assert hashes(pack.calibration.x) <= hashes(pack.train.x)
    assert not hashes(pack.calibration.x) & hashes(pack.test.x)


def test_the_pack_is_cut_from_the_canonical_files() -> None:
    source = Path("/usr/share/datasets/fashion-mnist")
    if not source.is_dir():
        pytest.skip("needs Debian's dataset-fashion-mnist: apt-get install dataset-fashion-mnist")
    script = runpy.run_path(str(MODELS / "data" / "make_fashion_mnist.py"))
    made = script["pack"](script["from_folder"](source))
    for name, array in read_npz(MODELS / "data" / "fashion_mnist.npz", "pack").items():
        assert np.array_equal(array, made[name])


def test_the_text_is_as_its_package_prints_it() -> None:
    if shutil.which("bible") is None:
        pytest.skip("needs Debian's bible-kjv: apt-get install bible-kjv")
    script = runpy.run_path(str(MODELS / "data" / "make_kjv_bytes.py"))
    made = script["pack"](script["printed"]("bible", Path("/usr/lib")))
    for name, array in read_npz(MODELS / "data" / "kjv_bytes.npz", "pack").items():
        assert np.array_equal(array, made[name])
    with pytest.raises(SystemExit, match="sha256 of the text is"):
        script["pack"](b"In the beginning")


def test_the_placed_garments_are_what_their_script_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(MODELS / "data"))
    script = runpy.run_path(str(MODELS / "data" / "make_placed_garments.py"))
    held = read_npz(MODELS / "data" / "placed_garments.npz", "pack")
    for split in ("train", "test"):
        canvases, boxes = script["made"](split, 20)
        assert np.array_equal(held[f"x_{split}"][:20], canvases)
        assert np.array_equal(held[f"y_{split}"][:20], boxes)
    garment = np.pad(np.ones((2, 4), bool), ((1, 3), (0, 2)))
    assert script["box_of"](garment, 10, 20).tolist() == [10, 21, 14, 23]
    assert script["shared"](np.array([0, 0, 4, 4]), np.array([2, 0, 10, 4])) == 0.5


def test_the_speech_is_as_its_program_says_it() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs Debian's espeak-ng: apt-get install espeak-ng")
    script = runpy.run_path(str(MODELS / "data" / "make_spoken_words.py"))
    pack = read_npz(MODELS / "data" / "spoken_words.npz", "pack")
    assert (pack["y_test.alarms"] == pack["y_test"]).all()
    for split, seed in script["SEEDS"].items():
        generator = np.random.Generator(np.random.PCG64(seed))
        for place in range(12):
            features, label, _said = script["example"](split, generator)
            assert np.array_equal(features, pack[f"x_{split}"][place])
            assert label == pack[f"y_{split}"][place]


def test_a_pack_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pack.npz"
    np.savez(path, x_train=np.zeros(1))
    with pytest.raises(BadInput, match=r"data pack has sha256 .*expected 000.*restore the file"):
        load_pack(path, "0" * 64)


def test_weights_with_a_wrong_hash_are_refused() -> None:
    model = dataclasses.replace(load_models(MODELS)["seed_cnn"], weights_sha256="1" * 64)
    with pytest.raises(BadInput, match=r"seed_cnn.npz: weights has sha256 .*expected 111"):
        model.weight_arrays()


def test_an_npz_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BadInput, match="not a readable"):
        read_npz(path, "pack")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("syntax error", "failed to import: SyntaxError"),
        ("import nothing_of_that_name", "failed to import: ModuleNotFoundError"),
        ("x = 1", "defines no quantbench.ReferenceModel"),
    ],
)
def test_a_wrong_model_file_gets_one_clear_sentence(tmp_path: Path, source: str, words: str) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    with pytest.raises(BadInput, match=words):
        load_file(path)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    text = (MODELS / "seed_cnn.py").read_text()
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "b.py").write_text(text)
    with pytest.raises(BadInput, match="already defined in"):
        load_models(tmp_path)


def test_names_are_picked_in_their_own_order_and_a_slip_gets_the_near_match() -> None:
    known = {"ptq_float16": 1, "qat": 2, "float32": 3}
    assert pick("float32, ptq_float16", known, "--variants") == ["ptq_float16", "float32"]
    assert pick("", known, "--variants") == list(known)
    with pytest.raises(BadInput, match=r"--variants: unknown name 'ptq_flot16'; did you mean ptq_float16\?"):
        pick("ptq_flot16", known, "--variants")


def test_accuracy_of_stored_predictions() -> None:
    outputs = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    predictions = ACCURACY.predict(outputs, outputs)
    labels = np.array([1, 0, 0])
    assert ACCURACY.value(predictions, labels) == pytest.approx(2 / 3)
    assert ACCURACY.drop(0.86, 0.87) == pytest.approx(1.0)


def test_area_under_curve() -> None:
    positive = np.array([False, False, True, True])
    assert area_under_curve(np.array([0.1, 0.2, 0.3, 0.4]), positive) == 1.0
    assert area_under_curve(np.array([0.1, 0.4, 0.2, 0.4]), positive) == pytest.approx(0.625)
    assert np.isnan(area_under_curve(np.array([0.1]), np.array([True])))


def test_reconstruction_auc_scores_the_error() -> None:
    metric = reconstruction_auc(normal=1)
    inputs = np.zeros((3, 4), dtype=np.float32)
    outputs = np.array([[0] * 4, [1] * 4, [2] * 4], dtype=np.float32)
    errors = metric.predict(outputs, inputs)
    assert list(errors) == [0, 1, 4]
    assert metric.value(errors, np.array([1, 0, 2])) == 1.0


def test_no_model_file_is_named_as_a_module_of_the_standard_library() -> None:
    """pytest takes the files of an editable installation for modules, and Python those beside a script."""
    assert not {path.stem for path in MODELS.glob("*.py")} & sys.stdlib_module_names
