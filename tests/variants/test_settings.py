"""What single operators may get: offered only where the tool takes it, and made by it as it is called."""

import numpy as np
import pytest
from quantbench.errors import BadInput, Unsupported
from quantbench.records import MixedRecipe, recipe_text
from quantbench.tflite.graph import read
from quantbench.tflite.litert import LiteRT
from quantbench.variants import VARIANTS, offered, settings, tuned, variant_of
from quantbench.variants.settings import SETTINGS
from studies import outlier_model

FLOAT = outlier_model.tflite(outlier_model.layers(outlier=1.0))
OPERATORS = tuned.operators_of(FLOAT)
OF_WEIGHTS = [name for name in SETTINGS if not settings.is_static(name) and name != "dynamic_wi4_b128"]  # rows of 64
DTYPES = {"wi2": "int2", "wi4": "int4", "wi8": "int8", "float16": "float16"}


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_a_setting_gives_one_operator_the_weights_that_it_names_and_leaves_the_others(name: str) -> None:
    made = tuned.quantized(None, FLOAT, OPERATORS, {2: name})  # type: ignore[arg-type]
    assert made == tuned.quantized(None, FLOAT, OPERATORS, {2: name})  # type: ignore[arg-type]
    assert len(made) < len(FLOAT)
    kernels = {one.name: one for one in read(made).tensors if one.data and len(one.shape) == 2}
    wanted = next(dtype for part, dtype in DTYPES.items() if part in name)
    assert [one.dtype for one in kernels.values()].count("float32") == 3
    changed = next(one for one in kernels.values() if one.dtype != "float32")
    assert changed.dtype == wanted
    granularity = {"tensor": "per-tensor", "float16": "float"}.get(name.rpartition("_")[2], "per-channel")
    assert changed.granularity == ("blockwise" if "_b" in name else granularity)
    x = outlier_model.classes(2, 50)["x"]
    ours, exact = LiteRT(made).run(x), LiteRT(FLOAT).run(x)
    assert isinstance(ours, np.ndarray)
    most = 0.5 if wanted == "int2" else 0.1
    assert np.mean((ours - exact) ** 2) < most * np.mean(np.square(exact))  # type: ignore[arg-type]


def test_only_what_the_tool_takes_is_offered() -> None:
    found = [settings.offered(one, list(SETTINGS)) for one in OPERATORS]
    assert "dynamic_wi4_b32" not in found[0]  # rows of 24
    assert "dynamic_wi4_b32" in found[1]  # of 96
    assert "dynamic_wi4_b64" not in found[1]
    assert "dynamic_wi4_b64" in found[2]  # of 64
    assert "dynamic_wi4_b128" not in found[2]
    assert all({"dynamic_wi8", "float16", "static_wi8_ai8"} <= set(one) for one in found)
    relu = read(FLOAT).operators[0].__class__("RELU", OPERATORS[0].outputs, OPERATORS[0].outputs)
    assert "dynamic_wi8" not in settings.offered(relu, list(SETTINGS))


def test_nothing_chosen_is_the_float_artifact_itself() -> None:
    assert tuned.quantized(None, FLOAT, OPERATORS, {}) is FLOAT  # type: ignore[arg-type]


class Bench:
    """As much of a workbench as a recipe asks for."""

    def __init__(self, artifact: bytes) -> None:
        self._artifact = artifact

    def float_artifact(self) -> bytes:
        return self._artifact


def recipe(**more: object) -> MixedRecipe:
    sha = "ab" * 32
    given = {"made_with": {}, "model_sha256": sha, "float_sha256": sha, "artifact_sha256": sha, "artifact_bytes": 1}
    return MixedRecipe(**{**given, "operators": tuned.listed(OPERATORS, {2: "dynamic_wi4"}), **more})  # type: ignore[arg-type]


class Model:
    """A model's name and file."""

    name = "mine"

    def __init__(self, folder: object) -> None:
        self.file = folder / "mine.py"  # type: ignore[operator]


def test_the_variant_follows_the_recipe_beside_the_model(tmp_path: object) -> None:
    model = Model(tmp_path)
    path = tuned.recipe_file(model)  # type: ignore[arg-type]
    assert "tuned" not in offered(model)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="the model has no recipe"):
        variant_of(model, "tuned").make(Bench(FLOAT))  # type: ignore[arg-type]
    path.write_text(recipe_text(recipe()))
    assert "tuned" in offered(model)  # type: ignore[arg-type]
    made = variant_of(model, "tuned").make(Bench(FLOAT))  # type: ignore[arg-type]
    assert made == tuned.quantized(None, FLOAT, OPERATORS, {2: "dynamic_wi4"})  # type: ignore[arg-type]
    other = outlier_model.tflite(outlier_model.layers()[:3])
    with pytest.raises(Unsupported, match=r"another architecture \(it was made for 4 operators, and the model has 3\)"):
        variant_of(model, "tuned").make(Bench(other))  # type: ignore[arg-type]
    path.write_text(recipe_text(recipe(operators=[], variant="aeq_dynamic_wi8_afp32")))
    assert variant_of(model, "tuned").make is VARIANTS["aeq_dynamic_wi8_afp32"].make  # type: ignore[arg-type]
    path.write_text(recipe_text(recipe(operators=[], variant="qat_wi8_ai8")))
    with pytest.raises(Unsupported, match="names the variant qat_wi8_ai8, which this quantbench does not make"):
        variant_of(model, "tuned").make(Bench(FLOAT))  # type: ignore[arg-type]
    path.write_text("{}")
    with pytest.raises(BadInput, match=r"mine\.recipe\.json: field 'kind'"):
        variant_of(model, "tuned")  # type: ignore[arg-type]
