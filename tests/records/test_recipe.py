"""The recipe of a mixed artifact: what is written is read again, and what was changed by hand is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from quantbench.errors import BadInput
from quantbench.records import IN_FLOAT, MixedOperator, MixedRecipe, SeenDrop, read_recipe, recipe_text

SHA = "ab" * 32


def made(**more: Any) -> MixedRecipe:
    operators = [
        MixedOperator(position=0, operator="CONV_2D", shape=[1, 8, 8, 4], tensor="a", setting="dynamic_wi8"),
        MixedOperator(position=1, operator="RELU", shape=[1, 8, 8, 4], setting=IN_FLOAT),
    ]
    given = {"made_with": {"quantbench": "1"}, "model_sha256": SHA, "float_sha256": SHA, "artifact_sha256": SHA}
    return MixedRecipe(**{**given, "artifact_bytes": 9, "operators": operators, **more})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tuned.recipe.json"
    seen = SeenDrop(metric="accuracy", unit="pp", limit=0.5, drop=1 / 3, low=-0.1, high=0.4, examples=100)
    path.write_text(recipe_text(made(judged=seen)))
    return path


def test_a_recipe_is_read_as_it_was_written(file: Path) -> None:
    found = read_recipe(file)
    assert found.settings() == {0: "dynamic_wi8"}
    assert found.judged is not None
    assert recipe_text(found) == file.read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe_version": "1.7"}, "1.7 is newer than this quantbench reads"),
        ({"recipe_version": "x"}, "field 'recipe_version': expected a version like"),
        ({"kind": "report"}, "field 'kind': expected 'recipe', found 'report'"),
        ({"artifact_bytes": 0}, "field 'artifact_bytes': .* found 0"),
        ({"unknown": 1}, "field 'unknown'"),
        ({"artifact_bytes": 10}, "field 'sha256': the recipe was edited after it was made"),
        ({"variant": "ptq_float16"}, "the recipe was edited"),
        ({"sha256": SHA}, "the recipe was edited"),
    ],
)
def test_a_changed_recipe_is_refused_in_one_sentence(file: Path, change: dict[str, Any], words: str) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(BadInput, match=words) as refused:
        read_recipe(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


def test_an_operator_that_was_given_another_setting_is_noticed(file: Path) -> None:
    file.write_text(file.read_text().replace("dynamic_wi8", "dynamic_wi4"))
    with pytest.raises(BadInput, match="was edited"):
        read_recipe(file)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"kind": "recipe"}'])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"x\.json: "):
        read_recipe(path)
    with pytest.raises(BadInput, match="recipe not found"):
        read_recipe(tmp_path / "absent.json")
