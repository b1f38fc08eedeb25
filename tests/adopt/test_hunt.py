"""The command's search with made-up artifacts: what is kept at any time, also where it is stopped or finds nothing."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantbench.adopt import tuning
from quantbench.adopt.candidates import Question
from quantbench.adopt.frontier import Option
from quantbench.adopt.prepared import Prepared
from quantbench.adopt.ranking import Judging
from quantbench.adopt.understand import Given, Understood
from quantbench.adopt.workshop import Found, Made, Refused
from quantbench.core import signals
from quantbench.core.arrays import Array
from quantbench.errors import BadInput, Exit
from quantbench.records import JudgedOutput, read_recipe
from quantbench.reference.metrics import ACCURACY
from quantbench.report.tuning import screen
from quantbench.variants import FLOAT_CONTROL
from studies import outlier_model

N = 9000
LABELS = np.zeros(N, dtype=np.int64)
FLOAT = outlier_model.tflite(outlier_model.layers())
SAVED = {"dynamic_wi8": 3000, "dynamic_wi4": 3500}  # bytes of each of the four operators


def answers(wrong: float) -> Array:
    """Predictions of which a share is wrong, evenly among the examples."""
    return np.where(np.random.default_rng(3).random(N) < wrong, 1, 0)


class Shop:
    """A workshop in which operator 1 alone must not be quantized, and int4 costs 0.1 pp an operator.

    Attributes:
        stop_at: number of tried artifacts after which a signal arrives; 0 for never.
    """

    spoiled = 0.2
    each = 0.001
    stop_at = 0

    def __init__(self, model: Any, float_artifact: bytes, seen: Array, ranges: str = "averaged") -> None:
        self.made_so_far = 0

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def operators(self, names: Sequence[str]) -> list[Found]:
        return [Found(n, "FULLY_CONNECTED", f"dense{n}", n, 10 - n, tuple(SAVED)) for n in range(4)]

    def option(self, positions: Sequence[int], setting: str) -> Option:
        if setting == "dynamic_wi8" and positions[0] == 3:
            raise Refused("the tool does not take it")
        return Option(setting, -SAVED[setting], self._wrong(dict.fromkeys(positions, setting)) + 1e-6)

    def _wrong(self, chosen: Mapping[int, str]) -> float:
        int4 = sum(name == "dynamic_wi4" for name in chosen.values())
        return self.spoiled * (1 in chosen) + self.each * int4

    def made(self, chosen: Mapping[int, str], places: Array) -> Made:
        self.made_so_far += 1
        if self.made_so_far == self.stop_at:
            signal.raise_signal(signal.SIGINT)
        artifact = bytes(20_000 - sum(SAVED[name] for name in chosen.values()))
        return Made(artifact, {"": answers(self._wrong(chosen))[places]})


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs the command with a kind of workshop and fixed variants: name -> (bytes, share wrong)."""

    def run(shop: type[Shop], fixed: Mapping[str, tuple[int, float]]) -> tuple[Exit, Any, list[str]]:
        predictions = {name: {"": answers(wrong)} for name, (_, wrong) in fixed.items()}
        predictions[FLOAT_CONTROL] = {"": LABELS}
        seen, unseen = tuning_places()
        asks = [Question([Judging("", ACCURACY, LABELS)], [0.5], {"": LABELS}, places) for places in (seen, unseen)]
        model = SimpleNamespace(
            name="mine", weights_sha256="ab" * 32, pack=lambda: SimpleNamespace(calibration=None), form="tflite"
        )
        session = SimpleNamespace(folder=SimpleNamespace(path=tmp_path))
        output = JudgedOutput(metric="accuracy", unit="pp", scale=100, higher_is_better=True, examples=6000, limit=0.5)
        files = {name: tmp_path / f"{name}.tflite" for name in (FLOAT_CONTROL, *fixed)}
        for name, path in files.items():
            path.write_bytes(FLOAT if name == FLOAT_CONTROL else bytes(fixed[name][0]))
        understood = Understood(model, [])  # type: ignore[arg-type]
        prepared = Prepared(understood, session, files, predictions, *asks, [output])  # type: ignore[arg-type]
        monkeypatch.setattr(tuning, "Workshop", shop)
        monkeypatch.setattr(tuning, "prepare", lambda *_: (prepared, Exit.GREEN))
        said: list[str] = []
        status, told = tuning.tune(Given("my.tflite", Path("eval.npz")), tmp_path, tmp_path, 60.0, said.append)
        return status, told, said

    return run


def tuning_places() -> tuple[Array, Array]:
    return np.arange(0, N, 3), np.setdiff1d(np.arange(N), np.arange(0, N, 3))


def test_the_spoiled_operator_stays_in_float_and_the_rest_gets_what_the_limit_allows(
    given: Any, tmp_path: Path
) -> None:
    status, told, said = given(Shop, {"aeq_float16": (19_000, 0.0), "aeq_dynamic_wi8_afp32": (8000, 0.2)})
    assert status is Exit.GREEN
    assert told.choice is not None
    recipe = read_recipe(tmp_path / tuning.RECIPE)
    assert 1 not in recipe.settings()
    assert recipe.settings()[3] == "dynamic_wi4"  # the other way was refused
    assert (tmp_path / tuning.ARTIFACT).stat().st_size == recipe.artifact_bytes == told.choice.bytes
    assert recipe.judged is not None
    assert told.best_fixed is not None
    assert told.best_fixed.name == "aeq_float16"
    assert any(line.startswith("best so far: ") for line in said)
    assert [one.setting for one in recipe.operators].count("float") >= 1


def test_a_fixed_variant_that_is_smaller_is_the_answer(given: Any, tmp_path: Path) -> None:
    status, told, _ = given(Shop, {"aeq_dynamic_wi4_octav_afp32": (7000, 0.0)})
    assert status is Exit.GREEN
    assert told.choice.name == "aeq_dynamic_wi4_octav_afp32"
    assert read_recipe(tmp_path / tuning.RECIPE).variant == "aeq_dynamic_wi4_octav_afp32"
    assert told.groups == []


def test_where_nothing_meets_the_limit_no_file_is_left_and_the_nearest_is_named(given: Any, tmp_path: Path) -> None:
    class Hopeless(Shop):
        each = 0.05

        def operators(self, names: Sequence[str]) -> list[Found]:
            return [Found(n, "FULLY_CONNECTED", f"dense{n}", n, 1, ("dynamic_wi4",)) for n in range(4)]

        def made(self, chosen: Mapping[int, str], places: Array) -> Made:
            return Made(bytes(9), {"": answers(0.05)[places]})

    status, told, _ = given(Hopeless, {"aeq_float16": (19_000, 0.03)})
    assert status is Exit.NOT_MEASURED
    assert told.choice is None
    assert told.nearest.name == "aeq_float16"
    assert told.file == ""
    assert not (tmp_path / tuning.ARTIFACT).exists()
    assert not (tmp_path / tuning.RECIPE).exists()


@pytest.fixture
def as_started(stops_in_order: None) -> None:
    """Handle signals as the command does once a run is over, and as before afterwards."""
    signals.settle()


def test_an_interruption_keeps_the_recipe_of_the_best_so_far(given: Any, tmp_path: Path, as_started: None) -> None:
    class Stopped(Shop):
        stop_at = 4

    status, told, said = given(Stopped, {"aeq_float16": (19_000, 0.0)})
    assert status is Exit.INTERRUPTED
    assert told.interrupted
    recipe = read_recipe(tmp_path / tuning.RECIPE)
    assert recipe.judged is None
    assert recipe.artifact_bytes == (tmp_path / tuning.ARTIFACT).stat().st_size <= 19_000
    assert not any("interrupted" in one for one in said)  # the summary says it
    assert "the best so far is kept, not judged on unseen examples" in screen(told)


def test_a_model_of_which_nothing_mixed_can_be_made_has_its_fixed_variants(given: Any) -> None:
    class Refusing(Shop):
        def operators(self, names: Sequence[str]) -> list[Found]:
            raise Refused("it cannot be read")

    status, told, said = given(Refusing, {"aeq_float16": (19_000, 0.0)})
    assert status is Exit.GREEN
    assert told.choice.name == "aeq_float16"
    assert "no mixed artifact can be made: it cannot be read" in said


def test_seconds_have_to_be_some(given: Any, tmp_path: Path) -> None:
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="--seconds: expected seconds of search, more than 0"):
            tuning.tune(Given("m.tflite", Path("e.npz")), tmp_path, tmp_path, seconds, print)
