"""The recipe beside a model goes with it: to the workers of a cluster, and into the cache key of what is made by it."""

from pathlib import Path

from quantbench.build.artifact import ingredients
from quantbench.engine.workers.cluster import model_files
from quantbench.records import IN_FLOAT, MixedOperator, MixedRecipe, recipe_text
from quantbench.reference.model import load_file
from quantbench.variants import variant_of

MODEL = """
from quantbench import Floor, ReferenceModel

MODEL = ReferenceModel("mine", "", "weights/mine.tflite", "", "data/mine.npz", "", {}, form="tflite")
"""
SHA = "ab" * 32


def test_a_recipe_travels_with_its_model_and_is_part_of_the_cache_key(tmp_path: Path) -> None:
    for name in ("weights/mine.tflite", "data/mine.npz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    file = tmp_path / "mine.py"
    file.write_text(MODEL)
    keys = []
    for setting in ("dynamic_wi8", IN_FLOAT):
        operators = [MixedOperator(position=0, operator="CONV_2D", shape=[1], setting=setting)]
        hashes = {"model_sha256": SHA, "float_sha256": SHA, "artifact_sha256": SHA}
        made = MixedRecipe(made_with={}, operators=operators, artifact_bytes=1, **hashes)  # type: ignore[arg-type]
        (tmp_path / "mine.recipe.json").write_text(recipe_text(made))
        assert "mine.recipe.json" in model_files(file, "mine")
        model = load_file(file)[0]
        keys.append(ingredients(model, variant_of(model, "tuned"), 0, None))
    assert keys[0] != keys[1]
    assert keys[0]["variant code"].keys() == keys[1]["variant code"].keys()
