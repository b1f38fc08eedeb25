"""How often the process that answers queries about a model loads it: seconds each time for a large one."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from quantbench.adopt import loading_worker
from quantbench.core.arrays import Inputs
from quantbench.reference import float_model

KERAS = {"path": "model.h5", "form": "keras2", "trusted": False, "stateful": False}


class Counted:
    """Stands for a predictor: doubles its inputs, and counts how often it is made."""

    made: ClassVar[list[bool]] = []

    def __init__(self, model: Any, like: Inputs, as_saved: bool = False) -> None:
        self.made.append(as_saved)

    def __call__(self, inputs: Any) -> Any:
        return 2 * inputs


def answers(job: dict[str, Any], folder: Path, queries: list[bool]) -> int:
    """Ask for outputs, as saved or not, and return how often the model was loaded for that."""
    Counted.made = []
    answer = loading_worker.begin(job)
    for number, as_saved in enumerate(queries):
        given, results = folder / f"given{number}.npz", folder / f"results{number}.npz"
        x = np.full((3, 2), number, np.float32)
        np.savez(given, x)
        files = {"inputs": str(given), "outputs": str(results)}
        assert answer(json.dumps({"ask": "answers", "names": None, "as_saved": as_saved, **files})) == {"outputs": [""]}
        assert np.array_equal(np.load(results)["arr_0"], 2 * x)
    return len(Counted.made)


def test_a_keras_model_is_loaded_once_for_all_scales_of_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float_model, "Predictor", Counted)
    assert answers(KERAS, tmp_path, [False, False, False]) == 1
    assert answers(KERAS, tmp_path, [False, True]) == 2  # half precision, and its float32 clone


@pytest.mark.parametrize("more", [{"stateful": True}, {"form": "tflite"}, {"form": "saved_model"}])
def test_what_may_keep_state_is_loaded_for_each_query(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(float_model, "Predictor", Counted)
    assert answers(KERAS | more, tmp_path, [False, False]) == 2


def test_inputs_and_outputs_are_told_of_one_loaded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    tensor = SimpleNamespace(name="x:0", shape=(None, 3), dtype=SimpleNamespace(as_numpy_dtype=np.float32))
    keras_model = SimpleNamespace(inputs=[tensor], output=tensor)

    def load(model: Any) -> Any:
        loads.append(model.weights)
        return keras_model

    monkeypatch.setattr(float_model, "keras2", load)
    answer = loading_worker.begin(KERAS)
    assert answer(json.dumps({"ask": "inputs"})) == {"specs": {"x": [[1, 3], "<f4"]}}
    assert answer(json.dumps({"ask": "outputs"})) == {"outputs": [["", "output_0", ""]]}
    assert loads == ["model.h5"]
