"""A model tried in one call, as a library makes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantbench
from conftest import run_script
from quantbench.adopt import trying
from quantbench.adopt.understand import Given
from quantbench.core.config import KEYS

X, Y = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Record what is tried, with the files as they are meanwhile, instead of trying it."""
    seen: list[Any] = []

    def tried(given: Given, folder: Path, *more: Any) -> str:
        files = {path.name: dict(np.load(path)) for path in folder.parent.glob("*.npz")}
        seen.append((given, files, more))
        more[3]("nothing is printed")
        return "tried"

    for key in KEYS.values():
        monkeypatch.delenv(key.variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trying, "tried", tried)
    return seen


def test_files_are_passed_on_and_nothing_is_printed(asked: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert quantbench.try_model(Path("m.keras"), "eval.npz", max_drop=0.5, latency_budget=0) == "tried"  # type: ignore[comparison-overlap]
    given, files, (variants, report_dir, seconds, *_) = asked[0]
    assert (given.model, given.evaluation, given.max_drop.words()) == ("m.keras", Path("eval.npz"), ["0.5"])
    assert (files, variants, report_dir, seconds) == ({}, "", Path("reports"), 0)
    assert capfd.readouterr() == ("", "")


def test_arrays_and_a_model_in_memory_are_saved_for_as_long_as_they_are_needed(asked: list[Any]) -> None:
    class Model:
        def save(self, file: Path) -> None:
            print("saving")
            file.write_text("a model")

    quantbench.try_model(Model(), (X, Y), calibration=X)
    given, files, _ = asked[0]
    assert (files["data.npz"]["x"].shape, list(files["data.npz"]["y"])) == ((4, 2), [0, 1, 0, 1])
    assert set(files["calibration.npz"]) == {"x"}
    assert given.model.endswith("model.keras")
    assert not Path(given.model).exists()


def test_what_is_not_given_is_what_the_config_says(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "quantbench.toml").write_text('max_drop = ["0.3pp", "a=2%"]\nreport_dir = "out"\nlatency_budget = 1\n')
    quantbench.try_model("m.keras")
    quantbench.try_model("m.keras", max_drop="1", report_dir="other", latency_budget=2)
    assert [one[0].max_drop.words() for one in asked] == [["0.3pp", "a=2%"], ["1"]]
    assert [one[2][1:3] for one in asked] == [(Path("out"), 1.0), (Path("other"), 2)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((3,), "model: expected a path, file.py:NAME or a Keras model, found int"),
        (("m.keras", [1, 2]), r"data: expected a file, a folder, or arrays \(x, y\), found list"),
        (("m.keras", (X, Y, Y)), r"data: expected a file, a folder, or arrays \(x, y\), found tuple"),
    ],
)
def test_what_is_wrong_is_raised(asked: list[Any], arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(quantbench.BadInput, match=sentence):
        quantbench.try_model(*arguments)
    assert asked == []


SCRIPT = """
import numpy as np, quantbench

def main():
    from quantbench.core.tensorflow import tensorflow
    tensorflow()
    import keras
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4, activation="softmax")])
    x = rng.normal(size=(400, 8)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(axis=1)
    done = quantbench.try_model(
        model, (x[:300], y[:300]), calibration=x[300:], variants="float32,ptq_float16", latency_budget=0
    )
    assert done.status is quantbench.Exit.GREEN
    assert done.advice.choice in ("float32", "ptq_float16"), done.advice
    assert done.report.advice == done.advice
    assert (done.folder / "artifacts" / "ptq_float16.tflite").is_file()
    assert quantbench.load_report(done.folder).advice.choice == done.advice.choice
    compared = quantbench.compare(done.folder, done.folder)
    assert not compared.exit_status(), compared

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_keras_model_and_arrays_end_in_advice_and_nothing_is_printed(tmp_path: Path, store: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_script(tmp_path / "script.py", cwd=tmp_path, QUANTBENCH_CACHE=str(store), TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""
