"""A float model is calibrated once for several variants, and each gets what it would have got by itself."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantbench.build.fingerprint import source_fingerprint
from quantbench.core.tensorflow import tensorflow
from quantbench.variants import VARIANTS, calibration, convert

EXAMPLES = [[np.full((1, 4), number, dtype=np.float32)] for number in range(3)]
ZEROS: list[Any] = [[np.zeros((1, 4), dtype=np.float32)]]


def test_a_calibration_is_known_by_all_that_decides_it() -> None:
    known = {
        calibration.digest(b"model", EXAMPLES),
        calibration.digest(b"other", EXAMPLES),
        calibration.digest(b"model", EXAMPLES[:2]),
        calibration.digest(b"model", EXAMPLES[::-1]),
        calibration.digest(b"model", EXAMPLES, True),
        calibration.digest(b"model", EXAMPLES, False),
        calibration.digest(b"model", ZEROS),
        calibration.digest(b"model", [[array.astype(np.int32) for array in example] for example in ZEROS]),
        calibration.digest(b"model", [[array.reshape(4, 1) for array in example] for example in ZEROS]),
        calibration.digest(b"model", [{"x": example[0]} for example in ZEROS]),
    }
    assert len(known) == 10
    assert calibration.digest(b"model", EXAMPLES) in known


def test_the_calibrations_of_few_models_are_kept() -> None:
    kept = calibration.Kept()
    for number in range(calibration.KEPT + 1):
        assert kept.of(str(number), lambda number=number: number) == number
    assert [kept.of(str(number), lambda: -1) for number in range(1, calibration.KEPT + 1)] == [1, 2, 3, 4]
    assert kept.of("0", lambda: 7) == 7


def keys() -> dict[str, dict[str, str]]:
    """The code that each variant's artifacts are stored under, found anew."""
    return {name: source_fingerprint.__wrapped__(variant.make) for name, variant in VARIANTS.items()}


def test_what_was_calibrated_so_far_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys()
    for name, kept in vars(calibration).items():
        if isinstance(kept, calibration.Kept | dict | list | set) and not name.startswith("__"):
            monkeypatch.setattr(calibration, name, type(kept)())
    calibration._BY_CONVERTER.of("a model", list)
    calibration._BY_QUANTIZER.of("a model", list).append(3)
    assert keys() == before
    for variant in ("ptq_static_wi8_ai8", "aeq_static_wi8_ai8"):
        assert any("calibration.digest" in part for part in before[variant]), "the code that shares is part of its key"


class Recipe:
    """Take each operator's statistics by one algorithm."""

    def __init__(self, **algorithms: str) -> None:
        self._algorithms = algorithms
        self.asked = 0

    def get_quantization_configs(self, operator: str, _scope: str) -> tuple[str, None]:
        self.asked += 1
        return self._algorithms[operator], None


def collect(recipe: Any) -> dict[str, Any]:
    """Ask as a calibrator does, for each operator of two examples."""
    for _ in range(2):
        for operator in ("CONV", "DENSE"):
            recipe.get_quantization_configs(operator, "somewhere")
    return {"tensor": {"min": [0.0]}}


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give three algorithms, of which two take the same statistics."""
    takes = {"minmax": "extremes", "octav": "extremes", "gptq": "products"}
    manager = SimpleNamespace(
        AlgorithmName=SimpleNamespace(NO_QUANTIZE="none"),
        get_quantization_func=lambda algorithm, _operator, _mode: takes[algorithm],
        get_update_qsv_func=lambda _algorithm, _operator: "average",
    )
    modules = {
        "algorithm_manager": manager,
        "qtyping": SimpleNamespace(QuantizeMode=SimpleNamespace(CALIBRATE="calibrate")),
    }
    monkeypatch.setattr(calibration, "tool", modules.__getitem__)
    monkeypatch.setattr(calibration, "_BY_QUANTIZER", calibration.Kept())
    return takes


@pytest.mark.parametrize(
    ("other", "again"),
    [
        pytest.param(Recipe(CONV="minmax", DENSE="minmax"), False, id="the same recipe"),
        pytest.param(Recipe(CONV="octav", DENSE="minmax"), False, id="another algorithm, the same statistics"),
        pytest.param(Recipe(CONV="minmax", DENSE="gptq"), True, id="other statistics"),
        pytest.param(Recipe(CONV="none", DENSE="minmax"), True, id="an operator left out"),
    ],
)
@pytest.mark.usefixtures("functions")
def test_statistics_are_shared_by_recipes_that_take_the_same_ones(other: Recipe, again: bool) -> None:
    first = Recipe(CONV="minmax", DENSE="minmax")
    given = calibration.statistics("key", first, collect)
    assert first.asked == 2, "a recipe is asked once for each operator"
    given["tensor"]["min"][0] = 9.0  # as a quantizer might
    runs: list[Any] = []
    got = calibration.statistics("key", other, lambda recipe: runs.append(recipe) or collect(recipe))
    assert (len(runs), got["tensor"]["min"]) == (int(again), [0.0])
    calibration.statistics("other key", other, lambda recipe: runs.append(recipe) or collect(recipe))
    assert len(runs) == int(again) + 1


def saved() -> str:
    """Save a small model with fixed weights."""
    tf = tensorflow()
    keras_model = tf.keras.Sequential([tf.keras.layers.Dense(8, activation="relu", input_shape=(4,), name="dense")])
    keras_model.set_weights([np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8), np.zeros(8, dtype=np.float32)])
    from quantbench.reference import float_model

    return float_model.export(keras_model)


@pytest.mark.forked
def test_converters_calibrate_once_and_convert_as_they_do_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = tensorflow()
    from tensorflow.lite.python.optimize import calibrator

    folder = saved()
    float_artifact = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    given: Any = SimpleNamespace(
        tensorflow=tensorflow, float_artifact=lambda: float_artifact, calibration=lambda: (x for [x] in EXAMPLES)
    )
    calibrations: list[Any] = []
    calibrate = calibrator.Calibrator.calibrate
    counted = lambda self, examples: calibrations.append(self) or calibrate(self, examples)  # noqa: E731
    monkeypatch.setattr(calibrator.Calibrator, "calibrate", counted)
    monkeypatch.setattr(calibration, "_BY_CONVERTER", calibration.Kept())

    def converted(per_tensor: bool, share: bool) -> bytes:
        if share:
            converter = convert.calibrated(given, folder)
        else:
            converter = convert.optimizing(given, folder)
            converter.representative_dataset = lambda: iter(EXAMPLES)
        converter._experimental_disable_per_channel = per_tensor
        return bytes(converter.convert())

    alone = [converted(per_tensor, share=False) for per_tensor in (False, True)]
    assert len(calibrations) == 2
    assert [converted(per_tensor, share=True) for per_tensor in (False, True)] == alone
    assert len(calibrations) == 3
