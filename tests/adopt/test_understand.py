"""Anyone's model, as a new user would try it: what works, what is refused, and in which words."""

import json
import re
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Quantbench, command, made_once, run_quantbench, run_script, surroundings
from quantbench.adopt import formats
from quantbench.adopt.data import read_split
from quantbench.errors import BadInput
from quantbench.reference.metrics import by_name

FAST_VARIANTS = "ptq_static_wi8_ai8,aeq_dynamic_wi8_afp32,qat_wi8_ai8"
FAST = ["--variants", FAST_VARIANTS, "--latency-budget", "0"]
WIDE = ["--max-drop", "6"]  # of 400 examples the intervals of several variants together are some 5 pp wide
# The command, where these are all the variants there are: `adopt` measures every one, which takes a minute.
FEW_VARIANTS = ("float32", "ptq_float16", "qat_wi8_ai8", "float32_finetuned")  # the last is the control of QAT
WITH_FEW_VARIANTS = f"""
from quantbench.variants import VARIANTS
for name in VARIANTS.keys() - set({FEW_VARIANTS}):
    del VARIANTS[name]
"""


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models and data as users bring them."""

    def make(folder: Path) -> None:
        done = run_script(ROOT / "tests" / "make_user_models.py", str(folder))
        assert done.returncode == 0, done.stderr[-2000:]

    return made_once(tmp_path_factory, "user", make)


def attempt(quantbench: Quantbench, user: Path, tmp_path: Path, model: str, data: str, *more: str) -> Any:
    arguments = ["try", str(user / model), "--data", str(user / data), "--report-dir", str(tmp_path / "reports")]
    return quantbench(*arguments, *more)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("keras2.h5", "it needs training data"),
        pytest.param(
            "saved_model", "a SavedModel is not a Keras model that tfmot can train", marks=pytest.mark.nightly
        ),
        ("float.tflite", "a .tflite cannot be trained"),
    ],
)
def test_a_table_and_one_sentence_of_advice(
    quantbench: Quantbench, user: Path, tmp_path: Path, model: str, reason: str
) -> None:
    calibration = ["--calibration", str(user / "calibration.npz")]
    done = attempt(quantbench, user, tmp_path, model, "eval.npz", *calibration, *FAST, *WIDE)
    assert done.status == 0, done.output
    assert "metric: accuracy: y is whole numbers 0 to 9 for 10 class scores" in done.output
    assert "input range: uint8 pixels divided by 255" in done.output
    last = done.output.rstrip().splitlines()[-1]
    assert last.startswith(("Ship aeq_dynamic_wi8_afp32: ", "Ship ptq_"))
    assert re.search(f"left out: (?:float32_finetuned and )?qat_wi8_ai8: {reason}", done.output)
    latest = tmp_path / "reports" / "latest"
    report = json.loads((latest / "report.json").read_text())
    advice = report["advice"]
    assert last.startswith(f"Ship {advice['choice']}: ")
    assert report["exit_status"] == 0
    file = latest / advice["file"]
    assert f"ship {advice['choice']}</h1>" in (latest / "index.html").read_text()
    assert f"# quantbench try: Ship {advice['choice']}" in (latest / "report.md").read_text().replace("\\_", "_")
    assert not (latest / "report.html").exists()
    exported = quantbench("export", advice["choice"], "--run", str(latest), "-o", str(tmp_path / "mine.tflite"))
    assert exported.status == 0, exported.output
    assert (tmp_path / "mine.tflite").read_bytes() == file.read_bytes()
    scores = {
        cell["variant"]: cell["measurements"]["score"]["value"] for cell in report["cells"] if cell["measurements"]
    }
    assert scores["float32"] > 0.84
    assert (tmp_path / "reports" / "latest" / "report.md").is_file()


def test_two_inputs_and_two_outputs_without_labels_through_keras_3(
    quantbench: Quantbench, user: Path, tmp_path: Path
) -> None:
    calibration = ["--calibration", str(user / "two_calibration.npz"), "--max-drop", "5"]
    done = attempt(quantbench, user, tmp_path, "two_inputs_keras3.keras", "two_eval.npz", *calibration, *FAST)
    assert done.status == 0, done.output
    assert "no labels y: variants are judged by how far their outputs are from the float model's" in done.output
    assert "qat_wi8_ai8: it was saved by Keras 3, and tfmot trains Keras 2 models only" in done.output
    cells = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())["cells"]
    by_variant = {cell["variant"]: cell for cell in cells}
    # A conversion that lost the weights, as one through a concrete function does, would not agree with the model.
    assert by_variant["float32"]["measurements"]["float_agreement"]["value"] == 1.0
    assert by_variant["ptq_static_wi8_ai8"]["measurements"]["score"]["value"] < 0.05


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.nightly)], ids=["few", "all"])
def test_adopt_gates_the_model_in_the_users_own_folders(
    quantbench: Quantbench, user: Path, store: Path, tmp_path: Path, few: bool
) -> None:
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    data = ["--data", str(user / "eval.npz"), "--calibration", str(user / "calibration.npz")]
    adopt = ["adopt", str(user / "keras2.keras"), "--name", "mine", *data, *folders, *WIDE, "--latency-budget", "0"]
    reports = ["--report-dir", str(tmp_path / "adopted")]
    done = run_quantbench(*adopt, *reports, store=store, first=WITH_FEW_VARIANTS if few else "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gate it with: quantbench run --model-dir" in done.stdout
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("gated: float32, ")]
    assert " not tried" in told
    assert "Gate others with --gate VARIANT,..." in told
    if few:  # it has half of float32's size, and the same answers
        assert told.startswith("gated: float32, ptq_float16. Not gated: ")
    run = ["run", *folders, "--no-latency"]
    gated = quantbench(*run, cwd=tmp_path)
    assert gated.status == 0, gated.output
    assert len(gated.report()["cells"]) == 2
    assert {cell["verdict"] for cell in gated.report()["cells"]} == {"pass"}
    again = quantbench(*adopt)
    assert again.status == 4
    assert "mine exists already" in again.output
    (tmp_path / "models" / "weights" / "mine.keras").write_bytes(b"something else")
    assert quantbench(*run).status == 4


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lambda2.h5", "layer 'evil' is a Lambda, which runs Python code"),
        ("lambda2.keras", "layer 'evil' is a Lambda, which runs Python code"),
        ("lambda3.h5", "layer 'evil' is a Lambda, which runs Python code"),
        ("lambda3.keras", "say --allow-code"),
        ("free2.keras", "every dimension but the first must be fixed"),
        ("free3.keras", "every dimension but the first must be fixed"),
        ("odd.keras", "layer 'odd' is of the class 'Odd', which is not one of Keras 2's own"),
        ("made_up_operator", "operators that a model of others may not use: SomebodysConv2D"),
        ("batch_of_8.keras", "has a fixed batch size of 8"),
        ("batch_of_8.tflite", "has a fixed batch size of 8"),
        ("batch_of_8", "has a fixed batch size of 8"),
        ("free.tflite", "every dimension but the first must be fixed"),
        ("calls_python", "operators that a model of others may not use: PyFunc"),
        ("quantized.tflite", "is already quantized although its inputs and outputs are float32 (tensors: "),
        ("eval.npz", "is not a whole .keras file"),
        ("nowhere", "no such file; expected a .keras, an .h5"),
        (".", "the folder holds no saved_model.pb"),
    ],
)
def test_what_cannot_or_must_not_be_loaded(
    quantbench: Quantbench, user: Path, tmp_path: Path, model: str, words: str
) -> None:
    done = attempt(quantbench, user, tmp_path, model, "eval.npz", *FAST)
    assert done.status == 4, done.output
    assert words in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["keras2.h5", "keras2.keras", "float.tflite"])
def test_a_truncated_file(quantbench: Quantbench, user: Path, tmp_path: Path, name: str) -> None:
    short = tmp_path / name
    short.write_bytes((user / name).read_bytes()[:4000])
    done = quantbench("try", str(short), "--data", str(user / "eval.npz"))
    assert done.status == 4
    assert f"quantbench: {short}: " in done.output


SPECS: Any = {"image": ((1, 28, 28, 1), np.float32)}
X = np.zeros((6, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X[:, :20]}, r"array x has examples of shape \(20, 28\), the model takes \(28, 28, 1\)"),
        ({"x": X[:0]}, "array x is empty"),
        ({"z": X}, "it has the arrays z; expected x .inputs. and y .labels."),
        ({"x": X, "y": np.zeros(5)}, "y has 5 labels, x has 6 examples"),
        ({"x": X, "y": np.full(6, np.nan)}, "y holds NaN or infinite values"),
        ({"x": np.where(X == 0, np.inf, 1.0)}, "array x holds NaN or infinite values in 6 of 6 examples"),
        ({"x": X.astype(str)}, "array x has dtype <U3, expected numbers"),
        ({"x": X.astype(object)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_wrong_data(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(BadInput, match=words):
        read_split(path, SPECS)


def test_labels_in_a_column_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=np.arange(6).reshape(6, 1))
    _, labels = read_split(tmp_path / "data.npz", SPECS)
    assert labels is not None
    assert labels.shape == (6,)


def test_a_zip_behind_an_hdf5_file_hides_nothing(user: Path, tmp_path: Path) -> None:
    harmless = tmp_path / "harmless.zip"
    with zipfile.ZipFile(harmless, "w") as archive:
        archive.writestr("config.json", "{}")
    both = tmp_path / "both.h5"
    both.write_bytes((user / "lambda2.h5").read_bytes() + harmless.read_bytes())
    with pytest.raises(BadInput, match="is a Lambda"):
        formats.check_safe(both, formats.detect(both))


def test_calibrating_on_the_evaluation_data_is_warned_of(quantbench: Quantbench, user: Path, tmp_path: Path) -> None:
    more = ["--calibration", str(user / "eval.npz"), "--variants", "ptq_dynamic_wi8_afp32", "--latency-budget", "0"]
    done = attempt(quantbench, user, tmp_path, "float.tflite", "eval.npz", *more)
    assert "warning: 400 evaluation examples are calibration examples too" in done.output


def test_pixels_as_the_input_of_a_float_model(quantbench: Quantbench, user: Path, tmp_path: Path) -> None:
    done = attempt(
        quantbench,
        user,
        tmp_path,
        "uint8_input.tflite",
        "eval.npz",
        *["--variants", "aeq_dynamic_wi8_afp32", *FAST[2:], *WIDE],
    )
    assert done.status == 0, done.output
    assert "Ship aeq_dynamic_wi8_afp32" in done.output


def test_a_set_too_small_for_the_limit_is_said_once(quantbench: Quantbench, user: Path, tmp_path: Path) -> None:
    more = ["--variants", "aeq_dynamic_wi8_afp32", "--latency-budget", "0"]
    done = attempt(quantbench, user, tmp_path, "float.tflite", "eval.npz", *more)
    assert done.status == 0, done.output
    assert done.output.count("400 examples are too few to show that any variant stays within a drop of 0.50 pp") == 1
    assert "undecided (needs about" in done.output
    assert "\nShip float32: aeq_dynamic_wi8_afp32 is not shown to stay within a drop of 0.50 pp: it is" in done.output


@pytest.mark.parametrize(
    "model", ["dict_outputs2.keras", pytest.param("input_named_file.keras", marks=pytest.mark.nightly)]
)
def test_names_that_clash_and_outputs_by_name(quantbench: Quantbench, user: Path, tmp_path: Path, model: str) -> None:
    more = ["--variants", "ptq_float16", "--latency-budget", "0.3"]
    done = attempt(quantbench, user, tmp_path, model, "fours.npz", *more)
    assert done.status == 0, done.output
    cells = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())["cells"]
    assert cells[0]["measurements"]["float_agreement"]["value"] == 1.0
    assert any("latency" in cell["measurements"] for cell in cells)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--metric", "auc"], "auc takes a model with one output value, this one has 10"),
        (["--metric", "mean_absolute_error"], "takes 10 numbers an example"),
        (["--metric", "binary_accuracy"], "binary_accuracy takes a model with one output value"),
        (
            ["--max-drop", "nan"],
            "such as 0.5, 0.5pp, 2% or OUTPUT=0.5pp, found nan",
        ),
        (
            ["--max-drop", "-1"],
            "--max-drop: expected a number of at least 0 such as 0.5, 0.5pp",
        ),
        (["--latency-budget", "-1"], "--latency-budget: expected seconds"),
        (["--latency-budget", "nan"], "--latency-budget: expected seconds"),
        (["--prefer", "speed"], "--prefer: expected one of size, latency, balanced, found 'speed'"),
        (["--prefer", "latency", "--latency-budget", "0"], "--prefer latency: --latency-budget 0 times nothing"),
        (["--max-drop", "boxes=1"], "--max-drop boxes=1: no output 'boxes' is scored"),
    ],
)
def test_options_that_do_not_fit(quantbench: Quantbench, user: Path, option: list[str], words: str) -> None:
    done = quantbench("try", str(user / "float.tflite"), "--data", str(user / "eval.npz"), *option)
    assert done.status == 4, done.output
    assert words in done.output


def test_an_interrupted_try_leaves_a_partial_report(user: Path, store: Path, tmp_path: Path) -> None:
    arguments = ["try", str(user / "float.tflite"), "--data", str(user / "eval.npz"), "--report-dir", str(tmp_path)]
    environment = surroundings(QUANTBENCH_CACHE=str(store))
    arguments += ["--latency-budget", "60"]
    with subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("cells: "):
                running.send_signal(signal.SIGINT)
                break
        rest = running.stdout.read()
    assert running.returncode == 2, rest
    assert "interrupted; what was finished is in" in rest
    assert json.loads((tmp_path / "latest" / "report.json").read_text())["state"] == "interrupted"


@pytest.fixture
def unlabelled(user: Path, tmp_path: Path) -> list[str]:
    """Options by which the float model's own outputs are right, so that any error counts; the cells are shared."""
    np.savez(tmp_path / "eval.npz", x=np.load(user / "eval.npz")["x"])
    return ["--data", str(tmp_path / "eval.npz"), "--report-dir", str(tmp_path / "reports"), "--max-drop", "0"]


def test_adopting_into_a_folder_that_cannot_be_written(
    quantbench: Quantbench, user: Path, tmp_path: Path, unlabelled: list[str]
) -> None:
    (tmp_path / "models").write_text("a file, not a folder")
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    model = str(user / "float.tflite")
    done = quantbench("adopt", model, "--name", "mine", *unlabelled, *folders)
    assert done.status == 4, done.output
    assert f"--model-dir: cannot write to {folders[1]}: {folders[1]} is no folder" in done.output
    assert "float32" not in done.output  # told before anything is measured
    assert not (tmp_path / "baselines").exists()
    for name in ("_x", "class", "a/b"):
        assert "--name: expected letters" in quantbench("adopt", model, "--name", name, *folders).output


def test_adopting_what_a_floor_forbids_is_red_at_once(
    quantbench: Quantbench, user: Path, tmp_path: Path, unlabelled: list[str]
) -> None:
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    gate = ["--gate", "aeq_dynamic_wi4_mse_afp32,aeq_dynamic_wi8_afp32,qat_wi8_ai8", "--latency-budget", "0"]
    done = quantbench("adopt", str(user / "float.tflite"), "--name", "mine", *unlabelled, *folders, *gate)
    assert done.status == 1, done.output
    assert "0 to 255 as given: assumed, because without labels nothing tells it" in done.output
    assert "RED mine/aeq_dynamic_wi4_mse_afp32" in done.output  # a fifth of the outputs' size, over many examples
    assert "undecided: mine/aeq_dynamic_wi8_afp32" in done.output  # two of 400 examples have all of its error
    assert "known limitation: mine/qat_wi8_ai8: a .tflite cannot be trained" in done.output
    assert quantbench("run", *folders, "--no-latency", "--variants", "aeq_dynamic_wi4_mse_afp32").status == 1


def test_labels_out_of_range(quantbench: Quantbench, user: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(user / "eval.npz"))
    np.savez(tmp_path / "wrong.npz", x=arrays["x"], y=arrays["y"] + 5)
    done = quantbench("try", str(user / "float.tflite"), "--data", str(tmp_path / "wrong.npz"))
    assert done.status == 4
    assert "y ranges from 5 to 14; the model has classes 0 to 9" in done.output


def test_metrics_by_name() -> None:
    outputs = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]])
    labels = np.array([2, 1])
    top2 = by_name("top2")
    assert top2.value(top2.predict(outputs, outputs), labels) == 0.5
    assert by_name("mean_absolute_error").drop(0.2, 0.1) == pytest.approx(0.1)
    for name in ("top9", "nothing"):
        with pytest.raises(BadInput, match="--metric"):
            by_name(name)
