"""``tune`` on a model with a planted outlier layer: found, made again, gated, and kept for a retrained model."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Quantbench, made_once, run_quantbench
from quantbench.adopt import mixed_recipes
from quantbench.errors import BadInput
from quantbench.records import read_recipe
from quantbench.reference.datasets import file_sha256
from quantbench.variants import tuned
from studies import outlier_model

UNTIMED = ["--latency-budget", "0"]


def _data(folder: Path) -> list[str]:
    return ["--data", str(folder / "eval.npz"), "--calibration", str(folder / "calibration.npz"), "--max-drop", "0.5"]


@pytest.fixture(scope="session")
def outlier(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, its data, what the command said, and the run's folder ``found``."""

    def make(folder: Path) -> None:
        model = outlier_model.write(folder)
        given = ["tune", str(model), *_data(folder), "--seconds", "20", "--report-dir", str(folder / "reports")]
        done = run_quantbench(*given, store=store)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "said.txt").write_text(done.stdout)
        shutil.copytree((folder / "reports" / "latest").resolve(), folder / "found")

    return made_once(tmp_path_factory, "outlier", make)


def recipe_of(folder: Path) -> Path:
    return folder / "found" / "tuned.recipe.json"


@pytest.mark.slow
def test_the_outlier_layer_keeps_more_bits_and_the_rest_fewer_than_in_any_fixed_variant_within(outlier: Path) -> None:
    said = (outlier / "said.txt").read_text()
    recipe = read_recipe(recipe_of(outlier))
    artifact = outlier / "found" / "tuned.tflite"
    assert file_sha256(artifact) == recipe.artifact_sha256
    assert artifact.stat().st_size == recipe.artifact_bytes
    report = json.loads((outlier / "found" / "report.json").read_text())
    sizes = {cell["variant"]: cell["measurements"]["size"]["value"] for cell in report["cells"]}
    assert recipe.artifact_bytes < 0.9 * sizes["aeq_float16"]  # the only fixed variant within
    assert recipe.settings()[1] in ("float16", "weight_only_wi8")
    assert any("wi8" in name or "wi4" in name for name in recipe.settings().values())
    assert recipe.judged is not None
    assert recipe.judged.examples == 6000
    assert recipe.judged.high is not None
    assert recipe.judged.high <= 0.5
    answer = said[said.index("a mixed artifact:") :].splitlines()
    assert len(answer) <= 30
    assert re.match(
        r"a mixed artifact: [\d.]+ KiB, 0\.\d\d× float32 .*, 0\.\d\d× the smallest fixed variant", answer[0]
    )
    assert "on 6,000 examples that the search never saw" in answer[1]
    assert "best so far: " in said


@pytest.mark.slow
def test_a_recipe_makes_the_same_artifact_again_and_says_so(
    quantbench: Quantbench, outlier: Path, tmp_path: Path
) -> None:
    given = ["tune", str(outlier / "outlier.tflite"), *_data(outlier), "--report-dir", str(tmp_path)]
    done = quantbench(*given, "--recipe", str(recipe_of(outlier)))
    assert done.status == 0, done.output
    assert "the same artifact, byte for byte" in done.output
    made = (tmp_path / "latest" / "tuned.tflite").read_bytes()
    assert made == (outlier / "found" / "tuned.tflite").read_bytes()


def retrained(folder: Path, hidden: int | None = None) -> Path:
    """The same architecture with other weights; or one of other widths."""
    layers = outlier_model.layers()
    random = np.random.default_rng(5)
    moved = [(kernel * (1 + 0.02 * random.normal(size=kernel.shape)), bias) for kernel, bias in layers]
    if hidden is not None:
        moved = [(moved[0][0][:hidden], moved[0][1][:hidden]), (moved[1][0][:, :hidden], moved[1][1]), *moved[2:]]
    path = folder / "retrained.tflite"
    path.write_bytes(outlier_model.tflite(moved))
    return path


@pytest.mark.slow
def test_a_recipe_is_gated_like_a_variant_and_applied_to_a_retrained_model(
    quantbench: Quantbench, outlier: Path, tmp_path: Path
) -> None:
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    reports = ["--report-dir", str(tmp_path / "reports")]
    given = ["adopt", str(outlier / "outlier.tflite"), "--name", "mine", *_data(outlier), *UNTIMED, *folders, *reports]
    done = quantbench(*given, "--recipe", str(recipe_of(outlier)))
    assert done.status == 0, done.output
    assert "gated: float32, tuned." in done.output
    kept = tmp_path / "models" / "mine.recipe.json"
    assert kept.read_text() == recipe_of(outlier).read_text()
    gated = ["run", *folders, "--no-latency", "--no-gpu"]
    done = quantbench(*gated)
    assert done.status == 0, done.output
    cell = done.cell("mine/tuned")
    assert cell["artifact_sha256"] == read_recipe(kept).artifact_sha256
    assert cell["verdict"] == "pass"

    update = ["adopt", str(retrained(tmp_path)), "--update", "mine", *UNTIMED, *folders, *reports, "--accept", "other"]
    done = quantbench(*update)
    assert done.status == 0, done.output
    assert kept.read_text() == recipe_of(outlier).read_text()
    done = quantbench(*gated)
    assert done.status == 0, done.output
    assert done.cell("mine/tuned")["artifact_sha256"] != cell["artifact_sha256"]

    kept.write_text(kept.read_text().replace("float16", "weight_only_wi8"))
    done = quantbench(*gated)
    assert done.status == 4
    assert "the recipe was edited after it was made" in done.output


def test_a_recipe_for_another_architecture_is_refused_and_one_for_other_weights_is_not(
    outlier: Path, tmp_path: Path
) -> None:
    recipe, path = read_recipe(recipe_of(outlier)), recipe_of(outlier)
    same = tuned.operators_of(retrained(tmp_path).read_bytes())
    mixed_recipes.check_fits(recipe, path, same, "retrained.tflite")
    other = tuned.operators_of(retrained(tmp_path, hidden=95).read_bytes())
    with pytest.raises(
        BadInput, match=r"of another model than other\.tflite \(operator 0 was FULLY_CONNECTED of shape"
    ):
        mixed_recipes.check_fits(recipe, path, other, "other.tflite")
    with pytest.raises(BadInput, match=r"made for 4 operators, and the model has 3"):
        mixed_recipes.check_fits(recipe, path, same[:3], "other.tflite")


def test_an_unknown_setting_or_variant_is_refused(outlier: Path) -> None:
    recipe, operators = read_recipe(recipe_of(outlier)), tuned.operators_of((outlier / "outlier.tflite").read_bytes())
    changed = recipe.operators[0].model_copy(update={"setting": "int3"})
    odd = recipe.model_copy(update={"operators": [changed, *recipe.operators[1:]]})
    with pytest.raises(BadInput, match="the setting int3, which this quantbench does not make"):
        mixed_recipes.check_fits(odd, Path("r.json"), operators, "m")
    odd = recipe.model_copy(update={"operators": [], "variant": "aeq_int3"})
    with pytest.raises(BadInput, match="the variant aeq_int3, which this quantbench does not make"):
        mixed_recipes.check_fits(odd, Path("r.json"), operators, "m")


def test_bad_input_is_refused_in_one_sentence_before_anything_is_made(
    quantbench: Quantbench, tmp_path: Path, outlier: Path
) -> None:
    model, few = str(outlier / "outlier.tflite"), tmp_path / "few.npz"
    np.savez(few, **outlier_model.classes(4, 300))  # type: ignore[arg-type]
    asked = {
        "--data: give the examples to evaluate on": [],
        "few.npz: 300 examples leave 200 to judge on once a third is searched on": ["--data", str(few)],
        "absent.json: recipe not found": ["--recipe", str(tmp_path / "absent.json")],
        "--json: goes with a search": ["--recipe", str(recipe_of(outlier)), "--json"],
    }
    for words, more in asked.items():
        done = quantbench("tune", model, "--report-dir", str(tmp_path / "reports"), *more)
        assert done.status == 4, done.output
        assert words in done.output
    assert not (tmp_path / "reports").exists()
